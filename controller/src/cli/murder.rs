//! `--murder`: the mailboxes that a Murder's mupdate server lists, pair by pair.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;
use indexfile::exit::Exit;

use super::Fail;
use crate::fleet::MurderList;
use crate::login::{Password, Security, SetupError};
use crate::murder::Address;
use crate::murder::client::{Patience, Settings};

/// The mupdate server.
#[derive(Clone, Debug, Args)]
pub(super) struct MurderArgs {
    /// The mailboxes that the mupdate master of a Murder lists, or the mupdate of a frontend:
    /// docs/murder.md. Each of its servers is a pair of the fleet file.
    #[arg(long, value_name = "mupdate://HOST:PORT", requires = "fleet",
          conflicts_with_all = ["mailboxes", "names"])]
    murder: Option<Address>,
    /// One of the admins of the mupdate server.
    #[arg(long, value_name = "USER", requires = "murder")]
    murder_user: Option<String>,
    /// The file with the password of --murder-user (of --user for --imap), readable by nobody else.
    #[arg(long, value_name = "FILE")]
    pub(super) password_file: Option<PathBuf>,
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

impl MurderArgs {
    /// Where the list comes from, if a Murder was given.
    /// `others`: servers on which nothing is done.
    pub(super) fn list(&self, others: BTreeSet<String>) -> Result<Option<MurderList>, Fail> {
        let Some(address) = &self.murder else {
            if self.password_file.is_some() {
                let text = "--password-file goes with --murder or, in verify, with --imap";
                return Err(Fail::new(Exit::Usage, text));
            }
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
        Ok(Some(MurderList {
            settings: Settings::new(address.clone(), user, password, &security)?,
            patience: Patience::default(),
            cache: self.murder_cache.clone(),
            from_cache: self.murder_from_cache,
            own: self.murder_dump.clone(),
            skipped: others.into_iter().collect(),
        }))
    }

    /// As it is given on the command line; `None` without a Murder.
    pub(super) fn words(&self) -> Option<String> {
        let address = self.murder.as_ref()?;
        Some(format!("--murder {address}"))
    }
}
