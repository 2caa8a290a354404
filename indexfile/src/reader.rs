//! Reading `cyrus.index` and `cyrus.expunge` of every version.
//!
//! Promises: no length from the file is trusted; `start_offset` and `record_size` in the file beat
//! the version number, as in Cyrus; a file shorter than its header says is refused (2.3.16 invents
//! records there), bytes after the last record are ignored (a crashed append leaves them). What
//! [`IndexFile::open`] returns has been checked from end to end: UIDs are not zero and ascend in an
//! index, and from version 12 on all checksums agree. Nothing is written, so a crash leaves nothing.

use crate::bytes::Bytes;
use crate::error::IoContext;
use crate::header::Header;
use crate::kind::FileKind;
use crate::layout::{HeaderField, RecordField, RecordSlots, Slot};
use crate::read_error::ReadError;
use crate::record::Record;
use crate::shape::{MAX_SIZE, Shape, not_index, read_up_to, shape};
use std::fs::File;
use std::path::{Path, PathBuf};

/// Records are handed back to the kernel in steps of about this many bytes.
pub(crate) const RELEASE_STEP: usize = 4 << 20;

/// An open index or expunge file. `Send` and `Sync`; cheap to move, not to clone.
#[derive(Debug)]
pub struct IndexFile {
    path: PathBuf,
    kind: FileKind,
    header: Header,
    slots: RecordSlots,
    bytes: Bytes,
    length: u64,
}

impl IndexFile {
    /// Opens and checks a file. The file is mapped, not read into memory.
    ///
    /// # Errors
    /// Any [`ReadError`].
    pub fn open(path: &Path, kind: FileKind) -> Result<Self, ReadError> {
        let file = File::open(path).io_context("open", path)?;
        Self::from_file(&file, path, kind)
    }

    /// Maps and checks an open file; `path` is for messages. The file's offset is not moved.
    ///
    /// # Errors
    /// Any [`ReadError`].
    pub fn from_file(file: &File, path: &Path, kind: FileKind) -> Result<Self, ReadError> {
        let index = Self::from_file_unverified(file, path, kind)?;
        index.verify()?;
        Ok(index)
    }

    /// Checks bytes in memory; `path` is for messages.
    ///
    /// # Errors
    /// Any [`ReadError`] but `Io`.
    pub fn from_bytes(bytes: Vec<u8>, path: &Path, kind: FileKind) -> Result<Self, ReadError> {
        let index = Self::from_bytes_unverified(bytes, path, kind)?;
        index.verify()?;
        Ok(index)
    }

    /// Like [`Self::from_file`] without the pass over the records: for looking at damage.
    ///
    /// # Errors
    /// Any [`ReadError`] that the header and the length alone show.
    pub fn from_file_unverified(
        file: &File,
        path: &Path,
        kind: FileKind,
    ) -> Result<Self, ReadError> {
        let meta = file.metadata().io_context("stat", path)?;
        if !meta.is_file() {
            return Err(not_index(path, "it is not a regular file"));
        }
        let length = meta.len();
        // One page holds any header; what is read here is the private copy that all lengths come from.
        let mut first = vec![0; MAX_SIZE as usize];
        let got = read_up_to(file, &mut first).io_context("read", path)?;
        first.truncate(got);
        let shape = shape(first, length, path)?;
        let bytes = Bytes::map(file, shape.expected).io_context("map", path)?;
        Ok(Self::assemble(shape, bytes, length, path, kind))
    }

    /// Like [`Self::from_bytes`] without the pass over the records: for looking at damage.
    ///
    /// # Errors
    /// Any [`ReadError`] that the header and the length alone show.
    pub fn from_bytes_unverified(
        mut bytes: Vec<u8>,
        path: &Path,
        kind: FileKind,
    ) -> Result<Self, ReadError> {
        let length = bytes.len() as u64;
        let first = bytes[..bytes.len().min(MAX_SIZE as usize)].to_vec();
        let shape = shape(first, length, path)?;
        bytes.truncate(shape.expected);
        Ok(Self::assemble(
            shape,
            Bytes::Owned(bytes),
            length,
            path,
            kind,
        ))
    }

    fn assemble(shape: Shape, bytes: Bytes, length: u64, path: &Path, kind: FileKind) -> Self {
        let Shape { header, slots, .. } = shape;
        Self {
            path: path.to_path_buf(),
            kind,
            header,
            slots,
            bytes,
            length,
        }
    }

