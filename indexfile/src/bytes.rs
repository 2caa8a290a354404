//! A file's content: mapped, or in memory.
//!
//! Promises: the map is read-only, never longer than the length asked for, and that length lay
//! inside the file when it was mapped. Releasing pages keeps resident memory flat on large files.
#![allow(unsafe_code)] // mapping a file is unsafe by nature; this is the only place that does it

use std::fs::File;
use std::ops::{Deref, Range};
use std::os::unix::fs::FileExt as _;

/// Files up to this length, in bytes, are read into memory.
const READ_BELOW: usize = 96 << 10;

/// Content that is dereferenced to its bytes.
#[derive(Debug)]
pub(crate) enum Bytes {
    /// A read-only, shared map of a file.
    Map(memmap2::Mmap),
    /// Bytes in memory.
    Owned(Vec<u8>),
}

impl Bytes {
    /// Maps the first `len` bytes of `file`; the caller has seen that the file is at least that long.
    pub(crate) fn map(file: &File, len: usize) -> std::io::Result<Self> {
        if len == 0 {
            return Ok(Self::Owned(Vec::new()));
        }
        // SAFETY: A map is undefined behaviour for Rust if the bytes change under a reference and
        // kills the process (SIGBUS) if the file shrinks below the page that is touched.
        // Shrinking: a live cyrus.index or cyrus.expunge is appended to in place and otherwise
        // replaced by rename; no Cyrus truncates one below start_offset + exists * record_size,
        // and `len` is at most that as the file's own header stated it. cyrus.sha1s is only ever
        // replaced by rename.
        // Changing: Cyrus's own readers map these files without a lock and live with a record
        // that is half old and half new. We do the same: bytes are only copied out as integers and
        // arrays, for which every bit pattern is a value; no decision about memory safety (a
        // length, an offset) is read from the map twice, all such are taken from a private copy of
        // the header.
        let map = unsafe { memmap2::MmapOptions::new().len(len).map(file)? };
        Ok(Self::Map(map))
    }

    /// The same, but a small file is read: a map, its page faults and its end, which all cores have to be
    /// told of, take longer than the copy. Only for files that nobody changes in place.
    pub(crate) fn map_or_read(file: &File, len: usize) -> std::io::Result<Self> {
        if len > READ_BELOW {
            return Self::map(file, len);
        }
        let mut bytes = vec![0; len];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(Self::Owned(bytes))
    }

    /// Tells the kernel that the map will be read once from front to back.
    pub(crate) fn advise_sequential(&self) {
        if let Self::Map(map) = self {
            // Advice only; a kernel that refuses it changes nothing.
            let _ = map.advise(memmap2::Advice::Sequential);
        }
    }

    /// Drops the pages of `range` from this process's memory; they are read again if touched again.
    pub(crate) fn release(&self, range: Range<usize>) {
        let Self::Map(map) = self else { return };
        let len = range.end.min(map.len()).saturating_sub(range.start);
        if len == 0 {
            return;
        }
        // SAFETY: on a shared, read-only map of a file MADV_DONTNEED loses nothing: the next access
        // faults the page in from the file again.
        let _ = unsafe {
            map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, range.start, len)
        };
    }
}

impl Deref for Bytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Self::Map(map) => map,
            Self::Owned(bytes) => bytes,
        }
    }
}
