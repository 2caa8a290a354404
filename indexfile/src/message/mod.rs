//! Message files, opened by UID relative to their directory.
//!
//! What is promised: a [`Hashed`] describes bytes that were on disk, unchanged, from before the
//! first to after the last of them was read, and its [`Stamp`] will differ after any later change.
//! Only regular files are read; a symbolic link is never followed; no access time is changed where
//! the system allows that. Nothing is written, and a crash leaves nothing.

mod error;
mod names;

pub use crate::sha1s::Stamp;
pub use error::MessageError;
pub use names::uid_of;

use crate::guid::Guid;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use sha1::{Digest, Sha1};
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// A directory that holds the messages `1.`, `2.`, ... of one mailbox.
#[derive(Debug)]
pub struct Spool {
    dir: OwnedFd,
    path: PathBuf,
    /// Cleared at the first refusal: only the owner of a file may ask for `O_NOATIME`.
    noatime: AtomicBool,
    local_times: OnceLock<Option<u64>>,
}

/// The SHA-1 of a message and the file it was computed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hashed {
    /// SHA-1 of all the bytes of the file.
    pub guid: Guid,
    /// Length of the file in bytes.
    pub size: u64,
    /// What distinguishes this file, in this state, from any other.
    pub stamp: Stamp,
}

/// What the system says about a message file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStat {
    /// Length in bytes.
    pub size: u64,
    /// What distinguishes the file, in this state, from any other.
    pub stamp: Stamp,
    /// Number of the file system (does not outlive a reboot, so no part of the stamp).
    pub device: u64,
    /// How many names the file has; more than one in a single-instance store.
    pub links: u64,
}

impl FileStat {
    /// What `stat` says of a message; `path` is for the error.
    ///
    /// # Errors
    /// [`MessageError::NotRegular`]
    pub fn of(stat: &Stat, path: impl FnOnce() -> PathBuf) -> Result<Self, MessageError> {
        let what = match FileType::from_raw_mode(stat.st_mode) {
            // A number of IMAP has 32 bits: no server can have taken it in, and reading a hole of
            // a terabyte takes as long as if something were there.
            FileType::RegularFile if u32::try_from(stat.st_size).is_err() => {
                "a file of more than 4 GiB"
            }
            FileType::RegularFile => {
                #[allow(clippy::useless_conversion)]
                // st_nlink has other widths on other processors
                let links = u64::from(stat.st_nlink);
                return Ok(Self {
                    size: u64::try_from(stat.st_size).unwrap_or_default(),
                    stamp: Stamp {
                        mtime_ns: nanoseconds(stat.st_mtime, stat.st_mtime_nsec),
                        ctime_ns: nanoseconds(stat.st_ctime, stat.st_ctime_nsec),
                        inode: stat.st_ino,
                    },
                    device: stat.st_dev,
                    links,
                });
            }
            FileType::Directory => "a directory",
            FileType::Symlink => "a symbolic link",
            FileType::Fifo => "a pipe",
            FileType::Socket => "a socket",
            _ => "a device",
        };
        Err(MessageError::NotRegular { path: path(), what })
    }
}

/// Nanoseconds since 1970; the years after 2262 all look the same, which only means hashing again.
fn nanoseconds(seconds: i64, nanos: impl TryInto<i64>) -> i64 {
    seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(nanos.try_into().unwrap_or_default())
}

/// The name of the message file of a UID, as Cyrus has it: decimal, a dot behind.
struct FileName {
    bytes: [u8; 12],
}

impl FileName {
    fn new(uid: u32) -> Self {
        let mut bytes = [0; 12]; // ten digits, the dot, and the NUL
        let mut rest = uid;
        let mut digits = uid.checked_ilog10().unwrap_or(0) as usize + 1;
        bytes[digits] = b'.';
        while digits > 0 {
            digits -= 1;
            bytes[digits] = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        Self { bytes }
    }

    fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or_default()
    }
}

