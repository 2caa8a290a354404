//! Where a mailbox lies on this host: from its name to open directories.
//!
//! Every partition that may have it is looked at, its mounts are checked first, and each directory is
//! opened beneath its root once. A mailbox on two partitions is refused: nobody could say which one is meant.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexfile::mailbox::{ImapdConf, Location, MailboxDirs, MailboxName, MetaFile};

use crate::fs::{Dir, OpenError};
use crate::mounts::Mounts;
use crate::protocol::{Code, Named};
use crate::refusal::Refusal;

/// The store of one host.
#[derive(Debug)]
pub struct Store {
    conf: ImapdConf,
    mounts: Mounts,
}

/// One mailbox, with its directories open.
#[derive(Clone, Debug)]
pub struct Place {
    /// The internal name.
    pub mailbox: MailboxName,
    /// The partition.
    pub partition: String,
    /// The directory of cyrus.header.
    pub header: Arc<Dir>,
    /// The directory of cyrus.index and cyrus.sha1s.
    pub index: Arc<Dir>,
    /// The directory of cyrus.expunge.
    pub expunge: Arc<Dir>,
    /// The directory of the messages, if it is there.
    pub data: Option<Arc<Dir>>,
    /// Where the messages should be, for messages to people.
    pub data_path: PathBuf,
    /// The roots it lies on.
    roots: Vec<PathBuf>,
}

impl Store {
    /// A store as its `imapd.conf` describes it.
    #[must_use]
    pub fn new(conf: ImapdConf, mounts: Mounts) -> Store {
        Store { conf, mounts }
    }

    /// The configuration.
    #[must_use]
    pub fn conf(&self) -> &ImapdConf {
        &self.conf
    }

    /// The mounts.
    #[must_use]
    pub fn mounts(&self) -> &Mounts {
        &self.mounts
    }

    /// Every root of every partition, each once.
    #[must_use]
    pub fn roots(&self) -> Vec<PathBuf> {
        let mut roots = Vec::new();
        // The roots of single files are known only by where a mailbox would have them.
        if let Ok(any) = MailboxName::parse("user.a") {
            for partition in self.conf.partitions() {
                if let Ok(dirs) = self.conf.dirs(&any, &partition.name) {
                    roots.extend(locations(&dirs).map(|l| l.root.clone()));
                }
            }
        }
        roots.sort();
        roots.dedup();
        roots
    }

    /// Finds a mailbox and opens its directories.
    ///
    /// # Errors
    /// [`Code::NoMailbox`] if it is nowhere or on two partitions, [`Code::Unmounted`] if it could be on a
    /// partition that is not there.
    pub fn find(&self, named: &Named) -> Result<Place, Refusal> {
        if let Some(partition) = &named.partition {
            let known = self.conf.partition(partition);
            let name = known.map_or_else(|| partition.clone(), |p| p.name.clone());
            return self.open(&named.mailbox, &name)?.ok_or_else(|| {
                Refusal::new(
                    Code::NoMailbox,
                    format!("there is no mailbox {} on partition {name}", named.mailbox),
                )
            });
        }
        let mut found: Option<Place> = None;
        let mut unmounted = None;
        for partition in self.conf.partitions() {
            match self.open(&named.mailbox, &partition.name) {
                Ok(None) => {}
                Ok(Some(place)) => {
                    if let Some(first) = &found {
                        return Err(Refusal::new(
                            Code::NoMailbox,
                            format!(
                                "{} is on partition {} and on {}; say which with partition=",
                                named.mailbox, first.partition, place.partition
                            ),
                        ));
                    }
                    found = Some(place);
                }
                Err(refusal) if refusal.code == Code::Unmounted => unmounted = Some(refusal),
                Err(refusal) => return Err(refusal),
            }
        }
        match (found, unmounted) {
            (Some(place), _) => Ok(place),
            (None, Some(refusal)) => Err(refusal),
            (None, None) => Err(Refusal::new(
                Code::NoMailbox,
                format!("there is no mailbox {}", named.mailbox),
            )),
        }
    }

    /// Opens a mailbox on one partition; `None` if it is not there.
    ///
    /// # Errors
    /// It cannot be known whether it is there, or it is in a state in which nobody should touch it.
    pub fn open(&self, mailbox: &MailboxName, partition: &str) -> Result<Option<Place>, Refusal> {
        let dirs = self.conf.dirs(mailbox, partition)?;
        let mut roots: Vec<PathBuf> = locations(&dirs).map(|l| l.root.clone()).collect();
        roots.sort();
        roots.dedup();
        for root in &roots {
            self.mounts.check(root)?;
        }
        let mut opened: Vec<(Location, Arc<Dir>)> = Vec::new();
        let mut open = |location: &Location| -> Result<Option<Arc<Dir>>, Refusal> {
            if let Some((_, dir)) = opened.iter().find(|(l, _)| l == location) {
                return Ok(Some(Arc::clone(dir)));
            }
            match Dir::open_root(&location.root)?.open_beneath(&location.sub) {
                Ok(dir) => {
                    let dir = Arc::new(dir);
                    opened.push((location.clone(), Arc::clone(&dir)));
                    Ok(Some(dir))
                }
                Err(OpenError::Missing { .. } | OpenError::Kind { .. }) => Ok(None),
                Err(error) => Err(error.into()),
            }
        };
        let header = open(dirs.file_dir(MetaFile::Header))?;
        let index = open(dirs.file_dir(MetaFile::Index))?;
        let (Some(header), Some(index)) = (header, index) else {
            return Ok(None);
        };
        let has_header = header.stat(MetaFile::Header.file_name())?.is_some();
        let has_index = index.stat(MetaFile::Index.file_name())?.is_some();
        match (has_header, has_index) {
            (false, false) => return Ok(None),
            (true, true) => {}
            (has_header, _) => {
                let missing = if has_header {
                    MetaFile::Index
                } else {
                    MetaFile::Header
                };
                return Err(Refusal::new(
                    Code::Damaged,
                    format!("{} is missing", dirs.file(missing).display()),
                ));
            }
        }
        // A mailbox without delayed expunge may have no directory for it.
        let expunge = open(dirs.file_dir(MetaFile::Expunge))?.unwrap_or_else(|| Arc::clone(&index));
        let data = open(dirs.data())?;
        Ok(Some(Place {
            mailbox: mailbox.clone(),
            partition: partition.to_owned(),
            header,
            index,
            expunge,
            data,
            data_path: dirs.data().path(),
            roots,
        }))
    }

    /// Looks at the mounts of an open mailbox again.
    ///
    /// # Errors
    /// [`Code::Unmounted`].
    pub fn check_mounts(&self, place: &Place) -> Result<(), Refusal> {
        place
            .roots
            .iter()
            .try_for_each(|root| self.mounts.check(root))
    }
}

/// The places of all the files of a mailbox that we ever look at.
fn locations(dirs: &MailboxDirs) -> impl Iterator<Item = &Location> {
    let files = [
        MetaFile::Header,
        MetaFile::Index,
        MetaFile::Expunge,
        MetaFile::Sha1s,
    ];
    files
        .into_iter()
        .map(|f| dirs.file_dir(f))
        .chain([dirs.data()])
}

impl Place {
    /// The directories that hold files we replace, each once: for syncing.
    #[must_use]
    pub fn directory_of(&self, kind: indexfile::FileKind) -> &Arc<Dir> {
        match kind {
            indexfile::FileKind::Index => &self.index,
            indexfile::FileKind::Expunge => &self.expunge,
        }
    }

    /// For messages: the directory of cyrus.index.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.index.path()
    }
}
