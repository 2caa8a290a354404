//! `verify --imap`: what a user sees by IMAP, compared with what the same user saw before.

use std::path::PathBuf;

use clap::{Args, Command};
use indexfile::exit::Exit;

use super::args::Mailboxes;
use super::of_murder::Lines;
use super::session::with_runtime;
use super::{Fail, signals, text};
use crate::imap::{Address, ImapError, Seen, SeenError, Settings, compare, read};
use crate::login::{Password, Security};

/// The server, and what is to be done with what was seen.
#[derive(Debug, Args)]
pub(super) struct ImapArgs {
    /// Read all mail of --user by IMAP instead, as a client does; no slotd is asked. Port 993 is
    /// TLS at once, else STARTTLS.
    #[arg(long, value_name = "HOST:PORT", requires_all = ["user", "password_file"],
          conflicts_with_all = ["master", "fleet", "mailboxes", "names", "murder", "partition",
                                "pattern", "tranche", "canary", "full"])]
    pub(super) imap: Option<Address>,
    /// Keep what was seen in this new file.
    #[arg(long, value_name = "FILE", requires = "imap")]
    save: Option<PathBuf>,
    /// Compare what is seen with what was kept in this file.
    #[arg(long, value_name = "FILE", requires = "imap", conflicts_with = "save")]
    against: Option<PathBuf>,
    /// The authorities that may have signed the server's certificate; without, the system's.
    #[arg(long, value_name = "FILE", requires = "imap")]
    imap_ca_file: Option<PathBuf>,
    /// Let the password go in clear, and accept any certificate.
    #[arg(long, requires = "imap")]
    imap_insecure: bool,
}

/// The same command without a slotd, where the mail is read by IMAP.
pub(super) fn without_hosts(verify: Command) -> Command {
    verify.mut_arg("master", |master| master.required_unless_present("imap"))
}

impl From<ImapError> for Fail {
    fn from(error: ImapError) -> Self {
        Self::new(error.exit(), error.to_string())
    }
}

impl From<SeenError> for Fail {
    fn from(error: SeenError) -> Self {
        Self::new(error.exit(), error.to_string())
    }
}

pub(super) fn verify(
    address: &Address,
    args: &ImapArgs,
    mailboxes: &Mailboxes,
    json: bool,
) -> Result<Exit, Fail> {
    // --imap requires both.
    let (Some(user), Some(password)) = (&mailboxes.user, &mailboxes.murder.password_file) else {
        let text = "--imap needs --user and --password-file";
        return Err(Fail::new(Exit::Usage, text));
    };
    let user = user.as_str();
    let security = Security {
        ca_file: args.imap_ca_file.clone(),
        demanded: false,
        insecure: args.imap_insecure,
    };
    let password = Password::from_file(password)?;
    let settings = Settings::new(address.clone(), user, password, &security)?;
    // Before the mail is read: a file that cannot be used would be found out minutes later.
    let before = match &args.against {
        Some(path) => Some(Seen::load(path, user)?),
        None => None,
    };
    if let Some(path) = args.save.as_ref().filter(|path| path.exists()) {
        let path = path.clone();
        return Err(SeenError::Exists { path }.into());
    }
    with_runtime(async move {
        let stop = signals::stop();
        let (seen, mut report) = read(&settings, &Lines { quiet: json }, &stop).await?;
        if let Some(before) = &before {
            compare(before, &seen, &mut report);
        }
        // What is wrong already is nothing to compare with later.
        let saved = args.save.as_ref().filter(|_| report.counts.is_empty());
        if let Some(path) = saved {
            seen.save(path)?;
        }
        if json {
            let value = serde_json::to_value(&report).map_err(std::io::Error::from)?;
            text::json(&value)?;
        } else {
            text::say(report.to_string().trim_end())?;
        }
        match (&args.save, saved) {
            (Some(path), None) => text::note(&format!(
                "{} was not written: what was seen is not as it should be",
                path.display()
            )),
            (Some(path), Some(_)) if !json => text::note(&format!(
                "kept: give --against {} to compare with it later",
                path.display()
            )),
            _ => {}
        }
        Ok(signals::exit(&stop, report.exit()))
    })
}
