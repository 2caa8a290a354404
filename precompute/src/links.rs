//! Files with several names (Cyrus's single-instance store) are read once a run.
//!
//! [`Links`] remembers the SHA-1 of files that have more than one name, by device and inode, and
//! which of them are being read at this moment, so that two threads do not read the same file.
//! Memory is bounded: an entry goes when all names of its file were seen, or, when the table is
//! full, for a newer one (its file is then read again: time lost, nothing else). It is never saved.
//!
//! An entry is used only if size, mtime, ctime and inode are those of the file that was hashed.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::message::{Admission, FileStat, Stamp};
use indexfile::Guid;

/// How many files are remembered at most; about 12 MiB.
pub const DEFAULT_CAPACITY: usize = 96 * 1024;

/// The files with several names that this run has met.
#[derive(Debug)]
pub struct Links {
    table: Mutex<Table>,
    /// There are any.
    met: AtomicBool,
    finished: Condvar,
}

#[derive(Debug)]
struct Table {
    known: HashMap<Key, Known>,
    /// Files that some thread reads now; at most a few a thread.
    reading: HashMap<Key, Stamp>,
    capacity: usize,
}

type Key = (u64, u64);

#[derive(Debug)]
struct Known {
    guid: Guid,
    size: u64,
    stamp: Stamp,
    /// Names not yet seen.
    left: u64,
}

impl Links {
    /// A table for at most `capacity` files.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            table: Mutex::new(Table {
                known: HashMap::new(),
                reading: HashMap::new(),
                capacity: capacity.max(1),
            }),
            met: AtomicBool::new(false),
            finished: Condvar::new(),
        }
    }

    /// Whether this run has met a file with several names: then it looks before it reads.
    #[must_use]
    pub fn met(&self) -> bool {
        self.met.load(Ordering::Relaxed)
    }

    /// A file is open: read it, or use what is known, or put it aside while another thread reads
    /// it.
    #[must_use]
    pub fn opened(&self, stat: &FileStat) -> Admission {
        if stat.links < 2 {
            return Admission::Read;
        }
        self.met.store(true, Ordering::Relaxed);
        let key = (stat.device, stat.stamp.inode);
        let mut table = self.table.lock();
        if let Entry::Occupied(mut known) = table.known.entry(key) {
            let k = known.get_mut();
            if k.stamp == stat.stamp && k.size == stat.size {
                let guid = k.guid;
                k.left = k.left.saturating_sub(1);
                if k.left == 0 {
                    known.remove();
                }
                return Admission::Known(guid);
            }
            known.remove();
        }
        match table.reading.entry(key) {
            Entry::Occupied(_) => Admission::Deferred,
            Entry::Vacant(slot) => {
                slot.insert(stat.stamp);
                Admission::Read
            }
        }
    }

    /// A file that [`Links::opened`] said to read has been read, or could not be.
    pub fn closed(&self, stat: &FileStat, guid: Option<Guid>) {
        if stat.links < 2 {
            return;
        }
        let key = (stat.device, stat.stamp.inode);
        let mut table = self.table.lock();
        table.reading.remove(&key);
        if let Some(guid) = guid {
            if table.known.len() >= table.capacity {
                // Any one will do; the hash order is as good as random.
                if let Some(old) = table.known.keys().next().copied() {
                    table.known.remove(&old);
                }
            }
            let known = Known {
                guid,
                size: stat.size,
                stamp: stat.stamp,
                left: stat.links - 1,
            };
            table.known.insert(key, known);
        }
        drop(table);
        self.finished.notify_all();
    }

    /// Waits until some file is finished, or `bound` has passed.
    ///
    /// Only for a thread that has no file open itself, else two could wait for each other.
    pub fn wait(&self, bound: Duration) {
        let mut table = self.table.lock();
        if !table.reading.is_empty() {
            self.finished.wait_for(&mut table, bound);
        }
    }

    /// How many files are remembered now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.lock().known.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Default for Links {
    fn default() -> Self {
        Self::new(DEFAULT_CAPACITY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(inode: u64, links: u64, ctime_ns: i64) -> FileStat {
        FileStat {
            size: 10,
            stamp: Stamp {
                mtime_ns: 1,
                ctime_ns,
                inode,
            },
            device: 7,
            links,
        }
    }

    fn guid(n: u8) -> Guid {
        Guid::from_bytes([n; 20])
    }

    #[test]
    fn a_file_with_three_names_is_read_once_and_forgotten_after_the_third() {
        let links = Links::new(10);
        assert_eq!(links.opened(&stat(1, 3, 5)), Admission::Read);
        assert_eq!(links.opened(&stat(1, 3, 5)), Admission::Deferred);
        links.closed(&stat(1, 3, 5), Some(guid(9)));
        assert_eq!(links.opened(&stat(1, 3, 5)), Admission::Known(guid(9)));
        assert_eq!(links.opened(&stat(1, 3, 5)), Admission::Known(guid(9)));
        assert!(links.is_empty());
    }

    #[test]
    fn a_file_that_changed_since_is_read_again() {
        let links = Links::new(10);
        assert_eq!(links.opened(&stat(1, 3, 5)), Admission::Read);
        links.closed(&stat(1, 3, 5), Some(guid(9)));
        assert_eq!(links.opened(&stat(1, 3, 6)), Admission::Read);
    }

    #[test]
    fn a_file_that_could_not_be_read_is_free_for_the_next() {
        let links = Links::new(10);
        assert_eq!(links.opened(&stat(1, 2, 5)), Admission::Read);
        links.closed(&stat(1, 2, 5), None);
        assert_eq!(links.opened(&stat(1, 2, 5)), Admission::Read);
    }

    #[test]
    fn memory_is_bounded_and_single_names_cost_none() {
        let links = Links::new(100);
        for inode in 0..10_000 {
            assert_eq!(links.opened(&stat(inode, 1, 5)), Admission::Read);
            links.closed(&stat(inode, 1, 5), Some(guid(1)));
            assert_eq!(
                links.opened(&stat(1_000_000 + inode, 2, 5)),
                Admission::Read
            );
            links.closed(&stat(1_000_000 + inode, 2, 5), Some(guid(1)));
        }
        assert_eq!(links.len(), 100);
    }
}
