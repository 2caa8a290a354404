//! Which mailboxes a run is about, and where their files lie.
//!
//! A [`Target`] comes from a name ([`names`]), from walking the partitions of an `imapd.conf`, or from
//! walking a plain tree ([`walk`]). Walking never follows a symbolic link. Nothing is written.

pub mod names;
pub mod walk;

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexfile::dir::{Dir, OpenError};
use indexfile::mailbox::{ConfError, ImapdConf, MailboxName, MetaFile};

/// The roots under which the parts of all mailboxes of one partition lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roots {
    /// Name of the partition, for people; of a plain tree its path.
    pub partition: String,
    /// Message files.
    pub data: PathBuf,
    /// `cyrus.header`.
    pub header: PathBuf,
    /// `cyrus.index`, and beside it `cyrus.sha1s`.
    pub index: PathBuf,
    /// `cyrus.expunge`.
    pub expunge: PathBuf,
}

impl Roots {
    /// A plain tree: messages under `data`, everything else under `meta`.
    #[must_use]
    pub fn plain(data: &Path, meta: Option<&Path>) -> Self {
        let meta = meta.unwrap_or(data).to_owned();
        Self {
            partition: data.display().to_string(),
            data: data.to_owned(),
            header: meta.clone(),
            index: meta.clone(),
            expunge: meta,
        }
    }

    /// Those of a partition.
    ///
    /// # Errors
    /// [`ConfError::UnknownPartition`].
    pub fn of_partition(conf: &ImapdConf, partition: &str) -> Result<Self, ConfError> {
        // The roots do not depend on the mailbox; any name shows them.
        let Ok(any) = MailboxName::parse("user.any") else {
            return Err(ConfError::UnknownPartition {
                mailbox: String::new(),
                partition: partition.to_owned(),
            });
        };
        let dirs = conf.dirs(&any, partition)?;
        let root = |file| dirs.file_dir(file).root.clone();
        Ok(Self {
            partition: partition.to_owned(),
            data: dirs.data().root.clone(),
            header: root(MetaFile::Header),
            index: root(MetaFile::Index),
            expunge: root(MetaFile::Expunge),
        })
    }
}

/// One mailbox to work on.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its name; its directory where it has none (3.x uuid directories, plain trees).
    pub mailbox: String,
    /// The roots of its partition.
    pub roots: Arc<Roots>,
    /// The path below each of them.
    pub sub: PathBuf,
}

/// The open directories of a mailbox.
#[derive(Debug)]
pub struct Dirs {
    data: Dir,
    /// Those of header, index and expunge where they differ from `data`.
    other: Vec<(PathBuf, Dir)>,
}

impl Target {
    /// The directory of the messages, for people.
    #[must_use]
    pub fn data_path(&self) -> PathBuf {
        self.roots.data.join(&self.sub)
    }

    /// The directory of `cyrus.index` and `cyrus.sha1s`, for people.
    #[must_use]
    pub fn index_path(&self) -> PathBuf {
        self.roots.index.join(&self.sub)
    }

    /// Opens all directories of the mailbox.
    ///
    /// # Errors
    /// The directory that could not be opened, and why.
    pub fn open(&self) -> Result<Dirs, OpenError> {
        let open = |root: &Path| Dir::locate_root(root)?.locate_beneath(&self.sub);
        let roots = &self.roots;
        let mut dirs = Dirs {
            data: open(&roots.data)?,
            other: Vec::new(),
        };
        for root in [&roots.header, &roots.index, &roots.expunge] {
            if *root != roots.data && dirs.other.iter().all(|(known, _)| known != root) {
                dirs.other.push((root.clone(), open(root)?));
            }
        }
        Ok(dirs)
    }

    /// Whether nothing of the mailbox is left: no directory below any root, and every root is there.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        let roots = &self.roots;
        [&roots.data, &roots.header, &roots.index, &roots.expunge]
            .into_iter()
            .all(|root| {
                let gone = |root: &Dir| {
                    let dir = root.locate_beneath(&self.sub);
                    matches!(dir, Err(OpenError::Missing { .. }))
                };
                Dir::locate_root(root).is_ok_and(|root| gone(&root))
            })
    }
}

impl Dirs {
    /// The directory below `root`, one of the [`Roots`] it was opened with.
    #[must_use]
    pub fn below(&self, root: &Path) -> &Dir {
        let other = self.other.iter().find(|(known, _)| known == root);
        other.map_or(&self.data, |(_, dir)| dir)
    }

    /// Gives away the directory of the messages, keeping a second descriptor of it.
    ///
    /// # Errors
    /// The system's, when there are no descriptors left.
    pub fn data(&self) -> std::io::Result<OwnedFd> {
        self.data.as_fd().try_clone_to_owned()
    }
}
