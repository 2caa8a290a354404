//! `cyrus.cache`: a generation number, then for each message ten items that servers answer from.
//!
//! Promises: no length in the file is trusted, and memory does not grow with the file: it may be
//! gigabytes long and is read through a window, mostly once from front to back. Read only.

use crate::dir::open_named;
use crate::error::{IoContext, IoError};
use crate::header::be32;
use crate::layout::RecordField as R;
use crate::read_error::{Damage, ReadError};
use crate::record::Record;
use crate::source::{Source, Window};
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Items of a cache record; the first is the envelope.
const ITEMS: usize = 10;
/// Bytes whose checksum is computed at a time.
const PIECE: u64 = 16 << 10;

/// An open cache.
#[derive(Debug)]
pub struct CacheFile {
    window: Window,
    path: PathBuf,
}

impl CacheFile {
    /// Opens a cache; nobody replaces one by rename, so it may be a link.
    ///
    /// # Errors
    /// The system's.
    pub fn open(path: &Path) -> Result<Self, IoError> {
        Self::from_file(&open_named(path)?, path)
    }

    /// Of an open file; `path` is for messages.
    ///
    /// # Errors
    /// The system's.
    pub fn from_file(file: &File, path: &Path) -> Result<Self, IoError> {
        let len = file.metadata().io_context("stat", path)?.len();
        let source = Source::of(file, len).io_context("read", path)?;
        let window = Window::new(source, len);
        let path = path.to_path_buf();
        Ok(Self { window, path })
    }

    /// Of bytes in memory; `path` is for messages.
    #[must_use]
    pub fn from_bytes(bytes: &[u8], path: &Path) -> Self {
        let (window, path) = (Window::of_bytes(bytes), path.to_path_buf());
        Self { window, path }
    }

    /// The path it was opened by.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many bytes it had when it was opened.
    pub(crate) fn len(&self) -> u64 {
        self.window.len()
    }

    /// The generation number, which the index repeats; `None` if the file is too short for one.
    ///
    /// # Errors
    /// [`ReadError::Io`] or [`Damage::Changed`].
    pub fn generation(&mut self) -> Result<Option<u32>, ReadError> {
        self.word(0)
    }

    /// The bytes of the cache record that begins at `offset`; `None` if none can.
    ///
    /// # Errors
    /// [`ReadError::Io`] or [`Damage::Changed`].
    pub fn record(&mut self, offset: u64) -> Result<Option<Range<u64>>, ReadError> {
        let mut at = offset;
        if at < 4 {
            return Ok(None);
        }
        for _ in 0..ITEMS {
            let Some(len) = self.word(at)? else {
                return Ok(None);
            };
            // Both are far below 2^63.
            at += 4 + u64::from(len).next_multiple_of(4);
            if at > self.len() {
                return Ok(None);
            }
        }
        Ok(Some(offset..at))
    }

    /// The checksum of a range that [`Self::record`] gave.
    ///
    /// # Errors
    /// [`ReadError::Io`] or [`Damage::Changed`].
    pub fn crc(&mut self, record: Range<u64>) -> Result<u32, ReadError> {
        let mut crc = crc32fast::Hasher::new();
        let mut at = record.start;
        while at < record.end {
            let count = (record.end - at).min(PIECE);
            crc.update(self.bytes(at, count)?.unwrap_or_default());
            at += count;
        }
        Ok(crc.finalize())
    }

    /// The first bytes, at most `most`, of the envelope of the cache record that begins at
    /// `offset`, which [`Self::record`] has approved.
    ///
    /// # Errors
    /// [`ReadError::Io`] or [`Damage::Changed`].
    pub fn envelope(&mut self, offset: u64, most: u32) -> Result<&[u8], ReadError> {
        let len = self.word(offset)?.unwrap_or(0).min(most);
        let bytes = self.bytes(offset + 4, u64::from(len))?;
        Ok(bytes.unwrap_or_default())
    }

    fn word(&mut self, at: u64) -> Result<Option<u32>, ReadError> {
        Ok(self.bytes(at, 4)?.and_then(|word| be32(word, 0)))
    }

    /// `None` if the file is shorter than that.
    fn bytes(&mut self, at: u64, count: u64) -> Result<Option<&[u8]>, ReadError> {
        let expected = self.window.len();
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let path = &self.path;
        self.window
            .at(at, count)
            .map_err(|error| match error.kind() {
                std::io::ErrorKind::UnexpectedEof => Damage::Changed {
                    expected,
                    actual: at,
                }
                .of(path),
                _ => IoError::new("read", path, error).into(),
            })
    }
}

/// Where the cache record of a record begins in an index of this version.
#[must_use]
pub fn offset_of(record: &Record<'_>, minor_version: u32) -> u64 {
    let mut offset = record.get(R::CacheOffset).unwrap_or(0);
    if minor_version >= 12 {
        // Bits 32 to 47, from 3.2 on; the version proper is in the lower half.
        offset |= (record.get(R::CacheVersion).unwrap_or(0) >> 16) << 32;
    }
    offset
}
