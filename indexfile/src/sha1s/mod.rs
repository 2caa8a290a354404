//! `cyrus.sha1s`: the SHA-1 of each message of one mailbox, with what shows that a file has
//! changed.
//!
//! Promises: a file is either whole or refused: every block's CRC-32 and the digest over all of it
//! are checked when it is opened. Reads and makes bytes; callers write them to disk by
//! temporary file, fsync and rename. The format is in `docs/formats.md`.

mod format;
mod view;
mod writer;

pub use format::{FORMAT_VERSION, MAGIC};
pub use view::{Cache, CacheError, Entries};
pub use writer::{CacheWriter, WriteError, encode};

use crate::guid::Guid;

/// The file's name; it lies next to `cyrus.index`.
pub const FILE_NAME: &str = "cyrus.sha1s";

/// What shows that a message file is the one that was hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Stamp {
    /// Time of the last change of content, nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Time of the last change of the inode, nanoseconds since 1970.
    pub ctime_ns: i64,
    /// Inode number.
    pub inode: u64,
}

/// One message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Entry {
    /// UID, at least 1.
    pub uid: u32,
    /// Size of the file in bytes.
    pub size: u64,
    /// The file as it was when it was hashed.
    pub stamp: Stamp,
    /// SHA-1 of its bytes.
    pub guid: Guid,
}

impl Entry {
    /// True if a file with this stamp and size is the one that was hashed.
    #[must_use]
    pub fn still_same(&self, stamp: &Stamp, size: u64) -> bool {
        self.stamp == *stamp && self.size == size
    }
}

#[cfg(test)]
mod tests;
