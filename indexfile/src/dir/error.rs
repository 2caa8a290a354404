//! Why something in a mail store could not be opened, and what lies there instead.

use std::path::{Path, PathBuf};

use rustix::fs::FileType;
use rustix::io::Errno;

use crate::error::IoError;

/// Why something could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// There is nothing of that name.
    #[error("{} does not exist", path.display())]
    Missing {
        /// The path.
        path: PathBuf,
    },
    /// A symbolic link on the way leads out of the partition, or the name itself is one.
    #[error("{} is reached through a symbolic link, which is not followed", path.display())]
    Link {
        /// The path.
        path: PathBuf,
    },
    /// There is something else than a regular file of that name.
    #[error("{} is {what}, not a regular file", path.display())]
    NotRegular {
        /// The path.
        path: PathBuf,
        /// What it is, with its article.
        what: &'static str,
    },
    /// It, or something on the way to it, is not a directory.
    #[error("{} is not a directory", path.display())]
    NotDirectory {
        /// The path.
        path: PathBuf,
    },
    /// Such a file has no right to be so long.
    #[error("{} has {size} bytes or more; such a file may have {limit}", path.display())]
    TooLarge {
        /// The path.
        path: PathBuf,
        /// Its size in bytes, or what was read of it.
        size: u64,
        /// The most it may have, in bytes.
        limit: u64,
    },
    /// We may not.
    #[error(transparent)]
    Denied(IoError),
    /// Any other error.
    #[error(transparent)]
    Io(#[from] IoError),
}

/// What an [`OpenError`] says, as the source of an [`IoError`].
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct OddFile(String);

/// Whether an error says that something is not what it should be, rather than that the system
/// failed.
#[must_use]
pub fn is_odd(error: &std::io::Error) -> bool {
    let inner = error.get_ref();
    inner.is_some_and(<dyn std::error::Error + Send + Sync>::is::<OddFile>)
}

impl OpenError {
    pub(super) fn new(op: &'static str, path: PathBuf, errno: Errno) -> Self {
        match errno {
            // A name that no file system can hold cannot be there either.
            Errno::NOENT | Errno::NAMETOOLONG => Self::Missing { path },
            // EXDEV is what RESOLVE_BENEATH says to a way out.
            Errno::LOOP | Errno::XDEV => Self::Link { path },
            Errno::NOTDIR => Self::NotDirectory { path },
            Errno::ACCESS | Errno::PERM => Self::Denied(IoError::new(op, &path, errno.into())),
            _ => Self::Io(IoError::new(op, &path, errno.into())),
        }
    }

    /// What it is about.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Missing { path }
            | Self::Link { path }
            | Self::NotRegular { path, .. }
            | Self::NotDirectory { path }
            | Self::TooLarge { path, .. } => path,
            Self::Denied(error) | Self::Io(error) => &error.path,
        }
    }
}

impl From<OpenError> for IoError {
    fn from(error: OpenError) -> Self {
        let (path, source) = match error {
            OpenError::Denied(error) | OpenError::Io(error) => return error,
            OpenError::Missing { path } => (path, Errno::NOENT.into()),
            OpenError::Link { path } => (path, odd("it is reached through a symbolic link")),
            OpenError::NotRegular { path, what } => {
                (path, odd(format!("it is {what}, not a regular file")))
            }
            OpenError::NotDirectory { path } => (path, odd("it is not a directory")),
            OpenError::TooLarge { path, size, limit } => {
                let text = format!("it has {size} bytes or more; such a file may have {limit}");
                (path, odd(text))
            }
        };
        IoError::new("open", &path, source)
    }
}

fn odd(text: impl Into<String>) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, OddFile(text.into()))
}

/// What lies under a name, for people, with its article.
#[must_use]
pub fn what_is(kind: FileType) -> &'static str {
    match kind {
        FileType::RegularFile => "a regular file",
        FileType::Directory => "a directory",
        FileType::Symlink => "a symbolic link",
        FileType::Fifo => "a fifo",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        FileType::Unknown => "something unknown",
    }
}
