//! Owner, group, mode and extended attributes of a new file: those of the file that it replaces.
//!
//! What may not be given refuses the mailbox, unless it makes no difference to what anybody may do.
//! To be called before the new file is live; a crash leaves that file.

use std::fs::File;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use indexfile::{IoContext, IoError};
use rustix::fs::{Gid, Uid, XattrFlags};
use rustix::io::Errno;

use crate::failpoint;

/// Makes owner, group, mode and extended attributes of `to` those of `from`, and tells whether that
/// changed anything: a file that has them already keeps a clean inode, whose sync needs no journal.
///
/// # Errors
/// The system's. Among them EPERM when an owner cannot be kept: then the file must not replace the
/// other. A group that cannot be given is let go only where it makes no difference to anybody.
pub fn copy_attributes(from: &File, to: &File, path: &Path) -> Result<bool, IoError> {
    failpoint::hit("stage.chown").io_context("change owner of", path)?;
    let want = from.metadata().io_context("stat", path)?;
    let have = to.metadata().io_context("stat", path)?;
    let uid = (want.uid() != have.uid()).then(|| Uid::from_raw(want.uid()));
    let gid = (want.gid() != have.gid()).then(|| Gid::from_raw(want.gid()));
    let mut changed = uid.is_some() || gid.is_some();
    if changed {
        let given =
            failpoint::hit("stage.give_group").and_then(|()| Ok(rustix::fs::fchown(to, uid, gid)?));
        match given {
            // A group that may do nothing that all others may not: the same users can open the
            // file as before. This serves a user's own server whose files once had another group;
            // UPGRADE reports it.
            Err(error)
                if error.raw_os_error() == Some(Errno::PERM.raw_os_error())
                    && uid.is_none()
                    && group_is_as_others(from, &want) =>
            {
                tracing::warn!(
                    "{} cannot have group {}, of which slotd's user is no member; it gives nobody \
                     a right that others have not",
                    path.display(),
                    want.gid()
                );
            }
            Err(error) if error.raw_os_error() == Some(Errno::PERM.raw_os_error()) => {
                let text = format!(
                    "{error} (it must have user {} and group {}, and slotd runs as user {}: run \
                     it as root, or as that \
                     user and a member of that group)",
                    want.uid(),
                    want.gid(),
                    rustix::process::geteuid().as_raw()
                );
                let denied = io::Error::new(io::ErrorKind::PermissionDenied, text);
                return Err(IoError::new("change owner of", path, denied));
            }
            Err(error) => return Err(IoError::new("change owner of", path, error)),
            Ok(()) => {}
        }
    }
    changed |= copy_xattrs(from, to).io_context("copy extended attributes to", path)?;
    // After the owner and the ACL, which both change the mode.
    let mode = want.permissions().mode() & 0o7777;
    let have = to.metadata().io_context("stat", path)?;
    if have.permissions().mode() & 0o7777 != mode {
        to.set_permissions(std::fs::Permissions::from_mode(mode))
            .io_context("change mode of", path)?;
        changed = true;
    }
    Ok(changed)
}

/// Whether the mode gives the group what it gives all others, and there is no ACL, with which it
/// would mean something else.
fn group_is_as_others(file: &File, meta: &std::fs::Metadata) -> bool {
    let mode = meta.permissions().mode();
    let mut nothing: [u8; 0] = [];
    let acl = rustix::fs::fgetxattr(file, "system.posix_acl_access", &mut nothing);
    let no_acl = matches!(acl, Err(Errno::NODATA | Errno::NOTSUP));
    mode >> 3 & 7 == mode & 7 && mode & 0o2000 == 0 && no_acl
}

/// The extended attributes of a file.
trait Xattrs {
    /// Their names, each with a zero byte behind it.
    fn list(&self) -> Result<Vec<u8>, Errno>;
    fn get(&self, name: &[u8]) -> Result<Vec<u8>, Errno>;
    fn set(&self, name: &[u8], value: &[u8]) -> Result<(), Errno>;
    fn remove(&self, name: &[u8]) -> Result<(), Errno>;
}

impl Xattrs for File {
    fn list(&self) -> Result<Vec<u8>, Errno> {
        read_grown(|buffer| rustix::fs::flistxattr(self, buffer))
    }

    fn get(&self, name: &[u8]) -> Result<Vec<u8>, Errno> {
        read_grown(|buffer| rustix::fs::fgetxattr(self, name, buffer))
    }

    fn set(&self, name: &[u8], value: &[u8]) -> Result<(), Errno> {
        rustix::fs::fsetxattr(self, name, value, XattrFlags::empty())
    }

