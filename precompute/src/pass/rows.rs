//! The entries of one mailbox while they are collected, in flat memory.
//!
//! The first [`IN_MEMORY`] stay in memory; those of a giant mailbox go, in order, to an unnamed
//! file (`O_TMPFILE`) in the mailbox's directory, which the kernel removes however we end. Where
//! the file system has no such files they stay in memory after all.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use indexfile::dir::Dir;
use indexfile::{IoContext as _, IoError};
use rustix::fs::{Mode, OFlags};

use crate::cache::Entry;

/// How many entries are held in memory before they are spilled; about 1 MiB.
const IN_MEMORY: usize = 16 * 1024;
/// How many are read back at a time.
const READ_BACK: usize = 1024;

/// Entries in the order in which they were pushed.
#[derive(Debug, Default)]
pub struct Rows {
    memory: Vec<Entry>,
    spill: Option<File>,
    spilled: usize,
    no_spill: bool,
    /// The directory, for messages.
    path: PathBuf,
}

impl Rows {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.spilled + self.memory.len()
    }

    /// Adds entries; `dir` is where a spill file may be made.
    ///
    /// # Errors
    /// If the spill file cannot be written.
    pub fn extend(
        &mut self,
        entries: impl IntoIterator<Item = Entry>,
        dir: &Dir,
    ) -> Result<(), IoError> {
        self.memory.extend(entries);
        if self.memory.len() >= IN_MEMORY && !self.no_spill {
            self.flush(dir)?;
        }
        Ok(())
    }

    fn flush(&mut self, dir: &Dir) -> Result<(), IoError> {
        if self.spill.is_none() {
            let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
            match rustix::fs::openat(dir, ".", flags, Mode::RUSR | Mode::WUSR) {
                Ok(fd) => {
                    self.spill = Some(File::from(fd));
                    dir.path().clone_into(&mut self.path);
                }
                Err(_) => self.no_spill = true,
            }
        }
        let Some(file) = &self.spill else {
            return Ok(());
        };
        let mut bytes = Vec::with_capacity(self.memory.len() * Entry::LEN);
        for entry in &self.memory {
            // Memory takes everything.
            let _ = entry.write_to(&mut bytes);
        }
        file.write_all_at(&bytes, (self.spilled * Entry::LEN) as u64)
            .io_context("write a temporary file in", &self.path)?;
        self.spilled += self.memory.len();
        self.memory.clear();
        Ok(())
    }

    /// All entries, from the first; an item is an error if the spill file cannot be read.
    pub fn iter(&self) -> impl Iterator<Item = Result<Entry, IoError>> + '_ {
        let batches = (0..self.spilled).step_by(READ_BACK);
        let spilled = batches.flat_map(|first| match self.read_back(first) {
            Ok(entries) => entries.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error)],
        });
        spilled.chain(self.memory.iter().copied().map(Ok))
    }

    fn read_back(&self, first: usize) -> Result<Vec<Entry>, IoError> {
        let count = READ_BACK.min(self.spilled - first);
        let mut bytes = vec![0; count * Entry::LEN];
        if let Some(file) = &self.spill {
            file.read_exact_at(&mut bytes, (first * Entry::LEN) as u64)
                .io_context("read a temporary file in", &self.path)?;
        }
        Ok(bytes
            .chunks_exact(Entry::LEN)
            .filter_map(Entry::read_from)
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Stamp;
    use indexfile::Guid;

    fn entry(uid: u32) -> Entry {
        Entry {
            uid,
            size: u64::from(uid) << 20,
            stamp: Stamp {
                mtime_ns: -1,
                ctime_ns: i64::from(uid) << 30,
                inode: u64::MAX,
            },
            guid: Guid::from_bytes([uid.to_be_bytes()[3]; 20]),
        }
    }

    #[test]
    fn entries_come_back_in_order_however_many_and_leave_no_file() {
        let dir = tempfile::tempdir().expect("scratch");
        let open = Dir::open_root(dir.path()).expect("open");
        let mut rows = Rows::default();
        let mut uid = 0;
        for round in 0..6u32 {
            let batch: Vec<Entry> = (0..=round * 9_000)
                .map(|_| {
                    uid += 1;
                    entry(uid)
                })
                .collect();
            rows.extend(batch, &open).expect("room");
            let all: Result<Vec<Entry>, IoError> = rows.iter().collect();
            let all = all.expect("readable");
            assert_eq!(all.len(), rows.len());
            assert!(all.iter().zip(1..).all(|(e, uid)| *e == entry(uid)));
        }
        assert!(rows.spilled > 0 || rows.no_spill);
        assert_eq!(std::fs::read_dir(dir.path()).expect("list").count(), 0);
    }
}
