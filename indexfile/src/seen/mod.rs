//! What a user has seen of a mailbox, up to version 11 kept in a database of the user's own.
//!
//! Key is the unique id of the mailbox, value a line of text. The database is a skiplist file, a
//! flat file, or, from 2.4 on, a twoskip file.
//!
//! Promises: read only; every length is checked, no more is in memory than the one value, and the
//! number of reads is bounded, no matter what the file says. No lock is taken: of a database that a
//! server is writing to, a reader may get an error, which passes, or the record before the change.

mod database;
mod flat;
mod skiplist;
mod twoskip;
mod value;

pub use value::SeenRecord;

use crate::dir::{OpenError, open_named};
use crate::error::{IoContext, IoError};
use crate::exit::Exit;
use crate::source::{Source, Window};
use database::Database;
use std::fs::File;
use std::path::{Path, PathBuf};

/// The longest database that is read, bytes. That of a user with ten thousand mailboxes has some
/// MiB; a skiplist file cannot have more than 4 GiB.
const LONGEST: u64 = 256 << 20;
/// The longest value that is read, bytes: some two million UIDs, every other of them seen.
const LONGEST_VALUE: u64 = 8 << 20;

/// Why a seen database cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SeenError {
    /// The system could not open or read the file.
    #[error(transparent)]
    Io(#[from] IoError),
    /// It is no database of a kind that is read here.
    #[error("{} is no seen database: {reason}", path.display())]
    NotSeen {
        /// The file.
        path: PathBuf,
        /// What gave it away.
        reason: &'static str,
    },
    /// It begins well and goes on badly.
    #[error("{} is a damaged seen database: at byte {offset}: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where, in bytes.
        offset: u64,
        /// What is wrong.
        reason: &'static str,
    },
    /// The record of the mailbox is none.
    #[error("{}: the seen record of {uniqueid} cannot be read: {reason}", path.display())]
    BadRecord {
        /// The file.
        path: PathBuf,
        /// The mailbox.
        uniqueid: String,
        /// What is wrong.
        reason: &'static str,
    },
}

impl SeenError {
    /// The exit code a command ends with that fails for this reason.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Io(error) => Exit::of_io(&error.source),
            _ => Exit::Data,
        }
    }
}

/// The record of the mailbox `uniqueid` in the database at `path`.
///
/// # Errors
/// [`SeenError`]
pub fn open(path: &Path, uniqueid: &str) -> Result<Option<SeenRecord>, SeenError> {
    let file = open_named(path).map_err(IoError::from)?;
    from_file(&file, path, uniqueid)
}

/// The same of an open file; `path` is for messages. The file's offset is not moved.
///
/// # Errors
/// [`SeenError`]
pub fn from_file(
    file: &File,
    path: &Path,
    uniqueid: &str,
) -> Result<Option<SeenRecord>, SeenError> {
    let len = file.metadata().io_context("stat", path)?.len();
    if len > LONGEST {
        let too_large = OpenError::TooLarge {
            path: path.to_path_buf(),
            size: len,
            limit: LONGEST,
        };
        return Err(IoError::from(too_large).into());
    }
    let source = Source::of(file, len).io_context("read", path)?;
    find(Window::new(source, len), path, uniqueid)
}

/// The same of bytes in memory; `path` is for messages.
///
/// # Errors
/// [`SeenError`], but not `Io`.
pub fn from_bytes(
    bytes: &[u8],
    path: &Path,
    uniqueid: &str,
) -> Result<Option<SeenRecord>, SeenError> {
    find(Window::of_bytes(bytes), path, uniqueid)
}

fn find(window: Window, path: &Path, uniqueid: &str) -> Result<Option<SeenRecord>, SeenError> {
    let mut database = Database::new(window, path);
    let key = uniqueid.as_bytes();
    // As many as the longest magic has, or all.
    let len = database.len().min(20);
    let first = database.read(0, len)?;
    let found = if first == skiplist::MAGIC {
        skiplist::find(&mut database, key)
    } else if first == twoskip::MAGIC {
        twoskip::find(&mut database, key)
    } else if first.iter().all(|&c| c == b'\t' || c == b'\n' || c >= b' ') {
        flat::find(&mut database, key)
    } else {
        return Err(SeenError::NotSeen {
            path: path.to_path_buf(),
            reason: "it is no skiplist, twoskip or flat file (one of Berkeley DB is made \
                     skiplist by Cyrus's cvt_cyrusdb)",
        });
    };
    let Some(value) = found? else { return Ok(None) };
    if value.end - value.start > LONGEST_VALUE {
        return Err(database.damaged(value.start, "the value is too long"));
    }
    let value = database.read(value.start, value.end - value.start)?;
    let record = SeenRecord::parse(&value).map_err(|reason| SeenError::BadRecord {
        path: path.to_path_buf(),
        uniqueid: uniqueid.to_owned(),
        reason,
    });
    record.map(Some)
}

#[cfg(test)]
mod tests;
