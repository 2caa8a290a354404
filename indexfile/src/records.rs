//! Going over the records of a file: block by block without a copy, or one by one.

use crate::read_error::ReadError;
use crate::reader::{AT_ONCE, IndexFile};
use crate::record::{Block, Record};

impl IndexFile {
    /// The records, in the order of the file.
    #[must_use]
    pub fn records(&self) -> Records<'_> {
        Records {
            file: self,
            next: 0,
            end: self.num_records(),
            buffer: Vec::new(),
            read: 0..0,
        }
    }

    /// The records, many at a time: for callers that look at all of them.
    #[must_use]
    pub const fn blocks(&self) -> Blocks<'_> {
        Blocks {
            file: self,
            next: 0,
            buffer: Vec::new(),
        }
    }
}

/// The blocks of a file, in its order.
#[derive(Debug)]
pub struct Blocks<'a> {
    file: &'a IndexFile,
    next: u32,
    buffer: Vec<u8>,
}

impl Blocks<'_> {
    /// The next block; `None` behind the last.
    ///
    /// # Errors
    /// [`ReadError`]
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
