//! Rows of one width in a file, in ascending order of the UID with which each begins, looked up a
//! block at a time.
//!
//! In memory are the first UID of each block and one block. Who asks in ascending order has each
//! block read once.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use indexfile::{IoContext as _, IoError};
use parking_lot::Mutex;

use crate::fs::Dir;

/// Rows that are read at a time.
const BLOCK: usize = 1024;

/// Rows of `N` bytes.
#[derive(Debug)]
pub(super) struct Rows<const N: usize> {
    file: File,
    /// For people.
    path: PathBuf,
    /// Where they begin in the file, in bytes.
    at: u64,
    count: usize,
    /// The first UID of each block.
    firsts: Vec<u32>,
    ordered: bool,
    last_uid: Option<u32>,
    /// The block that was read last: which, and its rows.
    last: Mutex<(usize, Vec<[u8; N]>)>,
}

/// The UID of a row: its first four bytes, big-endian.
pub(super) fn uid_of<const N: usize>(row: &[u8; N]) -> u32 {
    u32::from_be_bytes(*row.first_chunk().unwrap_or(&[0; 4]))
}

impl<const N: usize> Rows<N> {
    /// None yet.
    pub(super) fn new(file: File, path: &Path, at: u64) -> Rows<N> {
        Rows {
            file,
            path: path.to_owned(),
            at,
            count: 0,
            firsts: Vec::new(),
            ordered: true,
            last_uid: None,
            last: Mutex::default(),
        }
    }

    /// Takes note of the rows that are in the file, and shows them, a block at a time.
    ///
    /// # Errors
    /// They cannot be read.
    pub(super) fn scan(
        &mut self,
        count: usize,
        mut of: impl FnMut(&[[u8; N]]),
    ) -> Result<(), IoError> {
        self.count = count;
        for number in 0..count.div_ceil(BLOCK) {
            let block = self.block(number)?;
            self.firsts.extend(block.first().map(uid_of));
            let last = self.last_uid.into_iter();
            self.ordered &= last.chain(block.iter().map(uid_of)).is_sorted();
            self.last_uid = block.last().map(uid_of);
            of(&block);
        }
        Ok(())
    }

    /// Whether they were found in order.
    pub(super) fn in_order(&self) -> bool {
        self.ordered
    }

    /// Writes rows behind the others.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn append(&mut self, rows: &[[u8; N]]) -> Result<(), IoError> {
        let at = self.at + (self.count * N) as u64;
        let written = self.file.write_all_at(rows.as_flattened(), at);
        written.io_context("write a temporary file in", &self.path)?;
        for row in rows {
            if self.count.is_multiple_of(BLOCK) {
                self.firsts.push(uid_of(row));
            }
            self.count += 1;
        }
        Ok(())
    }

    /// How many blocks there are.
    fn blocks(&self) -> usize {
        self.firsts.len()
    }

    /// Reads a block.
    ///
    /// # Errors
    /// The system's.
    fn block(&self, number: usize) -> Result<Vec<[u8; N]>, IoError> {
        let from = number * BLOCK;
        let mut block = vec![[0; N]; self.count.saturating_sub(from).min(BLOCK)];
        let at = self.at + (from * N) as u64;
        let read = self.file.read_exact_at(block.as_flattened_mut(), at);
        read.io_context("read", &self.path)?;
        Ok(block)
    }

    /// Calls `of` with the rows of a UID, in their order.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn of(&self, uid: u32, mut of: impl FnMut(&[u8; N])) -> Result<(), IoError> {
        // They may begin at the end of the block before the first that begins with the UID.
        let begin = self.firsts.partition_point(|first| *first < uid);
        let mut number = begin.saturating_sub(1);
        while self.firsts.get(number).is_some_and(|first| *first <= uid) {
            // What a panic left is read anew, or is whole.
            let mut last = self.last.lock();
            let (which, rows) = &mut *last;
            if *which != number || rows.is_empty() {
                rows.clear();
                (*which, *rows) = (number, self.block(number)?);
            }
            let from = rows.partition_point(|row| uid_of(row) < uid);
            rows[from..]
                .iter()
                .take_while(|row| uid_of(row) == uid)
                .for_each(&mut of);
            number += 1;
        }
        Ok(())
    }

    /// The only row of a UID.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn get(&self, uid: u32) -> Result<Option<[u8; N]>, IoError> {
        let mut found = None;
        self.of(uid, |row| found = Some(*row))?;
        Ok(found)
    }
}

