//! What can go wrong between us and an IMAP server, and with the file of what was seen before.

use std::path::PathBuf;

use indexfile::IoError;
use indexfile::dir::OpenError;
use indexfile::exit::Exit;

use super::address::Address;
use crate::login::LinkError;

/// Why an IMAP server could not be read.
#[derive(Debug, thiserror::Error)]
#[error("{address}: {fault}")]
pub struct ImapError {
    /// The server.
    pub address: Address,
    /// Why.
    pub fault: Fault,
}

impl ImapError {
    /// The exit code that fits.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match &self.fault {
            Fault::Link(error) => error.exit(),
            Fault::Refused { .. } => Exit::Denied,
            Fault::Unsendable => Exit::Config,
            Fault::Stopped => Exit::RolledBack,
            Fault::Answer { .. } | Fault::Unreadable { .. } => Exit::Unavailable,
        }
    }
}

/// What went wrong. `doing` is the command under way, or `the greeting`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The way to it failed.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// It does not let the user in.
    #[error("it refuses user {user}: {text}")]
    Refused {
        /// The user, printable.
        user: String,
        /// Its words, printable.
        text: String,
    },
    /// A user name or password that LOGIN has no way to send.
    #[error(
        "the user's name or password has a line end in it, or is not UTF-8, and cannot be sent"
    )]
    Unsendable,
    /// It says NO, BAD or BYE where the whole cannot go on.
    #[error("it answers {doing} with {text}")]
    Answer {
        /// What was under way.
        doing: &'static str,
        /// Its words, printable.
        text: String,
    },
    /// It says what is no IMAP.
    #[error("its answer to {doing} cannot be read as IMAP")]
    Unreadable {
        /// What was under way.
        doing: &'static str,
    },
    /// We were asked to stop.
    #[error("stopped before all was seen")]
    Stopped,
}

/// Why a file of what was seen cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SeenError {
    /// It cannot be read.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It cannot be written.
    #[error(transparent)]
    Write(#[from] IoError),
    /// There is a file of that name.
    #[error("{} exists already, and is not overwritten", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// It is no such file.
    #[error("{} was not written by verify --save: {text}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        text: String,
    },
    /// It is about another user.
    #[error("{} is about user {was:?}, and not {is:?}", path.display())]
    OtherUser {
        /// The file.
        path: PathBuf,
        /// The user in the file.
        was: String,
        /// The user that was asked for.
        is: String,
    },
}

impl SeenError {
    /// The exit code that fits.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Open(OpenError::Denied(_)) => Exit::Denied,
            Self::Write(error) => Exit::of_io(&error.source),
            Self::Open(_) | Self::Exists { .. } | Self::OtherUser { .. } => Exit::Config,
            Self::Damaged { .. } => Exit::Data,
        }
    }
}
