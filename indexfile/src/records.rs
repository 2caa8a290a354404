//! Going over the records of a file: block by block without a copy, or one by one.

use crate::layout::RecordSlots;
use crate::read_error::ReadError;
use crate::reader::IndexFile;
use crate::record::Record;

/// Records that are read at a time: 52 to 144 KiB. The same number whatever the version, so that
/// the blocks of a file and of its conversion hold the same records.
const AT_ONCE: u32 = 1024;

/// Some neighbouring records.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a> {
    first: u32,
    bytes: &'a [u8],
    size: usize,
    slots: &'a RecordSlots,
}

impl<'a> Block<'a> {
    pub(crate) const fn new(
        first: u32,
        bytes: &'a [u8],
        size: usize,
        slots: &'a RecordSlots,
    ) -> Self {
        Self {
            first,
            bytes,
            size,
            slots,
        }
    }

    /// The position of its first record in the file, from 0.
    #[must_use]
    pub const fn first(&self) -> u32 {
        self.first
    }

    /// Its bytes.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// How many records it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len() / self.size
    }

    /// None.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The same in pieces of so many records.
    pub fn pieces(&self, records: u16) -> impl Iterator<Item = Block<'a>> + use<'a> {
        let Self {
            first, size, slots, ..
        } = *self;
        let chunks = self.bytes.chunks(usize::from(records.max(1)) * size);
        let firsts = (first..).step_by(usize::from(records.max(1)));
        chunks
            .zip(firsts)
            .map(move |(bytes, first)| Self::new(first, bytes, size, slots))
    }

    /// Its records.
    #[must_use]
    pub fn records(&self) -> impl ExactSizeIterator<Item = Record<'a>> + use<'a> {
        let slots = self.slots;
        self.bytes
            .chunks_exact(self.size)
            .map(move |bytes| Record::new(bytes, slots))
    }
}

/// The blocks of a file, in its order.
#[derive(Debug)]
pub struct Blocks<'a> {
    file: &'a IndexFile,
    next: u32,
    buffer: Vec<u8>,
}

impl<'a> Blocks<'a> {
    pub(crate) const fn new(file: &'a IndexFile) -> Self {
        Self {
            file,
            next: 0,
            buffer: Vec::new(),
        }
    }

    /// The next block; `None` behind the last.
    ///
    /// # Errors
    /// [`ReadError::Io`] or [`ReadError::Changed`].
    pub fn read(&mut self) -> Result<Option<Block<'_>>, ReadError> {
        if self.next >= self.file.num_records() {
            return Ok(None);
        }
        let from = self.next;
        self.next = from.saturating_add(AT_ONCE);
        self.file.block(from, AT_ONCE, &mut self.buffer).map(Some)
    }
}

/// Iterator over the records of a file. An error is the last item.
#[derive(Debug)]
pub struct Records<'a> {
    file: &'a IndexFile,
    next: u32,
    end: u32,
    buffer: Vec<u8>,
    /// The records in the buffer.
    read: std::ops::Range<u32>,
}

impl<'a> Records<'a> {
    pub(crate) fn new(file: &'a IndexFile) -> Self {
        Self {
            file,
            next: 0,
            end: file.num_records(),
            buffer: Vec::new(),
            read: 0..0,
        }
    }

    fn get(&mut self, i: u32) -> Result<Record<'a>, ReadError> {
        let file = self.file;
        if file.is_in_memory() {
            // It is there, as `i` is below the number of records.
            let none = Record::new(&[], file.record_slots());
            return Ok(file.record(i)?.unwrap_or(none));
        }
        if !self.read.contains(&i) {
            self.read = 0..0;
            let block = file.block(i, AT_ONCE, &mut self.buffer)?;
            let count = u32::try_from(block.len()).unwrap_or(0);
            self.read = i..i + count;
        }
        let size = file.header().record_size() as usize;
        let at = (i - self.read.start) as usize * size;
        let bytes = self.buffer.get(at..at + size).unwrap_or_default();
        Ok(Record::held(bytes, file.record_slots()))
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.end {
            return None;
        }
        let record = self.get(self.next);
        self.next = if record.is_ok() {
            self.next + 1
        } else {
            self.end
        };
        Some(record)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = (self.end - self.next) as usize;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Records<'_> {}