/// Rows in memory before they are spilled: some 10 MiB.
pub(super) const IN_MEMORY: usize = 1 << 18;

/// Rows as they come: the last ones in memory, those before them in a file of our own without a
/// name (`O_TMPFILE`), of which a crash leaves nothing. Where there are no such files all stay in
/// memory.
#[derive(Debug)]
pub(super) struct Spill<const N: usize> {
    /// Those in memory.
    pub(super) rows: Vec<[u8; N]>,
    /// Those before them.
    pub(super) spilled: Option<Rows<N>>,
    in_memory_only: bool,
}

// A derived one would ask for arrays of any length to have a default.
impl<const N: usize> Default for Spill<N> {
    fn default() -> Spill<N> {
        Spill {
            rows: Vec::new(),
            spilled: None,
            in_memory_only: false,
        }
    }
}

impl<const N: usize> Spill<N> {
    /// Takes one; `dir` is where a file may be made.
    ///
    /// # Errors
    /// They cannot be written.
    pub(super) fn push(&mut self, dir: &Dir, row: [u8; N]) -> Result<(), IoError> {
        if self.rows.len() >= IN_MEMORY && !self.in_memory_only {
            self.flush(dir)?;
        }
        self.rows.push(row);
        Ok(())
    }

    fn flush(&mut self, dir: &Dir) -> Result<(), IoError> {
        if self.spilled.is_none() {
            match dir.create_nameless() {
                Ok(Some(file)) => self.spilled = Some(Rows::new(file, dir.path(), 0)),
                _ => self.in_memory_only = true,
            }
        }
        let Some(spilled) = &mut self.spilled else {
            return Ok(());
        };
        spilled.append(&self.rows)?;
        self.rows.clear();
        Ok(())
    }

    /// Calls `of` with all of them, in their order, some at a time.
    ///
    /// # Errors
    /// They cannot be read back; or of `of`.
    pub(super) fn each(
        &self,
        mut of: impl FnMut(&[[u8; N]]) -> Result<(), IoError>,
    ) -> Result<(), IoError> {
        if let Some(spilled) = &self.spilled {
            for number in 0..spilled.blocks() {
                of(&spilled.block(number)?)?;
            }
        }
        of(&self.rows)
    }

    /// Whether no row had to stay in memory.
    #[cfg(test)]
    pub(super) fn is_bounded(&self) -> bool {
        self.rows.len() <= IN_MEMORY || self.in_memory_only
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_in_any_order_also_those_of_one_uid_in_two_blocks() {
        let row = |uid: u32, n: u32| -> [u8; 8] {
            let mut row = [0; 8];
            row[..4].copy_from_slice(&uid.to_be_bytes());
            row[4..].copy_from_slice(&n.to_be_bytes());
            row
        };
        // UID 2i has i % 3 rows, and one has more than a block of them.
        let mut all: Vec<[u8; 8]> = Vec::new();
        for i in 0..2000_u32 {
            let rows = if i == 700 { 1500 } else { i % 3 };
            all.extend((0..rows).map(|n| row(i * 2, n)));
        }
        let mut rows = Rows::<8>::new(tempfile::tempfile().unwrap(), Path::new("x"), 5);
        for part in all.chunks(777) {
            rows.append(part).unwrap();
        }
        let uids = 0..4003_u32;
        for uid in uids.clone().chain(uids.rev().step_by(97)) {
            let mut found = Vec::new();
            rows.of(uid, |row| found.push(*row)).unwrap();
            let expected: Vec<_> = all.iter().filter(|r| uid_of(r) == uid).copied().collect();
            assert_eq!(found, expected, "{uid}");
        }
        let read: Vec<_> = (0..rows.blocks())
            .flat_map(|n| rows.block(n).unwrap())
            .collect();
        assert_eq!(read, all);
    }
}
