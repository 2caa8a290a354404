//! A new `cyrus.uuids`: entry by entry into a file without a name, in bounded memory; then what its
//! head says, its sync, and its name.
//!
//! A crash leaves nothing of it before it has its name; where files cannot be made without one, a
//! file under [`NEW_NAME`].

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;

use indexfile::{IoContext as _, IoError};

use super::format::{Counts, Head, WRONG, row_of_kept, row_of_wrong};
use super::{Kept, NEW_NAME, WrongKept};
use crate::fileops::{Role, UuidsOp, replace_uuids};
use crate::fs::{CreatedFile, Dir, NewFile, Unsynced, copy_attributes, sync_new};
use crate::protocol::Code;
use crate::refusal::Refusal;
use crate::stage::Note;
use crate::stage::rows::Spill;
use crate::store::Place;

/// Takes entries, in ascending order of UID.
#[derive(Debug)]
pub(in crate::stage) struct Writer<'a> {
    new: NewFile<'a>,
    dir: &'a Dir,
    head: Head,
    counts: Counts,
    last_uid: u32,
    crc: crc32fast::Hasher,
    /// The wrong ones, which come behind all entries.
    wrong: Spill<WRONG>,
}

impl<'a> Writer<'a> {
    /// Begins one with place for wrong ones or without. `note` is for a file that must have a name
    /// from the beginning; without it `None` is given where a file cannot be made without one.
    ///
    /// # Errors
    /// The system's.
    pub(in crate::stage) fn begin(
        place: &'a Place,
        head: Head,
        wrong: bool,
        note: Option<Note<'_>>,
    ) -> Result<Option<Writer<'a>>, Refusal> {
        let dir = &*place.index;
        let nameless = NewFile::nameless(dir, NEW_NAME)?;
        let mut new = match (nameless, note) {
            (Some(new), _) => new,
            (None, None) => return Ok(None),
            (None, Some(note)) => {
                note()?;
                NewFile::create(dir, NEW_NAME)?
            }
        };
        // For the head, which says what is known at the end.
        let written = new.write_all(&vec![0; head.length(wrong)]);
        written.io_context("write", &dir.path_of(NEW_NAME))?;
        Ok(Some(Writer {
            new,
            dir,
            head,
            counts: Counts {
                wrong: wrong.then_some(0),
                ..Counts::default()
            },
            last_uid: 0,
            crc: crc32fast::Hasher::new(),
            wrong: Spill::default(),
        }))
    }

    /// What is kept of a UID.
    ///
    /// # Errors
    /// The system's; [`Code::Damaged`] if the UIDs are not in order.
    pub(in crate::stage) fn keep(
        &mut self,
        uid: u32,
        kept: Option<&Kept>,
        wrong: &[WrongKept],
    ) -> Result<(), Refusal> {
        if uid <= self.last_uid {
            let text = format!("UID {uid} comes after UID {}", self.last_uid);
            return Err(Refusal::new(Code::Damaged, text));
        }
        self.last_uid = uid;
        if let Some(kept) = kept {
            self.counts.entries += 1;
            self.write(&row_of_kept(uid, kept))?;
        }
        if let Some(count) = &mut self.counts.wrong {
            *count += u32::try_from(wrong.len()).unwrap_or(u32::MAX);
            for wrong in wrong {
                self.wrong.push(self.dir, row_of_wrong(uid, wrong))?;
            }
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), IoError> {
        self.crc.update(bytes);
        let written = self.new.write_all(bytes);
        written.io_context("write", &self.dir.path_of(NEW_NAME))
    }

    /// It is complete but for its head, and not synced.
    ///
    /// # Errors
    /// The system's.
    pub(in crate::stage) fn finish(mut self) -> Result<Written, IoError> {
        let wrong = std::mem::take(&mut self.wrong);
        wrong.each(|rows| self.write(rows.as_flattened()))?;
        let flushed = self.new.flush();
        flushed.io_context("write", &self.dir.path_of(NEW_NAME))?;
        self.counts.crc = self.crc.finalize();
        Ok(Written {
            head: self.head,
            counts: self.counts,
            made: self.new.keep()?,
        })
    }
}

/// A file that is complete but for its head.
#[derive(Debug)]
pub(in crate::stage) struct Written {
    /// What its head will say.
    pub(in crate::stage) head: Head,
    counts: Counts,
    made: CreatedFile,
}

impl Written {
    /// Brings what is written so far to stable storage, so that little is left to be synced under
    /// the locks.
    ///
    /// # Errors
    /// The system's. The file is of no use then.
    pub(in crate::stage) fn sync(&self, place: &Place) -> Result<(), IoError> {
        let path = place.index.path_of(NEW_NAME);
        sync_new(&self.made.file, &path, Unsynced::All)
    }

    /// Writes the head and puts it in place, on stable storage. To be called under the mailbox's
    /// locks.
    ///
    /// # Errors
    /// The system's. What was there before is there still, or it is not known which of the two.
    pub(in crate::stage) fn put(self, place: &Place, like: &File) -> Result<(), Refusal> {
        let dir = &place.index;
        let path = dir.path_of(NEW_NAME);
        let put = || -> Result<(), IoError> {
            let file = &self.made.file;
            let head = self.head.to_bytes(self.counts);
            file.write_all_at(&head, 0).io_context("write", &path)?;
            copy_attributes(like, file, &path)?;
            let role = if self.made.named {
                Role::New
            } else {
                Role::Unnamed
            };
            for op in replace_uuids(role) {
                match op {
                    UuidsOp::SyncFile => sync_new(file, &path, Unsynced::All)?,
                    UuidsOp::UnlinkNew => {
                        dir.unlink(NEW_NAME)?;
                    }
                    UuidsOp::LinkNew => dir.give_name(file, NEW_NAME)?,
                    UuidsOp::Rename => dir.rename(NEW_NAME, super::FILE_NAME)?,
                    UuidsOp::SyncDir => dir.sync()?,
                }
            }
            Ok(())
        };
        put().map_err(|error| {
            if let Err(second) = dir.unlink(NEW_NAME) {
                tracing::error!(mailbox = %place.mailbox, "{second}");
            }
            error.into()
        })
    }
}
