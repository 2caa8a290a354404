//! Finding, replacing and removing the cache of one mailbox, relative to its open directory.

use std::fs::File;
use std::io::BufWriter;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use indexfile::IoError;
use indexfile::dir::{Dir, OpenError, what_is};
use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use indexfile::finding::Code;

use super::{Cache, CacheError, CacheWriter, Entry, FILE_NAME, Owner, WriteError};

/// The name under which a cache is written before it is renamed.
pub const TEMPORARY: &str = "cyrus.sha1s.tmp";

/// Why a cache could not be read, written or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The system failed; the old cache, if any, is as it was.
    #[error(transparent)]
    Io(#[from] IoError),
    /// The entries are not such as a cache can hold.
    #[error("{}: {source}", path.display())]
    Write {
        /// The cache.
        path: PathBuf,
        /// What is wrong with them.
        source: WriteError,
    },
    /// Another run of this program writes the same cache now.
    #[error("{}: another precompute is writing this cache", path.display())]
    Busy {
        /// The temporary file.
        path: PathBuf,
    },
    /// Something that is no regular file has the cache's name. It is not ours: it is left
    /// alone.
    #[error("{} is {what}, not a file; move it away", path.display())]
    NotRegular {
        /// The cache.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// The directory was removed while we worked: the mailbox is gone.
    #[error("{}: the directory is gone", path.display())]
    Vanished {
        /// The cache.
        path: PathBuf,
    },
}

impl StoreError {
    /// The code to report it by.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::NotRegular { .. } => Code::NotRegular,
            Self::Io(io) if io.kind() == std::io::ErrorKind::PermissionDenied => Code::Denied,
            _ => Code::Cache,
        }
    }
}

/// What [`find`] found.
#[derive(Debug)]
pub enum Found {
    /// A whole cache of this mailbox.
    Good(Cache),
    /// None.
    Absent,
    /// A whole cache, of another incarnation of the mailbox.
    Foreign,
    /// A file that is torn, damaged or no cache at all; it will be replaced.
    Damaged(CacheError),
}

impl Found {
    /// The cache, if it may be used.
    #[must_use]
    pub fn good(self) -> Option<Cache> {
        match self {
            Self::Good(cache) => Some(cache),
            _ => None,
        }
    }
}

fn error(op: &'static str, path: &Path, errno: Errno) -> StoreError {
    match errno {
        Errno::NOENT | Errno::STALE => StoreError::Vanished {
            path: path.to_owned(),
        },
        _ => IoError::new(op, path, errno.into()).into(),
    }
}

/// Whether `dir` has a cache.
///
/// # Errors
/// [`StoreError::NotRegular`] if something else has its name.
fn is_there(dir: &Dir) -> Result<bool, StoreError> {
    let Some(stat) = dir.stat(FILE_NAME)? else {
        return Ok(false);
    };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok(true),
        kind => Err(StoreError::NotRegular {
            path: dir.path_of(FILE_NAME),
            what: what_is(kind),
        }),
    }
}

/// Opens the cache in `dir` and judges it.
///
/// # Errors
/// [`StoreError::Io`] if it cannot be opened or read, [`StoreError::NotRegular`] if it is no file;
/// that it is damaged is no error.
pub fn find(dir: &Dir, uidvalidity: u32, uniqueid: &str) -> Result<Found, StoreError> {
    let file = match dir.open_file(FILE_NAME, false) {
        Ok(file) => file,
        Err(OpenError::Missing { .. }) => return Ok(Found::Absent),
        Err(OpenError::Link { path }) => {
            let what = what_is(FileType::Symlink);
            return Err(StoreError::NotRegular { path, what });
        }
        Err(OpenError::NotRegular { path, what }) => {
            return Err(StoreError::NotRegular { path, what });
        }
        Err(error) => return Err(IoError::from(error).into()),
    };
    let path = dir.path_of(FILE_NAME);
    match Cache::from_file(&file, &path) {
        Ok(cache) if cache.uidvalidity() == uidvalidity && cache.uniqueid() == uniqueid => {
            Ok(Found::Good(cache))
        }
        Ok(_) => Ok(Found::Foreign),
        Err(CacheError::Io(source)) => Err(source.into()),
        Err(damaged) => Ok(Found::Damaged(damaged)),
    }
}

