//! Which messages of a mailbox need a SHA-1, in ascending order of UID, index and expunge file merged.
//!
//! Lazily from the mapped index; only the UIDs of the expunge file, which has no order, are copied.

use indexfile::{IndexFile, Record, flags};

/// A message to be hashed, or found in the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want {
    /// Its UID.
    pub uid: u32,
    /// Its size according to the record; the file's counts.
    pub size: u64,
}

/// A cursor over the wanted messages of one mailbox.
#[derive(Debug)]
pub struct Wanted {
    /// Number of the next index record.
    next: u32,
    /// What the expunge file wants, sorted, without doubles.
    expunged: Vec<Want>,
    at: usize,
    /// Also messages that have a GUID.
    all: bool,
}

impl Wanted {
    /// At the beginning. `all`: also messages whose GUID is not old-style.
    #[must_use]
    pub fn new(expunge: Option<&IndexFile>, all: bool) -> Self {
        let records = expunge.into_iter().flat_map(IndexFile::records);
        let mut expunged: Vec<Want> = records.filter_map(|r| want(&r, all)).collect();
        expunged.sort_unstable_by_key(|want| want.uid);
        expunged.dedup_by_key(|want| want.uid);
        Self {
            next: 0,
            expunged,
            at: 0,
            all,
        }
    }

    /// The next one; `index` must be the same file each time.
    pub fn next(&mut self, index: &IndexFile) -> Option<Want> {
        let expunged = self.expunged.get(self.at).copied();
        while let Some(record) = index.record(self.next) {
            // Compare before skipping, so that the expunged ones come in their place.
            if expunged.is_some_and(|e| e.uid < record.uid()) {
                break;
            }
            self.next += 1;
            if expunged.is_some_and(|e| e.uid == record.uid()) {
                // In both files: it is one message file.
                break;
            }
            if let Some(want) = want(&record, self.all) {
                return Some(want);
            }
        }
        self.at += 1;
        expunged
    }
}

fn want(record: &Record<'_>, all: bool) -> Option<Want> {
    let gone = record.system_flags() & flags::UNLINKED != 0;
    (!gone && (all || record.guid().is_old_style())).then(|| Want {
        uid: record.uid(),
        size: record.size(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use indexfile::build::{BuildRecord, IndexBuilder};
    use indexfile::{FileKind, Guid, RecordGuid};
    use std::path::Path;

    fn file(minor: u32, kind: FileKind, records: &[(u32, u8)]) -> IndexFile {
        let mut builder = IndexBuilder::new(minor, kind);
        for (uid, guid) in records {
            builder = builder.record(BuildRecord {
                uid: *uid,
                size: 9,
                guid: RecordGuid::Guid(Guid::from_bytes([*guid; 20])),
                ..BuildRecord::default()
            });
        }
        let bytes = builder.to_bytes().expect("sound");
        IndexFile::from_bytes(bytes, Path::new("x"), kind).expect("sound")
    }

    fn uids(index: &[(u32, u8)], expunge: &[(u32, u8)], all: bool) -> Vec<u32> {
        let index = file(10, FileKind::Index, index);
        let expunge = file(10, FileKind::Expunge, expunge);
        let mut wanted = Wanted::new(Some(&expunge), all);
        let next = || wanted.next(&index).map(|want| want.uid);
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn both_files_come_merged_by_uid_and_each_message_once() {
        let index = [(2, 0), (3, 7), (5, 0), (9, 0), (10, 7)];
        let expunge = [(12, 0), (1, 0), (5, 0), (4, 0), (8, 7), (4, 0)];
        assert_eq!(uids(&index, &expunge, false), [1, 2, 4, 5, 9, 12]);
        assert_eq!(uids(&index, &expunge, true), [1, 2, 3, 4, 5, 8, 9, 10, 12]);
        assert_eq!(uids(&[], &expunge, false), [1, 4, 5, 12]);
        assert_eq!(uids(&index, &[], false), [2, 5, 9]);
        assert_eq!(uids(&[(1, 7)], &[(2, 7)], false), [] as [u32; 0]);
        // A GUID in one file and none in the other: wanted if either has none.
        assert_eq!(uids(&[(4, 7)], &[(4, 0)], false), [4]);
        assert_eq!(uids(&[(4, 0)], &[(4, 7)], false), [4]);
    }

    #[test]
    fn every_message_of_a_version_9_index_is_wanted() {
        let index = file(9, FileKind::Index, &[(1, 7), (2, 0)]);
        let mut wanted = Wanted::new(None, false);
        let next = || wanted.next(&index).map(|want| want.uid);
        assert_eq!(std::iter::from_fn(next).collect::<Vec<_>>(), [1, 2]);
    }
}
