//! Where a mailbox lies on this host: from its name to open directories.
//!
//! Every partition that may have it is looked at, its mounts are checked first, and each directory
//! is opened beneath its root once. No rule here guesses: a mailbox is there with every directory
//! that `imapd.conf` names for its files, or it is refused; it is gone only if nothing of it is
//! left. A mailbox on two partitions is refused: its name does not say which one is meant. This
//! module only reads, so a crash leaves nothing.

mod directories;
mod look;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexfile::dir::{limit, read_bounded};
use indexfile::mailbox::{HeaderFile, ImapdConf, MailboxName, MetaFile};
use indexfile::walk::{is_of_another, partitions_once};

use crate::fs::{Dir, Identity};
use crate::mounts::Mounts;
use crate::protocol::{Code, Named};
use crate::refusal::Refusal;
use directories::{has_nothing, locations, root_of, roots_of};
use look::Seen;

/// The store of one host.
#[derive(Debug)]
pub struct Store {
    conf: ImapdConf,
    mounts: Mounts,
    /// The partitions that have directories of their own.
    partitions: Vec<String>,
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
    /// The directory of cyrus.cache.
    pub cache: Arc<Dir>,
    /// The directory of the messages.
    pub data: Arc<Dir>,
    /// Where the messages should be, for messages to people.
    pub data_path: PathBuf,
    /// The roots it lies on.
    roots: Vec<PathBuf>,
}

impl Store {
    /// A store as its `imapd.conf` describes it.
    #[must_use]
    pub fn new(conf: ImapdConf, mounts: Mounts) -> Store {
        let once = partitions_once(&conf).into_iter();
        let partitions = once.map(|p| p.name.clone()).collect();
        Store {
            conf,
            mounts,
            partitions,
        }
    }

    /// The configuration.
    #[must_use]
    pub fn conf(&self) -> &ImapdConf {
        &self.conf
    }

