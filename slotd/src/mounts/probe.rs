//! What the system says about mount points, now.

use std::path::{Path, PathBuf};

use indexfile::{IoContext, IoError};
use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};
use rustix::io::Errno;

use super::prober::{Question, Seen};
use crate::refusal::Refusal;

/// Answers a question about a root by looking at it, which takes as long as its file system takes.
pub(super) fn look(question: &Question) -> Result<Seen, Refusal> {
    let root = &question.root;
    let mut seen = Seen {
        mounted: question.point.as_deref().map_or(Ok(true), is_mounted)?,
        device: device(root)?,
        point: None,
    };
    if question.find_point && seen.device.is_some() {
        let real = root.canonicalize().io_context("find", root)?;
        seen.point = mount_point_of(&real)?;
    }
    Ok(seen)
}

/// The device a path lies on, following links; `None` if there is nothing.
///
/// # Errors
/// Anything but its absence.
pub fn device(path: &Path) -> Result<Option<u64>, IoError> {
    match rustix::fs::stat(path) {
        Ok(stat) => Ok(Some(stat.st_dev)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(errno) => Err(IoError::new("stat", path, errno.into())),
    }
}

/// Whether a file system is mounted at this very path.
///
/// # Errors
/// The system's, but not that the path is absent: then nothing is mounted there.
pub fn is_mounted(path: &Path) -> Result<bool, IoError> {
    match statx(
        CWD,
        path,
        AtFlags::SYMLINK_NOFOLLOW,
        StatxFlags::BASIC_STATS,
    ) {
        // Since Linux 5.8. It knows bind mounts too, whose device is that of their parent.
        Ok(stat)
            if stat
                .stx_attributes_mask
                .contains(StatxAttributes::MOUNT_ROOT) =>
        {
            Ok(stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
        }
        Ok(_) | Err(Errno::NOSYS) => {
            let parent = path.parent().unwrap_or(path);
            Ok(parent == path || device(path)? != device(parent)?)
        }
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(false),
        Err(errno) => Err(IoError::new("stat", path, errno.into())),
    }
}

/// The mount point that a path (without links in it) lies on; `None` for that of `/`, which is
/// always there.
///
/// # Errors
/// The system's.
pub fn mount_point_of(real: &Path) -> Result<Option<PathBuf>, IoError> {
    for path in real.ancestors() {
        if path.parent().is_some() && is_mounted(path)? {
            return Ok(Some(path.to_path_buf()));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_is_a_mount_point_and_a_fresh_directory_is_none() {
        assert!(is_mounted(Path::new("/proc")).unwrap());
        assert_eq!(
            mount_point_of(Path::new("/proc/self")).unwrap(),
            Some("/proc".into())
        );
        let tmp = tempfile::tempdir().unwrap();
        assert!(!is_mounted(tmp.path()).unwrap());
        assert!(!is_mounted(&tmp.path().join("none")).unwrap());
    }
}
