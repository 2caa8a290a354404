//! Whose file it is to be: owner, group and mode of the mailbox's `cyrus.index`.

use std::os::fd::AsFd;

use rustix::fs::{Gid, Mode, Stat, Uid};
use rustix::io::Errno;

/// Owner, group and permission bits of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Permission bits, without the file type.
    pub mode: u32,
}

impl Owner {
    /// That of an open file.
    ///
    /// # Errors
    /// The system's.
    pub fn of(file: impl AsFd) -> Result<Self, Errno> {
        Ok(Self::of_stat(&rustix::fs::fstat(file)?))
    }

    /// That of a file whose `stat` is known.
    #[must_use]
    pub fn of_stat(stat: &Stat) -> Self {
        Self {
            uid: stat.st_uid,
            gid: stat.st_gid,
            mode: stat.st_mode & 0o7777,
        }
    }

    /// Gives `file` this owner and mode.
    ///
    /// Only root can give files away. Where that is refused the file stays ours, and is then not
    /// opened to a group or to others that the index was not opened to.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn apply(self, file: impl AsFd) -> Result<(), Errno> {
        let now = Self::of(&file)?;
        let mut mode = self.mode & 0o777;
        if (now.uid, now.gid) != (self.uid, self.gid) {
            let owner = Some(Uid::from_raw(self.uid));
            let group = Some(Gid::from_raw(self.gid));
            match rustix::fs::fchown(&file, owner, group) {
                Ok(()) => {}
                Err(Errno::PERM) => mode &= 0o700,
                Err(errno) => return Err(errno),
            }
        }
        rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))
    }
}