    /// The partitions, of those that share all their directories one: each mailbox is worked on
    /// once.
    #[must_use]
    pub fn partitions(&self) -> &[String] {
        &self.partitions
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
                    roots.extend(roots_of(&dirs));
                }
            }
        }
        roots.sort();
        roots.dedup();
        roots
    }

    /// The roots on which index or expunge files lie, each once.
    #[must_use]
    pub fn index_roots(&self) -> Vec<PathBuf> {
        let mut roots = Vec::new();
        if let Ok(any) = MailboxName::parse("user.a") {
            for partition in self.conf.partitions() {
                if let Ok(dirs) = self.conf.dirs(&any, &partition.name) {
                    let of = |file| dirs.file_dir(file).root.clone();
                    roots.extend([MetaFile::Index, MetaFile::Expunge].map(of));
                }
            }
        }
        roots.sort();
        roots.dedup();
        roots
    }

    /// The root on which index files lie, of each partition.
    #[must_use]
    pub fn index_roots_by_partition(&self) -> Vec<(String, PathBuf)> {
        let Ok(any) = MailboxName::parse("user.a") else {
            return Vec::new();
        };
        let root = |name: &String| {
            let dirs = self.conf.dirs(&any, name).ok()?;
            Some((name.clone(), dirs.file_dir(MetaFile::Index).root.clone()))
        };
        let partitions = self.conf.partitions();
        partitions
            .filter_map(|partition| root(&partition.name))
            .collect()
    }

    /// Finds a mailbox and opens its directories.
    ///
    /// # Errors
    /// [`Code::NoMailbox`] if nothing of it is anywhere, every root is there and none has lost what
    /// it had; [`Code::Elsewhere`] if it is on another partition than the one named;
    /// [`Code::TwoPlaces`] if none is named and it is on more than one; [`Code::Unmounted`] if it
    /// could be on a partition that is not there, or whose root is empty; [`Code::Damaged`] if a
    /// part of it is missing or is not what it should be.
    pub fn find(&self, named: &Named) -> Result<Place, Refusal> {
        let Some(partition) = &named.partition else {
            return self.search(&named.mailbox);
        };
        let known = self.conf.partition(partition);
        let name = known.map_or_else(|| partition.clone(), |p| p.name.clone());
        if let Some(place) = self.open(&named.mailbox, &name)? {
            self.remember(&place);
            return Ok(place);
        }
        match self.search(&named.mailbox) {
            Ok(place) => Err(Refusal::new(
                Code::Elsewhere,
                format!(
                    "{} is not on partition {name}, but on {}",
                    named.mailbox, place.partition
                ),
            )),
            // Somebody knows it on this partition: if nothing at all is there, it is not the
            // mailbox that is gone.
            Err(refusal) if refusal.code == Code::NoMailbox => {
                Err(self.empty(&named.mailbox, &name).unwrap_or_else(|| {
                    Refusal::new(
                        Code::NoMailbox,
                        format!("there is no mailbox {} on partition {name}", named.mailbox),
                    )
                }))
            }
            Err(refusal) => Err(refusal),
        }
    }

    /// A mailbox that was found some time ago: the same directories, if these are still what its
    /// name stands for; else it is looked for anew.
    ///
    /// # Errors
    /// As of [`Store::find`].
    pub fn refresh(&self, place: &Place, named: &Named) -> Result<Place, Refusal> {
        self.check_mounts_lately(place)?;
        match self.check_directories(place) {
            Ok(()) => Ok(place.clone()),
            Err(_) => self.find(named),
        }
    }

    /// Finds a mailbox on whatever partition it is.
    fn search(&self, mailbox: &MailboxName) -> Result<Place, Refusal> {
        let mut found: Option<Place> = None;
        let (mut unmounted, mut remains) = (None, None);
        for partition in &self.partitions {
            if self.is_of_another(mailbox, partition) {
                continue;
            }
            match self.look_twice(mailbox, partition) {
                Ok(Seen::Nothing) => {}
                Ok(Seen::Remains(refusal)) => remains = remains.or(Some(refusal)),
                Ok(Seen::Mailbox(place)) => {
                    if let Some(first) = &found {
                        return Err(Refusal::new(
                            Code::TwoPlaces,
                            format!(
                                "{mailbox} is on partition {} and on {}; say which with partition=",
                                first.partition, place.partition
                            ),
                        ));
                    }
                    found = Some(*place);
                }
                Err(refusal) if refusal.code == Code::Unmounted => unmounted = Some(refusal),
                Err(refusal) => return Err(refusal),
            }
        }
        if let Some(place) = found {
            self.remember(&place);
            return Ok(place);
        }
        let lost = || self.lost(mailbox);
        Err(unmounted.or(remains).or_else(lost).unwrap_or_else(|| {
            Refusal::new(Code::NoMailbox, format!("there is no mailbox {mailbox}"))
        }))
    }

    /// Whether the mailbox's index lies on a metapartition that partitions share, and its messages
    /// on another one.
    fn is_of_another(&self, mailbox: &MailboxName, partition: &str) -> bool {
        let dirs = self.conf.dirs(mailbox, partition).ok();
        let known = self.conf.partition(partition).zip(dirs);
        known.is_some_and(|(p, dirs)| is_of_another(&self.conf, p, &dirs.data().sub))
    }

    /// Notes that the roots of a mailbox hold mailboxes. Failing is fine: it is noted with the next
    /// one.
    fn remember(&self, place: &Place) {
        if place.roots.iter().all(|root| self.mounts.is_noted(root)) {
            return;
        }
        let Ok(dirs) = self.conf.dirs(&place.mailbox, &place.partition) else {
            return;
        };
        for location in locations(&dirs) {
            if self.mounts.is_noted(&location.root) {
                continue;
            }
            match root_of(location) {
                Ok(Some(is)) => {
                    if let Err(error) = self.mounts.note_held(&location.root, is) {
                        tracing::warn!("{error}");
                    }
                }
                Ok(None) => {}
                Err(refusal) => tracing::warn!("{refusal}"),
            }
        }
    }

    /// Whether a root is empty and it cannot be proven that its mailboxes were deleted: perhaps it
    /// is not mounted.
    fn is_suspect(&self, root: &Path) -> bool {
        if self.mounts.is_ignored(root) {
            return false;
        }
        let Ok(dir) = Dir::open_root(root) else {
            return false; // the look at it has said why
        };
        let is = Identity::of(&dir).ok();
        has_nothing(&dir) && !is.is_some_and(|is| self.mounts.held_in(root, &is))
    }

    /// Makes sure that a mailbox of which nothing was found on a partition is really gone.
    ///
    /// # Errors
    /// [`Code::Unmounted`] if a root of it is empty, and perhaps not mounted.
    pub fn confirm_gone(&self, mailbox: &MailboxName, partition: &str) -> Result<(), Refusal> {
        self.empty(mailbox, partition).map_or(Ok(()), Err)
    }

    /// Why a mailbox that is nowhere may not be gone: a root that had mailboxes has none, or the
    /// whole store is empty.
    fn lost(&self, mailbox: &MailboxName) -> Option<Refusal> {
        let mut all_empty = true;
        for partition in self.conf.partitions() {
            let dirs = self.conf.dirs(mailbox, &partition.name).ok()?;
            for root in roots_of(&dirs) {
                let empty = self.is_suspect(&root);
                all_empty &= empty;
                if empty && self.mounts.has_held(&root) {
                    return Some(empty_root(mailbox, &root));
                }
            }
        }
        let any = self.roots().into_iter().next()?;
        all_empty.then(|| empty_root(mailbox, &any))
    }

    /// The refusal if a root of that partition is empty, and perhaps not mounted.
    fn empty(&self, mailbox: &MailboxName, partition: &str) -> Option<Refusal> {
        let dirs = self.conf.dirs(mailbox, partition).ok()?;
        let root = roots_of(&dirs)
            .into_iter()
            .find(|root| self.is_suspect(root))?;
        Some(empty_root(mailbox, &root))
    }

    /// Opens a mailbox on one partition; `None` if nothing of it is there.
    ///
    /// # Errors
    /// It cannot be known whether it is there, or it is in a state in which nobody should touch it.
    pub fn open(&self, mailbox: &MailboxName, partition: &str) -> Result<Option<Place>, Refusal> {
        match self.look_twice(mailbox, partition)? {
            Seen::Mailbox(place) => Ok(Some(*place)),
            Seen::Remains(refusal) => Err(refusal),
            Seen::Nothing => Ok(None),
        }
    }

    /// A second look at a mailbox whose files were not there when they were to be opened: it is
    /// gone only if nothing of it is left.
    #[must_use]
    pub fn why_not_there(&self, mailbox: &MailboxName, partition: &str) -> Refusal {
        match self.open(mailbox, partition) {
            Ok(None) => match self.search(mailbox) {
                Ok(place) => Refusal::new(
                    Code::Elsewhere,
                    format!(
                        "mailbox {mailbox} was moved just now, from partition {partition} to {}",
                        place.partition
                    ),
                ),
                Err(refusal) if refusal.code == Code::NoMailbox => Refusal::new(
                    Code::NoMailbox,
                    format!("mailbox {mailbox} was removed just now"),
                ),
                Err(refusal) => refusal,
            },
            Ok(Some(_)) => Refusal::new(
                Code::Locked,
                format!("mailbox {mailbox} was replaced just now"),
            ),
            Err(refusal) => refusal,
        }
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

    /// The same, where a look of the last moment serves too ([`Mounts::check_lately`]): before its
    /// directories are looked at.
    ///
    /// # Errors
    /// [`Code::Unmounted`].
    pub fn check_mounts_lately(&self, place: &Place) -> Result<(), Refusal> {
        let mut roots = place.roots.iter();
        roots.try_for_each(|root| self.mounts.check_lately(root))
    }
}

/// Nothing of a mailbox is there, and nothing of any other either.
fn empty_root(mailbox: &MailboxName, root: &Path) -> Refusal {
    Refusal::new(
        Code::Unmounted,
        format!(
            "there is no mailbox {mailbox}, and nothing else below {root}, which is empty; is it \
             mounted? \
             Or was its last mailbox deleted, or moved away, before slotd saw one in this very \
             directory? \
             Only then say `slotd mount state {root} ignore`",
            root = root.display()
        ),
    )
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

    /// What its cyrus.header says, which is open and was not read yet.
    ///
    /// # Errors
    /// It cannot be read, or is damaged.
    pub fn header_in(&self, file: &File) -> Result<HeaderFile, Refusal> {
        let path = self.header.path_of(MetaFile::Header.file_name());
        let bytes = read_bounded(file, &path, limit::HEADER)?;
        Ok(HeaderFile::parse_at(&bytes, &path)?)
    }

    /// For messages: the directory of cyrus.index.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.index.path()
    }
}
