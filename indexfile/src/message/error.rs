//! What can be wrong with a message file; every variant names its path.

use crate::finding::{Code, Finding};
use rustix::io::Errno;
use std::path::{Path, PathBuf};

/// Why a message could not be looked at or hashed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// No file of that name.
    #[error("{}: no such message file", path.display())]
    Missing {
        /// The message file.
        path: PathBuf,
    },
    /// The directory that should hold the messages is not there.
    #[error("{}: no such directory (is the spool mounted?)", path.display())]
    NoSpool {
        /// The directory.
        path: PathBuf,
    },
    /// Something else has the name of a message.
    #[error("{}: {what} where a message should be", path.display())]
    NotRegular {
        /// The message file.
        path: PathBuf,
        /// What is there: `a directory`, `a symbolic link`, ...
        what: &'static str,
    },
    /// We may not read it.
    #[error("{}: not permitted to {op}", path.display())]
    Denied {
        /// The message file, or the directory.
        path: PathBuf,
        /// What was tried.
        op: &'static str,
    },
    /// The file changed each time it was read; no SHA-1 of it can be trusted.
    #[error("{}: kept changing while it was read", path.display())]
    Unstable {
        /// The message file.
        path: PathBuf,
    },
    /// The run was stopped before this message was done.
    #[error("{}: stopped before it was read", path.display())]
    Stopped {
        /// The message file.
        path: PathBuf,
    },
    /// The system failed.
    #[error("{}: cannot {op}: {source}", path.display())]
    Io {
        /// The message file.
        path: PathBuf,
        /// What was tried.
        op: &'static str,
        /// The system's reason.
        source: std::io::Error,
    },
}

impl MessageError {
    /// The error of an operation `op` that the system refused with `errno`.
    #[must_use]
    pub fn of(path: PathBuf, op: &'static str, errno: Errno) -> Self {
        match errno {
            Errno::NOENT => Self::Missing { path },
            // O_NOFOLLOW says LOOP for any symbolic link in the last place, a loop or not.
            Errno::LOOP => Self::NotRegular {
                path,
                what: "a symbolic link",
            },
            // A socket cannot be opened at all.
            Errno::NXIO => Self::NotRegular {
                path,
                what: "a socket or device",
            },
            Errno::ACCESS | Errno::PERM => Self::Denied { path, op },
            _ => Self::Io {
                path,
                op,
                source: errno.into(),
            },
        }
    }

    pub(super) fn spool(path: &Path, errno: Errno) -> Self {
        let path = path.to_owned();
        match errno {
            Errno::NOENT | Errno::NOTDIR => Self::NoSpool { path },
            Errno::ACCESS | Errno::PERM => Self::Denied { path, op: "open" },
            _ => Self::Io {
                path,
                op: "open",
                source: errno.into(),
            },
        }
    }

    /// The file or directory it is about.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Missing { path }
            | Self::NoSpool { path }
            | Self::NotRegular { path, .. }
            | Self::Denied { path, .. }
            | Self::Unstable { path }
            | Self::Stopped { path }
            | Self::Io { path, .. } => path,
        }
    }

    /// The finding about this message of `mailbox`.
    #[must_use]
    pub fn finding(&self, mailbox: &str) -> Finding {
        let code = match self {
            Self::Missing { .. } => Code::Missing,
            Self::NoSpool { .. } => Code::NoSpool,
            Self::NotRegular { .. } => Code::NotRegular,
            Self::Denied { .. } => Code::Unreadable,
            Self::Unstable { .. } | Self::Stopped { .. } => Code::Unstable,
            Self::Io { .. } => Code::Io,
        };
        Finding::new(mailbox, code, self.path().to_owned(), self)
    }
}
