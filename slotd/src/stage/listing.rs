//! All records of a mailbox in ascending order of UID, index and expunge file merged: what `GUIDS`
//! and `DIGESTS` tell of.
//!
//! It is read anew from the files whenever it is asked for, so a mailbox of millions of messages
//! takes the memory of one block of records, and 8 bytes for each record of the expunge file, which
//! is in no order. Only reads.

use std::borrow::Borrow;
use std::path::Path;
use std::sync::Arc;

use indexfile::{FileKind, Guid, IndexFile, ReadError, Record};

use super::{Digester, Identities};
use crate::protocol::{Code, GuidEntry};
use crate::refusal::Refusal;

/// Records that are read at a time.
const AT_ONCE: u32 = 1024;

/// The records of up to two files.
#[derive(Debug)]
pub struct Listing<F = IndexFile> {
    index: Option<F>,
    expunge: Option<F>,
    /// UIDs and positions of the expunge file's records, in order.
    order: Vec<(u32, u32)>,
    view: GuidView,
}

/// Which GUID a record is listed with.
#[derive(Debug)]
enum GuidView {
    /// The one that it has.
    Recorded,
    /// One that says what its message is.
    ByContent,
    /// The one that it would get.
    Planned(Arc<Identities>),
}

impl GuidView {
    fn of(&self, record: &Record<'_>) -> Result<GuidEntry, ReadError> {
        Ok(match self {
            GuidView::Recorded => entry(record),
            GuidView::ByContent => entry_by_content(record),
            GuidView::Planned(identities) => GuidEntry {
                guid: identities.guid_of(record)?,
                ..entry(record)
            },
        })
    }
}

/// One record as both hosts compare it; UUIDs are padded.
fn entry(record: &Record<'_>) -> GuidEntry {
    GuidEntry {
        uid: record.uid(),
        guid: record.guid().padded(),
        size: record.size(),
    }
}

/// The same by what is known of the message: its GUID, or, as an old-style one says nothing of it,
/// its size.
fn entry_by_content(record: &Record<'_>) -> GuidEntry {
    let mut entry = entry(record);
    if entry.guid.is_old_style() {
        let mut bytes = [0; 20];
        bytes[4..12].copy_from_slice(&entry.size.to_be_bytes());
        entry.guid = Guid::from_bytes(bytes);
    }
    entry
}

impl<F: Borrow<IndexFile>> Listing<F> {
    /// Of an index, an expunge file, or both.
    ///
    /// # Errors
    /// One cannot be read.
    pub fn of(files: impl IntoIterator<Item = F>) -> Result<Listing<F>, ReadError> {
        let mut listing = Listing {
            index: None,
            expunge: None,
            order: Vec::new(),
            view: GuidView::Recorded,
        };
        for file in files {
            match file.borrow().kind() {
                FileKind::Index => listing.index = Some(file),
                FileKind::Expunge => {
                    let mut blocks = file.borrow().blocks();
                    while let Some(block) = blocks.read()? {
                        let uids = block.records().map(|r| r.uid());
                        listing.order.extend(uids.zip(block.first()..));
                    }
                    listing.order.sort_unstable();
                    listing.expunge = Some(file);
                }
            }
        }
        Ok(listing)
    }

    /// The same by what the messages are: see [`crate::protocol::Upgrade::by_content`].
    #[must_use]
    pub fn by_content(mut self) -> Self {
        self.view = GuidView::ByContent;
        self
    }

    /// The same with the GUIDs that the records would get.
    #[must_use]
    pub fn planned(mut self, identities: Arc<Identities>) -> Self {
        self.view = GuidView::Planned(identities);
        self
    }

    /// The files.
    pub fn files(&self) -> impl Iterator<Item = &IndexFile> {
        self.index.iter().chain(&self.expunge).map(Borrow::borrow)
    }

