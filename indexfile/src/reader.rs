//! Reading `cyrus.index` and `cyrus.expunge` of every version.
//!
//! Promises: no length from the file is trusted; `start_offset` and `record_size` in the file beat
//! the version number, as in Cyrus; a file shorter than its header says is refused (2.3.16 invents
//! records there), bytes after the last record are ignored (a crashed append leaves them). What
//! [`IndexFile::open`] returns has been checked from end to end: UIDs are not zero and ascend in an
//! index, and from version 12 on all checksums agree. Nothing is written, so a crash leaves
//! nothing.
//!
//! A live file is read as it is at that moment, a block of records at a time. Cyrus appends to it,
//! writes single records in place and else replaces it by rename, so a record that the header
//! counted stays where it is. If the file is truncated all the same, as `cp` does, a reader ends
//! with [`Damage::Changed`].

use crate::dir::open_named;
use crate::error::{IoContext, IoError};
use crate::header::Header;
use crate::kind::FileKind;
use crate::layout::{HeaderField, RecordSlots};
use crate::read_error::{Damage, ReadError};
use crate::record::{Block, Record, checksum};
use crate::shape::{MAX_SIZE, Shape, shape};
use crate::source::{Source, read_up_to};
use std::fs::File;
use std::path::{Path, PathBuf};

/// Records that are read at a time: 52 to 144 KiB. The same number whatever the version, so that
/// the blocks of a file and of its conversion hold the same records.
pub(crate) const AT_ONCE: u32 = 1024;

/// An open index or expunge file. `Send` and `Sync`; cheap to move, not to clone.
#[derive(Debug)]
pub struct IndexFile {
    path: PathBuf,
    kind: FileKind,
    header: Header,
    slots: RecordSlots,
    source: Source,
    /// Header and records, bytes.
    length: u64,
    /// All of the file when it was opened, bytes.
    whole: u64,
}

impl IndexFile {
    /// Opens and checks a file. Of a large one only a window is in memory at a time.
    ///
    /// # Errors
    /// Any [`ReadError`].
    pub fn open(path: &Path, kind: FileKind) -> Result<Self, ReadError> {
        let file = open_named(path).map_err(IoError::from)?;
        Self::from_file(&file, path, kind)
    }

