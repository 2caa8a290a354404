//! A Unix socket for its owner alone, under a name where nothing else may be lost.
//!
//! The socket is made in a directory that nobody else can enter, gets its mode there, and only then
//! its name: at no instant can another user connect. The name is given only where nothing lies;
//! only a socket that nobody answers on is removed first. A crash leaves that directory, with a
//! dead socket in it, and nothing else.

use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Listens at `path`; the listener is non-blocking, as an async runtime wants it.
///
/// # Errors
/// [`io::ErrorKind::AddrInUse`] if a process answers there; [`io::ErrorKind::AlreadyExists`] if
/// something lies there that is no socket; else the system's.
pub fn bind_private(path: &Path) -> io::Result<UnixListener> {
    bind_for(path, None)
}

/// The same, for its owner and a group.
pub(super) fn bind_for(path: &Path, group: Option<u32>) -> io::Result<UnixListener> {
    remove_dead(path)?;
    let private = PrivateDir::create_beside(path)?;
    let inner = private.0.join("s");
    let listener = UnixListener::bind(&inner)?;
    let mut mode = 0o600;
    if let Some(group) = group {
        std::os::unix::fs::chown(&inner, None, Some(group)).map_err(|error| {
            let text = format!("it cannot be given to the group {group}: {error}");
            io::Error::new(error.kind(), text)
        })?;
        mode = 0o660;
    }
    std::fs::set_permissions(&inner, std::fs::Permissions::from_mode(mode))?;
    // A link, unlike a rename, replaces nothing.
    match std::fs::hard_link(&inner, path) {
        // A file system without links: nothing lay there a moment ago.
        Err(e)
            if matches!(
                e.kind(),
                io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported
            ) =>
        {
            std::fs::rename(&inner, path)?;
        }
        linked => linked?,
    }
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// A socket that nobody answers on is what a killed server left.
fn remove_dead(path: &Path) -> io::Result<()> {
    let meta = match std::fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    };
    if !meta.file_type().is_socket() {
        let text = format!(
            "{} is there and is no socket; it is left alone",
            path.display()
        );
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        // Busy, or not ours to ask: it may live.
        Err(e) => Err(e),
    }
}

/// A directory of this process alone; removed when dropped.
struct PrivateDir(PathBuf);

impl PrivateDir {
    fn create_beside(path: &Path) -> io::Result<PrivateDir> {
        let parent = path.parent().unwrap_or(Path::new("."));
        let private = parent.join(format!(".{}", std::process::id()));
        // Of a process that had this number and was killed.
        let _ = std::fs::remove_file(private.join("s"));
        let _ = std::fs::remove_dir(&private);
        std::fs::DirBuilder::new().mode(0o700).create(&private)?;
        Ok(PrivateDir(private))
    }
}

impl Drop for PrivateDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(self.0.join("s"));
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_may_use_it_where_one_is_named() {
        use std::os::unix::fs::MetadataExt as _;
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("sock");
        // The last of our groups, which a test without root may give it to.
        let own = rustix::process::getgroups().unwrap().pop();
        let own = own.map_or_else(
            || rustix::process::getegid().as_raw(),
            rustix::fs::Gid::as_raw,
        );
        let _listener = bind_for(&path, Some(own)).unwrap();
        let meta = std::fs::metadata(&path).unwrap();
        assert_eq!((meta.mode() & 0o777, meta.gid()), (0o660, own));
    }

    #[test]
    fn only_a_dead_socket_is_replaced() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("sock");
        std::fs::write(&path, "somebody's").unwrap();
        let refused = bind_private(&path).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        assert!(refused.to_string().contains("no socket"), "{refused}");
        assert_eq!(std::fs::read(&path).unwrap(), b"somebody's");
        std::fs::remove_file(&path).unwrap();
        let listener = bind_private(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(
            bind_private(&path).unwrap_err().kind(),
            io::ErrorKind::AddrInUse
        );
        drop(listener);
        drop(bind_private(&path).unwrap());
        assert_eq!(std::fs::read_dir(tmp.path()).unwrap().count(), 1);
    }
}
