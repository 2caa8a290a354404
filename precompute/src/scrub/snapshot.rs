//! The records of a live `cyrus.index` or `cyrus.expunge`, read a few at a time and without a lock.
//!
//! A scrub may have a file open for hours while Cyrus writes into it. So nothing is mapped (a file
//! that shrinks under a map kills the reader) and only a small window is in memory. Cyrus replaces
//! these files by rename or appends to them and writes single records in place: records that were
//! counted in the header when we read it stay where they are as long as the file is open. What a write
//! in place can do to us is a record that is half old and half new; from version 12 on its checksum
//! then fails, and it is read again, as long as the file changed so lately that this can be the cause.
//! Writes nothing, so a crash leaves nothing.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::row::Row;
use indexfile::dir::{OpenError, open_in_store};
use indexfile::layout::Slot;
use indexfile::{
    FileKind, HeaderField, IndexFile, IoContext, IoError, ReadError, Record, RecordField,
    read_up_to,
};
use rustix::fs::OFlags;

/// No version has a longer header.
const FIRST: usize = 4096;
/// Records in memory at a time.
pub(super) const WINDOW: u32 = 256;
/// How often something that looks torn is read again, each time after twice the wait.
const ATTEMPTS: u32 = 7;
const FIRST_WAIT: Duration = Duration::from_millis(10);
/// A file that did not change for so long is not being written to.
const RECENT: Duration = Duration::from_secs(5);
/// An open index or expunge file.
#[derive(Debug)]
pub(super) struct Snapshot {
    path: PathBuf,
    kind: FileKind,
    file: File,
    /// The header's bytes.
    header: Vec<u8>,
    start_offset: u64,
    record_size: usize,
    record_crc: Option<Slot>,
    num_records: u32,
    last_uid: u32,
    /// The next record, from 0, and the UID of the one before.
    position: u32,
    previous: u32,
}

impl Snapshot {
    /// Opens a file and checks its header.
    pub(super) fn open(path: &Path, kind: FileKind) -> Result<Self, ReadError> {
        patiently(path, || Self::open_once(path, kind))
    }

    fn open_once(path: &Path, kind: FileKind) -> Result<Self, ReadError> {
        let file = open_quietly(path).map_err(IoError::from)?;
        let mut first = vec![0; FIRST];
        let got = read_up_to(&file, &mut first, 0).io_context("read", path)?;
        first.truncate(got);
        // After the header: the file only grows, so what the header counts is there by now.
        let meta = file.metadata().io_context("look at", path)?;
        let num_records = first.get(20..24).map_or(0, be32);
        let empty = with_count(first.clone(), 0);
        let parsed = IndexFile::from_bytes_unverified(empty, path, kind)?;
        let header = parsed.header();
        let (start_offset, record_size) = (header.start_offset(), header.record_size());
        let expected = u64::from(start_offset) + u64::from(num_records) * u64::from(record_size);
        if meta.len() < expected {
            let (path, actual) = (path.to_owned(), meta.len());
            return Err(ReadError::Truncated {
                path,
                num_records,
                expected,
                actual,
            });
        }
        first.truncate(start_offset as usize);
        if let Some((stored, computed)) =
            checksum(header.slots().get(HeaderField::HeaderCrc), &first)
            && stored != computed
        {
            return Err(ReadError::HeaderCrc {
                path: path.to_owned(),
                stored,
                computed,
            });
        }
        Ok(Self {
            path: path.to_owned(),
            kind,
            file,
            header: first,
            start_offset: u64::from(start_offset),
            record_size: record_size as usize,
            record_crc: parsed.record_slots().get(RecordField::RecordCrc),
            num_records,
            last_uid: header.last_uid(),
            position: 0,
            previous: 0,
        })
    }

    /// The largest UID ever given, as the header says.
    pub(super) fn last_uid(&self) -> u32 {
        self.last_uid
    }

    /// How many records there are.
    pub(super) fn num_records(&self) -> u32 {
        self.num_records
    }

    /// The next records: at most [`WINDOW`], none at the end.
    ///
    /// A record whose checksum is wrong is left out and told to `damaged` (with its UID).
    pub(super) fn next_rows(
        &mut self,
        mut damaged: impl FnMut(u32, ReadError),
    ) -> Result<Vec<Row>, ReadError> {
        let count = (self.num_records - self.position).min(WINDOW);
        let from = self.position;
        let image = patiently(&self.path, || {
            let image = self.read(from, count)?;
            // Worth reading again only if it can get better.
            match image
                .records()
                .find_map(|record| self.crc_error(&record.ok()?, from))
            {
                Some(error) if recent(&self.path) => Err(error),
                _ => Ok(image),
            }
        });
        let image = match image {
            // It does not get better: below each such record is told by itself.
            Err(ReadError::RecordCrc { .. }) => self.read(from, count)?,
            other => other?,
        };
        let mut rows = Vec::with_capacity(count as usize);
        for (number, record) in (from + 1..).zip(image.records()) {
            let record = record?;
            let uid = record.uid();
            if uid == 0 {
                return Err(ReadError::ZeroUid {
                    path: self.path.clone(),
                    record: number,
                });
            }
            if let Some(error) = self.crc_error(&record, number - 1) {
                damaged(uid, error);
                continue;
            }
            if self.kind == FileKind::Index && uid <= self.previous {
                let (path, previous) = (self.path.clone(), self.previous);
                return Err(ReadError::UidOrder {
                    path,
                    record: number,
                    uid,
                    previous,
                });
            }
            self.previous = uid;
            rows.push(Row::of(&record, self.kind));
        }
        self.position += count;
        Ok(rows)
    }