    fn remove(&self, name: &[u8]) -> Result<(), Errno> {
        rustix::fs::fremovexattr(self, name)
    }
}

fn copy_xattrs(from: &impl Xattrs, to: &impl Xattrs) -> io::Result<bool> {
    let names = match from.list() {
        Ok(names) => names,
        Err(Errno::NOTSUP) => return Ok(false),
        Err(errno) => return Err(errno.into()),
    };
    // security.* and trusted.* are for the privileged, and the system labels a new file by itself.
    let may_fail = |name: &[u8], errno| {
        matches!(errno, Errno::PERM | Errno::ACCESS | Errno::NOTSUP)
            && !name.starts_with(b"user.")
            && !name.starts_with(b"system.")
    };
    let mut changed = false;
    for name in each_name(&names) {
        let value = match from.get(name) {
            // Not ours to read, as labels may be.
            Err(errno) if may_fail(name, errno) => continue,
            value => value?,
        };
        if to.get(name).as_ref() == Ok(&value) {
            continue;
        }
        changed = true;
        match to.set(name, &value) {
            Err(errno) if !may_fail(name, errno) => return Err(errno.into()),
            _ => {}
        }
    }
    // What the new file has of its own: the default ACL of its directory, which would let others
    // in.
    for name in each_name(&to.list()?).filter(|name| each_name(&names).all(|kept| kept != *name)) {
        changed = true;
        match to.remove(name) {
            Err(errno) if errno != Errno::NODATA && !may_fail(name, errno) => {
                return Err(errno.into());
            }
            _ => {}
        }
    }
    Ok(changed)
}

fn each_name(names: &[u8]) -> impl Iterator<Item = &[u8]> {
    names.split(|b| *b == 0).filter(|name| !name.is_empty())
}

