//! `cyrus.cutover`: what a prepared index of version 12 to 19 was made from, and what was made.
//!
//! Everything by its content: a file that was copied, or replaced by one that says the same, is the
//! same still. After the change-over it is what the way back is proven by. A few hundred bytes of
//! JSON; a crash leaves the old one, the new one or none.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;

use indexfile::cutover::STAMP_NAME;
use indexfile::dir::{OpenError, limit};
use indexfile::{FileKind, Guid, IoContext, IoError};
use serde::{Deserialize, Serialize};
use sha1::{Digest, Sha1};

use crate::fs::{NewFile, Unsynced, sync_new};
use crate::refusal::Refusal;
use crate::store::Place;

/// The only form there is yet.
const FORM: u32 = 1;
/// Bytes that are hashed at a time.
const BLOCK: usize = 256 << 10;

/// The bytes of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// How many.
    pub size: u64,
    /// Their SHA-1, in hexadecimal.
    pub sha1: String,
}

impl Content {
    /// Of an open file; `path` is for the error.
    ///
    /// # Errors
    /// The system's.
    pub fn of(file: &File, path: &Path) -> Result<Content, IoError> {
        let mut hash = Sha1::new();
        let mut size = 0;
        let mut block = vec![0; BLOCK];
        loop {
            let read = file.read_at(&mut block, size).io_context("read", path)?;
            if read == 0 {
                break;
            }
            hash.update(&block[..read]);
            size += read as u64;
        }
        let sha1 = Guid::from_bytes(hash.finalize().into()).to_string();
        Ok(Content { size, sha1 })
    }

    /// Of what lies under a name in a mailbox's directory; `None` if nothing does.
    ///
    /// # Errors
    /// The system's, or it is no regular file.
    pub fn under(place: &Place, kind: FileKind, name: &str) -> Result<Option<Content>, Refusal> {
        let dir = place.directory_of(kind);
        match dir.open_file(name, false) {
            Ok(file) => Ok(Some(Content::of(&file, &dir.path_of(name))?)),
            Err(OpenError::Missing { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// What an index of version 12 to 19 is made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inputs {
    /// `cyrus.index`
    pub index: Content,
    /// `cyrus.expunge`, if there is one.
    pub expunge: Option<Content>,
    /// `cyrus.header`
    pub header: Content,
    /// The generation of `cyrus.cache` and its length in bytes: within one it only grows.
    pub cache: (u32, u64),
    /// A SHA-1 of the owner's seen record, if there is one.
    pub seen: Option<String>,
    /// A SHA-1 over UID, size, inode number and times of all message files: while that is the same
    /// they are the ones whose SHA-1s were compared with the GUIDs.
    pub messages: String,
}

/// What `cyrus.cutover` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    form: u32,
    /// The version that was made.
    pub to: u32,
    /// From what.
    pub from: Inputs,
    /// The index that was made.
    pub made: Content,
}

impl Stamp {
    /// Of an index of version `to`.
    #[must_use]
    pub fn new(to: u32, from: Inputs, made: Content) -> Stamp {
        let form = FORM;
        Stamp {
            form,
            to,
            from,
            made,
        }
    }

    /// What the file of a mailbox says. One that cannot be understood is as good as none: what it
    /// is of is made anew, and nothing is taken back by it.
    ///
    /// # Errors
    /// The system's, or it is no regular file.
    pub fn read(place: &Place) -> Result<Option<Stamp>, Refusal> {
        match place.index.read(STAMP_NAME, limit::STATE) {
            Ok(bytes) => {
                let stamp = serde_json::from_slice::<Stamp>(&bytes).ok();
                Ok(stamp.filter(|stamp| stamp.form == FORM))
            }
            Err(OpenError::Missing { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes it, complete and on stable storage before it has its name. There is none before.
    ///
    /// # Errors
    /// The system's; what was written is of no use then.
    pub fn write(&self, place: &Place, like: &File) -> Result<(), IoError> {
        let dir = &*place.index;
        let path = dir.path_of(STAMP_NAME);
        let mut new = match NewFile::nameless(dir, STAMP_NAME)? {
            Some(new) => new,
            None => NewFile::create(dir, STAMP_NAME)?,
        };
        let text = serde_json::to_string(self).map_err(std::io::Error::from);
        let written = text.and_then(|text| writeln!(new, "{text}"));
        written.io_context("write", &path)?;
        new.finish(like)?;
        sync_new(new.file(), &path, Unsynced::All)?;
        let made = new.keep()?;
        if !made.named {
            dir.give_name(&made.file, STAMP_NAME)?;
        }
        dir.sync()
    }
}
