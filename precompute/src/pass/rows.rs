//! The entries of one mailbox while they are collected, in flat memory.
//!
//! Each has a slot of its own. Slots are in order of UID and filled in any order; an empty one has
//! UID 0, which no message has. The slots of a giant mailbox move to an unnamed file (`O_TMPFILE`)
//! in the mailbox's directory, which the kernel removes however the process ends. Where the file
//! system has no such files they stay in memory.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use indexfile::dir::Dir;
use indexfile::{IoContext as _, IoError};
use rustix::fs::{Mode, OFlags};

use crate::cache::{Cache, Entry};

/// How many slots are held in memory before they move to the file; about 1 MiB.
const IN_MEMORY: usize = 16 * 1024;
/// How many are read back at a time.
const READ_BACK: usize = 1024;

/// Entries in slots.
#[derive(Debug, Default)]
pub struct Rows {
    memory: Vec<Entry>,
    /// All slots, once there are too many for `memory`, which is empty then.
    spill: Option<File>,
    no_spill: bool,
    /// Slots up to the last one that was filled.
    slots: usize,
    /// The directory, for messages.
    path: PathBuf,
}

impl Rows {
    /// Whether no slot was filled.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots == 0
    }

    /// Fills slots; `entries` is empty afterwards. `dir` is where a file may be made.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn put(&mut self, entries: &mut Vec<(usize, Entry)>, dir: &Dir) -> Result<(), IoError> {
        entries.sort_by_key(|(slot, _)| *slot);
        let Some((last, _)) = entries.last() else {
            return Ok(());
        };
        self.slots = self.slots.max(last + 1);
        if self.slots > IN_MEMORY && self.spill.is_none() && !self.no_spill {
            self.spill(dir)?;
        }
        let Some(file) = &self.spill else {
            self.memory.resize(self.slots, Entry::default());
            for (slot, entry) in entries.drain(..) {
                self.memory[slot] = entry;
            }
            return Ok(());
        };
        for run in entries.chunk_by(|(a, _), (b, _)| a + 1 == *b) {
            write(file, run[0].0, run.iter().map(|(_, entry)| entry))
                .io_context("write a temporary file in", &self.path)?;
        }
        entries.clear();
        Ok(())
    }

    /// Moves all slots from memory to a file.
    fn spill(&mut self, dir: &Dir) -> Result<(), IoError> {
        let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
        let Ok(fd) = rustix::fs::openat(dir, ".", flags, Mode::RUSR | Mode::WUSR) else {
            self.no_spill = true;
            return Ok(());
        };
        dir.path().clone_into(&mut self.path);
        let file = File::from(fd);
        write(&file, 0, std::mem::take(&mut self.memory).iter())
            .io_context("write a temporary file in", &self.path)?;
        self.spill = Some(file);
        Ok(())
    }

    /// All entries by slot; an item is an error if the file cannot be read.
    pub fn iter(&self) -> impl Iterator<Item = Result<Entry, IoError>> + '_ {
        let slots = if self.spill.is_some() { self.slots } else { 0 };
        let spilled = (0..slots).step_by(READ_BACK);
        let spilled = spilled.flat_map(|first| match self.read_back(first) {
            Ok(entries) => entries.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error)],
        });
        let all = spilled.chain(self.memory.iter().copied().map(Ok));
        all.filter(|entry| entry.as_ref().map_or(true, |entry| entry.uid != 0))
    }

    /// All entries, and those of `old` that have another UID, in order of UID. An `old` that cannot
    /// be read to its end gives what comes before.
    pub fn with<'a>(
        &'a self,
        old: Option<&'a Cache>,
    ) -> impl Iterator<Item = Result<Entry, IoError>> + 'a {
        let old = old.into_iter().flat_map(Cache::iter);
        let mut old = old.map_while(Result::ok).peekable();
        let mut new = self.iter().peekable();
        std::iter::from_fn(move || {
            // An error comes before everything else.
            let uid = new.peek().map(|new| new.as_ref().map_or(0, |new| new.uid));
            while old.next_if(|old| Some(old.uid) == uid).is_some() {}
            match old.next_if(|old| uid.is_none_or(|uid| old.uid < uid)) {
                Some(old) => Some(Ok(old)),
                None => new.next(),
            }
        })
    }

    fn read_back(&self, first: usize) -> Result<Vec<Entry>, IoError> {
        let count = READ_BACK.min(self.slots - first);
        let mut bytes = vec![0; count * Entry::LEN];
        if let Some(file) = &self.spill {
            file.read_exact_at(&mut bytes, (first * Entry::LEN) as u64)
                .io_context("read a temporary file in", &self.path)?;
        }
        let entries = bytes.chunks_exact(Entry::LEN);
        Ok(entries.filter_map(Entry::read_from).collect())
    }
}

fn write<'a>(
    file: &File,
    slot: usize,
    entries: impl Iterator<Item = &'a Entry>,
) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    for entry in entries {
        entry.write_to(&mut bytes)?;
    }
    file.write_all_at(&bytes, (slot * Entry::LEN) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Stamp;
    use indexfile::Guid;

    /// The entry of a slot.
    fn entry(slot: usize) -> Entry {
        let uid = u32::try_from(slot).expect("small") * 2 + 1;
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
    fn entries_come_back_by_slot_in_whatever_order_they_came_and_leave_no_file() {
        let dir = tempfile::tempdir().expect("scratch");
        let open = Dir::open_root(dir.path()).expect("open");
        for slots in [100, 5 * IN_MEMORY] {
            let mut rows = Rows::default();
            // Batches from the middle outwards; one slot in 32 stays empty, one is filled twice.
            let batches: Vec<Vec<usize>> = (0..slots)
                .collect::<Vec<_>>()
                .chunks(97)
                .map(|batch| {
                    batch
                        .iter()
                        .copied()
                        .filter(|slot| slot % 32 != 5)
                        .collect()
                })
                .collect();
            let middle = batches.len() / 2;
            for batch in batches[middle..]
                .iter()
                .chain(batches[..=middle].iter().rev())
            {
                let mut batch: Vec<_> = batch.iter().map(|slot| (*slot, entry(*slot))).collect();
                rows.put(&mut batch, &open).expect("space");
                assert!(batch.is_empty());
            }
            let all: Result<Vec<Entry>, IoError> = rows.iter().collect();
            let filled = (0..slots).filter(|slot| slot % 32 != 5);
            assert!(all.expect("readable").into_iter().eq(filled.map(entry)));
            assert_eq!(rows.spill.is_some(), slots > IN_MEMORY && !rows.no_spill);
        }
        assert_eq!(std::fs::read_dir(dir.path()).expect("list").count(), 0);
    }
}
