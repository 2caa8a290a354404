//! Why a mailbox is not taken over.

use crate::exit::Exit;
use crate::read_error::ReadError;
use std::path::PathBuf;

/// A mailbox that is refused, or could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CutoverError {
    /// A target that is not written: below 12 or above 19.
    #[error("version {to} is none of 12 to 19")]
    Target {
        /// The version asked for.
        to: u32,
    },
    /// A source that is not of version 10.
    #[error(
        "{}: it has version {minor_version}; versions 12 to 19 are made from version 10 alone: {}",
        path.display(),
        if *minor_version > 10 {
            "go on with Cyrus's own `reconstruct -V`, once `indexfile check --before-reconstruct` \
             has nothing to say"
        } else {
            "upgrade the mailbox to 10 first"
        }
    )]
    Version {
        /// The source.
        path: PathBuf,
        /// Its version.
        minor_version: u32,
    },
    /// The cache is of another generation than the index.
    #[error(
        "{}: it has generation {}, the index {index}: reconstruct the mailbox",
        path.display(),
        cache.map_or_else(|| "none".to_owned(), |n| n.to_string())
    )]
    Generation {
        /// The cache.
        path: PathBuf,
        /// Its generation, if it is long enough for one.
        cache: Option<u32>,
        /// That of the index.
        index: u32,
    },
    /// A GUID that is NULL or a padded UUID. A server of version 3 unlinks an expunged message for
    /// that, and fails on others.
    #[error(
        "{}: the GUID of UID {uid} is no SHA-1: upgrade the mailbox first, with its message files",
        path.display()
    )]
    OldStyleGuid {
        /// The file with the record.
        path: PathBuf,
        /// The message.
        uid: u32,
    },
    /// A flag that no server of version 2.3 sets: a newer server has opened the mailbox.
    #[error(
        "{}: UID {uid} has system flags {system_flags:#x}, which no 2.3 server sets: a newer \
         server has opened the mailbox",
        path.display()
    )]
    NewerServer {
        /// The file with the record.
        path: PathBuf,
        /// The message.
        uid: u32,
        /// All flag bits.
        system_flags: u32,
    },
    /// A record without a sound record in `cyrus.cache`.
    #[error(
        "{}: there is no whole cache record at {offset}, where that of UID {uid} should be: \
         reconstruct the mailbox",
        path.display()
    )]
    Cache {
        /// The cache.
        path: PathBuf,
        /// The message.
        uid: u32,
        /// Where its cache record should begin.
        offset: u64,
    },
    /// A message whose UID was never given by the index.
    #[error("{}: UID {uid} is above last_uid {last_uid} of the index", path.display())]
    LastUid {
        /// The file with the record.
        path: PathBuf,
        /// The message.
        uid: u32,
        /// The largest UID ever given, according to the index.
        last_uid: u32,
    },
    /// More records than a file can count.
    #[error("{}: more than 4294967295 records", path.display())]
    TooMany {
        /// The index.
        path: PathBuf,
    },
    /// A source cannot be read to its end.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The writer failed.
    #[error("cannot write the new index: {0}")]
    Write(#[source] std::io::Error),
}

impl CutoverError {
    /// The exit code a command ends with that fails for this reason.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Target { .. } => Exit::Usage,
            Self::Read(error) => error.exit(),
            Self::Write(error) => Exit::of_io(error),
            _ => Exit::Data,
        }
    }
}
