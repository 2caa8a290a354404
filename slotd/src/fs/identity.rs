//! Which file it is, for longer than a handle to it is open.
//!
//! While nobody has a file open its inode number may be given to the next file that is made, and
//! usually is. The time of its birth tells the two apart: it is set when the inode is made, goes to
//! disk with it, and nothing changes it. (The modification time would not do: Cyrus writes into
//! live files in place.) A device number is no help, as it may be another one after the next boot.

use std::io;
use std::os::fd::AsFd;

use indexfile::{IoContext, IoError};
use rustix::fs::{AtFlags, Statx, StatxFlags, statx};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::Dir;

/// A file as the intent log remembers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// Device number; counts only where there is no birth time.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// When it was made, nanoseconds since 1970; none if the file system does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub born: Option<u64>,
}

impl Identity {
    /// Of an open file or directory.
    ///
    /// # Errors
    /// statx failed.
    pub fn of(file: impl AsFd) -> io::Result<Identity> {
        let flags = AtFlags::EMPTY_PATH;
        Ok(Self::stat(file, "", flags)?)
    }

    fn stat(at: impl AsFd, name: &str, flags: AtFlags) -> Result<Identity, Errno> {
        let stat = statx(&at, name, flags, StatxFlags::INO | StatxFlags::BTIME);
        Self::of_stat(&stat, at, name, flags)
    }

    /// From what statx said.
    fn of_stat(
        stat: &Result<Statx, Errno>,
        at: impl AsFd,
        name: &str,
        flags: AtFlags,
    ) -> Result<Identity, Errno> {
        let stat = match stat {
            // Linux before 4.11, or a sandbox that does not know the call.
            Err(Errno::NOSYS | Errno::PERM) => return Self::without_birth(at, name, flags),
            Err(errno) => return Err(*errno),
            Ok(stat) => stat,
        };
        let known = StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::BTIME);
        let seconds = u64::try_from(stat.stx_btime.tv_sec).ok();
        let born = seconds.filter(|_| known).and_then(|s| {
            s.checked_mul(1_000_000_000)?
                .checked_add(stat.stx_btime.tv_nsec.into())
        });
        Ok(Identity {
            dev: rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor),
            ino: stat.stx_ino,
            born,
        })
    }

    /// As where the file system does not say when a file was made.
    fn without_birth(at: impl AsFd, name: &str, flags: AtFlags) -> Result<Identity, Errno> {
        let stat = rustix::fs::statat(at, name, flags)?;
        Ok(Identity {
            dev: stat.st_dev,
            ino: stat.st_ino,
            born: None,
        })
    }

    /// Whether it is the same file beyond doubt: the birth times are known, and equal.
    #[must_use]
    pub fn is_surely(&self, other: &Identity) -> bool {
        self.born.is_some() && self.born == other.born && self.ino == other.ino
    }

    /// Whether it is the same file, as far as can be known.
    #[must_use]
    pub fn is(&self, other: &Identity) -> bool {
        self.ino == other.ino
            && match (self.born, other.born) {
                (Some(one), Some(other)) => one == other,
                _ => self.dev == other.dev,
            }
    }
}

impl Dir {
    /// Which file lies under a name now; a link is not followed.
    ///
    /// # Errors
    /// The system's.
    pub fn identity(&self, name: &str) -> Result<Option<Identity>, IoError> {
        match Identity::stat(self, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(identity) => Ok(Some(identity)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(io::Error::from(errno)).io_context("stat", &self.path_of(name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn a_file_that_got_the_number_of_another_is_another() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("file");
        let mut seen: Vec<Identity> = Vec::new();
        for round in 0..50 {
            let file = File::create_new(&path).unwrap();
            let identity = Identity::of(&file).unwrap();
            assert!(identity.is(&Identity::of(&file).unwrap()));
            if identity.born.is_none() {
                return; // nothing to tell them apart by: docs/recovery.md
            }
            assert!(!seen.iter().any(|s| s.is(&identity)), "round {round}");
            seen.push(identity);
            drop(file);
            std::fs::remove_file(&path).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(11));
        }
    }

    #[test]
    fn it_is_the_same_file_after_writes_a_rename_and_a_boot_that_numbers_devices_anew() {
        let tmp = tempfile::tempdir().unwrap();
        let dir = Dir::open_root(tmp.path()).unwrap();
        std::fs::write(tmp.path().join("a"), "one").unwrap();
        let before = dir.identity("a").unwrap().unwrap();
        std::fs::write(tmp.path().join("a"), "another").unwrap();
        std::fs::rename(tmp.path().join("a"), tmp.path().join("b")).unwrap();
        let after = dir.identity("b").unwrap().unwrap();
        assert!(before.is(&after));
        assert_eq!(dir.identity("a").unwrap(), None);
        let moved = Identity {
            dev: after.dev + 1,
            ..after
        };
        assert_eq!(before.is(&moved), before.born.is_some());
    }

    #[test]
    fn without_statx_a_file_is_known_by_device_and_number() {
        let tmp = tempfile::tempdir().unwrap();
        std::fs::write(tmp.path().join("a"), "one").unwrap();
        let dir = Dir::open_root(tmp.path()).unwrap();
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        let old = Identity::without_birth(&dir, "a", flags).unwrap();
        let new = dir.identity("a").unwrap().unwrap();
        assert_eq!((old.dev, old.ino, old.born), (new.dev, new.ino, None));
        assert!(old.is(&new));
        let file = File::open(tmp.path().join("a")).unwrap();
        assert_eq!(
            Identity::without_birth(&file, "", AtFlags::EMPTY_PATH),
            Ok(old)
        );
        // As an old kernel and a sandbox say it.
        for errno in [Errno::NOSYS, Errno::PERM] {
            assert_eq!(Identity::of_stat(&Err(errno), &dir, "a", flags), Ok(old));
        }
        let gone = Identity::of_stat(&Err(Errno::IO), &dir, "a", flags);
        assert_eq!(gone, Err(Errno::IO));
    }

    #[test]
    fn logs_without_birth_times_are_read() {
        let old: Identity = serde_json::from_str(r#"{"dev":3,"ino":7}"#).unwrap();
        assert!(old.is(&Identity {
            dev: 3,
            ino: 7,
            born: Some(1)
        }));
        assert!(!old.is(&Identity {
            dev: 4,
            ino: 7,
            born: Some(1)
        }));
    }
}
