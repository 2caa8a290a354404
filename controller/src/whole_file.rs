//! A file that is there whole or not at all.
//!
//! A crash leaves what was there before, and maybe a temporary file beside it, which nothing reads.

use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use indexfile::{IoContext, IoError};
use tempfile::NamedTempFile;

/// What becomes of a file that has the name already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Before {
    /// The new one takes its place.
    Replaced,
    /// It stays, and the new one is refused, with `AlreadyExists`.
    Kept,
}

/// A file that is being written, under another name in the same directory. Dropped before
/// [`WholeFile::publish`] it leaves nothing.
#[derive(Debug)]
pub(crate) struct WholeFile {
    file: NamedTempFile,
    path: PathBuf,
}

impl WholeFile {
    /// Begins it. It is its owner's alone: it names mailboxes.
    ///
    /// # Errors
    /// The directory cannot be written to.
    pub(crate) fn create(path: &Path) -> Result<Self, IoError> {
        let mut builder = tempfile::Builder::new();
        let builder = builder.prefix(".reguid-").suffix(".new");
        let file = builder.tempfile_in(directory(path));
        Ok(Self {
            file: file.io_context("create", path)?,
            path: path.to_owned(),
        })
    }

    /// Lets every user of this host read it: nothing in it is a secret.
    ///
    /// # Errors
    /// The disk.
    pub(crate) fn for_all(&self) -> Result<(), IoError> {
        let mode = Permissions::from_mode(0o644);
        let set = self.file.as_file().set_permissions(mode);
        set.io_context("set the mode of", &self.path)
    }

    /// Makes it durable and gives it its name.
    ///
    /// # Errors
    /// The disk, or there is a file that is to be kept.
    pub(crate) fn publish(self, before: Before) -> Result<(), IoError> {
        let path = &self.path;
        self.file.as_file().sync_all().io_context("sync", path)?;
        let published = match before {
            Before::Replaced => self.file.persist(path),
            Before::Kept => self.file.persist_noclobber(path),
        };
        published
            .map_err(|error| error.error)
            .io_context("create", path)?;
        let dir = directory(path);
        let synced = File::open(dir).and_then(|dir| dir.sync_all());
        synced.io_context("sync", dir)
    }
}

impl std::io::Write for WholeFile {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{ErrorKind, Write};

    use super::*;

    #[test]
    fn a_file_that_is_to_be_kept_is_and_nothing_is_left_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("report.html");
        let write = |text: &str, before| {
            let mut file = WholeFile::create(&path).unwrap();
            file.write_all(text.as_bytes()).unwrap();
            file.publish(before)
        };
        write("first", Before::Kept).unwrap();
        let refused = write("second", Before::Kept).unwrap_err();
        assert_eq!(refused.source.kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).unwrap(), "first");
        write("third", Before::Replaced).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "third");
        drop(WholeFile::create(&path).unwrap());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
