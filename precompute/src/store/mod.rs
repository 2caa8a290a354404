//! Which mailboxes a command works on, and where their files lie.
//!
//! A [`Target`] comes from a name ([`names`]), or from walking the partitions of an `imapd.conf` or
//! a plain tree ([`walk`]). Nothing is written.

pub mod names;
mod walk;

pub use walk::walk;

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexfile::dir::{Dir, OpenError};
use indexfile::mailbox::{
    HeaderFile, ImapdConf, Location, MailboxDirs, MetaFile, Partition, is_uuid_dir, name_of_dir,
};

use indexfile::finding::Finding;
use indexfile::walk::has_mailbox;

use crate::run_as::directories;

/// One step of a walk, or one name of a list: a mailbox, or why there is none.
pub type Step = Result<Target, Finding>;

/// A mail store.
#[derive(Clone, Debug)]
pub enum Store {
    /// The partitions of an `imapd.conf`.
    Conf(Arc<ImapdConf>),
    /// A tree of directories without any configuration.
    Plain {
        /// Messages.
        data: PathBuf,
        /// The `cyrus.*` files, if not with the messages.
        meta: Option<PathBuf>,
        /// Archived messages, if apart.
        archive: Option<PathBuf>,
    },
}

/// One mailbox to work on.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its name; its directory where it has none (plain trees).
    pub mailbox: String,
    /// Its partition; of a plain tree the root.
    pub partition: Arc<str>,
    /// Where its files lie.
    pub dirs: Arc<MailboxDirs>,
    /// It was asked for by name: it is an error if it does not exist.
    pub named: bool,
}

/// Which of a mailbox's directories of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The partition's.
    Data,
    /// The archive partition's (3.0 and later).
    Archive,
}

impl Store {
    /// A plain tree.
    #[must_use]
    pub fn plain(data: &Path, meta: Option<&Path>, archive: Option<&Path>) -> Self {
        Self::Plain {
            data: data.to_owned(),
            meta: meta.map(Path::to_owned),
            archive: archive.map(Path::to_owned),
        }
    }

    /// The mailbox at `sub` below the roots of `partition`, with the best name there is for it.
    /// `None` if the configuration does not have that partition.
    #[must_use]
    pub fn target(&self, partition: &Arc<str>, sub: &Path) -> Option<Target> {
        let (dirs, name) = match self {
            Self::Plain {
                data,
                meta,
                archive,
            } => (
                MailboxDirs::plain(data, meta.as_deref(), archive.as_deref(), sub),
                None,
            ),
            Self::Conf(conf) => {
                let dirs = conf.dirs_at(conf.partition(partition)?, sub);
                let name = if is_uuid_dir(sub) {
                    let header = HeaderFile::open(&dirs.file(MetaFile::Header)).ok();
                    header.and_then(|header| header.name)
                } else {
                    name_of_dir(conf, partition, sub).map(|name| name.to_string())
                };
                (dirs, name)
            }
        };
        Some(Target {
            mailbox: name.unwrap_or_else(|| dirs.data().path().display().to_string()),
            partition: Arc::clone(partition),
            dirs: Arc::new(dirs),
            named: false,
        })
    }

    /// The partitions and their roots of messages, the longest first.
    #[must_use]
    pub fn roots(&self) -> Vec<(Arc<str>, PathBuf)> {
        let mut roots: Vec<_> = match self {
            Self::Plain { data, .. } => vec![(data.display().to_string().into(), data.clone())],
            Self::Conf(conf) => conf
                .partitions()
                .map(|partition| (partition_name(partition), partition.root.clone()))
                .collect(),
        };
        roots.sort_by_key(|(_, root)| std::cmp::Reverse(root.components().count()));
        roots
    }

    /// The directories whose user is the store's.
    #[must_use]
    pub fn directories(&self) -> Vec<PathBuf> {
        match self {
            Self::Plain { data, meta, .. } => std::iter::once(data).chain(meta).cloned().collect(),
            Self::Conf(conf) => directories(conf),
        }
    }