    /// How many records there are.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.files()
            .fold(0, |sum, f| sum.saturating_add(f.num_records()))
    }

    /// None.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The records from this UID on. Where both files have a UID the index's record comes first.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn from(&self, uid: u32) -> Result<Entries<'_>, ReadError> {
        let index = self.index.as_ref().map(Borrow::borrow);
        let (mut low, mut high) = (0, index.map_or(0, IndexFile::num_records));
        if uid == 0 {
            high = 0;
        }
        while let Some(index) = index.filter(|_| low < high) {
            let middle = low + (high - low) / 2;
            match index.record(middle)? {
                Some(record) if record.uid() < uid => low = middle + 1,
                _ => high = middle,
            }
        }
        Ok(Entries {
            index,
            expunge: self.expunge.as_ref().map(Borrow::borrow),
            order: &self.order,
            view: &self.view,
            read_ahead: Vec::new().into_iter(),
            next: low,
            buffer: Vec::new(),
            expunged: self.order.partition_point(|(u, _)| *u < uid),
        })
    }

    /// How many records have a UID in each of these ranges, first and last UID, and the digest over
    /// them. The ranges ascend and do not overlap; the records are read once for all of them.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn digests(
        &self,
        ranges: impl IntoIterator<Item = (u32, u32)>,
    ) -> Result<Vec<(u32, Guid)>, ReadError> {
        let mut ranges = ranges.into_iter().peekable();
        let Some(&(first, _)) = ranges.peek() else {
            return Ok(Vec::new());
        };
        let mut entries = self.from(first)?.peekable();
        let mut digests = Vec::new();
        let mut some = Vec::with_capacity(AT_ONCE as usize);
        for (from, to) in ranges {
            let (mut digester, mut count) = (Digester::default(), 0);
            // An error is taken, and ends it.
            let up_to = |e: &Result<GuidEntry, ReadError>| e.as_ref().map_or(true, |e| e.uid <= to);
            while let Some(entry) = entries.next_if(up_to) {
                let entry = entry?;
                if entry.uid < from {
                    continue;
                }
                count += 1;
                some.push(entry);
                if some.len() == AT_ONCE as usize {
                    digester.add(&some);
                    some.clear();
                }
            }
            digester.add(&some);
            some.clear();
            digests.push((count, digester.finish()));
        }
        Ok(digests)
    }

    /// A digester that has taken all records, ready to go on, and what was seen on the way.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn summed(&self) -> Result<Summed, ReadError> {
        let mut summed = Summed::default();
        let mut some: Vec<GuidEntry> = Vec::with_capacity(AT_ONCE as usize);
        for entry in self.from(0)? {
            let entry = entry?;
            if entry.uid == summed.last_uid && summed.any {
                summed.twice.get_or_insert(entry.uid);
            }
            (summed.last_uid, summed.any) = (entry.uid, true);
            some.push(entry);
            if some.len() == AT_ONCE as usize {
                summed.digester.add(&some);
                some.clear();
            }
        }
        summed.digester.add(&some);
        Ok(summed)
    }
}

/// All records of a [`Listing`], summed up.
#[derive(Clone, Debug, Default)]
pub struct Summed {
    /// Has taken all of them.
    pub digester: Digester,
    /// The largest UID; 0 if there is no record.
    pub last_uid: u32,
    /// The first UID that more than one record has.
    pub twice: Option<u32>,
    any: bool,
}

impl Summed {
    /// Refuses a mailbox in which a UID is both live and expunged, or expunged twice. Cyrus makes
    /// no such thing but by a crash; the expunged one's cleaning up unlinks the file of the live
    /// one. `indexfile check` calls it by the same name.
    ///
    /// # Errors
    /// [`Code::Damaged`]
    pub fn each_once(&self, expunge: &Path) -> Result<(), Refusal> {
        let Some(uid) = self.twice else {
            return Ok(());
        };
        Err(Refusal::new(
            Code::Damaged,
            format!(
                "duplicate-uid: UID {uid} is in {} and in cyrus.index too, or in it twice: when \
                 Cyrus cleans up it would \
                 unlink a live message. Keep cyr_expire away, and restore or reconstruct the \
                 mailbox",
                expunge.display()
            ),
        ))
    }
}

/// Iterator over the records of a [`Listing`]. An error is the last item.
#[derive(Debug)]
pub struct Entries<'a> {
    index: Option<&'a IndexFile>,
    expunge: Option<&'a IndexFile>,
    order: &'a [(u32, u32)],
    view: &'a GuidView,
    /// Of the index, read already.
    read_ahead: std::vec::IntoIter<GuidEntry>,
    /// The position in the index behind those.
    next: u32,
    buffer: Vec<u8>,
    /// The next of the expunge file's order.
    expunged: usize,
}