    /// One pass over all records: UIDs, their order, checksums.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn verify(&self) -> Result<(), ReadError> {
        let path = || self.path.clone();
        if let Some((stored, computed)) = self
            .header_crc()
            .filter(|(stored, computed)| stored != computed)
        {
            return Err(ReadError::HeaderCrc {
                path: path(),
                stored,
                computed,
            });
        }
        self.bytes.advise_sequential();
        let mut previous = 0;
        for (i, record) in (1_u32..).zip(self.released_records()) {
            let uid = record.uid();
            if uid == 0 {
                return Err(ReadError::ZeroUid {
                    path: path(),
                    record: i,
                });
            }
            if self.kind == FileKind::Index && uid <= previous {
                return Err(ReadError::UidOrder {
                    path: path(),
                    record: i,
                    uid,
                    previous,
                });
            }
            previous = uid;
            if let Some((stored, computed)) = record_crc(&record).filter(|(s, c)| s != c) {
                return Err(ReadError::RecordCrc {
                    path: path(),
                    record: i,
                    uid,
                    stored,
                    computed,
                });
            }
        }
        Ok(())
    }

    /// Stored and computed checksum of the header, from version 12 on.
    #[must_use]
    pub fn header_crc(&self) -> Option<(u32, u32)> {
        checksum(
            self.header.slots().get(HeaderField::HeaderCrc)?,
            self.header.bytes(),
        )
    }

    /// The file's header, as it was when the file was opened.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The version number.
    #[must_use]
    pub fn minor_version(&self) -> u32 {
        self.header.minor_version()
    }

    /// How many records there are, expunged ones included.
    #[must_use]
    pub fn num_records(&self) -> u32 {
        self.header.num_records()
    }

    /// The path it was opened by.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Which of the two files it is.
    #[must_use]
    pub fn kind(&self) -> FileKind {
        self.kind
    }

    /// Header and records, without bytes that trail them.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes after the last record when the file was opened.
    #[must_use]
    pub fn trailing_bytes(&self) -> u64 {
        self.length.saturating_sub(self.bytes.len() as u64)
    }

    /// Where the fields of a record lie in this file.
    #[must_use]
    pub fn record_slots(&self) -> &RecordSlots {
        &self.slots
    }

    fn record_bytes(&self) -> &[u8] {
        self.bytes
            .get(self.header.start_offset() as usize..)
            .unwrap_or(&[])
    }

    /// The records, in the order of the file.
    #[must_use]
    pub fn records(&self) -> Records<'_> {
        Records {
            chunks: self
                .record_bytes()
                .chunks_exact(self.header.record_size() as usize),
            slots: &self.slots,
        }
    }

    /// Drops the file's pages from this process's memory; those that are touched again come back.
    ///
    /// For readers that go over a giant file once and want to stay small.
    pub fn release(&self) {
        self.bytes.release(0..self.bytes.len());
    }

    /// The records, dropping pages that were passed from memory.
    pub(crate) fn released_records(&self) -> impl Iterator<Item = Record<'_>> {
        let start = self.header.start_offset() as usize;
        let size = self.header.record_size() as usize;
        let mut released = 0;
        self.records().enumerate().map(move |(i, record)| {
            let at = start + i * size;
            if at - released >= RELEASE_STEP {
                // Whole pages only, and not the one this record begins in.
                let end = at & !0xffff;
                self.bytes.release(released..end);
                released = end;
            }
            record
        })
    }

    /// The record at position `i`, counted from 0.
    #[must_use]
    pub fn record(&self, i: u32) -> Option<Record<'_>> {
        let size = self.header.record_size() as usize;
        let at = (i as usize).checked_mul(size)?;
        let bytes = self.record_bytes().get(at..at.checked_add(size)?)?;
        Some(Record::new(bytes, &self.slots))
    }

    /// The record with this UID: by bisection in an index, one by one in an expunge file.
    #[must_use]
    pub fn find_uid(&self, uid: u32) -> Option<Record<'_>> {
        if self.kind == FileKind::Expunge {
            return self.records().find(|r| r.uid() == uid);
        }
        let (mut low, mut high) = (0, self.num_records());
        while low < high {
            let middle = low + (high - low) / 2;
            let record = self.record(middle)?;
            match record.uid().cmp(&uid) {
                std::cmp::Ordering::Equal => return Some(record),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }
}

/// Stored and computed checksum of a record, from version 12 on.
pub(crate) fn record_crc(record: &Record<'_>) -> Option<(u32, u32)> {
    checksum(record.slots().get(RecordField::RecordCrc)?, record.bytes())
}

fn checksum(slot: Slot, image: &[u8]) -> Option<(u32, u32)> {
    let stored = u32::try_from(slot.read(image)?).ok()?;
    Some((stored, crc32fast::hash(image.get(..slot.offset as usize)?)))
}

/// Iterator over the records of a file.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    chunks: std::slice::ChunksExact<'a, u8>,
    slots: &'a RecordSlots,
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        self.chunks
            .next()
            .map(|bytes| Record::new(bytes, self.slots))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.chunks.size_hint()
    }
}

impl ExactSizeIterator for Records<'_> {}
