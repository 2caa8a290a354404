//! A file of slotd's own state, replaced as a whole: a crash leaves the old one or the new one, and
//! perhaps a `.tmp` that the next time removes.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use indexfile::{IoContext, IoError};

/// Writes a file anew beside `path`, syncs it, renames it over `path` and syncs the directory.
/// Gives the new file, open. It is its owner's alone unless `write` lets others read it. One at a
/// time for each path: that is the caller's to see to.
///
/// # Errors
/// The system's; before the rename the old file is still there.
pub fn rewrite(
    path: &Path,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> Result<File, IoError> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut new_path = path.as_os_str().to_owned();
    new_path.push(".tmp");
    let new_path = PathBuf::from(new_path);
    match std::fs::remove_file(&new_path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            return Err(IoError::new("remove", &new_path, e));
        }
        _ => {}
    }
    let mode = 0o600;
    let create = File::options()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&new_path);
    let mut new = create.io_context("create", &new_path)?;
    // Whatever the umask is.
    new.set_permissions(Permissions::from_mode(mode))
        .io_context("change mode of", &new_path)?;
    write(&mut new)
        .and_then(|()| new.sync_all())
        .io_context("write", &new_path)?;
    std::fs::rename(&new_path, path).io_context("rename", &new_path)?;
    File::open(dir)
        .and_then(|d| d.sync_all())
        .io_context("sync directory", dir)?;
    Ok(new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn what_cannot_be_written_leaves_the_old_file_and_the_next_time_works() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("state");
        rewrite(&path, |new| new.write_all(b"old")).unwrap();
        let failed = rewrite(&path, |new| {
            new.write_all(b"ha")?;
            Err(io::ErrorKind::StorageFull.into())
        });
        assert!(failed.is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        rewrite(&path, |new| new.write_all(b"new")).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::read_dir(tmp.path()).unwrap().count(), 1);
    }
}
