//! The records of index and expunge file together, each UID once.

use crate::by_uid::ByUid;
use crate::kind::FileKind;
use crate::read_error::ReadError;
use crate::reader::IndexFile;
use crate::record::Record;
use std::iter::Peekable;

/// Gives each UID once, ascending. A UID in both files is the index's: a server was killed between
/// its writes to the two, and the message still exists. Of one that is twice in the expunge file
/// the later record holds: it was expunged again after such a crash.
#[derive(Debug)]
pub(super) struct Merge<'a> {
    records: Peekable<ByUid<'a>>,
    superseded: u32,
}

impl<'a> Merge<'a> {
    pub(super) fn new(
        index: &'a IndexFile,
        expunge: Option<&'a IndexFile>,
    ) -> Result<Self, ReadError> {
        Ok(Self {
            records: ByUid::new(index, expunge)?.peekable(),
            superseded: 0,
        })
    }

    /// The next record, and the file it comes from; `None` behind the last.
    pub(super) fn read(&mut self) -> Result<Option<(Record<'a>, FileKind)>, ReadError> {
        let Some((mut from, mut record)) = self.records.next().transpose()? else {
            return Ok(None);
        };
        let uid = record.uid();
        let same = |next: &Result<(FileKind, Record<'_>), ReadError>| {
            let expunged = |(kind, next): &(FileKind, Record<'_>)| {
                *kind == FileKind::Expunge && next.uid() == uid
            };
            next.as_ref().is_ok_and(expunged)
        };
        while let Some(again) = self.records.next_if(same) {
            self.superseded += 1;
            if from == FileKind::Expunge {
                (from, record) = again?;
            }
        }
        Ok(Some((record, from)))
    }

    /// How many records of the expunge file were passed over.
    pub(super) const fn superseded(&self) -> u32 {
        self.superseded
    }
}
