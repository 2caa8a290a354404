//! The records of a live `cyrus.index` or `cyrus.expunge`, a few at a time and without a lock.
//!
//! A scrub may have a file open for hours while Cyrus writes into it. Cyrus replaces these files by
//! rename, or appends to them and writes single records in place: records that the header counted
//! stay where they are as long as the file is open. A record that is read while it is written is
//! half old and half new. From version 12 on its checksum fails then, and it is read again, as long
//! as the file changed so recently that this can be the cause. Nothing is written.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, SystemTime};

use indexfile::dir::{OpenError, open_in_store};
use indexfile::{Damage, FileKind, IndexFile, IoError, ReadError};
use rustix::fs::OFlags;

use super::row::Row;

/// Records in memory at a time.
pub(super) const WINDOW: u32 = 256;
/// How often something that looks torn is read again, each time after twice the wait.
const ATTEMPTS: u32 = 7;
const FIRST_WAIT: Duration = Duration::from_millis(10);
/// A file that did not change for so long is not being written to.
const RECENT: Duration = Duration::from_secs(5);

/// An open index or expunge file.
#[derive(Debug)]
pub(super) struct RecordReader {
    index: IndexFile,
    /// The next record, from 0, and the UID of the one before.
    position: u32,
    previous: u32,
}

impl RecordReader {
    /// Opens a file and checks its header.
    pub(super) fn open(path: &Path, kind: FileKind) -> Result<Self, ReadError> {
        let open = || {
            let file = open_quietly(path).map_err(IoError::from)?;
            let index = IndexFile::from_live_file(&file, path, kind)?;
            index.verify_header().map_err(|damage| damage.of(path))?;
            Ok(Self {
                index,
                position: 0,
                previous: 0,
            })
        };
        patiently(path, open, |_| false)
    }

    /// The largest UID ever given, as the header says.
    pub(super) fn last_uid(&self) -> u32 {
        self.index.header().last_uid()
    }

    /// How many records there are.
    pub(super) fn num_records(&self) -> u32 {
        self.index.num_records()
    }

    /// The next records: at most [`WINDOW`], none at the end.
    ///
    /// A record whose checksum is wrong is left out and reported to `damaged` (with its UID).
    pub(super) fn next_rows(
        &mut self,
        mut damaged: impl FnMut(u32, ReadError),
    ) -> Result<Vec<Row>, ReadError> {
        let (index, from) = (&self.index, self.position);
        let mut buffer = Vec::new();
        let read = || {
            let mut previous = self.previous;
            let block = index.block(from, WINDOW, &mut buffer)?;
            let rows = (from + 1..).zip(block.records()).map(|(number, record)| {
                let verified = index.verify_record(&record, number, previous);
                if !matches!(verified, Err(Damage::RecordCrc { .. })) {
                    previous = record.uid();
                }
                (Row::of(&record, index.kind()), verified)
            });
            Ok(rows.collect::<Vec<_>>())
        };
        let is_torn = |row: &(_, _)| matches!(row.1, Err(Damage::RecordCrc { .. }));
        let torn = |rows: &Vec<_>| rows.iter().any(is_torn);
        let mut rows = Vec::new();
        for (row, verified) in patiently(index.path(), read, torn)? {
            match verified {
                Ok(()) => {
                    self.previous = row.uid;
                    rows.push(row);
                }
                Err(crc @ Damage::RecordCrc { .. }) => damaged(row.uid, crc.of(index.path())),
                Err(damage) => return Err(damage.of(index.path())),
            }
        }
        self.position = from.saturating_add(WINDOW);
        Ok(rows)
    }

    /// Whether all records were returned by [`Self::next_rows`].
    pub(super) fn at_end(&self) -> bool {
        self.position >= self.num_records()
    }

    /// The record with this UID.
    pub(super) fn find(&self, uid: u32) -> Result<Option<Row>, ReadError> {
        let record = self.index.find_uid(uid)?;
        Ok(record.map(|record| Row::of(&record, self.index.kind())))
    }
}

/// Repeats what failed because the file seems damaged, or whose result is `torn`, while a write in
/// progress can be the reason.
fn patiently<T>(
    path: &Path,
    mut read: impl FnMut() -> Result<T, ReadError>,
    torn: impl Fn(&T) -> bool,
) -> Result<T, ReadError> {
    let mut wait = FIRST_WAIT;
    for _ in 1..ATTEMPTS {
        let result = read();
        let again = match &result {
            Ok(result) => torn(result),
            Err(error) => !matches!(error, ReadError::Io(_)),
        };
        if !again || !recent(path) {
            return result;
        }
        std::thread::sleep(wait);
        wait *= 2;
    }
    read()
}

/// Whether the file changed so recently that a write may still be in progress.
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

/// Opens an expunge file, if there is one.
pub(super) fn open_expunge(path: &Path) -> Result<Option<RecordReader>, ReadError> {
    match RecordReader::open(path, FileKind::Expunge) {
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
