//! The trees of a configuration: for each partition its roots, each once, and which roots get into
//! each other's way.

use crate::mailbox::{ImapdConf, MetaFile, Partition};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// One root of a tree, and what may lie below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TreeRoot {
    pub(super) path: PathBuf,
    pub(super) files: Vec<MetaFile>,
    pub(super) messages: bool,
}

/// The roots of one partition, or of a plain tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    /// Name of the partition; of a plain tree its path.
    pub name: String,
    pub(super) roots: Vec<TreeRoot>,
}

/// The files that make a directory a mailbox, or a part of one.
pub(super) const IDENTIFYING: [MetaFile; 3] =
    [MetaFile::Header, MetaFile::Index, MetaFile::Expunge];

impl Tree {
    /// The roots of a partition, those of its archive included.
    #[must_use]
    pub fn of_partition(conf: &ImapdConf, partition: &Partition) -> Self {
        let dirs = conf.dirs_at(partition, Path::new(""));
        let mut tree = Self {
            name: partition.name.clone(),
            roots: Vec::new(),
        };
        for file in IDENTIFYING {
            tree.add(&dirs.file_dir(file).root, Some(file));
        }
        tree.add(&dirs.data().root, None);
        if let Some(archive) = &partition.archive_root {
            tree.add(archive, None);
        }
        tree
    }

    /// A plain tree: messages under `data` and `archive`, everything else under `meta`.
    #[must_use]
    pub fn plain(data: &Path, meta: Option<&Path>, archive: Option<&Path>) -> Self {
        let mut tree = Self {
            name: data.display().to_string(),
            roots: Vec::new(),
        };
        for file in IDENTIFYING {
            tree.add(meta.unwrap_or(data), Some(file));
        }
        tree.add(data, None);
        if let Some(archive) = archive {
            tree.add(archive, None);
        }
        tree
    }

    fn add(&mut self, path: &Path, file: Option<MetaFile>) {
        let at = self.roots.iter().position(|root| root.path == path);
        let at = at.unwrap_or_else(|| {
            self.roots.push(TreeRoot {
                path: path.to_owned(),
                files: Vec::new(),
                messages: false,
            });
            self.roots.len() - 1
        });
        if let Some(root) = self.roots.get_mut(at) {
            match file {
                Some(file) => root.files.push(file),
                None => root.messages = true,
            }
        }
    }

    /// The paths of its roots.
    pub fn roots(&self) -> impl Iterator<Item = &Path> {
        self.roots.iter().map(|root| root.path.as_path())
    }
}

/// Two roots that are one directory, or of which one lies in the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedRoots {
    /// A partition and its root.
    pub outer: (String, PathBuf),
    /// The partition whose root lies there too, and that root.
    pub inner: (String, PathBuf),
    /// They are one directory, not one in the other.
    pub same: bool,
}

impl fmt::Display for SharedRoots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (outer, inner) = (&self.outer, &self.inner);
        let how = if self.same {
            "is the same directory as"
        } else {
            "lies in"
        };
        write!(
            f,
            "{} of partition {} {how} {} of partition {}; each directory is worked on once",
            inner.1.display(),
            inner.0,
            outer.1.display(),
            outer.0
        )
    }
}

/// The root as the file system knows it; as it stands where that cannot be found out.
fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// All roots that coincide with or lie in one of another partition, or in another one of their own.
#[must_use]
pub fn shared_roots(conf: &ImapdConf) -> Vec<SharedRoots> {
    let mut roots: Vec<(String, PathBuf, PathBuf)> = Vec::new();
    for partition in conf.partitions() {
        for root in Tree::of_partition(conf, partition).roots {
            roots.push((partition.name.clone(), real(&root.path), root.path));
        }
    }
    let mut shared = Vec::new();
    for (i, outer) in roots.iter().enumerate() {
        for (k, inner) in roots.iter().enumerate() {
            let same = outer.1 == inner.1;
            if i == k || (same && i > k) || !inner.1.starts_with(&outer.1) {
                continue;
            }
            shared.push(SharedRoots {
                outer: (outer.0.clone(), outer.2.clone()),
                inner: (inner.0.clone(), inner.2.clone()),
                same,
            });
        }
    }
    shared
}

/// The partitions of which each has directories of its own: of those whose mailboxes lie in the
/// very same directories the default one, or else the first. Two that share a metapartition only
/// are both given ([`super::is_of_another`]).
#[must_use]
pub fn partitions_once(conf: &ImapdConf) -> Vec<&Partition> {
    let default = conf.default_partition().map(|p| p.name.clone());
    let mut by_roots: BTreeMap<Vec<PathBuf>, &Partition> = BTreeMap::new();
    for partition in conf.partitions() {
        let one = by_roots
            .entry(all_roots(conf, partition))
            .or_insert(partition);
        if Some(&partition.name) == default.as_ref() {
            *one = partition;
        }
    }
    let mut once: Vec<&Partition> = by_roots.into_values().collect();
    once.sort_by(|a, b| a.name.cmp(&b.name));
    once
}

/// Where each kind of file lies, as the file system knows it.
fn all_roots(conf: &ImapdConf, partition: &Partition) -> Vec<PathBuf> {
    const APART: [MetaFile; 4] = [
        MetaFile::Header,
        MetaFile::Index,
        MetaFile::Expunge,
        MetaFile::Cache,
    ];
    let dirs = conf.dirs_at(partition, Path::new(""));
    let archive = dirs.archive().unwrap_or_else(|| dirs.data());
    let files = APART.map(|file| dirs.file_dir(file));
    let all = files.into_iter().chain([dirs.data(), archive]);
    all.map(|location| real(&location.root)).collect()
}
