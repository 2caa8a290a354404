//! Writing a large file so that the disk is busy while the rest is still being made.
//!
//! Promises: the same bytes as without it, and nothing about durability: fsync is still the
//! caller's. It only saves the fsync from having everything left to do.

use rustix::fs::{Advice, fadvise};
use std::fs::File;
use std::io::{Result, Seek, SeekFrom, Write};
use std::num::NonZeroU64;

/// The disk is made to begin whenever this much more was written.
const STEP: u64 = 4 << 20;

/// A writer to a fresh file that lets the kernel begin to write it out early.
#[derive(Debug)]
pub struct WriteBehind<'f> {
    file: &'f File,
    written: u64,
    begun: u64,
}

impl<'f> WriteBehind<'f> {
    /// Writes to `file`, which is empty and at its beginning.
    #[must_use]
    pub fn new(file: &'f File) -> Self {
        Self {
            file,
            written: 0,
            begun: 0,
        }
    }
}

impl Write for WriteBehind<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        let n = self.file.write(bytes)?;
        self.written += n as u64;
        let waiting = self.written - self.begun;
        if let Some(waiting) = NonZeroU64::new(waiting).filter(|w| w.get() >= STEP) {
            // DONTNEED on dirty pages makes Linux begin to write them and keeps them until they are
            // written. Advice only: where it does nothing, nothing is lost.
            let _ = fadvise(self.file, self.begun, Some(waiting), Advice::DontNeed);
            self.begun = self.written;
        }
        Ok(n)
    }

    fn flush(&mut self) -> Result<()> {
        self.file.flush()
    }
}

impl Seek for WriteBehind<'_> {
    /// For the few bytes of a header that is written last.
    fn seek(&mut self, to: SeekFrom) -> Result<u64> {
        self.file.seek(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_there() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("file");
        let bytes: Vec<u8> = (0..10_000_000_u32).map(|i| i.to_le_bytes()[1]).collect();
        let file = File::create(&path).expect("create");
        let mut out = WriteBehind::new(&file);
        for piece in bytes.chunks(100_000) {
            out.write_all(piece).expect("write");
        }
        out.flush().expect("flush");
        assert!(std::fs::read(&path).expect("read") == bytes);
    }
}
