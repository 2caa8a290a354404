//! `--murder`: the mailboxes that a Murder's mupdate server lists, pair by pair.

use std::collections::BTreeSet;
use std::io::BufWriter;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use indexfile::exit::Exit;
use tempfile::NamedTempFile;

use super::pairs::{Hosts, Pair};
use super::session::Session;
use super::targets::Targets;
use super::{Fail, signals, text};
use crate::fleet::{self, MurderList, Named, compare};
use crate::journal::{Filter, RunId, State, for_each_row};
use crate::murder::Address;
use crate::murder::client::{Password, Patience, Security, Settings, SetupError};
use crate::observer::Observer;
use crate::survey::Source;

/// The mupdate server.
#[derive(Debug, Args)]
pub(super) struct MurderArgs {
    /// The mailboxes that the mupdate master of a Murder lists, or the mupdate of a frontend:
    /// docs/murder.md. Each of its servers is a pair of the fleet file.
    #[arg(long, value_name = "mupdate://HOST:PORT", requires = "fleet",
          conflicts_with_all = ["mailboxes", "names"])]
    murder: Option<Address>,
    /// One of the admins of the mupdate server.
    #[arg(long, value_name = "USER", requires = "murder")]
    murder_user: Option<String>,
    /// The file with that user's password, readable by nobody else.
    #[arg(long, value_name = "FILE", requires = "murder")]
    password_file: Option<PathBuf>,
    /// The authorities that may have signed the server's certificate; without, the system's.
    #[arg(long, value_name = "FILE", requires = "murder")]
    murder_ca_file: Option<PathBuf>,
    /// Let the password go in clear, and accept any certificate.
    #[arg(long, requires = "murder")]
    murder_insecure: bool,
    /// Keep the last whole list in this file.
    #[arg(long, value_name = "FILE", requires = "murder")]
    murder_cache: Option<PathBuf>,
    /// Use the kept list, and do not ask the server.
    #[arg(long, requires = "murder_cache")]
    murder_from_cache: bool,
    /// A backend's own list, what `ctl_mboxlist -d` prints there; can be given several times.
    #[arg(long, value_name = "SERVER=FILE", requires = "murder", value_parser = own)]
    murder_dump: Vec<(String, PathBuf)>,
}

fn own(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((server, path)) if !server.is_empty() && !path.is_empty() => {
            Ok((server.to_owned(), path.into()))
        }
        _ => Err("SERVER=FILE is expected".to_owned()),
    }
}

impl From<SetupError> for Fail {
    fn from(error: SetupError) -> Self {
        Self::new(error.exit(), error.to_string())
    }
}

/// What a person is to know of the list; not with `--quiet`.
struct Lines {
    quiet: bool,
}

impl Observer for Lines {
    fn say(&self, line: &str) {
        if !self.quiet {
            text::note(line);
        }
    }

    fn warn(&self, line: &str) {
        text::note(line);
    }
}

impl MurderArgs {
    /// Where the list comes from, if a Murder was given.
    pub(super) fn list(&self, hosts: &Hosts) -> Result<Option<MurderList>, Fail> {
        let Some(address) = &self.murder else {
            return Ok(None);
        };
        let user = self.murder_user.as_deref().unwrap_or_default();
        let Some(path) = &self.password_file else {
            let text = "--murder needs --murder-user and --password-file";
            return Err(Fail::new(Exit::Usage, text));
        };
        let security = Security {
            ca_file: self.murder_ca_file.clone(),
            demanded: false,
            insecure: self.murder_insecure,
        };
        let password = Password::from_file(path)?;
        let elsewhere: BTreeSet<String> = hosts.other_servers()?;
        Ok(Some(MurderList {
            settings: Settings::new(address.clone(), user, password, &security)?,
            patience: Patience::default(),
            cache: self.murder_cache.clone(),
            from_cache: self.murder_from_cache,
            own: self.murder_dump.clone(),
            skipped: elsewhere.into_iter().collect(),
        }))
    }

    /// As it is given on the command line; `None` without a Murder.
    pub(super) fn words(&self) -> Option<String> {
        let address = self.murder.as_ref()?;
        Some(format!("--murder {address}"))
    }
}

/// What each pair works on, once it is sure that a run may begin.
pub(super) async fn targets(
    list: MurderList,
    pairs: &[Pair],
    quiet: bool,
    keep: impl Fn(Source) -> Source,
) -> Result<Targets, Fail> {
    let named: Vec<Named> = pairs.iter().map(Pair::named).collect();
    let (stop, observer) = (signals::stop(), Lines { quiet });
    let compared = compare(&list, &named, &observer, &stop).await?;
    for line in compared.lines() {
        observer.say(&line);
    }
    compared.check()?;
    let files = pairs.iter().map(|_| NamedTempFile::new());
    let files = files.collect::<Result<Vec<_>, _>>()?;
    let servers = pairs.iter().map(|pair| pair.servername.clone());
    let outs = files.iter().map(|file| BufWriter::new(file.as_file()));
    let mut outs: Vec<_> = servers.zip(outs).collect();
    let counts = compared.write(&mut outs)?;
    drop(outs);
    let lists = files.into_iter().zip(counts).collect();
    let mut targets = Targets::of_lists(pairs, lists, keep).await?;
    if targets.pairs.is_empty() {
        let text = "nothing to do: of the Murder's list no pair has a mailbox";
        return Err(Fail::new(Exit::Data, text));
    }
    targets.refused = compared.refused();
    targets.murder = Some(list);
    Ok(targets)
}

/// Of mailboxes that were gone when their turn came, those that the Murder has elsewhere now.
pub(super) async fn moved(list: &MurderList, session: &Session, runs: &[(usize, i64)]) -> Exit {
    let observer: Arc<dyn Observer> = Arc::new(Lines { quiet: false });
    let mut gone = Vec::new();
    for (at, run) in runs {
        let journal = session.pairs[*at].parts().journal;
        let filter = Filter::In(State::Gone);
        let read = for_each_row(journal.as_ref(), RunId(*run), filter, |row| {
            if gone.len() < ASKED {
                gone.push(row.name.clone());
            }
        });
        if let Err(error) = read {
            text::complain(&error.to_string());
            return error_exit(error);
        }
    }
    let moved = fleet::moved(list, &gone, &observer).await;
    for (name, server) in &moved {
        text::note(&format!(
            "{name} is on {server} now: give the same command again"
        ));
    }
    if moved.is_empty() {
        Exit::Ok
    } else {
        Exit::RolledBack
    }
}

fn error_exit(error: crate::journal::JournalError) -> Exit {
    Fail::from(error).exit
}

/// Names that the server is asked about after a run, at most.
const ASKED: usize = 10_000;
