//! The one walk of a mail store: every directory that holds a part of a mailbox, whichever root
//! that part lies on.
//!
//! All roots of a partition are walked as one tree: a mailbox whose header lies with the messages
//! and whose index lies in the metapartition is found once, with what is where. What cannot be
//! looked at is one finding, and the rest goes on; no error ends a walk. Links are not followed, so
//! there are no loops; each link to a directory is reported, because a mailbox may lie behind it.
//! The root of another partition is not entered. Directories come in order, each before what is
//! below it, so that a walk can be taken up after any of them. Memory is that of the names on one
//! path. Only looks; a crash leaves nothing.

mod named;
mod trees;

pub use named::{also_on, directory_id, has_mailbox, is_of_another};
pub use trees::{SharedRoots, Tree, partitions_once, shared_roots};

use crate::dir::{Dir, OpenError};
use crate::error::IoError;
use crate::mailbox::{ImapdConf, MetaFile};
use crate::message::uid_of;
use rustix::fs::{AtFlags, FileType, OFlags, Stat};
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What lies under the name of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Presence {
    /// Nothing.
    #[default]
    Absent,
    /// A regular file.
    File,
    /// Something else, such as a link.
    Odd,
}

impl Presence {
    /// Whether anything is there.
    #[must_use]
    pub fn is_there(self) -> bool {
        self != Self::Absent
    }
}

/// A directory with a part of a mailbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Its path below each root.
    pub sub: PathBuf,
    /// `cyrus.header`
    pub header: Presence,
    /// `cyrus.index`
    pub index: Presence,
    /// `cyrus.expunge`
    pub expunge: Presence,
    /// There are message files. Where index and header are there this may be left unsaid.
    pub messages: bool,
    /// Directories that should hold a file of it, or its messages, and are not there.
    pub missing: Vec<PathBuf>,
}

/// Something that was met and may hide a mailbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Odd {
    /// What it is.
    pub kind: OddKind,
    /// Where.
    pub path: PathBuf,
    /// The system's words, if it had any.
    pub why: String,
}

/// What may hide a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum OddKind {
    /// A root is not there.
    NoRoot,
    /// A symbolic link to a directory: what is behind it is not looked at.
    Link,
    /// A directory that we may not read.
    Denied,
    /// A directory that the system could not read.
    Failed,
    /// A directory whose name is no text, so that no mailbox's name leads to it; it is entered all
    /// the same.
    NotText,
    /// The file system's own `lost+found` in a root: not looked into, and it is not empty or may
    /// not be read.
    LostAndFound,
}

/// One step of a walk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A part of a mailbox, or all of it.
    Found(Found),
    /// Not a mailbox, and perhaps one is behind it.
    Odd(Odd),
}

/// Which directories need not be read when their link count says that nothing is below them:
/// reading a spool of a million messages takes a second or more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaves {
    /// All are read, so that message files without an index and links to directories are seen.
    Read,
    /// Those that hold nothing but messages are not, where the files of the mailbox lie elsewhere
    /// and are there.
    SkipMessages,
    /// None is read that need not be: links to directories among messages are not seen.
    Skip,
}

type Id = (u64, u64);

fn id(stat: &Stat) -> Id {
    (stat.st_dev, stat.st_ino)
}

#[derive(Debug)]
struct Root {
    dir: Dir,
    files: Vec<MetaFile>,
    messages: bool,
}

/// Walks one tree.
#[derive(Debug)]
pub struct Walk {
    roots: Vec<Root>,
    /// Roots that must not be entered from here.
    not_entered: HashSet<Id>,
    leaves: Leaves,
    /// Directories still to be looked at, the next one last; below the roots.
    stack: Vec<PathBuf>,
    ready: VecDeque<Step>,
    /// Whether the link count of a directory counts its subdirectories, by device.
    counts_links: HashMap<u64, bool>,
}

