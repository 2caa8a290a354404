//! Why a demo cannot go on.

use std::path::PathBuf;

use indexfile::IoError;
use indexfile::exit::Exit;
use indexfile::mailbox::ConfError;

use crate::run::RunError;
use stores::StoreError;

/// Why a demo ended before its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DemoError {
    /// The directory to keep is in use.
    #[error("{} is not empty: the demo makes its stores only in a new or empty directory", .0.display())]
    NotEmpty(PathBuf),
    /// The directory's name cannot stand in an imapd.conf.
    #[error("{:?} cannot stand in an imapd.conf: choose a path of plain characters", .0)]
    OddPath(PathBuf),
    /// The system refused something.
    #[error(transparent)]
    Io(#[from] IoError),
    /// The demo's imapd.conf was not understood: a bug.
    #[error(transparent)]
    Conf(#[from] ConfError),
    /// A store could not be made.
    #[error(transparent)]
    Store(StoreError),
    /// Messages could not be hashed.
    #[error("hashing the replica's messages failed: {0}")]
    Precompute(String),
    /// A slotd did not start.
    #[error("the {host}'s slotd {how}; it said: {said}")]
    Slotd {
        /// Which.
        host: &'static str,
        /// What became of it.
        how: String,
        /// The last line of its log.
        said: String,
    },
    /// A slotd listens where nobody can connect: a bug.
    #[error("slotd listens on an odd address: {0}")]
    Address(String),
    /// The migration could not go on.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A signal came.
    #[error("stopped; nothing is left running")]
    Stopped,
}

impl From<StoreError> for DemoError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Stopped => Self::Stopped,
            StoreError::Io(error) => Self::Io(error),
            error => Self::Store(error),
        }
    }
}

impl DemoError {
    /// The exit code that says the same.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::NotEmpty(_) | Self::OddPath(_) => Exit::Usage,
            Self::Io(error) => Exit::of_io(&error.source),
            Self::Conf(_) => Exit::Config,
            Self::Store(_) | Self::Precompute(_) => Exit::Data,
            Self::Slotd { .. } | Self::Address(_) => Exit::Unavailable,
            Self::Run(error) => error.exit(),
            Self::Stopped => Exit::RolledBack,
        }
    }
}
