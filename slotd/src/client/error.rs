//! What can go wrong between a client and its slotd.

use std::time::Duration;

use super::Addr;
use crate::protocol::{Code, FieldError, ReplyError};
use crate::tls::Refused;

/// Why a call did not bring an OK.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Nobody answers at that address.
    #[error("no slotd at {addr}: {source}")]
    Connect {
        /// The address.
        addr: Addr,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// This user may not use that socket, or a firewall lets nobody through.
    #[error("not permitted to connect to slotd at {addr}: {source}")]
    Forbidden {
        /// The address.
        addr: Addr,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// One side does not accept the other's certificate. Nothing was asked for.
    #[error("slotd at {addr}: {refused}")]
    Certificate {
        /// The address.
        addr: Addr,
        /// Which, and why.
        refused: Refused,
    },
    /// We have no certificate to show.
    #[error("slotd at {addr} needs --tls-cert, --tls-key and --tls-ca (docs/security.md)")]
    NoCertificate {
        /// The address.
        addr: Addr,
    },
    /// The connection broke. What was asked for may or may not have happened.
    #[error("connection to slotd at {addr} broke during {command}: {source}")]
    Io {
        /// The address.
        addr: Addr,
        /// The command that was under way.
        command: &'static str,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The server closed the connection. What was asked for may or may not have happened.
    #[error("slotd at {addr} closed the connection during {command}")]
    Closed {
        /// The address.
        addr: Addr,
        /// The command that was under way.
        command: &'static str,
    },
    /// No answer in time. What was asked for may or may not have happened.
    #[error("slotd at {addr} did not answer {command} within {limit:?}")]
    Timeout {
        /// The address.
        addr: Addr,
        /// The command that was under way.
        command: &'static str,
        /// The deadline that passed.
        limit: Duration,
    },
    /// An earlier call failed in a way that leaves replies out of step; connect again.
    #[error("the connection to slotd at {addr} is no longer usable")]
    Broken {
        /// The address.
        addr: Addr,
    },
    /// The answer is no reply of this protocol.
    #[error("slotd at {addr}, answer to {command}: {source}")]
    Reply {
        /// The address.
        addr: Addr,
        /// The command that was under way.
        command: &'static str,
        /// What is wrong with it.
        source: ReplyError,
    },
    /// The answer lacks something.
    #[error("slotd at {addr}, answer to {command}: {source}")]
    Field {
        /// The address.
        addr: Addr,
        /// The command that was under way.
        command: &'static str,
        /// What is wrong with it.
        source: FieldError,
    },
    /// The slotd that answers has another store than the one that is meant.
    #[error("the slotd at {addr} serves another store ({found}, not {wanted})")]
    WrongStore {
        /// The address.
        addr: Addr,
        /// The store that it has.
        found: String,
        /// The one that is meant.
        wanted: String,
    },
    /// `NO`: refused, with a reason.
    #[error("[{code}] {text}")]
    Refused {
        /// The class of the reason.
        code: Code,
        /// The reason in words.
        text: String,
    },
    /// `BAD`: the server does not understand us.
    #[error("slotd at {addr} does not understand {command}: {text}")]
    Bad {
        /// The address.
        addr: Addr,
        /// The command.
        command: &'static str,
        /// Its words.
        text: String,
    },
}

impl ClientError {
    /// A connection that was not made.
    #[must_use]
    pub fn unconnected(addr: Addr, source: std::io::Error) -> Self {
        if source.kind() == std::io::ErrorKind::PermissionDenied {
            Self::Forbidden { addr, source }
        } else {
            Self::Connect { addr, source }
        }
    }

    /// The code of a refusal.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        match self {
            ClientError::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Whether one side does not trust the other, or nothing may be asked for at all, which does
    /// not pass by itself.
    #[must_use]
    pub fn is_untrusted(&self) -> bool {
        matches!(
            self,
            ClientError::Forbidden { .. }
                | ClientError::Certificate { .. }
                | ClientError::NoCertificate { .. }
        )
    }

    /// Whether it is this process that lacks something (open files, memory, ports), and nothing is
    /// known about the server.
    #[must_use]
    pub fn is_local(&self) -> bool {
        use rustix::io::Errno;
        let ClientError::Connect { source, .. } = self else {
            return false;
        };
        let lacking = [
            Errno::MFILE,
            Errno::NFILE,
            Errno::NOMEM,
            Errno::NOBUFS,
            Errno::ADDRNOTAVAIL,
        ];
        Errno::from_io_error(source).is_some_and(|errno| lacking.contains(&errno))
    }

    /// Whether the command's effect is unknown: it was sent, and no answer came.
    #[must_use]
    pub fn is_unanswered(&self) -> bool {
        matches!(
            self,
            ClientError::Io { .. }
                | ClientError::Closed { .. }
                | ClientError::Timeout { .. }
                | ClientError::Reply { .. }
        )
    }
}
