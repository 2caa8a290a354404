//! A directory handle, and what can be done by name beneath it.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use indexfile::{IoContext, IoError};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
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

/// Why a name beneath a directory could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// There is nothing of that name.
    #[error("{} does not exist", path.display())]
    Missing {
        /// The path.
        path: PathBuf,
    },
    /// A symbolic link on the way leads out of the partition, or the last component is one.
    #[error("{} is reached through a symbolic link that slotd does not follow", path.display())]
    Link {
        /// The path.
        path: PathBuf,
    },
    /// There is something else of that name.
    #[error("{} is not a {expected}", path.display())]
    Kind {
        /// The path.
        path: PathBuf,
        /// What it should be.
        expected: &'static str,
    },
    /// Any other error.
    #[error(transparent)]
    Io(#[from] IoError),
}

impl OpenError {
    fn new(op: &'static str, path: PathBuf, errno: Errno) -> OpenError {
        match errno {
            // A name that no file system can hold cannot be there either.
            Errno::NOENT | Errno::NAMETOOLONG => OpenError::Missing { path },
            // EXDEV is what RESOLVE_BENEATH says to a way out.
            Errno::LOOP | Errno::XDEV => OpenError::Link { path },
            Errno::NOTDIR => OpenError::Kind {
                path,
                expected: "directory",
            },
            _ => OpenError::Io(IoError::new(op, &path, errno.into())),
        }
    }
}

/// An open directory.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
    path: PathBuf,
}

/// Whether an open file can be reached by a path.
fn has_proc() -> bool {
    static HAS: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *HAS.get_or_init(|| Path::new("/proc/self/fd").is_dir())
}

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);

impl Dir {
    /// Opens a directory by its path, following links: for partition roots, which the administrator names.
    ///
    /// # Errors
    /// It is not there, or is no directory.
    pub fn open_root(path: &Path) -> Result<Dir, OpenError> {
        let fd = rustix::fs::open(path, DIRECTORY, Mode::empty())
            .map_err(|e| OpenError::new("open", path.to_path_buf(), e))?;
        Ok(Dir {
            fd,
            path: path.to_path_buf(),
        })
    }

    /// Opens a directory beneath this one. No component may lead out of it.
    ///
    /// # Errors
    /// It is not there, is no directory, or is reached through a link out of this directory.
    pub fn open_beneath(&self, sub: &Path) -> Result<Dir, OpenError> {
        let path = self.path.join(sub);
        let sub = if sub.as_os_str().is_empty() {
            Path::new(".")
        } else {
            sub
        };
        let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let fd = match rustix::fs::openat2(&self.fd, sub, DIRECTORY, Mode::empty(), beneath) {
            // Linux before 5.6, or a sandbox that does not know the call.
            Err(Errno::NOSYS | Errno::PERM) => self.walk(sub),
            other => other,
        };
        match fd {
            Ok(fd) => Ok(Dir { fd, path }),
            Err(errno) => Err(OpenError::new("open", path, errno)),
        }
    }

    /// The same without openat2: component by component, and no symbolic link at all.
    fn walk(&self, sub: &Path) -> Result<OwnedFd, Errno> {
        let mut fd = rustix::fs::openat(&self.fd, ".", DIRECTORY, Mode::empty())?;
        for component in sub.components() {
            match component {
                Component::CurDir => {}
                Component::Normal(name) => {
                    // O_DIRECTORY|O_NOFOLLOW says ENOTDIR to a link, which would hide what it is.
                    let stat = rustix::fs::statat(&fd, name, AtFlags::SYMLINK_NOFOLLOW)?;
                    if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
                        return Err(Errno::LOOP);
                    }
                    fd =
                        rustix::fs::openat(&fd, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?;
                }
                _ => return Err(Errno::XDEV),
            }
        }
        Ok(fd)
    }

    /// The path by which it was opened, for messages.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of a name in it, for messages.
    #[must_use]
    pub fn path_of(&self, name: impl AsRef<OsStr>) -> PathBuf {
        self.path.join(name.as_ref())
    }

