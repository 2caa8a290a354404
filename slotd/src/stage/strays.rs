//! What a crash left under scratch names: found, and removed under the locks.
//!
//! A crash here leaves some of it, for the next lock.

use std::os::unix::fs::FileExt as _;

use indexfile::{FileKind, IoContext as _, IoError};

use super::old::previous_name;
use super::{LEDGER_NEW_NAME, new_name};
use crate::fileops::{self, FileOp, execute, name};
use crate::lock::MailboxLocks;
use crate::store::Place;

/// What looks as if a rename of both files had not come to its end: a scratch name of ours, or two
/// versions.
///
/// # Errors
/// The system's.
pub fn sign_of_an_open_rename(locks: &MailboxLocks) -> Result<Option<String>, IoError> {
    for kind in [FileKind::Index, FileKind::Expunge] {
        let dir = locks.place.directory_of(kind);
        for name in [new_name(kind), previous_name(kind)] {
            if dir.stat(name)?.is_some() {
                return Ok(Some(format!("{} is there", dir.path_of(name).display())));
            }
        }
    }
    let version = |kind: FileKind| -> Result<Option<[u8; 4]>, IoError> {
        let Some(locked) = locks.file(kind) else {
            return Ok(None);
        };
        let mut word = [0; 4];
        let path = locks.place.directory_of(kind).path_of(kind.file_name());
        let read = locked.file.read_exact_at(&mut word, VERSION_AT);
        read.io_context("read", &path)?;
        Ok(Some(word))
    };
    let (index, expunge) = (version(FileKind::Index)?, version(FileKind::Expunge)?);
    let differ = expunge.is_some_and(|expunge| index != Some(expunge));
    Ok(differ.then(|| "cyrus.index and cyrus.expunge are of different versions".to_owned()))
}

/// Where the version is in the header of both files, in bytes.
const VERSION_AT: u64 = 8;

/// Removes `.NEW` files that an earlier crash, Cyrus's or ours, left, so that no power cut brings
/// them back when the intent that names them is ended. We hold the locks, so they are not in use.
///
/// # Errors
/// The system's.
pub fn remove_strays(locks: &MailboxLocks) -> Result<(), IoError> {
    for step in fileops::unstage(strays(&locks.place)?) {
        execute(locks, step, None)?;
        if let FileOp::Unlink(kind, role) = step.op {
            let name = name(kind, role);
            tracing::warn!(mailbox = %locks.place.mailbox, "removed {name}, which a crash had \
                left");
        }
    }
    locks.place.index.unlink(LEDGER_NEW_NAME)?;
    Ok(())
}

/// The kinds of which there is a `.NEW`.
///
/// # Errors
/// The system's.
pub fn strays(place: &Place) -> Result<Vec<FileKind>, IoError> {
    let mut strays = Vec::new();
    for kind in [FileKind::Index, FileKind::Expunge] {
        if place.directory_of(kind).stat(new_name(kind))?.is_some() {
            strays.push(kind);
        }
    }
    Ok(strays)
}
