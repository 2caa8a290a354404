//! The records of index and expunge file together, by UID.

use crate::read_error::ReadError;
use crate::reader::IndexFile;
use crate::record::Record;
use crate::records::Records;

/// Which file a record comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    Index,
    Expunge,
}

/// Gives each UID once, ascending. A UID in both files is the index's: a server was killed between
/// its writes to the two, and the message still exists. Of one that is twice in the expunge file
/// the later record holds: it was expunged again after such a crash.
#[derive(Debug)]
pub(super) struct Merge<'a> {
    index: Records<'a>,
    next: Option<Record<'a>>,
    expunge: Option<(&'a IndexFile, Expunged)>,
    superseded: u32,
}

/// UIDs and positions of the records of an expunge file, ascending by UID; those before `done` were
/// given out.
#[derive(Debug)]
struct Expunged {
    sorted: Vec<(u32, u32)>,
    done: usize,
}

impl<'a> Merge<'a> {
    /// Reads the UIDs of the expunge file; 8 bytes each.
    pub(super) fn new(
        index: &'a IndexFile,
        expunge: Option<&'a IndexFile>,
    ) -> Result<Self, ReadError> {
        let mut superseded = 0;
        let expunge = expunge.map(|file| {
            let mut sorted = Vec::with_capacity(file.num_records() as usize);
            for (record, position) in file.records().zip(0..) {
                sorted.push((record?.uid(), position));
            }
            sorted.sort_unstable();
            // Of each UID the last is kept: the one of which no later one has the same.
            let before = sorted.len();
            sorted.reverse();
            sorted.dedup_by_key(|(uid, _)| *uid);
            sorted.reverse();
            superseded = u32::try_from(before - sorted.len()).unwrap_or(u32::MAX);
            Ok::<_, ReadError>((file, Expunged { sorted, done: 0 }))
        });
        let mut index = index.records();
        let next = index.next().transpose()?;
        Ok(Self {
            index,
            next,
            expunge: expunge.transpose()?,
            superseded,
        })
    }

    /// The next record; `None` behind the last.
    pub(super) fn read(&mut self) -> Result<Option<(Record<'a>, From)>, ReadError> {
        let live = self.next.map(|record| record.uid());
        while let Some((file, expunged)) = &mut self.expunge {
            let Some(&(uid, position)) = expunged.sorted.get(expunged.done) else {
                break;
            };
            if live.is_some_and(|live| live < uid) {
                break;
            }
            expunged.done += 1;
            if live == Some(uid) {
                self.superseded += 1;
                continue;
            }
            return Ok(file.record(position)?.map(|record| (record, From::Expunge)));
        }
        let record = self.next.take();
        self.next = self.index.next().transpose()?;
        Ok(record.map(|record| (record, From::Index)))
    }

    /// How many records of the expunge file were passed over.
    pub(super) const fn superseded(&self) -> u32 {
        self.superseded
    }
}
