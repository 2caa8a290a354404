//! What can go wrong between us and a mupdate server.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use indexfile::dir::OpenError;
use indexfile::exit::Exit;

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
            Fault::Clear | Fault::NoTls | Fault::Certificate(_) => Exit::Config,
            Fault::Stopped => Exit::RolledBack,
            _ => Exit::Unavailable,
        }
    }

    /// Whether the same may be answered later: the server, or the way to it, is away.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(
            *self.fault,
            Fault::Resolve(_)
                | Fault::Connect(_)
                | Fault::Io { .. }
                | Fault::Timeout { .. }
                | Fault::Closed { .. }
                | Fault::Bye { .. }
                | Fault::Answer { .. }
        )
    }
}

/// What went wrong. `doing` is what was under way, a command or `the banner`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// Its name leads to no address.
    #[error("its name cannot be resolved: {0}")]
    Resolve(io::Error),
    /// Nobody listens there.
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    /// The connection broke.
    #[error("the connection broke during {doing}: {source}")]
    Io {
        /// What was under way.
        doing: &'static str,
        /// What the operating system says.
        source: io::Error,
    },
    /// No answer in time.
    #[error("no answer to {doing} within {limit:?}")]
    Timeout {
        /// What was under way.
        doing: &'static str,
        /// The limit that passed.
        limit: Duration,
    },
    /// It closed the connection.
    #[error("it closed the connection during {doing}")]
    Closed {
        /// What was under way.
        doing: &'static str,
    },
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
    /// The password would go over the network as it is.
    #[error(
        "it offers no STARTTLS, and the password would go over the network in clear: set \
         tls_server_cert and tls_server_key in its imapd.conf, or allow it with --murder-insecure"
    )]
    Clear,
    /// TLS was demanded.
    #[error("it offers no STARTTLS, which is demanded")]
    NoTls,
    /// Its certificate, or what it should be checked against, is not right.
    #[error("its certificate is not accepted: {0}")]
    Certificate(String),
    /// No TLS could be agreed on.
    #[error("no TLS after STARTTLS: {0}")]
    Tls(String),
    /// An answer was not read to its end.
    #[error("an earlier answer was not read to its end; connect again")]
    Unread,
    /// We were asked to stop.
    #[error("stopped before it was asked")]
    Stopped,
}

/// Why what is needed to ask a mupdate server cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// A file cannot be read.
    #[error("{what}: {source}")]
    File {
        /// Which file it is.
        what: &'static str,
        /// Why.
        source: OpenError,
    },
    /// Others may read, or write, the password.
    #[error(
        "the password file {} may be read or written by every user of this host (mode {mode:03o}): \
         chmod o= it",
        path.display()
    )]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// There is no password in it, or it cannot be one.
    #[error("the password file {} {what}", path.display())]
    Password {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Certificates cannot be used.
    #[error("the CA file {} has no certificate that can be used: {text}", path.display())]
    Ca {
        /// The file.
        path: PathBuf,
        /// Why.
        text: String,
    },
    /// What was asked for cannot be had.
    #[error("{0}")]
    Contradiction(&'static str),
}

impl SetupError {
    /// The exit code that fits: 78, and 77 where we may not read a file.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::File {
                source: OpenError::Denied(_),
                ..
            } => Exit::Denied,
            _ => Exit::Config,
        }
    }
}
