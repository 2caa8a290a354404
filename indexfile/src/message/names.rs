//! The names in a directory of messages, which are their UIDs. Only reads; a crash leaves nothing.

use super::Spool;
use rustix::fs::{Mode, OFlags, RawDir};
use rustix::io::Errno;
use std::ffi::CStr;

impl Spool {
    /// Calls `each` with the UID and the inode number of every name that is a message's, in the
    /// directory's own order.
    ///
    /// One system call for some thousand names. The inode number is what the directory has: some
    /// file systems (overlayfs) may have another there than a look at the file shows.
    ///
    /// # Errors
    /// The system's.
    pub fn for_each_name(&self, mut each: impl FnMut(u32, u64)) -> Result<(), Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = |flags| rustix::fs::openat(self.dir(), c".", flags, Mode::empty());
        let fd = match open(flags | OFlags::NOATIME) {
            Err(Errno::PERM) => open(flags)?,
            other => other?,
        };
        let mut buffer = Vec::with_capacity(64 * 1024);
        let mut entries = RawDir::new(fd, buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = match entry {
                Err(Errno::INTR) => continue,
                other => other?,
            };
            if let Some(uid) = uid_of(entry.file_name()) {
                each(uid, entry.ino());
            }
        }
        Ok(())
    }
}

/// The UID of a message file's name: decimal, no leading zero, a dot behind.
#[must_use]
pub fn uid_of(name: &CStr) -> Option<u32> {
    let digits = name.to_bytes().strip_suffix(b".")?;
    if digits.is_empty() || digits[0] == b'0' {
        return None;
    }
    digits.iter().try_fold(0_u32, |n, digit| {
        let digit = digit.checked_sub(b'0').filter(|d| *d < 10)?;
        n.checked_mul(10)?.checked_add(u32::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_cyrus_gives_are_messages() {
        for (name, uid) in [(c"1.", 1), (c"10.", 10), (c"4294967295.", u32::MAX)] {
            assert_eq!(uid_of(name), Some(uid));
        }
        for name in [
            c"",
            c".",
            c"0.",
            c"01.",
            c"1",
            c"1..",
            c"a.",
            c"-1.",
            c"4294967296.",
            c"99999999999.",
            c"1.NEW",
        ] {
            assert_eq!(uid_of(name), None, "{name:?}");
        }
    }
}