impl Walk {
    /// Begins a walk. A root that cannot be opened is reported first; what should lie there
    /// is then missing.
    #[must_use]
    pub fn new(tree: &Tree, leaves: Leaves) -> Self {
        let mut walk = Self {
            roots: Vec::new(),
            not_entered: HashSet::new(),
            leaves,
            stack: vec![PathBuf::new()],
            ready: VecDeque::new(),
            counts_links: HashMap::new(),
        };
        for root in &tree.roots {
            match Dir::open_root(&root.path) {
                Ok(dir) => walk.roots.push(Root {
                    dir,
                    files: root.files.clone(),
                    messages: root.messages,
                }),
                Err(error) => {
                    let kind = match &error {
                        OpenError::Missing { .. } | OpenError::NotDirectory { .. } => {
                            OddKind::NoRoot
                        }
                        OpenError::Denied(_) => OddKind::Denied,
                        _ => OddKind::Failed,
                    };
                    walk.odd(kind, root.path.clone(), why(error));
                }
            }
        }
        // Those with the files of mailboxes first: what they hold decides how the others are looked
        // at.
        walk.roots.sort_by_key(|root| root.files.is_empty());
        for root in &walk.roots {
            if let Ok(stat) = root.dir.stat_self() {
                walk.not_entered.insert(id(&stat));
            }
        }
        walk
    }

    /// Does not enter the roots of any partition of `conf`: each is walked by itself.
    #[must_use]
    pub fn excluding_roots_of(mut self, conf: &ImapdConf) -> Self {
        for partition in conf.partitions() {
            for root in Tree::of_partition(conf, partition).roots() {
                // One that is not there cannot be entered either.
                if let Ok(stat) = rustix::fs::stat(root) {
                    self.not_entered.insert(id(&stat));
                }
            }
        }
        self
    }

    /// Takes a walk up after a directory: what comes before it, and that directory itself, is not
    /// reported again.
    #[must_use]
    pub fn after(mut self, sub: &Path) -> Self {
        self.stack.clear();
        let mut above = PathBuf::new();
        for component in sub.components() {
            let name = component.as_os_str();
            let _ = self.enter(&above, Some(name));
            above.push(name);
        }
        let _ = self.enter(sub, None);
        // All of it was reported before.
        self.ready.clear();
        self
    }

    /// What was met so far and not yet reported: after [`Walk::new`] the roots that cannot be
    /// opened.
    pub fn into_odd(self) -> impl Iterator<Item = Odd> {
        self.ready.into_iter().filter_map(|step| match step {
            Step::Odd(odd) => Some(odd),
            Step::Found(_) => None,
        })
    }

    /// Bytes of memory, about, of what is still to be looked at or reported.
    #[must_use]
    pub fn bytes(&self) -> usize {
        const EACH: usize = std::mem::size_of::<PathBuf>() + 16;
        let stack = self.stack.iter().map(|sub| sub.as_os_str().len() + EACH);
        stack.sum::<usize>() + self.ready.len() * (std::mem::size_of::<Step>() + EACH)
    }

    /// A look at one directory: by name, or a second one for what may have been made, renamed or
    /// removed between the looks at its roots. With it come the reasons why it could not be looked
    /// at below a root; what is odd about names in it is not said.
    #[must_use]
    pub fn again(&mut self, sub: &Path) -> (Found, Vec<Odd>) {
        let ready = std::mem::take(&mut self.ready);
        let found = self.all_roots(sub, &mut BTreeSet::new());
        let met = std::mem::replace(&mut self.ready, ready);
        let itself = |path: &Path| self.roots.iter().any(|r| r.dir.path().join(sub) == path);
        let odd = met.into_iter().filter_map(|step| match step {
            Step::Odd(odd) if itself(&odd.path) => Some(odd),
            _ => None,
        });
        (found, odd.collect())
    }

    /// The first root that holds nothing at all, as a directory does whose disk is not mounted.
    #[must_use]
    pub fn empty_root(&self) -> Option<PathBuf> {
        let empty = |root: &&Root| {
            let no_name = |entry: rustix::io::Result<rustix::fs::DirEntry>| {
                entry.is_ok_and(|entry| matches!(entry.file_name().to_bytes(), b"." | b".."))
            };
            // What cannot be read is not known to be empty.
            rustix::fs::Dir::read_from(&root.dir).is_ok_and(|mut names| names.all(no_name))
        };
        let root = self.roots.iter().find(empty)?;
        Some(root.dir.path().to_owned())
    }

