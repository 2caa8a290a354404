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
