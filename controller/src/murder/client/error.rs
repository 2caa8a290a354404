//! What can go wrong between us and a mupdate server.

use indexfile::exit::Exit;

use crate::login::LinkError;
use crate::murder::address::Address;
use crate::murder::wire::{Status, WireError};

/// Why a mupdate server was not asked, or did not answer as it should.
#[derive(Debug, thiserror::Error)]
#[error("{address}: {fault}")]
pub struct MurderError {
    /// The server.
    pub address: Address,
    /// Why.
    pub fault: Box<Fault>,
}

impl MurderError {
    pub(super) fn new(address: &Address, fault: Fault) -> Self {
        Self {
            address: address.clone(),
            fault: Box::new(fault),
        }
    }

    /// The exit code that fits.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match *self.fault {
            Fault::Refused { .. } => Exit::Denied,
            Fault::Link(ref error) => error.exit(),
            Fault::Stopped => Exit::RolledBack,
            _ => Exit::Unavailable,
        }
    }

    /// Whether the same may be answered later: the server, or the way to it, is away.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match &*self.fault {
            Fault::Link(error) => error.may_pass(),
            fault => matches!(fault, Fault::Bye { .. } | Fault::Answer { .. }),
        }
    }
}

/// What went wrong. `doing` is what was under way, a command or `the banner`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The way to it failed.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// It said that it closes the connection.
    #[error("it closes the connection during {doing}: {text}")]
    Bye {
        /// What was under way.
        doing: &'static str,
        /// Its words, printable.
        text: String,
    },
    /// It speaks another protocol.
    #[error("it does not speak MUPDATE; in the answer to {doing} is {source}")]
    Wire {
        /// What was under way.
        doing: &'static str,
        /// What is wrong with it.
        source: WireError,
    },
    /// It speaks MUPDATE, and what it says does not belong here.
    #[error("what it answers to {doing} does not belong there: {what}")]
    Unexpected {
        /// What was under way.
        doing: &'static str,
        /// What it said.
        what: String,
    },
    /// The user or the password is wrong, or the user is none of its `admins`.
    #[error(
        "the mupdate master refuses user {user}: the password is wrong, or the user is none of its \
         admins (the reason is in its syslog); give the name without @ and realm"
    )]
    Refused {
        /// The user, printable.
        user: String,
    },
    /// It says NO or BAD.
    #[error("it answers {doing} with {status}: {text}")]
    Answer {
        /// What was under way.
        doing: &'static str,
        /// NO or BAD.
        status: Status,
        /// Its words, printable.
        text: String,
    },
    /// An answer was not read to its end.
    #[error("an earlier answer was not read to its end; connect again")]
    Unread,
    /// We were asked to stop.
    #[error("stopped before it was asked")]
    Stopped,
}