/// Calls with a larger buffer until the answer fits.
fn read_grown(call: impl Fn(&mut Vec<u8>) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    let mut size = 256;
    loop {
        let mut buffer = vec![0; size];
        match call(&mut buffer) {
            Ok(len) => {
                buffer.truncate(len);
                return Ok(buffer);
            }
            Err(Errno::RANGE) if size < 1 << 20 => size *= 4,
            Err(errno) => return Err(errno),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::fs::{Dir, NewFile};

    fn store() -> (tempfile::TempDir, Dir, File) {
        let tmp = tempfile::tempdir().unwrap();
        std::fs::write(tmp.path().join("live"), b"old").unwrap();
        let like = File::open(tmp.path().join("live")).unwrap();
        let dir = Dir::open_root(tmp.path()).unwrap();
        (tmp, dir, like)
    }

    #[test]
    fn a_new_file_has_the_attributes_of_the_old_one() {
        let (tmp, dir, like) = store();
        like.set_permissions(std::fs::Permissions::from_mode(0o640))
            .unwrap();
        let labelled =
            rustix::fs::fsetxattr(&like, "user.reguid", b"kept", XattrFlags::empty()).is_ok();
        let mut new = NewFile::create(&dir, "live.NEW").unwrap();
        new.write_all(b"new").unwrap();
        new.finish(&like).unwrap();
        let file = new.keep().unwrap().file;
        assert_eq!(std::fs::read(tmp.path().join("live.NEW")).unwrap(), b"new");
        assert_eq!(
            file.metadata().unwrap().permissions().mode() & 0o7777,
            0o640
        );
        if labelled {
            assert_eq!(
                read_grown(|b| rustix::fs::fgetxattr(&file, "user.reguid", b)).unwrap(),
                b"kept"
            );
        }
    }

    #[test]
    fn a_group_is_let_go_only_where_it_makes_no_difference() {
        let (_tmp, _dir, like) = store();
        for (mode, as_others) in [
            (0o644, true),
            (0o600, true),
            (0o640, false),
            (0o660, false),
            (0o604, false),
            (0o2644, false),
        ] {
            like.set_permissions(std::fs::Permissions::from_mode(mode))
                .unwrap();
            let meta = like.metadata().unwrap();
            assert_eq!(group_is_as_others(&like, &meta), as_others, "{mode:o}");
        }
    }

    /// Attributes that a policy lets nobody read, or nobody set.
    #[derive(Default)]
    struct Guarded {
        values: std::cell::RefCell<std::collections::BTreeMap<Vec<u8>, Vec<u8>>>,
        no_get: Option<(&'static str, Errno)>,
        no_set: Option<(&'static str, Errno)>,
    }

    impl Guarded {
        fn with(names: &[&str]) -> Guarded {
            let values = names
                .iter()
                .map(|n| (n.as_bytes().to_vec(), b"value".to_vec()));
            Guarded {
                values: std::cell::RefCell::new(values.collect()),
                ..Guarded::default()
            }
        }

        fn names(&self) -> Vec<String> {
            let values = self.values.borrow();
            let names = values
                .keys()
                .map(|n| String::from_utf8_lossy(n).into_owned());
            names.collect()
        }
    }

    fn denied(rule: Option<(&'static str, Errno)>, name: &[u8]) -> Result<(), Errno> {
        match rule {
            Some((of, errno)) if of.as_bytes() == name => Err(errno),
            _ => Ok(()),
        }
    }

    impl Xattrs for Guarded {
        fn list(&self) -> Result<Vec<u8>, Errno> {
            let names = self.names().into_iter().map(|n| n + "\0");
            Ok(names.collect::<String>().into_bytes())
        }

        fn get(&self, name: &[u8]) -> Result<Vec<u8>, Errno> {
            denied(self.no_get, name)?;
            self.values.borrow().get(name).cloned().ok_or(Errno::NODATA)
        }

        fn set(&self, name: &[u8], value: &[u8]) -> Result<(), Errno> {
            denied(self.no_set, name)?;
            self.values
                .borrow_mut()
                .insert(name.to_vec(), value.to_vec());
            Ok(())
        }

        fn remove(&self, name: &[u8]) -> Result<(), Errno> {
            let gone = self.values.borrow_mut().remove(name);
            gone.map(drop).ok_or(Errno::NODATA)
        }
    }

    #[test]
    fn a_label_that_may_not_be_read_or_set_refuses_no_mailbox_and_any_other_attribute_does() {
        let (label, other) = ("security.selinux", "user.note");
        for errno in [Errno::ACCESS, Errno::PERM, Errno::NOTSUP] {
            for name in [label, other] {
                let from = Guarded {
                    no_get: Some((name, errno)),
                    ..Guarded::with(&[label, other])
                };
                let to = Guarded::default();
                let read = copy_xattrs(&from, &to);
                let from = Guarded::with(&[label, other]);
                let guarded = Guarded {
                    no_set: Some((name, errno)),
                    ..Guarded::default()
                };
                let set = copy_xattrs(&from, &guarded);
                if name == label {
                    assert!(read.unwrap() && set.unwrap(), "{errno}");
                    assert_eq!(
                        (to.names(), guarded.names()),
                        (vec![other.into()], vec![other.into()])
                    );
                } else {
                    for result in [read, set] {
                        assert_eq!(
                            result.unwrap_err().raw_os_error(),
                            Some(errno.raw_os_error())
                        );
                    }
                }
            }
        }
    }

    /// An ACL entry as Linux keeps it in `system.posix_acl_*`: tag, permissions, id.
    fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
        let mut bytes = 2_u32.to_le_bytes().to_vec();
        for (tag, perm, id) in entries {
            bytes.extend(tag.to_le_bytes());
            bytes.extend(perm.to_le_bytes());
            bytes.extend(id.to_le_bytes());
        }
        bytes
    }

    #[test]
    fn a_directory_s_default_acl_lets_nobody_into_the_new_file_whom_the_old_one_kept_out() {
        const NOBODY: u32 = u32::MAX;
        let (tmp, dir, like) = store();
        like.set_permissions(std::fs::Permissions::from_mode(0o660))
            .unwrap();
        let entries = [
            (0x01, 7, NOBODY),
            (0x02, 7, 4242),
            (0x04, 5, NOBODY),
            (0x10, 7, NOBODY),
            (0x20, 5, NOBODY),
        ];
        let default = rustix::fs::setxattr(
            tmp.path(),
            "system.posix_acl_default",
            &acl(&entries),
            XattrFlags::empty(),
        );
        if default == Err(Errno::NOTSUP) {
            eprintln!("not shown here: the file system of the temporary directory has no ACLs");
            return;
        }
        default.unwrap();
        let mut new = NewFile::create(&dir, "live.NEW").unwrap();
        new.write_all(b"new").unwrap();
        new.finish(&like).unwrap();
        let file = new.keep().unwrap().file;
        let names = read_grown(|buffer| rustix::fs::flistxattr(&file, buffer)).unwrap();
        assert_eq!(String::from_utf8_lossy(&names), "");
        assert_eq!(
            file.metadata().unwrap().permissions().mode() & 0o7777,
            0o660
        );
    }
}
