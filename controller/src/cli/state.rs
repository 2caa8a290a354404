//! `--state`: the journal that a command works with, in a file or on a server.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::{Fail, text};
use crate::control;
use crate::journal::{
    Journal, JournalError, JournalStore, LEASE, PostgresStore, SqliteStore, is_postgres,
};

/// The state file.
#[derive(Debug, Args)]
pub(super) struct StateFile {
    /// The journal of the run: decisions, progress and results. Keep it until the migration is
    /// done. For several controllers a PostgreSQL: postgres://USER@HOST/DATABASE, with the password
    /// in PGPASSWORD.
    #[allow(clippy::doc_markdown)] // the text of --help
    #[arg(long, value_name = "FILE", default_value = "reguid.db")]
    state: PathBuf,
    /// Seconds that a claim to a pair lasts without being renewed, in PostgreSQL: for so long is a
    /// controller that went away waited for before another one takes its pairs over.
    #[allow(clippy::doc_markdown)] // the text of --help
    #[arg(long, value_name = "SECONDS", default_value_t = LEASE.as_secs(),
          value_parser = clap::value_parser!(u64).range(3..=3600))]
    lease: u64,
}

/// How a command opens the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// For a run; made if it is not there.
    Make,
    /// For work that only goes on with what is in it.
    Existing,
    /// For reading, with or without a running controller.
    Read,
}

impl StateFile {
    /// Opens it. What the operator should know of a server is printed.
    pub(super) fn open(&self, how: How) -> Result<Box<dyn JournalStore>, Fail> {
        let Some(url) = self.url() else {
            let path = &self.state;
            return Ok(Box::new(match how {
                How::Make => SqliteStore::open(path)?,
                How::Existing => SqliteStore::open_existing(path)?,
                How::Read => SqliteStore::open_read_only(path)?,
            }));
        };
        let store = match how {
            How::Make | How::Existing => PostgresStore::open(url, Duration::from_secs(self.lease))?,
            How::Read => PostgresStore::open_read_only(url)?,
        };
        for warning in store.warnings() {
            text::complain(warning);
        }
        Ok(Box::new(store))
    }

    /// A pair's journal, for reading only.
    pub(super) fn read_pair(&self, pair: &str) -> Result<Arc<dyn Journal>, JournalError> {
        match self.url() {
            Some(url) => PostgresStore::open_read_only(url)?.pair(pair),
            None => SqliteStore::open_read_only(&self.state)?.pair(pair),
        }
    }

    fn url(&self) -> Option<&str> {
        self.state.to_str().filter(|state| is_postgres(state))
    }

    /// As it was given, without a password.
    pub(super) fn shown(&self) -> String {
        match self.url() {
            Some(url) => without_password(url),
            None => self.state.display().to_string(),
        }
    }

    /// Whether the journal is a file, which one controller alone works with.
    pub(super) fn is_file(&self) -> bool {
        self.url().is_none()
    }

    /// Whether it was ever made, as far as that is known without a server.
    pub(super) fn is_there(&self) -> bool {
        self.url().is_some() || self.state.exists()
    }

    /// Where a running controller is asked. Beside a state file; for a journal on a server in the
    /// current directory, as each of its controllers has one.
    pub(super) fn socket_path(&self) -> PathBuf {
        match self.url() {
            Some(_) => control::socket_path(Path::new("reguid-postgres")),
            None => control::socket_path(&self.state),
        }
    }

    /// Whether another controller answers there. The lock of a state file excludes that.
    pub(super) fn is_socket_taken(&self) -> bool {
        self.url().is_some() && UnixStream::connect(self.socket_path()).is_ok()
    }
}

/// Whether a word of the command line has a password, which every user of the host can read there.
pub(super) fn shows_password(word: &str) -> bool {
    let value = word.strip_prefix("--state=").unwrap_or(word);
    let is_address = ["postgres://", "postgresql://"]
        .iter()
        .any(|scheme| value.starts_with(scheme));
    is_address && without_password(value) != value
}

/// The address of a database without a password.
pub(super) fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let (user, address) = rest.rsplit_once('@').unwrap_or(("", rest));
    // It may be an option as well.
    let (address, options) = address.split_once('?').unwrap_or((address, ""));
    let harmless = |option: &&str| !option.starts_with("password=");
    let options: Vec<&str> = options.split('&').filter(harmless).collect();
    let mut out = format!("{scheme}://");
    if !user.is_empty() {
        out.push_str(user.split(':').next().unwrap_or(""));
        out.push('@');
    }
    out.push_str(address);
    if options.iter().any(|option| !option.is_empty()) {
        out.push('?');
        out.push_str(&options.join("&"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_a_word_of_the_command_line_is_seen() {
        for shown in [
            "postgres://u:secret@h/db",
            "--state=postgres://u:secret@h/db",
            "postgresql://u@h/db?password=secret",
        ] {
            assert!(shows_password(shown), "{shown}");
        }
        for fine in [
            "postgres://u@h/db",
            "postgres://h:5432/db?sslmode=disable",
            "run.db",
            "-q",
        ] {
            assert!(!shows_password(fine), "{fine}");
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        for (url, shown) in [
            ("postgres://u:secret@h:1/db", "postgres://u@h:1/db"),
            (
                "postgres://u@h/db?sslmode=disable",
                "postgres://u@h/db?sslmode=disable",
            ),
            ("postgres://u:s@cret@h/db", "postgres://u@h/db"),
            (
                "postgresql:///db?user=u&password=secret",
                "postgresql:///db?user=u",
            ),
            ("postgres://h/db?password=secret", "postgres://h/db"),
        ] {
            assert_eq!(without_password(url), shown);
        }
    }
}
