//! Which messages of a mailbox need a SHA-1, in ascending order of UID, index and expunge file
//! merged.
//!
//! Lazily from the index; only the UIDs of the expunge file, which has no order, are copied.

use std::collections::VecDeque;

use indexfile::{IndexFile, ReadError, Record, flags};

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
    /// Number of the first index record that is not in `buffered`.
    next: u32,
    /// The next index records: UID, and what is wanted of it.
    buffered: VecDeque<(u32, Option<Want>)>,
    /// What the expunge file wants, sorted, without doubles.
    expunged: Vec<Want>,
    at: usize,
    /// Also messages that have a GUID.
    all: bool,
}

/// Index records that are read at a time.
const AT_ONCE: u32 = 1024;

impl Wanted {
    /// At the beginning. `all`: also messages whose GUID is not old-style.
    ///
    /// # Errors
    /// The expunge file cannot be read.
    pub fn new(expunge: Option<&IndexFile>, all: bool) -> Result<Self, ReadError> {
        let mut expunged = Vec::new();
        for record in expunge.into_iter().flat_map(IndexFile::records) {
            expunged.extend(want(&record?, all));
        }
        expunged.sort_unstable_by_key(|want: &Want| want.uid);
        expunged.dedup_by_key(|want| want.uid);
        Ok(Self {
            next: 0,
            buffered: VecDeque::new(),
            expunged,
            at: 0,
            all,
        })
    }

    /// The next one; `index` must be the same file each time.
    ///
    /// # Errors
    /// The index cannot be read any more.
    pub fn next(&mut self, index: &IndexFile) -> Result<Option<Want>, ReadError> {
        let expunged = self.expunged.get(self.at).copied();
        while let Some((uid, wanted)) = self.peek(index)? {
            // Compare before skipping, so that the expunged ones come in their place.
            if expunged.is_some_and(|e| e.uid < uid) {
                break;
            }
            self.buffered.pop_front();
            if expunged.is_some_and(|e| e.uid == uid) {
                // In both files: it is one message file.
                break;
            }
            if wanted.is_some() {
                return Ok(wanted);
            }
        }
        self.at += 1;
        Ok(expunged)
    }

    fn peek(&mut self, index: &IndexFile) -> Result<Option<(u32, Option<Want>)>, ReadError> {
        if self.buffered.is_empty() && self.next < index.num_records() {
            let mut buffer = Vec::new();
            let block = index.block(self.next, AT_ONCE, &mut buffer)?;
            let all = self.all;
            let seen = block.records().map(|r| (r.uid(), want(&r, all)));
            self.buffered.extend(seen);
            self.next = self.next.saturating_add(AT_ONCE);
        }
        Ok(self.buffered.front().copied())
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
        let mut wanted = Wanted::new(Some(&expunge), all).expect("in memory");
        let next = || wanted.next(&index).expect("in memory").map(|want| want.uid);
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
        let mut wanted = Wanted::new(None, false).expect("nothing to read");
        let next = || wanted.next(&index).expect("in memory").map(|want| want.uid);
        assert_eq!(std::iter::from_fn(next).collect::<Vec<_>>(), [1, 2]);
    }
}
