//! The one buffer that a copy is written through.
//!
//! It is handed to the writer in pieces of whole pages that begin on a page, in memory as in the
//! file: the kernel copies those into its cache at about twice the speed of others.

use std::io::{Result, Write};

const PAGE: usize = 4096;
/// Bytes handed over at once; a multiple of the page.
const PIECE: usize = 128 << 10;

/// Gathers bytes for `out`.
pub(crate) struct Buffer<'w, W: Write + ?Sized> {
    out: &'w mut W,
    bytes: Vec<u8>,
    /// Where the first page begins in `bytes`.
    start: usize,
    filled: usize,
}

impl<'w, W: Write + ?Sized> Buffer<'w, W> {
    /// A buffer in which up to `most` bytes are put at once.
    pub(crate) fn new(out: &'w mut W, most: usize) -> Self {
        let bytes = vec![0; PAGE + PIECE + most];
        let start = bytes.as_ptr().align_offset(PAGE).min(PAGE);
        Self {
            out,
            bytes,
            start,
            filled: 0,
        }
    }

    /// Puts `len` bytes, at most as many as were announced, by having `fill` write all of them.
    #[inline]
    pub(crate) fn put(&mut self, len: usize, fill: impl FnOnce(&mut [u8])) -> Result<()> {
        let at = self.start + self.filled;
        fill(&mut self.bytes[at..at + len]);
        self.filled += len;
        if self.filled >= PIECE {
            let end = self.start + PIECE;
            self.out.write_all(&self.bytes[self.start..end])?;
            self.bytes
                .copy_within(end..self.start + self.filled, self.start);
            self.filled -= PIECE;
        }
        Ok(())
    }

    /// Hands over what is left.
    pub(crate) fn finish(self) -> Result<()> {
        self.out
            .write_all(&self.bytes[self.start..self.start + self.filled])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_any_size_come_out_in_order() {
        for len in [1, 60, 88, 4095, 4096, PIECE - 1, PIECE] {
            let (mut out, mut expected) = (Vec::new(), Vec::new());
            let mut buffer = Buffer::new(&mut out, len);
            for i in 0..400_u32.min(4_000_000 / u32::try_from(len).expect("small")) {
                let piece = vec![i.to_le_bytes()[0]; len];
                buffer
                    .put(len, |to| to.copy_from_slice(&piece))
                    .expect("a vector");
                expected.extend_from_slice(&piece);
            }
            buffer.finish().expect("a vector");
            assert!(out == expected, "{len}");
        }
    }
}
