//! The message files of one mailbox: `<uid>.` in its data directory.
//!
//! Promises: a GUID from here is the SHA-1 of a regular file's bytes that did not change while they
//! were read; symbolic links are not followed. Only reads.

use crate::error::{IoContext, IoError};
use crate::guid::Guid;
use rustix::fs::{Mode, OFlags};
use sha1::{Digest, Sha1};
use std::fs::{File, Metadata};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The directory that holds a mailbox's messages.
#[derive(Debug)]
pub struct MessageDir {
    dir: OwnedFd,
    path: PathBuf,
    buffer: Vec<u8>,
}

/// A message that was read whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// SHA-1 of the file's bytes.
    pub guid: Guid,
    /// Size in bytes.
    pub size: u64,
    /// The file as it was.
    pub stamp: crate::sha1s::Stamp,
}

/// Why a message cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// There is no such file.
    #[error("message file {} is missing", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The name belongs to a directory, a link or a device.
    #[error("message file {} is not a regular file", path.display())]
    NotRegular {
        /// The file.
        path: PathBuf,
    },
    /// It changed while it was read.
    #[error("message file {} changed while it was read", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The system could not read it.
    #[error(transparent)]
    Io(#[from] IoError),
}

impl MessageDir {
    /// Opens the directory.
    ///
    /// # Errors
    /// [`IoError`], also if it is not a directory.
    pub fn open(path: &Path) -> Result<Self, IoError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(path, flags, Mode::empty()).io_context("open", path)?;
        Ok(Self {
            dir,
            path: path.to_path_buf(),
            buffer: vec![0; 64 << 10],
        })
    }

    /// The path of a message.
    #[must_use]
    pub fn path_of(&self, uid: u32) -> PathBuf {
        self.path.join(format!("{uid}."))
    }

    fn open_message(&self, uid: u32) -> Result<(File, Metadata), MessageError> {
        let path = || self.path_of(uid);
        // NONBLOCK: opening a pipe that lies under a message's name must not wait for a writer.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let fd = match rustix::fs::openat(&self.dir, format!("{uid}."), flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(rustix::io::Errno::NOENT) => return Err(MessageError::Missing { path: path() }),
            Err(rustix::io::Errno::LOOP) => return Err(MessageError::NotRegular { path: path() }),
            Err(e) => return Err(IoError::new("open", &path(), e.into()).into()),
        };
        let file = File::from(fd);
        let meta = file.metadata().io_context("stat", &path())?;
        if meta.is_file() {
            Ok((file, meta))
        } else {
            Err(MessageError::NotRegular { path: path() })
        }
    }

    /// Size and stamp of a message, without reading it.
    ///
    /// # Errors
    /// [`MessageError`]
    pub fn stat(&self, uid: u32) -> Result<(u64, crate::sha1s::Stamp), MessageError> {
        let (_, meta) = self.open_message(uid)?;
        Ok((meta.len(), stamp(&meta)))
    }

    /// Reads a message and computes its GUID.
    ///
    /// # Errors
    /// [`MessageError`]
    pub fn read(&mut self, uid: u32) -> Result<Message, MessageError> {
        let path = self.path_of(uid);
        let (mut file, before) = self.open_message(uid)?;
        let (mut sha1, mut size) = (Sha1::new(), 0_u64);
        loop {
            match file.read(&mut self.buffer) {
                Ok(0) => break,
                Ok(n) => {
                    sha1.update(&self.buffer[..n]);
                    size += n as u64;
                }
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(IoError::new("read", &path, e).into()),
            }
        }
        let after = file.metadata().io_context("stat", &path)?;
        if stamp(&before) != stamp(&after) || size != after.len() || size != before.len() {
            return Err(MessageError::Changed { path });
        }
        let guid = Guid::from_bytes(sha1.finalize().into());
        Ok(Message {
            guid,
            size,
            stamp: stamp(&after),
        })
    }
}

fn stamp(meta: &Metadata) -> crate::sha1s::Stamp {
    let ns = |seconds: i64, ns: i64| seconds.saturating_mul(1_000_000_000).saturating_add(ns);
    crate::sha1s::Stamp {
        mtime_ns: ns(meta.mtime(), meta.mtime_nsec()),
        ctime_ns: ns(meta.ctime(), meta.ctime_nsec()),
        inode: meta.ino(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guid_is_the_sha1_of_a_regular_file_and_of_nothing_else() {
        let dir = tempfile::tempdir().expect("tempdir");
        std::fs::write(dir.path().join("1."), b"abc").expect("write");
        std::os::unix::fs::symlink("1.", dir.path().join("2.")).expect("symlink");
        std::fs::create_dir(dir.path().join("3.")).expect("mkdir");
        let mut messages = MessageDir::open(dir.path()).expect("open");
        let message = messages.read(1).expect("regular");
        assert_eq!(
            message.guid.to_string(),
            "a9993e364706816aba3e25717850c26c9cd0d89d"
        );
        assert_eq!(messages.stat(1).expect("regular"), (3, message.stamp));
        assert!(matches!(
            messages.read(2),
            Err(MessageError::NotRegular { .. })
        ));
        assert!(matches!(
            messages.read(3),
            Err(MessageError::NotRegular { .. })
        ));
        assert!(matches!(
            messages.read(4),
            Err(MessageError::Missing { .. })
        ));
        assert!(MessageDir::open(&dir.path().join("none")).is_err());
    }
}