    /// Only what is at `sub` or below it, without the roots that cannot be opened.
    #[must_use]
    pub fn below(mut self, sub: &Path) -> Self {
        self.ready.clear();
        self.stack = vec![sub.to_owned()];
        self
    }

    fn odd(&mut self, kind: OddKind, path: PathBuf, why: String) {
        self.ready.push_back(Step::Odd(Odd { kind, path, why }));
    }

    /// Looks into `sub` below every root; puts what is below it and comes after `after` on the
    /// stack.
    fn enter(&mut self, sub: &Path, after: Option<&OsStr>) -> Found {
        let mut below: BTreeSet<OsString> = BTreeSet::new();
        let found = self.all_roots(sub, &mut below);
        let mut names: Vec<OsString> = below.into_iter().collect();
        if let Some(after) = after {
            names.retain(|name| name.as_os_str() > after);
        }
        // Popped from the end.
        let subs = names.into_iter().rev().map(|name| sub.join(name));
        self.stack.extend(subs);
        found
    }

    /// Looks into `sub` below every root.
    fn all_roots(&mut self, sub: &Path, below: &mut BTreeSet<OsString>) -> Found {
        let mut found = Found {
            sub: sub.to_owned(),
            ..Found::default()
        };
        for root in 0..self.roots.len() {
            self.find_below(root, &mut found, below);
        }
        found
    }

    fn find_below(&mut self, root: usize, found: &mut Found, below: &mut BTreeSet<OsString>) {
        let Some(Root { dir, files, .. }) = self.roots.get(root) else {
            return;
        };
        let (path, only_messages) = (dir.path().join(&found.sub), files.is_empty());
        let at_root = found.sub.as_os_str().is_empty();
        let open = match dir.open_beneath(&found.sub) {
            Ok(open) => open,
            Err(OpenError::Missing { .. } | OpenError::NotDirectory { .. }) => {
                return found.missing.push(path);
            }
            Err(error) => {
                let kind = match &error {
                    OpenError::Link { .. } => OddKind::Link,
                    OpenError::Denied(_) => OddKind::Denied,
                    _ => OddKind::Failed,
                };
                found.missing.push(path.clone());
                return self.odd(kind, path, why(error));
            }
        };
        let stat = match open.stat_self() {
            Ok(stat) => stat,
            Err(error) => return self.odd(OddKind::Failed, path, error.source.to_string()),
        };
        if !at_root && self.not_entered.contains(&id(&stat)) {
            return;
        }
        let complete = found.header.is_there() && found.index.is_there();
        let skip = match self.leaves {
            Leaves::Read => false,
            Leaves::SkipMessages => only_messages && complete,
            Leaves::Skip => true,
        };
        if skip && stat.st_nlink == 2 && self.counts_links(&open, stat.st_dev) {
            let files = self.roots.get(root).map_or(&[][..], |r| r.files.as_slice());
            for file in files.iter().copied() {
                let kind = match open.stat(file.file_name()) {
                    Ok(None) => continue,
                    Ok(Some(stat)) => FileType::from_raw_mode(stat.st_mode),
                    Err(_) => FileType::Unknown,
                };
                found.note(file, kind);
            }
            // Nothing of a mailbox but perhaps its messages: those count.
            if found.any() || self.leaves == Leaves::Skip {
                return;
            }
        }
        if let Err(error) = self.read(root, open, found, below) {
            self.odd(OddKind::Failed, path, error.to_string());
        }
    }

