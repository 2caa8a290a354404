//! One open message file.

use std::cmp::Ordering;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::io::Errno;

use super::single_stat::unchanged_since;
use super::{FileStat, MessageError};

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
/// [`super::single_stat`].
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
    /// The open file if that proves nothing: it is no regular file, changed recently, is on another
    /// file system than `device`, or is shorter or longer than what was read.
    pub(super) fn stat_after(
        self,
        before: i64,
        device: u64,
    ) -> Result<(MessageFile, Part), OwnedFd> {
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
        let now = FileStat::of(&rustix::fs::fstat(&self.fd)?, PathBuf::new);
        Ok(now.is_ok_and(|now| now == self.stat))
    }
}
