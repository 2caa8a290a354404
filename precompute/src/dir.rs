//! Directories of a mailbox, opened beneath the root of their partition.
//!
//! A symbolic link inside a spool must not lead a program that may run as root out of it, so the path
//! below the root is resolved by `openat2(RESOLVE_BENEATH)`; kernels before 5.6 do not have that, and
//! there it is walked component by component without following any link. Only opens, never writes.

use std::os::fd::OwnedFd;
use std::path::{Component, Path};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

const FLAGS: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Opens `sub` beneath `root`, for use as the start of other calls (`O_PATH`).
///
/// # Errors
/// `XDEV` or `LOOP` if a link leads out; else the system's.
pub fn open_beneath(root: &Path, sub: &Path) -> Result<OwnedFd, Errno> {
    let root = rustix::fs::openat(CWD, root, FLAGS, Mode::empty())?;
    if sub.as_os_str().is_empty() {
        return Ok(root);
    }
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    match rustix::fs::openat2(&root, sub, FLAGS, Mode::empty(), resolve) {
        // EPERM comes from sandboxes that do not know the call.
        Err(Errno::NOSYS | Errno::PERM) => walk(root, sub),
        other => other,
    }
}

fn walk(root: OwnedFd, sub: &Path) -> Result<OwnedFd, Errno> {
    let mut at = root;
    for component in sub.components() {
        match component {
            Component::Normal(name) => {
                at = rustix::fs::openat(&at, name, FLAGS | OFlags::NOFOLLOW, Mode::empty())?;
            }
            Component::CurDir => {}
            _ => return Err(Errno::XDEV),
        }
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_link_that_leads_out_is_refused_and_one_that_stays_in_is_followed() {
        let outer = tempfile::tempdir().expect("scratch");
        let root = outer.path().join("root");
        std::fs::create_dir_all(root.join("user/joe")).expect("mkdir");
        std::fs::create_dir_all(outer.path().join("secret")).expect("mkdir");
        symlink("joe", root.join("user/alias")).expect("link");
        symlink("../../secret", root.join("user/out")).expect("link");
        symlink(outer.path().join("secret"), root.join("user/abs")).expect("link");
        for good in ["", "user", "user/joe", "user/alias"] {
            assert!(open_beneath(&root, Path::new(good)).is_ok(), "{good}");
        }
        for bad in ["user/out", "user/abs", "../secret", "/etc", "user/nobody"] {
            assert!(open_beneath(&root, Path::new(bad)).is_err(), "{bad}");
        }
        // The way without openat2 is stricter: no link at all.
        let fd = || open_beneath(&root, Path::new("")).expect("root");
        assert!(walk(fd(), Path::new("user/joe")).is_ok());
        for bad in ["user/out", "user/abs", "user/alias", "../secret", "/etc"] {
            assert!(walk(fd(), Path::new(bad)).is_err(), "{bad}");
        }
    }
}
