//! One open message file, and what tells it from any other.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use super::MessageError;
pub use indexfile::sha1s::Stamp;

/// What the system says about a message file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStat {
    /// Length in bytes.
    pub size: u64,
    /// What tells the file, in this state, from any other.
    pub stamp: Stamp,
    /// Number of the file system (does not outlive a reboot, so no part of the stamp).
    pub device: u64,
    /// How many names the file has; more than one in a single-instance store.
    pub links: u64,
}

impl FileStat {
    pub(super) fn of(stat: &Stat, path: impl FnOnce() -> PathBuf) -> Result<Self, MessageError> {
        let what = match FileType::from_raw_mode(stat.st_mode) {
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

/// A message file that is open for reading.
#[derive(Debug)]
pub struct MessageFile {
    fd: OwnedFd,
    stat: FileStat,
    /// Bytes read so far.
    position: u64,
}

/// What one [`MessageFile::fill`] brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The buffer is full and the file goes on.
    More,
    /// The file ends with these bytes.
    Last(usize),
    /// The file is shorter than it was when it was opened.
    Shrunk,
}

impl MessageFile {
    pub(super) fn new(fd: OwnedFd, path: impl Fn() -> PathBuf) -> Result<Self, MessageError> {
        let stat =
            rustix::fs::fstat(&fd).map_err(|errno| MessageError::of(path(), "look at", errno))?;
        Ok(Self {
            stat: FileStat::of(&stat, path)?,
            fd,
            position: 0,
        })
    }

    /// What the file was when it was opened.
    #[must_use]
    pub fn stat(&self) -> &FileStat {
        &self.stat
    }

    /// How many bytes are still to be read.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.stat.size.saturating_sub(self.position)
    }

    /// Reads on into `buffer`, until it is full or the file as it was at opening ends.
    ///
    /// # Errors
    /// The system's.
    pub fn fill(&mut self, buffer: &mut [u8]) -> Result<Part, Errno> {
        let want = usize::try_from(self.left()).map_or(buffer.len(), |left| left.min(buffer.len()));
        let mut have = 0;
        while have < want {
            match rustix::io::read(&self.fd, &mut buffer[have..want]) {
                Ok(0) => return Ok(Part::Shrunk),
                Ok(n) => have += n,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        self.position = self.position.saturating_add(have as u64);
        Ok(if self.position < self.stat.size {
            Part::More
        } else {
            Part::Last(have)
        })
    }

    /// Whether the file still is what it was when it was opened.
    ///
    /// # Errors
    /// The system's.
    pub fn unchanged(&self) -> Result<bool, Errno> {
        let now = rustix::fs::fstat(&self.fd)?;
        let was = &self.stat;
        Ok(u64::try_from(now.st_size) == Ok(was.size)
            && nanoseconds(now.st_mtime, now.st_mtime_nsec) == was.stamp.mtime_ns
            && nanoseconds(now.st_ctime, now.st_ctime_nsec) == was.stamp.ctime_ns)
    }
}
