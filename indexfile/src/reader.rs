//! Reading `cyrus.index` and `cyrus.expunge` of every version.
//!
//! Promises: no length from the file is trusted; `start_offset` and `record_size` in the file beat
//! the version number, as in Cyrus; a file shorter than its header says is refused (2.3.16 invents
//! records there), bytes after the last record are ignored (a crashed append leaves them). What
//! [`IndexFile::open`] returns has been checked from end to end: UIDs are not zero and ascend in an
//! index, and from version 12 on all checksums agree. Nothing is written, so a crash leaves nothing.

use crate::bytes::Bytes;
use crate::error::{IoContext, IoError};
use crate::header::{Header, be32};
use crate::kind::FileKind;
use crate::layout::{self, HeaderField, RecordField, RecordSlots, Slot};
use crate::read_error::ReadError;
use crate::record::Record;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// No version has a header, or a record, of more than this many bytes.
const MAX_SIZE: u32 = 4096;
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

/// What the first bytes of a file say about the rest.
struct Shape {
    header: Header,
    slots: RecordSlots,
    expected: usize,
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

fn not_index(path: &Path, reason: &'static str) -> ReadError {
    ReadError::NotIndex {
        path: path.to_path_buf(),
        reason,
    }
}

fn read_up_to(file: &File, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut got = 0;
    while got < buffer.len() {
        match file.read_at(&mut buffer[got..], got as u64) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(got)
}

/// Decides from the first bytes of a file (up to [`MAX_SIZE`]) and its length what it holds.
fn shape(mut first: Vec<u8>, length: u64, path: &Path) -> Result<Shape, ReadError> {
    if length == 0 || first.is_empty() {
        return Err(ReadError::ZeroLength {
            path: path.to_path_buf(),
        });
    }
    let words = (
        be32(&first, 8),
        be32(&first, 12),
        be32(&first, 16),
        be32(&first, 20),
    );
    let (Some(minor_version), Some(start_offset), Some(record_size), Some(num_records)) = words
    else {
        return Err(not_index(path, "it is shorter than any header"));
    };
    // Text, a database or a message has huge numbers here; a version that we merely do not know
    // has sizes of the usual order.
    let plausible = |n: u32, least: u32| (least..=MAX_SIZE).contains(&n) && n.is_multiple_of(4);
    let sized = plausible(start_offset, 36) && plausible(record_size, 52);
    match (minor_version, sized) {
        (11, true) => {
            return Err(ReadError::Version11 {
                path: path.to_path_buf(),
            });
        }
        (_, true) if layout::of(minor_version).is_none() => {
            return Err(ReadError::UnknownVersion {
                path: path.to_path_buf(),
                minor_version,
            });
        }
        (2..=10 | 12..=20, _) => {}
        _ => {
            return Err(not_index(
                path,
                "its first bytes are not those of an index header",
            ));
        }
    }
    check_sizes(minor_version, start_offset, record_size, path)?;
    let records = u64::from(num_records) * u64::from(record_size);
    let expected = u64::from(start_offset) + records;
    if length < expected || first.len() < start_offset as usize {
        return Err(ReadError::Truncated {
            path: path.to_path_buf(),
            num_records,
            expected,
            actual: length,
        });
    }
    let expected = usize::try_from(expected).map_err(|_| {
        IoError::new(
            "map",
            path,
            std::io::Error::from(std::io::ErrorKind::FileTooLarge),
        )
    })?;
    first.truncate(start_offset as usize);
    let slots = layout::record_slots(minor_version, record_size);
    let (Some(header), Some(slots)) = (Header::new(first), slots) else {
        return Err(ReadError::UnknownVersion {
            path: path.to_path_buf(),
            minor_version,
        });
    };
    Ok(Shape {
        header,
        slots,
        expected,
    })
}

/// Which sizes a version may have: the file's beat the version's, within what ever existed.
fn check_sizes(
    minor_version: u32,
    start_offset: u32,
    record_size: u32,
    path: &Path,
) -> Result<(), ReadError> {
    let bad = |field, value: u32| {
        Err(ReadError::BadHeader {
            path: path.to_path_buf(),
            minor_version,
            field,
            value: u64::from(value),
        })
    };
    let native = layout::of(minor_version).map_or((0, 0), |l| (l.header_size, l.record_size));
    let header_ok = match minor_version {
        // Field by field the header grew; 96 is the longest that 2.3 ever wrote.
        ..=5 => (36..=96).contains(&start_offset),
        6..=10 => (76..=96).contains(&start_offset),
        _ => start_offset == native.0,
    };
    if !header_ok || !start_offset.is_multiple_of(4) {
        return bad("start_offset", start_offset);
    }
    if minor_version <= 9 && record_size == 88 {
        return Err(ReadError::HybridMinor9Record88 {
            path: path.to_path_buf(),
            minor_version,
        });
    }
    let record_ok = match minor_version {
        ..=9 => layout::EARLY_RECORD_SIZES.contains(&record_size),
        _ => record_size == native.1,
    };
    if record_ok {
        Ok(())
    } else {
        bad("record_size", record_size)
    }
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
