//! Why live latency cannot be measured.

use std::io;

use indexfile::IoError;
use indexfile::exit::Exit;
use stores::StoreError;

use crate::demo::DemoError;

/// Why a measurement ended before its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LiveError {
    /// As with the demo.
    #[error(transparent)]
    Demo(#[from] DemoError),
    /// A client, or what replicates, failed or did not end.
    #[error("{name} {how}; it said: {said}")]
    Client {
        /// Which.
        name: String,
        /// What became of it.
        how: String,
        /// The last line of its log.
        said: String,
    },
    /// Mail is not as the clients left it.
    #[error(
        "{count} things that clients stored are not there, or not as they were stored; the first: \
         {first}"
    )]
    Lost {
        /// How many.
        count: usize,
        /// The first.
        first: String,
    },
    /// What was logged fits no mailbox: a bug of the imitation.
    #[error("the log of {mailbox} cannot be understood: {why}")]
    Log {
        /// Its mailbox.
        mailbox: String,
        /// What does not fit.
        why: String,
    },
    /// Mailboxes are in doubt.
    #[error("{0} mailboxes are in doubt; see the log of the slotds")]
    InDoubt(u64),
    /// No mailbox was changed while clients worked, so the figures would mean nothing.
    #[error(
        "no mailbox of {messages} messages was upgraded while the clients worked ({rolled_back} \
         times one was rolled back): there is nothing to measure; --seconds may be too short"
    )]
    Nothing {
        /// Messages of each.
        messages: u32,
        /// How often one was rolled back.
        rolled_back: u64,
    },
    /// Not all came back to version 9 once the clients had ended.
    #[error("{0} mailboxes did not come back to version 9")]
    NotBack(u64),
}

impl From<IoError> for LiveError {
    fn from(error: IoError) -> Self {
        Self::Demo(error.into())
    }
}

impl From<StoreError> for LiveError {
    fn from(error: StoreError) -> Self {
        Self::Demo(error.into())
    }
}

impl LiveError {
    /// That something cannot be read or written here.
    pub(super) fn io(what: &'static str, path: &std::path::Path, error: io::Error) -> Self {
        IoError::new(what, path, error).into()
    }

    /// The exit code that says the same.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Demo(error) => error.exit(),
            Self::Client { .. } => Exit::Unavailable,
            Self::Log { .. } => Exit::Data,
            Self::Lost { .. } | Self::InDoubt(_) => Exit::InDoubt,
            Self::Nothing { .. } | Self::NotBack(_) => Exit::RolledBack,
        }
    }
}
