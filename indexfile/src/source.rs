//! Where the bytes of a file come from: positioned reads of the open file, or memory.
//!
//! Nothing is mapped. A live file may be truncated at any moment (`cp backup/cyrus.index
//! live/` does), and a map that is touched behind the new end kills the whole process (SIGBUS); a
//! read there is only short. The reader gets an error then, and never bytes that are not in the
//! file. Small files are read at once and closed; of others no more than a window is in memory.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

/// Files up to this length, in bytes, are read into memory as a whole.
pub(crate) const IN_MEMORY: u64 = 128 << 10;

/// A file's content.
#[derive(Debug)]
pub(crate) enum Source {
    /// All of it.
    Memory(Vec<u8>),
    /// An open file, read by position.
    File(File),
}

impl Source {
    /// Of the first `len` bytes of `file`. The handle is duplicated: it shares locks and the
    /// offset, which is not moved.
    pub(crate) fn of(file: &File, len: u64) -> std::io::Result<Self> {
        if len > IN_MEMORY {
            return Ok(Self::File(file.try_clone()?));
        }
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        let got = read_up_to(file, &mut bytes, 0)?;
        bytes.truncate(got);
        Ok(Self::Memory(bytes))
    }

    /// Fills `buffer` with what lies at `offset`; returns how much there was.
    pub(crate) fn read(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
        match self {
            Self::Memory(all) => {
                let rest = usize::try_from(offset).ok().and_then(|at| all.get(at..));
                let rest = rest.unwrap_or_default();
                let len = rest.len().min(buffer.len());
                buffer[..len].copy_from_slice(&rest[..len]);
                Ok(len)
            }
            Self::File(file) => read_up_to(file, buffer, offset),
        }
    }
}

/// Reads at `offset` (bytes) until the buffer is full or the file ends; how many bytes it got.
///
/// # Errors
/// The system's, but not an interruption.
pub fn read_up_to(file: &File, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
    let mut got = 0;
    while got < buffer.len() {
        match file.read_at(&mut buffer[got..], offset + got as u64) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(got)
}

/// A file's bytes at any place, for callers that mostly go forward.
#[derive(Debug)]
pub(crate) struct Window {
    source: Source,
    len: u64,
    buffer: Vec<u8>,
    start: u64,
    fills: u64,
}

/// Bytes in memory at a time, and the most that [`Window::at`] gives at once.
const WINDOW: usize = 128 << 10;

impl Window {
    /// Of the first `len` bytes.
    pub(crate) fn new(source: Source, len: u64) -> Self {
        Self {
            source,
            len,
            buffer: Vec::new(),
            start: 0,
            fills: 0,
        }
    }

    /// Of bytes in memory.
    pub(crate) fn of_bytes(bytes: &[u8]) -> Self {
        Self::new(Source::Memory(bytes.to_vec()), bytes.len() as u64)
    }

    /// How long the file was when it was opened.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// How many times the window was filled, with up to 128 KiB each.
    pub(crate) fn fills(&self) -> u64 {
        self.fills
    }

    /// `count` bytes from `offset` on; `None` if the file never had that many.
    ///
    /// # Errors
    /// The system's; `UnexpectedEof` if it had, and has no more.
    pub(crate) fn at(&mut self, offset: u64, count: usize) -> std::io::Result<Option<&[u8]>> {
        let end = offset.checked_add(count as u64);
        if count > WINDOW || end.is_none_or(|end| end > self.len) {
            return Ok(None);
        }
        let inside = |w: &Self| {
            let at = usize::try_from(offset.checked_sub(w.start)?).ok()?;
            let end = at.checked_add(count)?;
            (end <= w.buffer.len()).then_some(at..end)
        };
        if inside(self).is_none() {
            self.fills += 1;
            let want = (self.len - offset).min(WINDOW as u64);
            self.buffer
                .resize(usize::try_from(want).unwrap_or(WINDOW), 0);
            let got = self.source.read(&mut self.buffer, offset);
            // Nothing of the old content is left to be taken for the new.
            self.buffer.truncate(got.as_ref().map_or(0, |got| *got));
            self.start = offset;
            got?;
        }
        match inside(self) {
            Some(range) => Ok(self.buffer.get(range)),
            None => Err(std::io::ErrorKind::UnexpectedEof.into()),
        }
    }
}
