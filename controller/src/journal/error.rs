//! What can go wrong with a journal.

use std::path::PathBuf;

/// What can go wrong with a journal.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// Another controller works with this state file.
    #[error("{path} is in use by another controller: only one may work with a state file")]
    InUse {
        /// The state file.
        path: PathBuf,
    },
    /// Not a file of ours.
    #[error("{path} is not a reguid state file: {what}")]
    NotOurs {
        /// The state file.
        path: PathBuf,
        /// What was found instead.
        what: String,
    },
    /// There is no such file, and it was to be read only.
    #[error("{path} does not exist: no run was ever started with this --state")]
    Missing {
        /// The state file.
        path: PathBuf,
    },
    /// The state file is of a fleet, and was opened without one; or the reverse; or a run is not of
    /// the pair on which it was to begin.
    #[error("state file {path}: {what}")]
    Pairs {
        /// The state file.
        path: PathBuf,
        /// What does not fit.
        what: String,
    },
    /// The operating system refused a file operation.
    #[error("{path}: {text}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What kind of error it is.
        kind: std::io::ErrorKind,
        /// What it said.
        text: String,
    },
    /// `SQLite` reports an error.
    #[error("state file {path}: {text}")]
    Sqlite {
        /// The state file.
        path: PathBuf,
        /// What it said.
        text: String,
    },
    /// `PostgreSQL` does not answer, or reports an error.
    #[error("journal {server}: {text}")]
    Postgres {
        /// The server, without a password.
        server: String,
        /// What it said, or what was waited for.
        text: String,
    },
    /// What this server calls durable is not, or it cannot be reached as it has to be.
    #[error("{server} cannot carry a journal: {what}")]
    Unfit {
        /// The server, without a password.
        server: String,
        /// Why.
        what: String,
    },
    /// The server is not the one that it was: a standby has taken over, or a copy was restored.
    #[error(
        "{server} was {was} and is {now}: a standby has taken over, and the last decisions may be \
         missing there; start again, and the hosts are asked"
    )]
    Timeline {
        /// The server, without a password.
        server: String,
        /// What it was when this controller began.
        was: String,
        /// What it is.
        now: String,
    },
    /// Another controller works on the pair.
    #[error(
        "the pair {pair:?} is claimed by {host} (process {pid}); its lease ends in {left_ms} ms if \
         it is not renewed"
    )]
    Claimed {
        /// The pair's name.
        pair: String,
        /// The controller's host.
        host: String,
        /// Its process there.
        pid: i64,
        /// Milliseconds until then.
        left_ms: i64,
    },
    /// Another controller has taken the pair over: nothing more is written to it by this one.
    #[error(
        "another controller has taken over the pair {pair:?}, which this one had by epoch {epoch}"
    )]
    Fenced {
        /// The pair's name.
        pair: String,
        /// The epoch of the claim that was lost.
        epoch: u64,
    },
    /// The server did not answer, and nobody knows what of the last changes to the pair it has.
    #[error("the last changes to the pair {pair:?} may be lost: {first}; start again")]
    Lost {
        /// The pair's name.
        pair: String,
        /// The first error.
        first: String,
    },
    /// An earlier write failed, and so nothing more is written.
    #[error("the state file can no longer be written: {first}")]
    Poisoned {
        /// The first error.
        first: String,
    },
    /// A value in it makes no sense.
    #[error("the state file is damaged: {what}")]
    Damaged {
        /// What and where.
        what: String,
    },
}