    /// Reads the names of a directory.
    fn read(
        &mut self,
        root: usize,
        open: Dir,
        found: &mut Found,
        below: &mut BTreeSet<OsString>,
    ) -> Result<(), std::io::Error> {
        let path = open.path().to_owned();
        let at_root = found.sub.as_os_str().is_empty();
        let fd = open.into_fd();
        // Only for the owner; else reading it leaves its trace.
        let _ = rustix::fs::fcntl_setfl(&fd, OFlags::NOATIME);
        let files = self.roots.get(root).map_or(Vec::new(), |r| r.files.clone());
        let messages = self.roots.get(root).is_some_and(|r| r.messages);
        let mut odd = Vec::new();
        let mut entries = rustix::fs::Dir::new(fd)?;
        while let Some(entry) = entries.read() {
            let entry = match entry {
                Err(rustix::io::Errno::INTR) => continue,
                entry => entry?,
            };
            let name = entry.file_name();
            let bytes = name.to_bytes();
            let skipped = match bytes {
                b"." | b".." => true,
                // Cyrus's scratch directories, where half-made messages lie.
                b"stage." | b"sync." => at_root,
                _ => false,
            };
            if skipped {
                continue;
            }
            let stat = |flags| {
                let stat = rustix::fs::statat(entries.fd()?, name, flags);
                stat.map(|s| FileType::from_raw_mode(s.st_mode))
            };
            let kind = match entry.file_type() {
                FileType::Unknown => stat(AtFlags::SYMLINK_NOFOLLOW).unwrap_or(FileType::Unknown),
                kind => kind,
            };
            let own = files.iter().find(|f| f.file_name().as_bytes() == bytes);
            if let Some(file) = own {
                found.note(*file, kind);
            } else if messages && uid_of(name).is_some() {
                found.messages = true;
            }
            match kind {
                FileType::Directory if at_root && bytes == b"lost+found" => {
                    odd.extend(lost_and_found(&path.join("lost+found")));
                }
                FileType::Directory if own.is_none() => {
                    if std::str::from_utf8(bytes).is_err() {
                        let path = path.join(OsStr::from_bytes(bytes));
                        odd.push((OddKind::NotText, path, String::new()));
                    }
                    below.insert(OsStr::from_bytes(bytes).to_owned());
                }
                FileType::Symlink if stat(AtFlags::empty()) == Ok(FileType::Directory) => {
                    odd.push((
                        OddKind::Link,
                        path.join(OsStr::from_bytes(bytes)),
                        String::new(),
                    ));
                }
                _ => {}
            }
        }
        for (kind, path, why) in odd {
            self.odd(kind, path, why);
        }
        Ok(())
    }

    /// Whether a link count of 2 says that a directory on this device has no subdirectories.
    fn counts_links(&mut self, dir: &Dir, device: u64) -> bool {
        const EXT: i64 = 0xef53;
        const XFS: i64 = 0x5846_5342;
        const TMPFS: i64 = 0x0102_1994;
        *self.counts_links.entry(device).or_insert_with(|| {
            #[allow(clippy::useless_conversion)] // f_type has other types on other processors
            let kind = rustix::fs::fstatfs(dir).map(|fs| i64::try_from(fs.f_type));
            matches!(kind, Ok(Ok(EXT | XFS | TMPFS)))
        })
    }
}

impl Found {
    fn note(&mut self, file: MetaFile, kind: FileType) {
        let presence = match kind {
            FileType::RegularFile => Presence::File,
            _ => Presence::Odd,
        };
        match file {
            MetaFile::Header => self.header = presence,
            MetaFile::Index => self.index = presence,
            MetaFile::Expunge => self.expunge = presence,
            _ => {}
        }
    }

    /// Whether there is any part of a mailbox.
    #[must_use]
    pub fn any(&self) -> bool {
        self.header.is_there() || self.index.is_there() || self.expunge.is_there() || self.messages
    }
}

impl Iterator for Walk {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        loop {
            if let Some(step) = self.ready.pop_front() {
                return Some(step);
            }
            let sub = self.stack.pop()?;
            let found = self.enter(&sub, None);
            if found.any() {
                self.ready.push_back(Step::Found(found));
            }
        }
    }
}

/// The system's words for an error, without the path.
fn why(error: OpenError) -> String {
    IoError::from(error).source.to_string()
}

/// `lost+found` is the file system's own. If something is in it, or may be, that is worth a word.
fn lost_and_found(path: &Path) -> Option<(OddKind, PathBuf, String)> {
    let why = match std::fs::read_dir(path) {
        Ok(mut entries) => entries.next().map(|_| "it is not empty".to_owned())?,
        Err(error) => error.to_string(),
    };
    Some((OddKind::LostAndFound, path.to_owned(), why))
}

#[cfg(test)]
mod tests;