    /// Checks an open file; `path` is for messages. The file's offset is not moved. The handle of a
    /// large one is duplicated: what belongs to the open file, as its locks do, lives as long as
    /// this.
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
    /// Any [`ReadError`] but `Io` and `Changed`.
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
        let (shape, length) = Self::shape_of(file, path)?;
        let source = Source::of(file, shape.expected).io_context("read", path)?;
        let index = Self::assemble(shape, source, length, path, kind);
        match &index.source {
            Source::Memory(bytes) if (bytes.len() as u64) < index.length => {
                Err(index.changed(bytes.len() as u64))
            }
            _ => Ok(index),
        }
    }

    /// The same, and small files too are read by position each time: for callers that have a live
    /// file open for long and want its records as they are then.
    ///
    /// # Errors
    /// Any [`ReadError`] that the header and the length alone show.
    pub fn from_live_file(file: &File, path: &Path, kind: FileKind) -> Result<Self, ReadError> {
        let (shape, length) = Self::shape_of(file, path)?;
        let source = Source::File(file.try_clone().io_context("read", path)?);
        Ok(Self::assemble(shape, source, length, path, kind))
    }

    fn shape_of(file: &File, path: &Path) -> Result<(Shape, u64), ReadError> {
        // One page holds any header; what is read here is the private copy that all lengths come
        // from.
        let mut first = vec![0; MAX_SIZE as usize];
        let got = read_up_to(file, &mut first, 0).io_context("read", path)?;
        first.truncate(got);
        // After the header: Cyrus appends records first and counts them then.
        let meta = file.metadata().io_context("stat", path)?;
        if !meta.is_file() {
            return Err(Damage::NotIndex("it is not a regular file").of(path));
        }
        let shape = shape(first, meta.len()).map_err(|damage| damage.of(path))?;
        Ok((shape, meta.len()))
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
        let shape = shape(first, length).map_err(|damage| damage.of(path))?;
        // It is no longer than the bytes are.
        bytes.truncate(usize::try_from(shape.expected).unwrap_or(usize::MAX));
        let source = Source::Memory(bytes);
        Ok(Self::assemble(shape, source, length, path, kind))
    }

    fn assemble(shape: Shape, source: Source, length: u64, path: &Path, kind: FileKind) -> Self {
        let Shape {
            header,
            slots,
            expected,
        } = shape;
        Self {
            path: path.to_path_buf(),
            kind,
            header,
            slots,
            source,
            length: expected,
            whole: length,
        }
    }

    /// One pass over all records: UIDs, their order, checksums.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn verify(&self) -> Result<(), ReadError> {
        let damaged = |damage: Damage| damage.of(&self.path);
        self.verify_header().map_err(damaged)?;
        let mut previous = 0;
        let mut buffer = Vec::new();
        for from in (0..self.num_records()).step_by(AT_ONCE as usize) {
            let block = self.block(from, AT_ONCE, &mut buffer)?;
            for (number, record) in (block.first() + 1..).zip(block.records()) {
                self.verify_record(&record, number, previous)
                    .map_err(damaged)?;
                previous = record.uid();
            }
        }
        Ok(())
    }

    /// Compares the checksum of the header, from version 12 on.
    ///
    /// # Errors
    /// [`Damage::HeaderCrc`]
    pub fn verify_header(&self) -> Result<(), Damage> {
        match self.header_crc() {
            Some((stored, computed)) if stored != computed => {
                Err(Damage::HeaderCrc { stored, computed })
            }
            _ => Ok(()),
        }
    }

    /// What is wrong with record number `record` (from 1), which comes after UID `previous`.
    ///
    /// # Errors
    /// [`Damage::ZeroUid`], [`Damage::RecordCrc`] or [`Damage::UidOrder`].
    pub fn verify_record(
        &self,
        bytes: &Record<'_>,
        record: u32,
        previous: u32,
    ) -> Result<(), Damage> {
        let uid = bytes.uid();
        if uid == 0 {
            return Err(Damage::ZeroUid { record });
        }
        if let Some((stored, computed)) = bytes.crc().filter(|(s, c)| s != c) {
            return Err(Damage::RecordCrc {
                record,
                uid,
                stored,
                computed,
            });
        }
        if self.kind == FileKind::Index && uid <= previous {
            return Err(Damage::UidOrder {
                record,
                uid,
                previous,
            });
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

    /// Bytes of header and records together, without those that trail them.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Header and records as they are now, in memory, without bytes that trail them. For small
    /// files, and for a copy that cannot change.
    ///
    /// # Errors
    /// [`ReadError::Io`] or [`Damage::Changed`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, ReadError> {
        let len = usize::try_from(self.length).unwrap_or(usize::MAX);
        let mut bytes = Vec::new();
        bytes
            .try_reserve_exact(len)
            .map_err(|_| std::io::Error::from(std::io::ErrorKind::OutOfMemory))
            .io_context("read", &self.path)?;
        bytes.resize(len, 0);
        self.fill(&mut bytes, 0)?;
        Ok(bytes)
    }

    /// Bytes after the last record when the file was opened.
    #[must_use]
    pub fn trailing_bytes(&self) -> u64 {
        self.whole.saturating_sub(self.length)
    }

    /// Where the fields of a record lie in this file.
    #[must_use]
    pub fn record_slots(&self) -> &RecordSlots {
        &self.slots
    }

    fn changed(&self, actual: u64) -> ReadError {
        let expected = self.length;
        Damage::Changed { expected, actual }.of(&self.path)
    }

    pub(crate) fn is_in_memory(&self) -> bool {
        matches!(self.source, Source::Memory(_))
    }

    fn fill(&self, buffer: &mut [u8], offset: u64) -> Result<(), ReadError> {
        let got = self.source.read(buffer, offset);
        let got = got.io_context("read", &self.path)?;
        if got < buffer.len() {
            return Err(self.changed(offset + got as u64));
        }
        Ok(())
    }

    fn offset_of(&self, record: u32) -> u64 {
        let size = u64::from(self.header.record_size());
        u64::from(self.header.start_offset()) + u64::from(record) * size
    }

    /// At most `most` records from position `from` on, counted from 0; none behind the last.
    /// `buffer` is where they are put if they are not in memory already.
    ///
    /// # Errors
    /// [`ReadError::Io`] or [`Damage::Changed`].
    pub fn block<'a>(
        &'a self,
        from: u32,
        most: u32,
        buffer: &'a mut Vec<u8>,
    ) -> Result<Block<'a>, ReadError> {
        let count = self.num_records().saturating_sub(from).min(most);
        let size = self.header.record_size() as usize;
        // A record has at most 4096 bytes, and what is counted lies inside the file.
        let (at, len) = (self.offset_of(from), count as usize * size);
        let bytes = match &self.source {
            Source::Memory(all) => usize::try_from(at)
                .ok()
                .and_then(|at| all.get(at..at.checked_add(len)?))
                .unwrap_or_default(),
            Source::File(_) => {
                buffer.resize(len, 0);
                self.fill(buffer, at)?;
                buffer
            }
        };
        Ok(Block::new(from, bytes, size, &self.slots))
    }

    /// The record at position `i`, counted from 0.
    ///
    /// # Errors
    /// [`ReadError::Io`] or [`Damage::Changed`].
    pub fn record(&self, i: u32) -> Result<Option<Record<'_>>, ReadError> {
        if i >= self.num_records() {
            return Ok(None);
        }
        let size = self.header.record_size() as usize;
        if let Source::Memory(all) = &self.source {
            let at = usize::try_from(self.offset_of(i)).ok();
            let bytes = at.and_then(|at| all.get(at..at.checked_add(size)?));
            return Ok(bytes.map(|bytes| Record::new(bytes, &self.slots)));
        }
        Record::read(size, &self.slots, |buffer| {
            self.fill(buffer, self.offset_of(i))
        })
        .map(Some)
    }

    /// The record with this UID: by bisection in an index, one by one in an expunge file.
    ///
    /// # Errors
    /// [`ReadError::Io`] or [`Damage::Changed`].
    pub fn find_uid(&self, uid: u32) -> Result<Option<Record<'_>>, ReadError> {
        if self.kind == FileKind::Expunge {
            let mut buffer = Vec::new();
            for from in (0..self.num_records()).step_by(AT_ONCE as usize) {
                let block = self.block(from, AT_ONCE, &mut buffer)?;
                let at = block.records().position(|record| record.uid() == uid);
                if let Some(at) = at {
                    return self.record(from + u32::try_from(at).unwrap_or(0));
                }
            }
            return Ok(None);
        }
        let (mut low, mut high) = (0, self.num_records());
        while low < high {
            let middle = low + (high - low) / 2;
            let Some(record) = self.record(middle)? else {
                return Ok(None);
            };
            match record.uid().cmp(&uid) {
                std::cmp::Ordering::Equal => return Ok(Some(record)),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Ok(None)
    }
}
