//! A new cache between being written and being in place, and how many of them become durable at once.
//!
//! A cache is renamed into place only after it was synced, so that a power cut leaves the old one or the new one,
//! whole. An `fsync` for each small mailbox is a tenth of a pass over small mail; one `syncfs` for a group of them costs
//! little more than one of those. But `syncfs` writes what others changed in that file system too, so it is used
//! for groups only, not while much waits to be written ([`MUCH_DIRTY`]), and no more once it took [`TOO_LONG`].
//!
//! What a crash leaves: files named [`TEMPORARY`], which the next run removes.

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::AtFlags;
use rustix::io::Errno;

use super::FILE_NAME;
use super::store::{StoreError, TEMPORARY, error};
use crate::proc::kib;

/// If a `syncfs` takes longer, somebody else writes much here: from then on each cache is synced for itself.
const TOO_LONG: Duration = Duration::from_millis(500);

/// While more than so many bytes wait to be written on this machine, each cache is synced for itself.
const MUCH_DIRTY: u64 = 32 << 20;

/// A whole new cache under [`TEMPORARY`], not synced yet. Unless it is placed, it is removed when dropped.
#[derive(Debug)]
pub struct Written {
    dir: OwnedFd,
    fd: OwnedFd,
    /// Of the temporary file, for people.
    path: PathBuf,
    device: u64,
    /// Before the file was opened.
    began: Instant,
    placed: bool,
}

impl Drop for Written {
    fn drop(&mut self) {
        if !self.placed {
            // A failed sync is final for the file: it goes, and is not tried again.
            let _ = rustix::fs::unlinkat(&self.dir, TEMPORARY, AtFlags::empty());
        }
    }
}

impl Written {
    /// Takes charge of the temporary file `fd` (and its device), which is still to be filled, in `dir`.
    pub(super) fn new(
        dir: OwnedFd,
        (fd, device): (OwnedFd, u64),
        path: PathBuf,
        began: Instant,
    ) -> Self {
        Self {
            dir,
            fd,
            path,
            device,
            began,
            placed: false,
        }
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Syncs it and puts it in the place of the old one.
    ///
    /// # Errors
    /// [`StoreError`]; the old cache is then as it was, and the temporary file is gone.
    pub fn place(self) -> Result<(), StoreError> {
        rustix::fs::fsync(&self.fd).map_err(|errno| error("sync", &self.path, errno))?;
        self.rename()
    }

    fn rename(mut self) -> Result<(), StoreError> {
        rustix::fs::renameat(&self.dir, TEMPORARY, &self.dir, FILE_NAME)
            .map_err(|errno| error("rename", &self.path, errno))?;
        self.placed = true;
        Ok(())
    }
}

/// Puts groups of caches in place; one for a run.
#[derive(Debug)]
pub struct Placer {
    /// Each for itself.
    apart: AtomicBool,
}

impl Placer {
    /// One that uses `syncfs` where that tells of failed writes, which it does from Linux 5.8 on.
    #[must_use]
    pub fn new() -> Self {
        let release = rustix::system::uname();
        Self {
            apart: AtomicBool::new(!syncfs_tells(release.release().to_bytes())),
        }
    }

    /// Syncs and places them all, and tells of each what came of it; they have labels.
    ///
    /// If one of those that are synced together cannot be, none of them is placed.
    pub fn place<L>(&self, group: Vec<(L, Written)>) -> Vec<(L, Result<(), StoreError>)> {
        let mut devices: BTreeMap<u64, Vec<(L, Written)>> = BTreeMap::new();
        for (label, written) in group {
            let device = devices.entry(written.device).or_default();
            device.push((label, written));
        }
        let placed = devices.into_values().flat_map(|group| {
            let synced = if self.together(group.len()) {
                self.sync(&group)
            } else {
                None
            };
            group.into_iter().map(move |(label, written)| {
                let result = match synced {
                    None => written.place(),
                    Some(Ok(())) => written.rename(),
                    Some(Err(errno)) => Err(error("sync", &written.path, errno)),
                };
                (label, result)
            })
        });
        placed.collect()
    }

    fn together(&self, count: usize) -> bool {
        let dirty = || std::fs::read_to_string("/proc/meminfo").map_or(0, |text| dirty(&text));
        count > 1 && !self.apart.load(Ordering::Relaxed) && dirty() < MUCH_DIRTY
    }

    /// `None` if they are to be synced one by one.
    fn sync<L>(&self, group: &[(L, Written)]) -> Option<Result<(), Errno>> {
        // It tells of failures since the file that it is called with was opened: so, of all of theirs.
        let first = group.iter().min_by_key(|(_, written)| written.began)?;
        let start = Instant::now();
        let result = rustix::fs::syncfs(&first.1.fd);
        if start.elapsed() > TOO_LONG {
            self.apart.store(true, Ordering::Relaxed);
        }
        Some(result)
    }
}

impl Default for Placer {
    fn default() -> Self {
        Self::new()
    }
}

/// Bytes that are changed or being written, according to `/proc/meminfo`.
fn dirty(meminfo: &str) -> u64 {
    kib(meminfo, "Dirty:")
        .saturating_add(kib(meminfo, "Writeback:"))
        .saturating_mul(1024)
}

/// Whether a kernel of this release tells by `syncfs` that something could not be written.
fn syncfs_tells(release: &[u8]) -> bool {
    let number = |part: &[u8]| {
        let end = part.iter().position(|b| !b.is_ascii_digit());
        let digits = &part[..end.unwrap_or(part.len())];
        std::str::from_utf8(digits).ok()?.parse::<u32>().ok()
    };
    let mut parts = release.split(|b| *b == b'.').map(number);
    matches!((parts.next(), parts.next()), (Some(Some(major)), Some(Some(minor))) if (major, minor) >= (5, 8))
}

#[cfg(test)]
mod tests {
    use super::{dirty, syncfs_tells};

    #[test]
    fn what_waits_to_be_written_is_read_as_the_kernel_tells_it() {
        let text = "MemTotal:       24607128 kB\nDirty:               132 kB\nWriteback:             4 kB\n\
                    AnonPages:        300000 kB\nWritebackTmp:          7 kB\n";
        assert_eq!(dirty(text), 136 << 10);
        assert_eq!(dirty(""), 0);
        let now = std::fs::read_to_string("/proc/meminfo").expect("meminfo");
        assert!(now.contains("\nDirty:") && now.contains("\nWriteback:"));
    }

    #[test]
    fn kernels_before_5_8_are_not_relied_on_to_tell_of_failed_writes() {
        for tells in ["5.8.0", "5.10.0-28-amd64", "6.1", "6.18.44-x", "10.0"] {
            assert!(syncfs_tells(tells.as_bytes()), "{tells}");
        }
        for silent in ["5.7.19", "4.19.0-26", "3.10.0-1160.el7", "", "x.y", "6"] {
            assert!(!syncfs_tells(silent.as_bytes()), "{silent}");
        }
    }
}
