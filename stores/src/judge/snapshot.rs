//! What a directory tree looked like at one moment, and what differs at another.
//!
//! A snapshot keeps for each file what a careful migration must not change: inode, mode, owner,
//! mtime, size and content. Access times are left out: reading is allowed.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::image::sha1_of;

/// One file or directory at the moment of the snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Inode number.
    pub ino: u64,
    /// Type and permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Hard links.
    pub nlink: u64,
    /// Modification time, nanoseconds since 1970.
    pub mtime_ns: i128,
    /// Time of the last change of any kind, nanoseconds since 1970.
    pub ctime_ns: i128,
    /// Size in bytes.
    pub size: u64,
    /// SHA-1 of the content; of nothing for directories and others.
    pub sha1: [u8; 20],
}

impl Entry {
    /// Reads one path, without following a symbolic link.
    ///
    /// # Errors
    /// What `lstat` or `read` say.
    pub fn read(path: &Path) -> io::Result<Self> {
        let meta = fs::symlink_metadata(path)?;
        let ns = |s: i64, ns: i64| i128::from(s) * 1_000_000_000 + i128::from(ns);
        let content = if meta.is_file() {
            fs::read(path)?
        } else {
            Vec::new()
        };
        Ok(Self {
            ino: meta.ino(),
            mode: meta.mode(),
            uid: meta.uid(),
            gid: meta.gid(),
            nlink: meta.nlink(),
            mtime_ns: ns(meta.mtime(), meta.mtime_nsec()),
            ctime_ns: ns(meta.ctime(), meta.ctime_nsec()),
            size: meta.len(),
            sha1: sha1_of(&content),
        })
    }

    /// Whether it is a directory.
    #[must_use]
    pub fn is_dir(&self) -> bool {
        self.mode & 0o170_000 == 0o040_000
    }

    /// Kind and permissions, owner, group.
    #[must_use]
    pub fn id(&self) -> [u32; 3] {
        [self.mode, self.uid, self.gid]
    }

    /// Whether both are the same file with the same content. Hard links and the ctime are not
    /// compared: `.OLD` adds a link.
    #[must_use]
    pub fn untouched(&self, other: &Self) -> bool {
        let same = |entry: &Self| Self {
            nlink: 0,
            ctime_ns: 0,
            ..entry.clone()
        };
        same(self) == same(other)
    }
}

/// All paths below a root, relative to it.
pub type Tree = BTreeMap<PathBuf, Entry>;

/// Takes the snapshot of everything below `root`.
///
/// # Errors
/// The first path that could not be read.
pub fn take(root: &Path) -> io::Result<Tree> {
    let mut tree = Tree::new();
    let mut todo = vec![PathBuf::new()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(root.join(&dir))? {
            let entry = entry?;
            let relative = dir.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                todo.push(relative.clone());
            }
            tree.insert(relative, Entry::read(&entry.path())?);
        }
    }
    Ok(tree)
}

/// The differences of two snapshots, a line each. Directories are compared without mtime and
/// size, since new files in them change both.
#[must_use]
pub fn differences(before: &Tree, after: &Tree) -> Vec<String> {
    let mut lines = Vec::new();
    for (path, old) in before {
        match after.get(path) {
            None => lines.push(format!("{} is gone", path.display())),
            Some(new) if old.is_dir() => {
                if (old.ino, old.mode, old.uid, old.gid) != (new.ino, new.mode, new.uid, new.gid) {
                    lines.push(format!("{} is another directory", path.display()));
                }
            }
            Some(new) if !old.untouched(new) => {
                lines.push(format!(
                    "{} changed: {}",
                    path.display(),
                    what_changed(old, new)
                ));
            }
            Some(_) => {}
        }
    }
    for path in after.keys().filter(|p| !before.contains_key(*p)) {
        lines.push(format!("{} is new", path.display()));
    }
    lines
}

fn what_changed(old: &Entry, new: &Entry) -> String {
    let parts = [
        ("inode", old.ino != new.ino),
        ("mode", old.mode != new.mode),
        ("owner", (old.uid, old.gid) != (new.uid, new.gid)),
        ("mtime", old.mtime_ns != new.mtime_ns),
        ("size", old.size != new.size),
        ("content", old.sha1 != new.sha1),
    ];
    parts
        .iter()
        .filter(|p| p.1)
        .map(|p| p.0)
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_change_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::create_dir(root.join("sub")).unwrap();
        fs::write(root.join("sub/kept"), "kept").unwrap();
        fs::write(root.join("sub/edited"), "one").unwrap();
        fs::write(root.join("sub/replaced"), "same").unwrap();
        fs::write(root.join("sub/gone"), "x").unwrap();
        let before = take(root).unwrap();
        assert_eq!(
            differences(&before, &take(root).unwrap()),
            Vec::<String>::new()
        );

        fs::write(root.join("sub/edited"), "two").unwrap();
        fs::write(root.join("sub/new"), "same").unwrap();
        fs::rename(root.join("sub/new"), root.join("sub/replaced")).unwrap();
        fs::remove_file(root.join("sub/gone")).unwrap();
        fs::write(root.join("stray"), "").unwrap();
        let lines = differences(&before, &take(root).unwrap());
        assert_eq!(lines.len(), 4, "{lines:#?}");
        assert!(lines[0].starts_with("sub/edited changed") && lines[0].contains("content"));
        assert_eq!(lines[1], "sub/gone is gone");
        assert!(lines[2].starts_with("sub/replaced changed: inode"));
        assert_eq!(lines[3], "stray is new");
    }
}
