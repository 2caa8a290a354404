//! One open message file, and what tells it from any other.

use std::cmp::Ordering;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use super::MessageError;
use super::one_look::unchanged_since;
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
    /// `stat` is from after the last byte was read, and shows a file that did not change meanwhile.
    proven: bool,
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

/// A message file of which the first part was read before it was looked at; see
/// [`super::one_look`].
#[derive(Debug)]
pub(super) struct FirstPart {
    fd: OwnedFd,
    have: usize,
    full: bool,
}

impl FirstPart {
    /// Reads it into `buffer`.
    ///
    /// # Errors
    /// The open file, for [`MessageFile::new`] to find out what is the matter.
    pub(super) fn read(fd: OwnedFd, buffer: &mut [u8]) -> Result<Self, OwnedFd> {
        match read_at(&fd, buffer, 0, true) {
            Ok(have) => Ok(Self {
                fd,
                have,
                full: have == buffer.len(),
            }),
            Err(_) => Err(fd),
        }
    }

    /// Looks at it.
    ///
    /// # Errors
    /// The open file if that proves nothing: it is no regular file, changed lately, is on another
    /// file system than `device`, or is shorter or longer than what was read.
    pub(super) fn look(self, before: i64, device: u64) -> Result<(MessageFile, Part), OwnedFd> {
        let Self { fd, have, full } = self;
        let stat = rustix::fs::fstat(&fd).ok();
        let stat = stat.and_then(|stat| FileStat::of(&stat, PathBuf::new).ok());
        let old = |stat: &FileStat| unchanged_since(before, stat.stamp.ctime_ns);
        let Some(stat) = stat.filter(|stat| old(stat) && stat.device == device) else {
            return Err(fd);
        };
        let part = match stat.size.cmp(&(have as u64)) {
            Ordering::Equal => Part::Last(have),
            Ordering::Greater if full => Part::More,
            _ => return Err(fd),
        };
        let file = MessageFile {
            fd,
            stat,
            position: have as u64,
            proven: part != Part::More,
        };
        Ok((file, part))
    }
}

/// Reads into `buffer` from `position` on until it is full or the file ends; how many bytes.
///
/// By `pread`, so that nothing is taken out of a pipe or device that stands where a message should.
fn read_at(fd: &OwnedFd, buffer: &mut [u8], position: u64, once: bool) -> Result<usize, Errno> {
    let mut have = 0;
    while have < buffer.len() {
        let at = position.saturating_add(have as u64);
        match rustix::io::pread(fd, &mut buffer[have..], at) {
            Ok(0) => break,
            Ok(n) => have += n,
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(errno),
        }
        if once {
            break;
        }
    }
    Ok(have)
}

impl MessageFile {
    pub(super) fn new(fd: OwnedFd, path: impl Fn() -> PathBuf) -> Result<Self, MessageError> {
        let stat =
            rustix::fs::fstat(&fd).map_err(|errno| MessageError::of(path(), "look at", errno))?;
        Ok(Self {
            stat: FileStat::of(&stat, path)?,
            fd,
            position: 0,
            proven: false,
        })
    }

    /// What the file was when it was first looked at.
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
        let have = read_at(&self.fd, &mut buffer[..want], self.position, false)?;
        if have < want {
            return Ok(Part::Shrunk);
        }
        self.position = self.position.saturating_add(have as u64);
        Ok(if self.position < self.stat.size {
            Part::More
        } else {
            Part::Last(have)
        })
    }

    /// Whether the file still is what it was when it was first looked at.
    ///
    /// # Errors
    /// The system's.
    pub fn unchanged(&self) -> Result<bool, Errno> {
        if self.proven {
            return Ok(true);
        }
        let now = rustix::fs::fstat(&self.fd)?;
        let was = &self.stat;
        Ok(u64::try_from(now.st_size) == Ok(was.size)
            && nanoseconds(now.st_mtime, now.st_mtime_nsec) == was.stamp.mtime_ns
            && nanoseconds(now.st_ctime, now.st_ctime_nsec) == was.stamp.ctime_ns)
    }
}
