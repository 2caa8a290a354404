//! A new file that appears whole or not at all, and never in the place of another.
//!
//! A crash leaves at most a file named `OUT.PID.tmp`, never a part of `OUT`.

use crate::error::{IoContext, IoError};
use rustix::fs::RenameFlags;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A file under a temporary name; removed again unless [`Self::publish`] succeeds.
#[derive(Debug)]
pub(super) struct NewFile {
    pub(super) file: File,
    temporary: PathBuf,
    path: PathBuf,
    published: bool,
}

impl NewFile {
    /// Begins the file that will be `path`, with owner and mode of `like` as far as we may.
    pub(super) fn create(path: &Path, like: &File, like_path: &Path) -> Result<Self, IoError> {
        if path.symlink_metadata().is_ok() {
            return Err(IoError::new(
                "create",
                path,
                std::io::ErrorKind::AlreadyExists.into(),
            ));
        }
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.tmp", std::process::id()));
        let temporary = path.with_file_name(name);
        let meta = like.metadata().io_context("stat", like_path)?;
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
            .io_context("create", &temporary)?;
        let new = Self {
            file,
            temporary,
            path: path.to_path_buf(),
            published: false,
        };
        // Only root may give files away; for anyone else the file is simply theirs.
        let _ = std::os::unix::fs::fchown(&new.file, Some(meta.uid()), Some(meta.gid()));
        new.file
            .set_permissions(meta.permissions())
            .io_context("chmod", &new.temporary)?;
        Ok(new)
    }

    /// Makes the file durable, has `announce` say so, and gives it its name, unless something has
    /// that name by now. What is announced and fails afterwards ends with the error returned.
    ///
    /// # Errors
    /// That of `announce` or of the system; then there is no file of that name.
    pub(super) fn publish<E: From<IoError>>(
        mut self,
        announce: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        self.file.sync_all().io_context("fsync", &self.temporary)?;
        let parent = self.path.parent().filter(|p| !p.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new(".")).to_path_buf();
        // Opened before the file has its name: whether that can be made durable shows here.
        let dir = File::open(&parent).io_context("open", &parent)?;
        announce()?;
        self.rename()?;
        dir.sync_all()
            .io_context("fsync", &parent)
            .map_err(|error| {
                // A name that may be gone after a crash is not kept.
                let _ = std::fs::remove_file(&self.path);
                error.into()
            })
    }

    fn rename(&mut self) -> Result<(), IoError> {
        let (cwd, flags) = (rustix::fs::CWD, RenameFlags::NOREPLACE);
        match rustix::fs::renameat_with(cwd, &self.temporary, cwd, &self.path, flags) {
            Ok(()) => self.published = true,
            // File systems without RENAME_NOREPLACE: a link never replaces anything either, and
            // dropping `self` removes the temporary name.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
                std::fs::hard_link(&self.temporary, &self.path).io_context("create", &self.path)?;
            }
            Err(e) => return Err(IoError::new("create", &self.path, e.into())),
        }
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.published {
            // Nothing more can be done about a temporary file that cannot be removed.
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}
