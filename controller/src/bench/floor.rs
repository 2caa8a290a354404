//! The bare way: the least that any program has to do to replace an index durably on two hosts.
//!
//! For each mailbox, on one host and then on the other: a new file of the index's size is written
//! and synced, renamed over the old one, and the directory synced. No lock, no protocol, no
//! journal, no way back, nothing read. The files are its own, in the directories of the indexes:
//! where a directory lies on the disk decides much of what a sync costs.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use indexfile::{IoContext, IoError};
use parking_lot::Mutex;

/// Most that is written at once.
const CHUNK: usize = 64 << 10;

/// The file that is replaced, and its new one.
const NAMES: [&str; 2] = ["bench-floor", "bench-floor.NEW"];

/// The files of two hosts that are to be replaced; gone when this value is.
pub(super) struct Floor {
    mailboxes: Vec<Bare>,
}

/// One mailbox of the bare way.
pub(super) struct Bare {
    /// Its directory on one host and on the other.
    pub dirs: [PathBuf; 2],
    /// The size of its file, bytes.
    pub size: u64,
}

impl Floor {
    /// Makes a file of its size for each mailbox on both hosts.
    pub fn make(mailboxes: Vec<Bare>) -> Result<Self, IoError> {
        let floor = Self { mailboxes };
        for mailbox in &floor.mailboxes {
            for dir in &mailbox.dirs {
                let file = dir.join(NAMES[0]);
                let made = File::create(&file).and_then(|mut file| fill(&mut file, mailbox.size));
                made.io_context("write", &file)?;
            }
        }
        Ok(floor)
    }

    /// Replaces all of them, that many at once; mailboxes a second.
    pub fn replace(&self, at_once: usize, stop: &AtomicBool) -> Result<f64, IoError> {
        let (next, failed) = (AtomicUsize::new(0), Mutex::new(None));
        let start = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..at_once.max(1) {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed)
                        && let Some(mailbox) =
                            self.mailboxes.get(next.fetch_add(1, Ordering::Relaxed))
                    {
                        for dir in &mailbox.dirs {
                            let done = replace(dir, mailbox.size).io_context("replace in", dir);
                            if let Err(error) = done {
                                failed.lock().get_or_insert(error);
                                // The others have nothing left to do.
                                next.store(self.mailboxes.len(), Ordering::Relaxed);
                            }
                        }
                    }
                });
            }
        });
        let seconds = start.elapsed().as_secs_f64();
        match failed.into_inner() {
            Some(error) => Err(error),
            None => Ok(super::rate(self.mailboxes.len() as u64, seconds)),
        }
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        for dir in self.mailboxes.iter().flat_map(|mailbox| &mailbox.dirs) {
            for name in NAMES {
                // What is left goes with the whole directory of the bench.
                let _ = fs::remove_file(dir.join(name));
            }
        }
    }
}

fn replace(dir: &Path, size: u64) -> io::Result<()> {
    let [live, new] = NAMES.map(|name| dir.join(name));
    let mut file = File::create(&new)?;
    fill(&mut file, size)?;
    file.sync_data()?;
    fs::rename(&new, &live)?;
    File::open(dir)?.sync_all()
}

fn fill(file: &mut File, size: u64) -> io::Result<()> {
    static BYTES: [u8; CHUNK] = [0x5a; CHUNK];
    let mut left = size;
    while left > 0 {
        let now = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        file.write_all(&BYTES[..now])?;
        left -= now as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn mailboxes(root: &Path, sizes: &[u64]) -> Vec<Bare> {
        let each = |(n, size): (usize, &u64)| {
            let dirs = ["a", "b"].map(|host| root.join(host).join(n.to_string()));
            for dir in &dirs {
                fs::create_dir_all(dir).expect("made");
            }
            Bare { dirs, size: *size }
        };
        sizes.iter().enumerate().map(each).collect()
    }

    #[test]
    fn each_file_is_another_one_of_its_size_and_nothing_is_left_over() {
        let dir = tempfile::tempdir().expect("a directory");
        let sizes = [0, 1, CHUNK as u64 * 2 + 7];
        let floor = Floor::make(mailboxes(dir.path(), &sizes)).expect("made");
        let at = |host: &str, n: usize| dir.path().join(host).join(n.to_string());
        let file = |host, n| fs::metadata(at(host, n).join(NAMES[0])).expect("there");
        let inode = |host, n| file(host, n).ino();
        for at_once in [1, 16] {
            let before: Vec<_> = (0..3).map(|n| [inode("a", n), inode("b", n)]).collect();
            let rate = floor.replace(at_once, &AtomicBool::new(false));
            assert!(rate.expect("replaced") > 0.0);
            for (n, size) in sizes.iter().enumerate() {
                for (host, before) in ["a", "b"].into_iter().zip(before[n]) {
                    // The old one was there until the rename, so the new one has another number.
                    assert_ne!(inode(host, n), before);
                    assert_eq!(fs::read_dir(at(host, n)).expect("there").count(), 1);
                    assert_eq!(file(host, n).len(), *size);
                }
            }
        }
        drop(floor);
        assert_eq!(fs::read_dir(at("a", 2)).expect("there").count(), 0);
    }

    #[test]
    fn a_directory_that_is_gone_is_an_error_and_no_rate() {
        let dir = tempfile::tempdir().expect("a directory");
        let floor = Floor::make(mailboxes(dir.path(), &[10, 10])).expect("made");
        fs::remove_dir_all(dir.path().join("b/1")).expect("removed");
        let error = floor.replace(2, &AtomicBool::new(false)).expect_err("gone");
        assert!(error.path.ends_with("b/1"), "{error}");
    }
}
