//! A directory handle, and what can be done by name beneath it.
//!
//! Names are changed and directories synced through libc, so that a test can put its own functions
//! in the place of libc's and see each of these calls.

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use indexfile::dir::OpenError;
use indexfile::{IoContext, IoError};
use nix::fcntl::{AT_FDCWD, AtFlags, renameat};
use nix::unistd::{UnlinkatFlags, fsync, linkat, unlinkat};
use rustix::fs::{Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::failpoint;

/// Which file this is: device, inode.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub struct FileId {
    /// Device number.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
}

impl FileId {
    /// Of an open file.
    ///
    /// # Errors
    /// fstat failed.
    pub fn of(file: &File) -> io::Result<FileId> {
        let meta = file.metadata()?;
        Ok(FileId {
            dev: meta.dev(),
            ino: meta.ino(),
        })
    }
}

impl From<&Stat> for FileId {
    fn from(stat: &Stat) -> FileId {
        FileId {
            dev: stat.st_dev,
            ino: stat.st_ino,
        }
    }
}

/// An open directory: what [`indexfile::dir::Dir`] opens and looks at, and what only slotd does to
/// it.
#[derive(Debug)]
pub struct Dir {
    inner: indexfile::dir::Dir,
}

impl Deref for Dir {
    type Target = indexfile::dir::Dir;

    fn deref(&self) -> &indexfile::dir::Dir {
        &self.inner
    }
}

/// Whether an open file can be reached by a path.
fn has_proc() -> bool {
    static HAS: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *HAS.get_or_init(|| Path::new("/proc/self/fd").is_dir())
}

impl Dir {
    /// Opens a directory by its path, following links: for partition roots, which the administrator
    /// names.
    ///
    /// # Errors
    /// It is not there, or is no directory.
    pub fn open_root(path: &Path) -> Result<Dir, OpenError> {
        indexfile::dir::Dir::open_root(path).map(|inner| Dir { inner })
    }

    /// Opens a directory beneath this one. No component may lead out of it.
    ///
    /// # Errors
    /// It is not there, is no directory, or is reached through a link out of this directory.
    pub fn open_beneath(&self, sub: &Path) -> Result<Dir, OpenError> {
        self.inner.open_beneath(sub).map(|inner| Dir { inner })
    }

    /// Creates a file that must not be there yet, readable and writable by its owner only.
    ///
    /// # Errors
    /// It exists, or cannot be made.
    pub fn create_new(&self, name: &str) -> Result<File, IoError> {
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let create = || {
            failpoint::hit("fs.create")?;
            rustix::fs::openat(&self.inner, name, flags, Mode::RUSR | Mode::WUSR)
                .map_err(io::Error::from)
        };
        create()
            .map(File::from)
            .io_context("create", &self.path_of(name))
    }

    /// Creates a file without any name, readable and writable by its owner only: gone with its last
    /// handle, whatever happens, unless [`Dir::give_name`] is called. `None` where that cannot be
    /// done: the file system does not know it, or there is no /proc through which a name could be
    /// given.
    ///
    /// # Errors
    /// It could be done, but the system did not.
    pub fn create_nameless(&self) -> Result<Option<File>, IoError> {
        let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
        let create = || {
            failpoint::hit("fs.nameless")?;
            rustix::fs::openat(&self.inner, ".", flags, Mode::RUSR | Mode::WUSR)
                .map_err(io::Error::from)
        };
        if !has_proc() {
            return Ok(None);
        }
        match create() {
            Ok(fd) => Ok(Some(File::from(fd))),
            // EISDIR and EINVAL: a kernel or a file system that has not heard of it.
            Err(error) => match Errno::from_io_error(&error) {
                Some(Errno::NOTSUP | Errno::ISDIR | Errno::INVAL) => Ok(None),
                _ => Err(IoError::new("create a file in", self.path(), error)),
            },
        }
    }

    /// Gives a file of [`Dir::create_nameless`] its name.
    ///
    /// # Errors
    /// The system's; among them that the name exists.
    pub fn give_name(&self, file: &File, name: &str) -> Result<(), IoError> {
        // Without a name beforehand, this is the way of all who have no capability for
        // AT_EMPTY_PATH.
        let handle = format!("/proc/self/fd/{}", file.as_raw_fd());
        let link = || {
            failpoint::hit("fs.link")?;
            let follow = AtFlags::AT_SYMLINK_FOLLOW;
            linkat(AT_FDCWD, handle.as_str(), self, name, follow).map_err(io::Error::from)
        };
        link().io_context("link", &self.path_of(name))
    }

    /// Which file lies under a name now.
    ///
    /// # Errors
    /// As [`Dir::stat`].
    pub fn id(&self, name: &str) -> Result<Option<FileId>, IoError> {
        Ok(self.stat(name)?.as_ref().map(FileId::from))
    }

    /// Renames within this directory, over whatever is there.
    ///
    /// # Errors
    /// The system's.
    pub fn rename(&self, from: &str, to: &str) -> Result<(), IoError> {
        let rename = || {
            failpoint::hit("fs.rename")?;
            renameat(self, from, self, to).map_err(io::Error::from)
        };
        rename().io_context("rename", &self.path_of(from))
    }

    /// Makes a second name for a file in this directory.
    ///
    /// # Errors
    /// The system's; among them that the name exists.
    pub fn link(&self, from: &str, to: &str) -> Result<(), IoError> {
        let link = || {
            failpoint::hit("fs.link")?;
            linkat(self, from, self, to, AtFlags::empty()).map_err(io::Error::from)
        };
        link().io_context("link", &self.path_of(to))
    }

    /// Removes a name; `false` if there was none.
    ///
    /// # Errors
    /// Anything but its absence.
    pub fn unlink(&self, name: &str) -> Result<bool, IoError> {
        let unlink = || {
            failpoint::hit("fs.unlink")?;
            match unlinkat(self, name, UnlinkatFlags::NoRemoveDir) {
                Ok(()) => Ok(true),
                Err(nix::errno::Errno::ENOENT) => Ok(false),
                Err(errno) => Err(io::Error::from(errno)),
            }
        };
        unlink().io_context("remove", &self.path_of(name))
    }

    /// Brings renames, links and removals in this directory to stable storage.
    ///
    /// # Errors
    /// The system's. After one, what is on stable storage is not known; do not sync again and go
    /// on.
    pub fn sync(&self) -> Result<(), IoError> {
        let sync = || {
            failpoint::hit("fs.sync_dir")?;
            fsync(self).map_err(io::Error::from)
        };
        sync().io_context("sync directory", self.path())
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}
