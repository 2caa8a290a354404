//! Reading a database by position, with every place checked, and no more of it than a sound one
//! needs.

use super::SeenError;
use crate::error::IoError;
use crate::source::Window;
use byteorder::{BE, ByteOrder as _};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Bytes that are read at a time.
const PIECE: u64 = 64 << 10;
/// The most times that another part of the file is read, with up to 128 KiB each: that of as many
/// records which all lie far apart, some seconds. Pointers that lead back and forth would be
/// followed for days.
const MOST_FILLS: u64 = 1 << 17;

/// Where a value lies.
pub(super) type Found = Result<Option<Range<u64>>, SeenError>;

/// A database of any kind.
#[derive(Debug)]
pub(super) struct Database {
    window: Window,
    path: PathBuf,
}

impl Database {
    pub(super) fn new(window: Window, path: &Path) -> Self {
        let path = path.to_path_buf();
        Self { window, path }
    }

    pub(super) fn len(&self) -> u64 {
        self.window.len()
    }

    pub(super) fn damaged(&self, offset: u64, reason: &'static str) -> SeenError {
        damaged(&self.path, offset, reason)
    }

    /// `count` bytes, at most [`PIECE`], at `offset`.
    pub(super) fn piece(&mut self, offset: u64, count: u64) -> Result<&[u8], SeenError> {
        if self.window.fills() > MOST_FILLS {
            return Err(self.damaged(offset, "its records lie too far apart, and are too many"));
        }
        let beyond = || damaged(&self.path, offset, "it ends here in the midst of a record");
        let count = usize::try_from(count.min(PIECE)).unwrap_or(0);
        match self.window.at(offset, count) {
            Ok(Some(bytes)) => Ok(bytes),
            Ok(None) => Err(beyond()),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Err(beyond()),
            Err(error) => Err(IoError::new("read", &self.path, error).into()),
        }
    }

    /// A copy of any range.
    pub(super) fn read(&mut self, offset: u64, count: u64) -> Result<Vec<u8>, SeenError> {
        if offset.checked_add(count).is_none_or(|end| end > self.len()) {
            return Err(self.damaged(offset, "it ends here in the midst of a record"));
        }
        // All the capacity at once: a vector that grows takes as much again for a moment.
        let mut bytes = Vec::with_capacity(usize::try_from(count).unwrap_or(0));
        self.pieces(offset, count, |piece| bytes.extend_from_slice(piece))?;
        Ok(bytes)
    }

    /// Gives a range in pieces, in order.
    pub(super) fn pieces(
        &mut self,
        offset: u64,
        count: u64,
        mut take: impl FnMut(&[u8]),
    ) -> Result<(), SeenError> {
        let mut done = 0;
        while done < count {
            let at = offset.saturating_add(done);
            let some = (count - done).min(PIECE);
            take(self.piece(at, some)?);
            done += some;
        }
        Ok(())
    }

    /// Whether these bytes lie at `offset`.
    pub(super) fn is(&mut self, offset: u64, bytes: &[u8]) -> Result<bool, SeenError> {
        Ok(self.read(offset, bytes.len() as u64)? == bytes)
    }

    pub(super) fn u32(&mut self, offset: u64) -> Result<u32, SeenError> {
        self.piece(offset, 4).map(BE::read_u32)
    }

    pub(super) fn u64(&mut self, offset: u64) -> Result<u64, SeenError> {
        self.piece(offset, 8).map(BE::read_u64)
    }
}

fn damaged(path: &Path, offset: u64, reason: &'static str) -> SeenError {
    SeenError::Damaged {
        path: path.to_path_buf(),
        offset,
        reason,
    }
}