impl Entries<'_> {
    fn advance(&mut self) -> Result<Option<GuidEntry>, ReadError> {
        if self.read_ahead.as_slice().is_empty()
            && let Some(index) = self.index
            && self.next < index.num_records()
        {
            let block = index.block(self.next, AT_ONCE, &mut self.buffer)?;
            let some = block.records().map(|r| self.view.of(&r));
            let some: Vec<GuidEntry> = some.collect::<Result<_, _>>()?;
            self.read_ahead = some.into_iter();
            self.next = self.next.saturating_add(AT_ONCE);
        }
        let indexed = self.read_ahead.as_slice().first().map(|e| e.uid);
        let expunged = self.order.get(self.expunged).copied();
        match (indexed, expunged, self.expunge) {
            (indexed, Some((uid, position)), Some(file))
                if indexed.is_none_or(|indexed| uid < indexed) =>
            {
                self.expunged += 1;
                file.record(position)?.map(|r| self.view.of(&r)).transpose()
            }
            _ => Ok(self.read_ahead.next()),
        }
    }
}

impl Iterator for Entries<'_> {
    type Item = Result<GuidEntry, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.advance().transpose();
        if let Some(Err(_)) = next {
            self.read_ahead = Vec::new().into_iter();
            self.next = u32::MAX;
            self.expunged = usize::MAX;
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::digest_of;
    use indexfile::build::{BuildRecord, IndexBuilder};
    use std::path::Path;

    fn file(kind: FileKind, uids: impl IntoIterator<Item = u32>) -> IndexFile {
        let mut builder = IndexBuilder::new(10, kind);
        for uid in uids {
            builder = builder.record(BuildRecord {
                uid,
                size: uid % 1000 + if kind == FileKind::Index { 0 } else { 1000 },
                guid: indexfile::RecordGuid::Guid(Guid::from_bytes([uid.to_le_bytes()[0]; 20])),
                ..BuildRecord::default()
            });
        }
        IndexFile::from_bytes(builder.to_bytes().unwrap(), Path::new("x"), kind).unwrap()
    }

    fn check(index: &[u32], expunge: &[u32]) {
        let uids = |uids: &[u32]| uids.to_vec();
        let files = [
            file(FileKind::Index, uids(index)),
            file(FileKind::Expunge, uids(expunge)),
        ];
        // As plain as can be: all of both, sorted, the index's first.
        let mut plain: Vec<GuidEntry> = Vec::new();
        for file in &files {
            plain.extend(file.records().map(|r| entry(&r.unwrap())));
        }
        plain.sort_by_key(|e| e.uid);
        let listing = Listing::of(files).unwrap();
        assert_eq!(listing.len() as usize, plain.len());
        let Summed {
            digester,
            last_uid: last,
            twice,
            ..
        } = listing.summed().unwrap();
        let again = plain.windows(2).find(|two| two[0].uid == two[1].uid);
        assert_eq!(twice, again.map(|two| two[0].uid));
        assert_eq!(digester.finish(), digest_of(&plain));
        assert_eq!(last, plain.last().map_or(0, |e| e.uid));
        for from in (0..60).chain([1000, 1023, 1024, 1025, 5000, u32::MAX]) {
            let rest: Vec<GuidEntry> = listing.from(from).unwrap().map(Result::unwrap).collect();
            let start = plain.partition_point(|e| e.uid < from);
            assert_eq!(rest, plain[start..], "from {from}");
            let to = from.saturating_add(30);
            let end = plain.partition_point(|e| e.uid <= to);
            let of = |part: &[GuidEntry]| (u32::try_from(part.len()).unwrap(), digest_of(part));
            // The second range begins some UIDs after the first one's end.
            let later = (to.saturating_add(5), to.saturating_add(2000));
            let second = plain.partition_point(|e| e.uid < later.0);
            let last = plain.partition_point(|e| e.uid <= later.1);
            assert_eq!(
                listing.digests([(from, to), later]).unwrap(),
                [of(&plain[start..end]), of(&plain[second.max(end)..last])]
            );
        }
    }

    #[test]
    fn both_files_come_merged_from_any_uid_and_in_any_part() {
        check(&[], &[]);
        check(&[2, 3, 5, 9, 10, 50], &[]);
        check(&[], &[12, 1, 5, 4, 8]);
        check(&[2, 3, 5, 9, 10, 50], &[55, 12, 1, 5, 4, 8, 10]);
        let index: Vec<u32> = (1..3000).filter(|uid| uid % 7 != 0).collect();
        let expunge: Vec<u32> = (1..=3000).rev().filter(|uid| uid % 7 == 0).collect();
        check(&index, &expunge);
    }
}