impl Spool {
    /// Opens the directory `path`.
    ///
    /// # Errors
    /// [`MessageError::NoSpool`] if it is not there, else as the system says.
    pub fn open(path: &Path) -> Result<Self, MessageError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(dir) => Ok(Self::from_fd(dir, path.to_owned())),
            Err(errno) => Err(MessageError::spool(path, errno)),
        }
    }

    /// Uses a directory that is open already (`O_PATH` is enough); `path` is for messages to
    /// people.
    #[must_use]
    pub fn from_fd(dir: OwnedFd, path: PathBuf) -> Self {
        Self {
            dir,
            path,
            noatime: AtomicBool::new(true),
            local_times: OnceLock::new(),
        }
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// Where the directory is, for people.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the message of `uid` is, for people.
    #[must_use]
    pub fn path_of(&self, uid: u32) -> PathBuf {
        self.path.join(format!("{uid}."))
    }

    /// Looks at a message without opening it.
    ///
    /// # Errors
    /// [`MessageError::Missing`], or that it is no regular file, or as the system says.
    pub fn stat(&self, uid: u32) -> Result<FileStat, MessageError> {
        let name = FileName::new(uid);
        match rustix::fs::statat(&self.dir, name.as_c_str(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => FileStat::of(&stat, || self.path_of(uid)),
            Err(errno) => Err(MessageError::of(self.path_of(uid), "look at", errno)),
        }
    }

    /// The device, if its file system is known to stamp its files from this machine's clock.
    pub fn local_times(&self) -> Option<u64> {
        let dir = self.dir();
        *self.local_times.get_or_init(|| local_times(dir))
    }

    /// Opens a message for reading; what it is, is still to be looked at.
    ///
    /// # Errors
    /// As [`Spool::stat`].
    pub fn open_message(&self, uid: u32) -> Result<OwnedFd, MessageError> {
        // O_NONBLOCK: a FIFO in the place of a message must not hang us.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let name = FileName::new(uid);
        let open = |flags| rustix::fs::openat(&self.dir, name.as_c_str(), flags, Mode::empty());
        let fd = if self.noatime.load(Ordering::Relaxed) {
            match open(flags | OFlags::NOATIME) {
                Err(Errno::PERM) => {
                    self.noatime.store(false, Ordering::Relaxed);
                    open(flags)
                }
                other => other,
            }
        } else {
            open(flags)
        };
        fd.map_err(|errno| MessageError::of(self.path_of(uid), "open", errno))
    }

    /// Hashes one message. The `Hasher` of `precompute` is several times faster for many.
    ///
    /// # Errors
    /// As [`Spool::stat`], and [`MessageError::Unstable`] if the file changed while it was read.
    pub fn hash(&self, uid: u32) -> Result<Hashed, MessageError> {
        let path = || self.path_of(uid);
        let fd = self.open_message(uid)?;
        let look = || match rustix::fs::fstat(&fd) {
            Ok(stat) => FileStat::of(&stat, path),
            Err(errno) => Err(MessageError::of(path(), "look at", errno)),
        };
        let before = look()?;
        let (mut sha1, mut size, mut buffer) = (Sha1::new(), 0, vec![0; 64 << 10]);
        loop {
            match rustix::io::read(&fd, &mut buffer[..]) {
                Ok(0) => break,
                Ok(n) => {
                    sha1.update(&buffer[..n]);
                    size += n as u64;
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(MessageError::of(path(), "read", errno)),
            }
        }
        if look()? != before || size != before.size {
            return Err(MessageError::Unstable { path: path() });
        }
        Ok(Hashed {
            guid: Guid::from_bytes(sha1.finalize().into()),
            size,
            stamp: before.stamp,
        })
    }
}

/// The device of `dir`, if its file system is one that stamps its files from this machine's clock.
#[must_use]
pub fn local_times(dir: BorrowedFd<'_>) -> Option<u64> {
    const LOCAL: [i64; 6] = [
        0xef53,      // ext2, ext3, ext4
        0x5846_5342, // XFS
        0x9123_683e, // btrfs
        0x0102_1994, // tmpfs
        0x2fc1_2fc1, // ZFS
        0xf2f5_2010, // F2FS
    ];
    #[allow(clippy::useless_conversion)] // f_type has other types on other processors
    let kind = i64::try_from(rustix::fs::fstatfs(dir).ok()?.f_type).ok()?;
    let device = || Some(rustix::fs::fstat(dir).ok()?.st_dev);
    LOCAL.contains(&kind).then(device)?
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn file_names_are_those_of_cyrus() {
        for uid in [0, 1, 9, 10, 4_294_967_295] {
            let name = FileName::new(uid);
            assert_eq!(name.as_c_str().to_str(), Ok(format!("{uid}.").as_str()));
        }
    }

    #[test]
    fn a_guid_is_the_sha1_of_a_regular_file_and_of_nothing_else() {
        let dir = tempfile::tempdir().expect("tempdir");
        std::fs::write(dir.path().join("1."), b"abc").expect("write");
        symlink("1.", dir.path().join("2.")).expect("symlink");
        std::fs::create_dir(dir.path().join("3.")).expect("mkdir");
        let spool = Spool::open(dir.path()).expect("open");
        let message = spool.hash(1).expect("regular");
        let sha1 = "a9993e364706816aba3e25717850c26c9cd0d89d";
        assert_eq!(message.guid.to_string(), sha1);
        let stat = spool.stat(1).expect("regular");
        assert_eq!((stat.size, stat.stamp), (3, message.stamp));
        for uid in [2, 3] {
            let error = spool.hash(uid).expect_err("not regular");
            assert!(matches!(error, MessageError::NotRegular { .. }), "{error}");
        }
        let missing = spool.hash(4);
        assert!(matches!(missing, Err(MessageError::Missing { .. })));
        let none = Spool::open(&dir.path().join("none"));
        assert!(matches!(none, Err(MessageError::NoSpool { .. })));
    }
}
