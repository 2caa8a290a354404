//! What the records of a replaced file had, by UID, read from it when it is asked for.
//!
//! Of an index the first UID of each block is in memory, and one block; of an expunge file, which
//! is in no order, 8 bytes a record. Who asks in ascending order has each block read once. Only
//! reads.

use indexfile::{FileKind, IndexFile, IoError, ReadError};
use parking_lot::Mutex;
use precompute::nice;

use super::old_uuid::OldUuid;

/// Records that are read at a time.
const AT_ONCE: u32 = 1024;

/// A replaced file.
#[derive(Debug)]
pub(super) struct ByUid {
    file: IndexFile,
    /// Of an index: the first UID of each block. Of an expunge file: UID and position of each
    /// record, sorted.
    order: Vec<(u32, u32)>,
    last: Mutex<Block>,
}

/// The block of an index that was read last.
#[derive(Debug, Default)]
struct Block {
    first: u32,
    had: Vec<(u32, Option<OldUuid>)>,
}

impl ByUid {
    /// Of a file that was checked.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn of(file: IndexFile) -> Result<ByUid, ReadError> {
        let mut order = Vec::new();
        let mut blocks = file.blocks();
        while let Some(block) = blocks.read()? {
            nice::give_way();
            let numbered = block.records().map(|r| r.uid()).zip(block.first()..);
            match file.kind() {
                FileKind::Index => {
                    order.extend(numbered.filter(|(_, at)| at.is_multiple_of(AT_ONCE)));
                }
                FileKind::Expunge => order.extend(numbered),
            }
        }
        order.sort_unstable();
        Ok(ByUid {
            file,
            order,
            last: Mutex::default(),
        })
    }

    /// What the record of this UID had. Nothing if the file was damaged since it was checked, which
    /// is logged.
    ///
    /// # Errors
    /// It cannot be read any more.
    pub(super) fn get(&self, uid: u32) -> Result<Option<OldUuid>, IoError> {
        match self.look_up(uid) {
            Ok(had) => Ok(had),
            Err(ReadError::Io(error)) => Err(error),
            Err(error) => {
                tracing::warn!("not used for UUIDs: {error}");
                Ok(None)
            }
        }
    }

    fn look_up(&self, uid: u32) -> Result<Option<OldUuid>, ReadError> {
        let behind = self.order.partition_point(|(first, _)| *first <= uid);
        let Some(&(first, at)) = behind.checked_sub(1).and_then(|i| self.order.get(i)) else {
            return Ok(None);
        };
        if self.file.kind() == FileKind::Expunge {
            let record = if first == uid {
                self.file.record(at)?
            } else {
                None
            };
            return Ok(record.and_then(|record| OldUuid::of(&record)));
        }
        // A block whose reading panicked is empty.
        let mut last = self.last.lock();
        if last.first != at || last.had.is_empty() {
            last.had.clear();
            let mut buffer = Vec::new();
            let block = self.file.block(at, AT_ONCE, &mut buffer)?;
            last.first = at;
            last.had
                .extend(block.records().map(|r| (r.uid(), OldUuid::of(&r))));
        }
        let found = last.had.binary_search_by_key(&uid, |(uid, _)| *uid);
        Ok(found.ok().and_then(|i| last.had.get(i)?.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use indexfile::build::{BuildRecord, IndexBuilder};
    use indexfile::{RecordGuid, Uuid};
    use std::path::Path;

    #[test]
    fn what_a_record_had_is_found_in_any_order_and_in_both_kinds_of_file() {
        for kind in [FileKind::Index, FileKind::Expunge] {
            for records in [0_u32, 1, 1023, 1024, 1025, 5000] {
                let mut uids: Vec<u32> = (1..=records).map(|i| i * 2).collect();
                if kind == FileKind::Expunge {
                    uids.reverse();
                }
                let record = |uid: &u32| BuildRecord {
                    uid: *uid,
                    guid: RecordGuid::Uuid(Uuid::from_bytes([uid.to_le_bytes()[0] | 1; 12])),
                    ..BuildRecord::default()
                };
                let builder = IndexBuilder::new(9, kind).records(uids.iter().map(record));
                let bytes = builder.to_bytes().unwrap();
                let file = IndexFile::from_bytes(bytes, Path::new("x"), kind).unwrap();
                let by_uid = ByUid::of(file).unwrap();
                for uid in (0..records * 2 + 3).chain((0..records * 2 + 3).rev().step_by(701)) {
                    let had = by_uid.get(uid).unwrap().map(|old| old.uuid);
                    let there = uid > 0 && uid % 2 == 0 && uid <= records * 2;
                    let expected = there.then(|| Uuid::from_bytes([uid.to_le_bytes()[0] | 1; 12]));
                    assert_eq!(had, expected, "{kind} {records} {uid}");
                }
            }
        }
    }
}
