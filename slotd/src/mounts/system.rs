//! The mounts that the system has now, by its own table. Reading it looks at no file system, so
//! none that hangs can delay it.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use indexfile::IoError;
use indexfile::dir::read_named;

/// Where Linux keeps it.
const TABLE: &str = "/proc/self/mountinfo";
/// The longest table that is read, in bytes: some 100,000 mounts.
const LIMIT: u64 = 16 << 20;
/// Types of file systems on which no mail is kept: those of the kernel, in memory, and images. A
/// partition of `imapd.conf` on one of them is known all the same, by its root.
const NO_MAIL: [&str; 24] = [
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "fusectl",
    "hugetlbfs",
    "mqueue",
    "nsfs",
    "overlay",
    "proc",
    "pstore",
    "ramfs",
    "rpc_pipefs",
    "securityfs",
    "squashfs",
    "sysfs",
    "tmpfs",
    "tracefs",
];

/// A mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SystemMount {
    pub(super) point: PathBuf,
    /// The type of its file system.
    kind: String,
    /// It shows a part of its file system: a bind mount, or a subvolume.
    part: bool,
}

impl SystemMount {
    #[cfg(test)]
    pub(super) fn of(point: &Path, kind: &str) -> SystemMount {
        SystemMount {
            point: point.to_path_buf(),
            kind: kind.to_owned(),
            part: false,
        }
    }

    /// Whether it may be meant for mail. Bind mounts are not: each file and directory that a
    /// sandbox keeps from a service is one.
    pub(super) fn may_hold_mail(&self) -> bool {
        let whole = !self.part || self.kind == "btrfs";
        self.point != Path::new("/") && whole && !NO_MAIL.contains(&self.kind.as_str())
    }
}

/// All of them.
///
/// # Errors
/// There is no such table, or it cannot be read.
pub(super) fn mounts() -> Result<Vec<SystemMount>, IoError> {
    let text = read_named(Path::new(TABLE), LIMIT)?;
    Ok(text.split(|b| *b == b'\n').filter_map(parse).collect())
}

/// The type of the file system that `path` lies on, by the longest mount point above it; `None` if
/// the system does not say.
#[must_use]
pub fn file_system(path: &Path) -> Option<String> {
    let mounts = mounts().ok()?.into_iter();
    let above = mounts.filter(|mount| path.starts_with(&mount.point));
    // Of two on one point the later one is on top.
    let nearest = above.max_by_key(|mount| mount.point.as_os_str().len())?;
    Some(nearest.kind)
}

/// A line: `36 35 98:0 /part /mnt/point rw,noatime shared:1 - ext4 /dev/sdb1 rw`
fn parse(line: &[u8]) -> Option<SystemMount> {
    let mut words = line.split(|b| *b == b' ').skip(3);
    let (part, point) = (words.next()?, words.next()?);
    let kind = words.skip_while(|word| *word != b"-").nth(1)?;
    Some(SystemMount {
        point: PathBuf::from(OsString::from_vec(unescape(point))),
        kind: String::from_utf8_lossy(kind).into_owned(),
        part: part != b"/",
    })
}

/// Blanks, line ends and backslashes are written as `\040`.
fn unescape(word: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((&byte, more)) = rest.split_first() {
        let octal = more
            .get(..3)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(value) if byte == b'\\' => {
                out.push(value);
                rest = &more[3..];
            }
            _ => {
                out.push(byte);
                rest = more;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_hold_mail_is_told_from_what_the_kernel_and_sandboxes_mount() {
        let may = |line: &str| parse(line.as_bytes()).unwrap().may_hold_mail();
        assert!(may(
            "36 35 98:0 / /mail rw,noatime shared:1 - ext4 /dev/sdb1 rw"
        ));
        assert!(may("36 35 0:44 / /mail rw - nfs4 filer:/mail rw"));
        assert!(may(
            "36 35 0:44 /@mail /mail rw shared:1 master:2 - btrfs /dev/sdb1 rw"
        ));
        assert!(!may("36 35 98:0 / / rw - ext4 /dev/sda1 rw"));
        assert!(!may("36 35 98:0 /usr /usr ro - ext4 /dev/sda1 rw"));
        assert!(!may("36 35 0:5 / /proc rw - proc proc rw"));
        assert!(!may("36 35 0:6 / /run rw - tmpfs tmpfs rw"));
        assert!(!may("36 35 0:7 / /sys rw - sysfs sysfs rw"));
        let odd = parse(b"36 35 98:0 / /a\\040b\\134c rw - ext4 /dev/sdb1 rw").unwrap();
        assert_eq!(odd.point, Path::new("/a b\\c"));
        assert_eq!(parse(b""), None);
        assert!(!mounts().unwrap().is_empty());
    }
}
