//! Message files, opened by UID relative to their directory.
//!
//! What is promised: a [`Hashed`] describes bytes that were on disk, unchanged, from before the
//! first to after the last of them was read, and its [`Stamp`] will differ after any later change.
//! Only regular files are read; a symbolic link is never followed; no access time is changed where
//! the system allows that. Nothing is written, and a crash leaves nothing.

mod error;
mod file;
mod hasher;
mod names;
pub mod one_look;
mod settle;

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

pub use error::MessageError;
pub use file::{FileStat, MessageFile, Stamp};
pub use hasher::{Gate, Hasher, NoGate, Opened, Sink};
pub use names::uid_of;

use crate::hash::lanes::Lanes;
use indexfile::Guid;

/// A directory that holds the messages `1.`, `2.`, ... of one mailbox.
#[derive(Debug)]
pub struct Spool {
    dir: OwnedFd,
    path: PathBuf,
    /// Cleared at the first refusal: only the owner of a file may ask for `O_NOATIME`.
    noatime: AtomicBool,
    /// See [`one_look::local_times`].
    local_times: OnceLock<Option<u64>>,
}

/// The SHA-1 of a message and the file it was computed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hashed {
    /// SHA-1 of all the bytes of the file.
    pub guid: Guid,
    /// Length of the file in bytes.
    pub size: u64,
    /// What tells this file, in this state, from any other.
    pub stamp: Stamp,
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

    /// The device, if it is one whose times one look may rely on.
    fn local_times(&self) -> Option<u64> {
        *self
            .local_times
            .get_or_init(|| one_look::local_times(self.dir.as_fd()))
    }

    /// Opens a message for reading and looks at it.
    ///
    /// # Errors
    /// As [`Spool::stat`].
    pub fn open_message(&self, uid: u32) -> Result<MessageFile, MessageError> {
        MessageFile::new(self.open_unread(uid)?, || self.path_of(uid))
    }

    /// Opens a message for reading.
    fn open_unread(&self, uid: u32) -> Result<OwnedFd, MessageError> {
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

    /// Hashes one message. [`Hasher`] is several times faster for many.
    ///
    /// # Errors
    /// As [`Spool::stat`], and [`MessageError::Unstable`] if the file kept changing under our eyes.
    pub fn hash(&self, uid: u32) -> Result<Hashed, MessageError> {
        let mut out = Err(MessageError::Missing {
            path: self.path_of(uid),
        });
        self.hash_many(
            [uid],
            &mut Lanes::new(crate::hash::Kernel::detect()),
            |_, result| {
                out = result;
            },
        );
        out
    }

    /// Hashes many messages on this thread, several at a time; `sink` gets them in no set order.
    pub fn hash_many(
        &self,
        uids: impl IntoIterator<Item = u32>,
        lanes: &mut Lanes,
        sink: impl FnMut(u32, Result<Hashed, MessageError>),
    ) {
        Hasher::new(self, uids.into_iter(), sink, NoGate).run(lanes);
    }
}

#[cfg(test)]
mod one_look_tests;
#[cfg(test)]
mod tests;
