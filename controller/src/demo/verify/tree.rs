//! A host's directories, remembered.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use indexfile::{IoContext, IoError};

/// One path as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Device and inode.
    pub inode: (u64, u64),
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    links: u64,
    mtime: (i64, i64),
    ctime: (i64, i64),
    /// Of index and expunge files, if they were asked for.
    pub bytes: Vec<u8>,
}

impl Entry {
    pub fn is_dir(&self) -> bool {
        self.mode & 0o170_000 == 0o040_000
    }

    /// The same file, and nobody wrote, renamed, linked or chowned it since.
    pub fn same_file(&self, other: &Self) -> bool {
        (self.inode, self.size, self.links, self.mtime, self.ctime)
            == (
                other.inode,
                other.size,
                other.links,
                other.mtime,
                other.ctime,
            )
    }
}

/// Everything below the roots of a partition.
#[derive(Debug)]
pub(super) struct Tree {
    pub entries: BTreeMap<PathBuf, Entry>,
    pub hashed: bool,
}

/// Whether a path is one of the two files that a migration replaces.
pub(super) fn is_index(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|n| n == "cyrus.index" || n == "cyrus.expunge")
}

impl Tree {
    /// Reads the trees below both roots; `keep` holds on to the bytes of index and expunge files.
    pub fn read(data: &Path, meta: &Path, hashed: bool, keep: bool) -> Result<Self, IoError> {
        let mut entries = BTreeMap::new();
        let mut todo = vec![data.to_owned()];
        if meta != data {
            todo.push(meta.to_owned());
        }
        while let Some(dir) = todo.pop() {
            for found in fs::read_dir(&dir).io_context("read directory", &dir)? {
                let found = found.io_context("read directory", &dir)?;
                let path = found.path();
                // Of the entry itself: a symbolic link is not followed.
                let about = found.metadata().io_context("look at", &path)?;
                if about.is_dir() {
                    todo.push(path.clone());
                }
                let bytes = if keep && about.is_file() && is_index(&path) {
                    fs::read(&path).io_context("read", &path)?
                } else {
                    Vec::new()
                };
                let entry = Entry {
                    inode: (about.dev(), about.ino()),
                    mode: about.mode(),
                    uid: about.uid(),
                    gid: about.gid(),
                    size: about.len(),
                    links: about.nlink(),
                    mtime: (about.mtime(), about.mtime_nsec()),
                    ctime: (about.ctime(), about.ctime_nsec()),
                    bytes,
                };
                entries.insert(path, entry);
            }
        }
        Ok(Self { entries, hashed })
    }

    /// The directories in which a cyrus.index lies.
    pub fn mailboxes(&self) -> impl Iterator<Item = &Path> {
        self.entries
            .keys()
            .filter(|p| p.file_name().is_some_and(|n| n == "cyrus.index"))
            .filter_map(|p| p.parent())
    }

    /// Whether a cyrus.index lies in this directory.
    pub fn is_mailbox(&self, dir: &Path) -> bool {
        self.entries.contains_key(&dir.join("cyrus.index"))
    }

    /// The mailbox's name, for messages and to find it on the other host.
    pub fn name_of(&self, dir: &Path, root: &Path) -> String {
        let parts: Vec<_> = dir
            .strip_prefix(root)
            .unwrap_or(dir)
            .iter()
            .skip(usize::from(self.hashed))
            .map(|c| c.to_string_lossy())
            .collect();
        parts.join(".")
    }
}