/// Writes a new cache of `count` entries, syncs it and puts it in the place of the old one.
///
/// The bytes depend on the arguments alone.
///
/// # Errors
/// [`StoreError`]; the old cache is then as it was, and the temporary file is gone.
pub fn replace(
    dir: &Dir,
    owner: Owner,
    (uidvalidity, uniqueid): (u32, &str),
    count: u32,
    entries: impl IntoIterator<Item = Result<Entry, IoError>>,
) -> Result<(), StoreError> {
    let path = dir.path_of(TEMPORARY);
    let mut temporary = Temporary {
        dir,
        file: File::from(acquire(dir, &path)?),
        placed: false,
    };
    let failed = |source| match source {
        WriteError::Io(source) => IoError::new("write", &path, source).into(),
        source => StoreError::Write {
            path: path.clone(),
            source,
        },
    };
    owner
        .apply(&temporary.file)
        .map_err(|errno| error("set the owner of", &path, errno))?;
    let out = BufWriter::with_capacity(64 * 1024, &temporary.file);
    let mut writer = CacheWriter::new(out, uidvalidity, uniqueid, count).map_err(failed)?;
    for entry in entries {
        writer.push(&entry?).map_err(failed)?;
    }
    drop(writer.finish().map_err(failed)?);
    rustix::fs::fsync(&temporary.file).map_err(|errno| error("sync", &path, errno))?;
    rustix::fs::renameat(dir, TEMPORARY, dir, FILE_NAME)
        .map_err(|errno| error("rename", &path, errno))?;
    temporary.placed = true;
    Ok(())
}

/// Our temporary file. Unless it was renamed it is removed when dropped, also after a failed sync,
/// which is final for the file.
struct Temporary<'a> {
    dir: &'a Dir,
    file: File,
    placed: bool,
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if !self.placed {
            let _ = rustix::fs::unlinkat(self.dir, TEMPORARY, AtFlags::empty());
        }
    }
}

/// Makes the temporary file, ours alone.
///
/// It is locked (`flock`, on this file of our own only) so that two runs cannot write it together;
/// one that a killed run left has no lock and is removed first.
fn acquire(dir: &Dir, path: &Path) -> Result<OwnedFd, StoreError> {
    let busy = || StoreError::Busy {
        path: path.to_owned(),
    };
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    for _ in 0..100 {
        match rustix::fs::openat(dir, TEMPORARY, flags, Mode::RUSR | Mode::WUSR) {
            // Before we had the lock another run may have taken it for a stray and removed it.
            Ok(fd) => {
                if lock(&fd, path)? && is_named(dir, fd.as_fd()) {
                    return Ok(fd);
                }
            }
            Err(Errno::EXIST) => {
                if stray(dir, path)? == Stray::Held {
                    return Err(busy());
                }
            }
            Err(errno) => return Err(error("create", path, errno)),
        }
    }
    Err(busy())
}

fn lock(fd: &OwnedFd, path: &Path) -> Result<bool, StoreError> {
    match rustix::fs::flock(fd, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(errno) => Err(error("lock", path, errno)),
    }
}

/// Whether the temporary name still leads to `fd`.
fn is_named(dir: &Dir, fd: BorrowedFd<'_>) -> bool {
    let named = rustix::fs::statat(dir, TEMPORARY, AtFlags::SYMLINK_NOFOLLOW);
    let open = rustix::fs::fstat(fd);
    matches!((named, open), (Ok(a), Ok(b)) if (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino))
}

/// Removes a temporary file that a killed run left; `true` if there was one.
///
/// # Errors
/// [`StoreError::Io`]; one that a living run holds is left alone without an error.
pub fn sweep(dir: &Dir) -> Result<bool, StoreError> {
    Ok(stray(dir, &dir.path_of(TEMPORARY))? == Stray::Removed)
}

#[derive(PartialEq, Eq)]
enum Stray {
    None,
    Removed,
    /// It belongs to a run that lives.
    Held,
}

fn stray(dir: &Dir, path: &Path) -> Result<Stray, StoreError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let fd = match rustix::fs::openat(dir, TEMPORARY, flags, Mode::empty()) {
        Ok(fd) => fd,
        Err(Errno::NOENT) => return Ok(Stray::None),
        Err(errno) => return Err(error("open", path, errno)),
    };
    if !lock(&fd, path)? {
        return Ok(Stray::Held);
    }
    if !is_named(dir, fd.as_fd()) {
        // Renamed or removed by its owner since we opened it.
        return Ok(Stray::None);
    }
    match rustix::fs::unlinkat(dir, TEMPORARY, AtFlags::empty()) {
        Ok(()) => Ok(Stray::Removed),
        Err(Errno::NOENT) => Ok(Stray::None),
        Err(errno) => Err(error("remove", path, errno)),
    }
}

/// Removes the cache; `true` if there was one.
///
/// # Errors
/// [`StoreError::Io`], or [`StoreError::NotRegular`] for what is no file, which stays.
pub fn remove(dir: &Dir) -> Result<bool, StoreError> {
    if !is_there(dir)? {
        return Ok(false);
    }
    match rustix::fs::unlinkat(dir, FILE_NAME, AtFlags::empty()) {
        Ok(()) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(error("remove", &dir.path_of(FILE_NAME), errno)),
    }
}