    /// Whether all records were returned by [`Self::next_rows`].
    pub(super) fn at_end(&self) -> bool {
        self.position >= self.num_records
    }

    /// The record with this UID in an index, by bisection.
    pub(super) fn find(&self, uid: u32) -> Result<Option<Row>, ReadError> {
        let (mut low, mut high) = (0, self.num_records);
        while low < high {
            let middle = low + (high - low) / 2;
            let image = self.read(middle, 1)?;
            let Some(record) = image.record(0)? else {
                return Ok(None);
            };
            match record.uid().cmp(&uid) {
                std::cmp::Ordering::Equal => return Ok(Some(Row::of(&record, self.kind))),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Ok(None)
    }

    /// `count` records from number `from`, as a file of their own.
    fn read(&self, from: u32, count: u32) -> Result<IndexFile, ReadError> {
        let mut image = with_count(self.header.clone(), count);
        let start = image.len();
        image.resize(start + count as usize * self.record_size, 0);
        let offset = self.start_offset + u64::from(from) * self.record_size as u64;
        let wanted = image.len() - start;
        let target = image.get_mut(start..).unwrap_or_default();
        let got = read_up_to(&self.file, target, offset).io_context("read", &self.path)?;
        if got < wanted {
            return Err(ReadError::Truncated {
                path: self.path.clone(),
                num_records: self.num_records,
                expected: offset + wanted as u64,
                actual: offset + got as u64,
            });
        }
        IndexFile::from_bytes_unverified(image, &self.path, self.kind)
    }

    fn crc_error(&self, record: &Record<'_>, number: u32) -> Option<ReadError> {
        let (stored, computed) = checksum(self.record_crc, record.bytes())?;
        (stored != computed).then(|| ReadError::RecordCrc {
            path: self.path.clone(),
            record: number + 1,
            uid: record.uid(),
            stored,
            computed,
        })
    }
}

/// Repeats what failed because the file seems damaged, while a write in progress can be the reason.
fn patiently<T>(
    path: &Path,
    mut act: impl FnMut() -> Result<T, ReadError>,
) -> Result<T, ReadError> {
    let mut wait = FIRST_WAIT;
    for _ in 1..ATTEMPTS {
        match act() {
            Err(error) if !matches!(error, ReadError::Io(_)) && recent(path) => {
                std::thread::sleep(wait);
                wait *= 2;
            }
            other => return other,
        }
    }
    act()
}

/// Whether the file changed so lately that somebody may still be at it.
fn recent(path: &Path) -> bool {
    let changed = std::fs::metadata(path).and_then(|meta| meta.modified());
    changed.is_ok_and(|changed| {
        SystemTime::now()
            .duration_since(changed)
            .map_or(true, |age| age < RECENT)
    })
}

/// Opens for reading, without leaving an access time where we may ask for that.
fn open_quietly(path: &Path) -> Result<File, OpenError> {
    let file = open_in_store(path)?;
    if let Ok(flags) = rustix::fs::fcntl_getfl(&file) {
        // Only for the owner of the file; else reading it leaves its trace.
        let _ = rustix::fs::fcntl_setfl(&file, flags | OFlags::NOATIME);
    }
    Ok(file)
}

fn be32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |n, byte| n << 8 | u32::from(*byte))
}

/// A header that counts `count` records, so that a few records can be taken for a whole file.
fn with_count(mut header: Vec<u8>, count: u32) -> Vec<u8> {
    if let Some(word) = header.get_mut(20..24) {
        word.copy_from_slice(&count.to_be_bytes());
    }
    header
}

/// Stored and computed checksum, from version 12 on.
fn checksum(slot: Option<Slot>, image: &[u8]) -> Option<(u32, u32)> {
    let slot = slot?;
    let stored = u32::try_from(slot.read(image)?).ok()?;
    Some((stored, crc32fast::hash(image.get(..slot.offset as usize)?)))
}

/// Opens an expunge file, if there is one.
pub(super) fn open_expunge(path: &Path) -> Result<Option<Snapshot>, ReadError> {
    match Snapshot::open(path, FileKind::Expunge) {
        Ok(expunge) => Ok(Some(expunge)),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether an error says that the file is not there.
pub(super) fn is_missing(error: &ReadError) -> bool {
    let missing = |e: &IoError| {
        matches!(
            e.kind(),
            std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
        )
    };
    matches!(error, ReadError::Io(e) if missing(e))
}