    /// Opens an existing regular file; never a link, never a fifo that would block.
    ///
    /// # Errors
    /// It is not there or is no regular file.
    pub fn open_file(&self, name: &str, write: bool) -> Result<File, OpenError> {
        let access = if write { OFlags::RDWR } else { OFlags::RDONLY };
        let flags = access | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let fd =
            rustix::fs::openat(&self.fd, name, flags, Mode::empty()).map_err(
                |errno| match errno {
                    Errno::ISDIR => OpenError::Kind {
                        path: self.path_of(name),
                        expected: "regular file",
                    },
                    errno => OpenError::new("open", self.path_of(name), errno),
                },
            )?;
        let file = File::from(fd);
        let meta = file.metadata().io_context("stat", &self.path_of(name))?;
        if !meta.is_file() {
            return Err(OpenError::Kind {
                path: self.path_of(name),
                expected: "regular file",
            });
        }
        Ok(file)
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
            rustix::fs::openat(&self.fd, name, flags, Mode::RUSR | Mode::WUSR)
                .map_err(io::Error::from)
        };
        create()
            .map(File::from)
            .io_context("create", &self.path_of(name))
    }

    /// Creates a file without any name, readable and writable by its owner only: gone with its last handle, whatever happens,
    /// unless [`Dir::give_name`] is called. `None` where that cannot be done: the file system does not know it, or there is
    /// no /proc through which a name could be given.
    ///
    /// # Errors
    /// It could be done, but the system did not.
    pub fn create_nameless(&self) -> Result<Option<File>, IoError> {
        let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
        let create = || {
            failpoint::hit("fs.nameless")?;
            rustix::fs::openat(&self.fd, ".", flags, Mode::RUSR | Mode::WUSR)
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
                _ => Err(IoError::new("create a file in", &self.path, error)),
            },
        }
    }

    /// Gives a file of [`Dir::create_nameless`] its name.
    ///
    /// # Errors
    /// The system's; among them that the name exists.
    pub fn give_name(&self, file: &File, name: &str) -> Result<(), IoError> {
        // Without a name beforehand, this is the way of all who have no capability for AT_EMPTY_PATH.
        let handle = format!("/proc/self/fd/{}", file.as_raw_fd());
        let link = || {
            failpoint::hit("fs.link")?;
            let follow = AtFlags::SYMLINK_FOLLOW;
            rustix::fs::linkat(rustix::fs::CWD, &handle, &self.fd, name, follow)
                .map_err(io::Error::from)
        };
        link().io_context("link", &self.path_of(name))
    }

    /// What lies under a name now, not following a link; `None` if nothing.
    ///
    /// # Errors
    /// Anything but its absence.
    pub fn stat(&self, name: &str) -> Result<Option<Stat>, IoError> {
        match rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(IoError::new("stat", &self.path_of(name), errno.into())),
        }
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
            rustix::fs::renameat(&self.fd, from, &self.fd, to).map_err(io::Error::from)
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
            rustix::fs::linkat(&self.fd, from, &self.fd, to, AtFlags::empty())
                .map_err(io::Error::from)
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
            match rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()) {
                Ok(()) => Ok(true),
                Err(Errno::NOENT) => Ok(false),
                Err(errno) => Err(io::Error::from(errno)),
            }
        };
        unlink().io_context("remove", &self.path_of(name))
    }

    /// Brings renames, links and removals in this directory to stable storage.
    ///
    /// # Errors
    /// The system's. After one, what is on stable storage is not known; do not sync again and go on.
    pub fn sync(&self) -> Result<(), IoError> {
        let sync = || {
            failpoint::hit("fs.sync_dir")?;
            rustix::fs::fsync(&self.fd).map_err(io::Error::from)
        };
        sync().io_context("sync directory", &self.path)
    }

    /// The device it lies on.
    ///
    /// # Errors
    /// The system's.
    pub fn stat_self(&self) -> Result<Stat, IoError> {
        rustix::fs::fstat(&self.fd).io_context("stat", &self.path)
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn store() -> (tempfile::TempDir, Dir) {
        let tmp = tempfile::tempdir().unwrap();
        let root = tmp.path().join("part");
        std::fs::create_dir_all(root.join("user/joe")).unwrap();
        std::fs::create_dir_all(tmp.path().join("outside/joe")).unwrap();
        symlink(tmp.path().join("outside"), root.join("out")).unwrap();
        symlink("../outside", root.join("up")).unwrap();
        let dir = Dir::open_root(&root).unwrap();
        (tmp, dir)
    }

    #[test]
    fn a_link_out_of_the_partition_is_not_followed() {
        let (_tmp, dir) = store();
        assert!(dir.open_beneath(Path::new("user/joe")).is_ok());
        for sub in ["out/joe", "up/joe", "../outside/joe", "/etc"] {
            let error = dir.open_beneath(Path::new(sub)).unwrap_err();
            assert!(matches!(error, OpenError::Link { .. }), "{sub}: {error:?}");
            assert!(
                matches!(dir.walk(Path::new(sub)), Err(Errno::LOOP | Errno::XDEV)),
                "{sub}"
            );
        }
        assert!(matches!(
            dir.open_beneath(Path::new("user/ann")),
            Err(OpenError::Missing { .. })
        ));
        assert!(dir.walk(Path::new("user/joe")).is_ok());
        assert!(dir.walk(Path::new(".")).is_ok());
    }

    #[test]
    fn only_a_regular_file_is_opened() {
        let (tmp, dir) = store();
        let part = tmp.path().join("part");
        std::fs::write(part.join("file"), b"x").unwrap();
        symlink("file", part.join("link")).unwrap();
        nix::unistd::mkfifo(&part.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(dir.open_file("file", true).is_ok());
        assert!(matches!(
            dir.open_file("link", true),
            Err(OpenError::Link { .. })
        ));
        for name in ["fifo", "user"] {
            assert!(
                matches!(dir.open_file(name, true), Err(OpenError::Kind { .. })),
                "{name}"
            );
        }
    }
}