    /// The mailbox in the root of a plain tree, if there is one.
    #[must_use]
    pub fn root(&self) -> Option<Target> {
        let Self::Plain { data, .. } = self else {
            return None;
        };
        let partition = data.display().to_string().into();
        let target = self.target(&partition, Path::new(""))?;
        // A place that cannot be looked at is for the walk to report.
        matches!(target.exists(), Ok(true)).then_some(Target {
            named: true,
            ..target
        })
    }
}

/// The name of a partition, to be shared by its mailboxes.
fn partition_name(partition: &Partition) -> Arc<str> {
    partition.name.as_str().into()
}

/// The open directories of a mailbox.
#[derive(Debug)]
pub struct Dirs {
    data: Dir,
    /// Those of header, index and expunge file that lie apart from `data`.
    apart: Vec<(Location, Dir)>,
}

impl Target {
    /// The directory of the messages, for people.
    #[must_use]
    pub fn data_path(&self) -> PathBuf {
        self.dirs.data().path()
    }

    /// The directory of `cyrus.index` and `cyrus.sha1s`, for people.
    #[must_use]
    pub fn index_path(&self) -> PathBuf {
        self.dirs.file_dir(MetaFile::Index).path()
    }

    /// Whether it has an index or a header.
    ///
    /// # Errors
    /// As [`has_mailbox`].
    pub fn exists(&self) -> Result<bool, OpenError> {
        has_mailbox(&self.dirs)
    }

    /// The directory of a place; without an archive partition Cyrus archives in place.
    #[must_use]
    pub fn location(&self, place: Place) -> &Location {
        match (place, self.dirs.archive()) {
            (Place::Archive, Some(archive)) => archive,
            _ => self.dirs.data(),
        }
    }

    /// The places that are directories of their own.
    pub fn places(&self) -> impl Iterator<Item = Place> {
        let data = self.location(Place::Data);
        let apart = self.location(Place::Archive) != data;
        std::iter::once(Place::Data).chain(apart.then_some(Place::Archive))
    }

    fn locations(&self) -> [&Location; 4] {
        let dirs = &self.dirs;
        [
            dirs.data(),
            dirs.file_dir(MetaFile::Header),
            dirs.file_dir(MetaFile::Index),
            dirs.file_dir(MetaFile::Expunge),
        ]
    }

    /// Opens all directories of the mailbox but the archive.
    ///
    /// # Errors
    /// The directory that could not be opened, and why.
    pub fn open(&self) -> Result<Dirs, OpenError> {
        let [data, rest @ ..] = self.locations();
        let mut dirs = Dirs {
            data: locate(data)?,
            apart: Vec::new(),
        };
        for location in rest {
            if location != data && dirs.apart.iter().all(|(known, _)| known != location) {
                dirs.apart.push((location.clone(), locate(location)?));
            }
        }
        Ok(dirs)
    }

    /// Whether nothing of the mailbox is left: none of its directories, and every root is there.
    #[must_use]
    pub fn has_vanished(&self) -> bool {
        self.locations().into_iter().all(|location| {
            let gone = |root: &Dir| {
                let dir = root.locate_beneath(&location.sub);
                matches!(dir, Err(OpenError::Missing { .. }))
            };
            Dir::locate_root(&location.root).is_ok_and(|root| gone(&root))
        })
    }
}

fn locate(location: &Location) -> Result<Dir, OpenError> {
    Dir::locate_root(&location.root)?.locate_beneath(&location.sub)
}

impl Dirs {
    /// The directory at `location`, one of those of the mailbox.
    #[must_use]
    pub fn at(&self, location: &Location) -> &Dir {
        let apart = self.apart.iter().find(|(known, _)| known == location);
        apart.map_or(&self.data, |(_, dir)| dir)
    }

    /// A second descriptor of the directory of the messages.
    ///
    /// # Errors
    /// The system's, when there are no descriptors left.
    pub fn data(&self) -> std::io::Result<OwnedFd> {
        self.data.as_fd().try_clone_to_owned()
    }
}
