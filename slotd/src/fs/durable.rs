//! Complete new files: made beside the one they replace, owned like it, synced, or gone.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use indexfile::{IoContext, IoError};

use super::attributes::copy_attributes;
use super::{Dir, FileId};
use crate::failpoint;
use crate::lock::wait;

/// Bytes collected before they go to the kernel.
const BUFFER: usize = 256 * 1024;

/// A file without a name, or under one that is not live. It is gone when dropped, unless
/// [`NewFile::keep`] was called: so whatever fails on the way, a full disk included, leaves
/// nothing.
#[derive(Debug)]
pub struct NewFile<'a> {
    dir: &'a Dir,
    name: &'static str,
    file: File,
    buffer: Vec<u8>,
    named: bool,
    kept: bool,
}

/// A file that was made and kept.
#[derive(Debug)]
pub struct CreatedFile {
    /// Open, with its lock held by this handle.
    pub file: File,
    /// Which file it is.
    pub id: FileId,
    /// It has a name.
    pub named: bool,
}

impl CreatedFile {
    /// The same by another handle, which shares its lock.
    ///
    /// # Errors
    /// The system's.
    pub fn again(&self) -> io::Result<CreatedFile> {
        Ok(CreatedFile {
            file: self.file.try_clone()?,
            id: self.id,
            named: self.named,
        })
    }
}

impl<'a> NewFile<'a> {
    /// Creates it without a name, for [`Dir::give_name`] once it is complete: then no crash can
    /// leave anything of it. `None` where that cannot be done.
    ///
    /// # Errors
    /// The system's.
    pub fn nameless(dir: &'a Dir, name: &'static str) -> Result<Option<NewFile<'a>>, IoError> {
        let file = dir.create_nameless()?;
        Ok(file.map(|file| NewFile::of(dir, name, file, false)))
    }

    /// Creates it; what may lie there already is removed first. Only for names that are ours to
    /// remove: because we hold the locks, or because nothing else uses the name.
    ///
    /// # Errors
    /// The system's.
    pub fn create(dir: &'a Dir, name: &'static str) -> Result<NewFile<'a>, IoError> {
        dir.unlink(name)?;
        let file = dir.create_new(name)?;
        Ok(NewFile::of(dir, name, file, true))
    }

    fn of(dir: &'a Dir, name: &'static str, file: File, named: bool) -> NewFile<'a> {
        NewFile {
            dir,
            name,
            file,
            buffer: Vec::with_capacity(BUFFER),
            named,
            kept: false,
        }
    }

    /// The open file.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Takes the lock that Cyrus would take, so that nobody gets between the rename and the end of
    /// our work.
    ///
    /// # Errors
    /// Somebody else has it, which nobody should.
    pub fn lock(&self) -> Result<(), IoError> {
        let path = self.dir.path_of(self.name);
        if wait::try_lock(&self.file).io_context("lock", &path)? {
            return Ok(());
        }
        Err(IoError::new(
            "lock",
            &path,
            io::ErrorKind::WouldBlock.into(),
        ))
    }

    /// Sends what is buffered to the kernel, and makes owner, group, mode and extended attributes
    /// those of `like`. What is left is [`sync_new`].
    ///
    /// # Errors
    /// The system's.
    pub fn finish(&mut self, like: &File) -> Result<(), IoError> {
        let path = self.dir.path_of(self.name);
        self.flush().io_context("write", &path)?;
        copy_attributes(like, &self.file, &path)?;
        Ok(())
    }

    /// Lets it live as long as its handle, and where it has a name longer.
    ///
    /// # Errors
    /// fstat failed.
    pub fn keep(mut self) -> Result<CreatedFile, IoError> {
        let path = self.dir.path_of(self.name);
        let id = FileId::of(&self.file).io_context("stat", &path)?;
        let file = self.file.try_clone().io_context("duplicate", &path)?;
        let named = self.named;
        self.kept = true;
        Ok(CreatedFile { file, id, named })
    }
}

/// What of a file is not on stable storage yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsynced {
    /// Bytes in blocks that it had already: where no block, no size and no attribute is new the
    /// file system's journal need not be waited for.
    Data,
    /// Anything.
    All,
}

/// Brings a file that is not live yet to stable storage.
///
/// # Errors
/// The system's. It is final: the file is of no use, and must never be synced again.
pub fn sync_new(file: &File, path: &Path, what: Unsynced) -> Result<(), IoError> {
    let sync = || {
        failpoint::hit("stage.sync")?;
        match what {
            Unsynced::Data => file.sync_data(),
            Unsynced::All => file.sync_all(),
        }
    };
    sync().io_context("sync", path)
}

impl Write for NewFile<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.len() + bytes.len() > BUFFER {
            self.flush()?;
        }
        if bytes.len() >= BUFFER {
            failpoint::hit("stage.write")?;
            return self.file.write(bytes);
        }
        self.buffer.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.buffer.is_empty() {
            failpoint::hit("stage.write")?;
            self.file.write_all(&self.buffer)?;
            self.buffer.clear();
        }
        Ok(())
    }
}

impl Drop for NewFile<'_> {
    fn drop(&mut self) {
        if self.named
            && !self.kept
            && let Err(error) = self.dir.unlink(self.name)
        {
            tracing::error!("{error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Dir, File) {
        let tmp = tempfile::tempdir().unwrap();
        std::fs::write(tmp.path().join("live"), b"old").unwrap();
        let like = File::open(tmp.path().join("live")).unwrap();
        let dir = Dir::open_root(tmp.path()).unwrap();
        (tmp, dir, like)
    }

    #[test]
    fn whatever_fails_nothing_is_left() {
        for point in ["stage.write", "stage.chown", "stage.sync"] {
            let (tmp, dir, like) = store();
            let error = failpoint::with(&format!("{point}=1:enospc"), || {
                let mut new = NewFile::create(&dir, "live.NEW").unwrap();
                new.write_all(b"new").unwrap();
                let path = tmp.path().join("live.NEW");
                new.finish(&like)
                    .and_then(|()| sync_new(new.file(), &path, Unsynced::All))
                    .unwrap_err()
            });
            assert_eq!(
                crate::fs::code_of(&error.source),
                crate::protocol::Code::NoSpace,
                "{point}"
            );
            assert_eq!(std::fs::read_dir(tmp.path()).unwrap().count(), 1, "{point}");
        }
    }
}
