//! A mailbox's directory in memory, which forgets at a power cut what was not synced.
//!
//! What it models: names point at inodes; a change of names is visible at once and durable only
//! after the directory was synced; at a power cut each directory keeps some prefix of its
//! unsynced changes (journals keep order within one file system, and nothing keeps it
//! between two); an inode that was never synced is garbage afterwards. Inode numbers
//! are used again as soon as they are free, as real file systems do.
//!
//! Index and expunge files may lie in two directories (`metapartition_files`), which are synced and
//! cut independently.

use std::hash::Hash;

use indexfile::FileKind;
pub use slotd::fileops::Role;

/// A name in the directory of the mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    /// Which of the two files.
    pub file: Which,
    /// Which of its names.
    pub role: Role,
}

/// The index or the expunge file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Which {
    /// `cyrus.index`
    Index,
    /// `cyrus.expunge`
    Expunge,
}

impl From<FileKind> for Which {
    fn from(kind: FileKind) -> Self {
        match kind {
            FileKind::Index => Self::Index,
            FileKind::Expunge => Self::Expunge,
        }
    }
}

impl From<Which> for FileKind {
    fn from(file: Which) -> Self {
        match file {
            Which::Index => Self::Index,
            Which::Expunge => Self::Expunge,
        }
    }
}

impl Which {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Index, Self::Expunge];

    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Index => Self::Expunge,
            Self::Expunge => Self::Index,
        }
    }
}

const NAMES: usize = 10;

impl Name {
    /// Puts the two together.
    #[must_use]
    pub const fn new(file: Which, role: Role) -> Self {
        Self { file, role }
    }

    const fn slot(self) -> usize {
        self.file as usize * 5 + self.role as usize
    }
}

/// An inode number; 0 is none.
pub type Ino = u8;

/// What one inode holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Inode<C> {
    /// `None`: lost in a power cut, that is, anything.
    content: Option<C>,
    synced: bool,
    /// When it was made, where the file system keeps that.
    born: Option<u32>,
}

/// One change of names, atomic in itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Change {
    name: Name,
    to: Ino,
    /// The second name of a rename, which goes.
    gone: Option<Name>,
}

/// The directory, or the two directories, of one mailbox on one host.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Disk<C> {
    now: [Ino; NAMES],
    durable: [Ino; NAMES],
    /// Changes not synced yet: of the index's directory, and of the expunge file's if it is
    /// another.
    pending: [Vec<Change>; 2],
    inodes: Vec<Option<Inode<C>>>,
    split: bool,
    /// The time of the next birth. The model's file system keeps none, as every birth would be a
    /// state of its own.
    clock: Option<u32>,
}

impl<C: Clone + Eq + Hash> Disk<C> {
    /// A directory with these live files; `split` puts the expunge file in a directory of its own.
    pub fn new(index: C, expunge: Option<C>, split: bool) -> Self {
        let mut disk = Self {
            now: [0; NAMES],
            durable: [0; NAMES],
            pending: [Vec::new(), Vec::new()],
            inodes: Vec::new(),
            split,
            clock: None,
        };
        for (file, content) in [(Which::Index, Some(index)), (Which::Expunge, expunge)] {
            if let Some(content) = content {
                let name = Name::new(file, Role::Live);
                disk.create(name, content);
                disk.sync_file(name);
                disk.sync_dirs();
            }
        }
        disk
    }

    /// From now on it keeps when files are made.
    pub fn keep_births(&mut self) {
        self.clock = Some(1);
    }

    /// When the file was made.
    #[must_use]
    pub fn born(&self, name: Name) -> Option<u32> {
        let at = usize::from(self.ino(name)?).checked_sub(1)?;
        self.inodes.get(at)?.as_ref()?.born
    }

    fn dir_of(&self, file: Which) -> usize {
        usize::from(self.split && file == Which::Expunge)
    }

    /// Whether index and expunge lie in two directories.
    #[must_use]
    pub fn is_split(&self) -> bool {
        self.split
    }

    /// The inode a name points at now.
    #[must_use]
    pub fn ino(&self, name: Name) -> Option<Ino> {
        Some(self.now[name.slot()]).filter(|i| *i != 0)
    }

    /// Whether there is such a name now.
    #[must_use]
    pub fn has(&self, name: Name) -> bool {
        self.ino(name).is_some()
    }

    /// What the file holds; `None` if there is none, or it is garbage.
    #[must_use]
    pub fn read(&self, name: Name) -> Option<&C> {
        self.content(self.now[name.slot()])
    }

    fn content(&self, ino: Ino) -> Option<&C> {
        let at = usize::from(ino).checked_sub(1)?;
        self.inodes.get(at)?.as_ref()?.content.as_ref()
    }

    /// Makes a new file, unsynced, under a name that must be free.
    pub fn create(&mut self, name: Name, content: C) {
        assert!(!self.has(name), "O_EXCL of {name:?}");
        let born = self.clock;
        self.clock = born.map(|b| b + 1);
        let inode = Some(Inode {
            content: Some(content),
            synced: false,
            born,
        });
        let at = if let Some(free) = self.inodes.iter().position(Option::is_none) {
            self.inodes[free] = inode;
            free
        } else {
            self.inodes.push(inode);
            self.inodes.len() - 1
        };
        let ino = Ino::try_from(at + 1).expect("few files");
        if name.role == Role::Unnamed {
            self.now[name.slot()] = ino;
            return;
        }
        self.change(Change {
            name,
            to: ino,
            gone: None,
        });
    }

    /// Gives a file that has none its name; its maker keeps it by that from now on.
    pub fn give_name(&mut self, file: Which) {
        let handle = Name::new(file, Role::Unnamed);
        if !self.has(handle) {
            return;
        }
        self.link(handle, Name::new(file, Role::New));
        self.now[handle.slot()] = 0;
    }

    /// Its maker lets go of a file without a name, or dies.
    pub fn drop_handles(&mut self) {
        for file in Which::ALL {
            self.now[Name::new(file, Role::Unnamed).slot()] = 0;
        }
        self.collect();
    }

    /// Writes in place and syncs, as Cyrus does under its lock.
    pub fn write(&mut self, name: Name, edit: impl FnOnce(&mut C)) {
        let at = usize::from(self.now[name.slot()]);
        let inode = at.checked_sub(1).and_then(|at| self.inodes[at].as_mut());
        if let Some(content) = inode.and_then(|i| i.content.as_mut()) {
            edit(content);
        }
    }

    /// open(2) with `O_TRUNC` and a write, synced: the same inode with another content; or a new
    /// file.
    pub fn overwrite(&mut self, name: Name, content: C) {
        if self.has(name) {
            let at = usize::from(self.now[name.slot()]) - 1;
            let born = self.born(name);
            self.inodes[at] = Some(Inode {
                content: Some(content),
                synced: true,
                born,
            });
        } else {
            self.create(name, content);
            self.sync_file(name);
        }
    }

    /// fsync of the file.
    pub fn sync_file(&mut self, name: Name) {
        let at = usize::from(self.now[name.slot()]);
        if let Some(inode) = at.checked_sub(1).and_then(|at| self.inodes[at].as_mut()) {
            inode.synced = true;
        }
    }

    /// Whether the bytes of the file are on stable storage.
    #[must_use]
    pub fn is_synced(&self, name: Name) -> bool {
        let at = self
            .ino(name)
            .and_then(|ino| usize::from(ino).checked_sub(1));
        let inode = at.and_then(|at| self.inodes.get(at)?.as_ref());
        inode.is_some_and(|inode| inode.synced)
    }

    /// Whether the name stands for the same file after a power cut.
    #[must_use]
    pub fn is_durable(&self, name: Name) -> bool {
        let dir = self.dir_of(name.file);
        let slot = name.slot();
        let changes = |c: &Change| c.name == name || c.gone == Some(name);
        self.now[slot] == self.durable[slot] && !self.pending[dir].iter().any(changes)
    }

    /// rename(2) within the directory. Nothing happens if there is no such file.
    pub fn rename(&mut self, from: Name, to: Name) {
        let Some(ino) = self.ino(from) else { return };
        if self.ino(to) == Some(ino) {
            // Two links of one inode: rename(2) does nothing and says that it is done.
            return;
        }
        self.change(Change {
            name: to,
            to: ino,
            gone: Some(from),
        });
    }

    /// link(2). Nothing happens if there is no such file.
    pub fn link(&mut self, from: Name, to: Name) {
        assert!(!self.has(to), "EEXIST of {to:?}");
        if let Some(ino) = self.ino(from) {
            self.change(Change {
                name: to,
                to: ino,
                gone: None,
            });
        }
    }

    /// unlink(2), if it is there.
    pub fn unlink(&mut self, name: Name) {
        if self.has(name) {
            self.change(Change {
                name,
                to: 0,
                gone: None,
            });
        }
    }

    /// fsync of the directory of that file.
    pub fn sync_dir(&mut self, file: Which) {
        let dir = self.dir_of(file);
        for change in std::mem::take(&mut self.pending[dir]) {
            change.apply(&mut self.durable);
        }
        self.collect();
    }

    /// fsync of the directory, or of both.
    pub fn sync_dirs(&mut self) {
        for file in Which::ALL {
            self.sync_dir(file);
        }
    }

    /// Changes of names that are not durable yet, per directory.
    #[must_use]
    pub fn unsynced(&self) -> [usize; 2] {
        [self.pending[0].len(), self.pending[1].len()]
    }

    /// Every directory that a power cut at this instant could leave.
    pub fn cuts(&self) -> impl Iterator<Item = Self> {
        let [first, second] = self.unsynced();
        (0..=first).flat_map(move |one| {
            (0..=second).map(move |two| {
                let mut cut = self.clone();
                cut.power_cut([one, two]);
                cut
            })
        })
    }

    /// The power goes; of each directory's unsynced changes the first `kept` are there afterwards.
    pub fn power_cut(&mut self, kept: [usize; 2]) {
        for (dir, kept) in kept.into_iter().enumerate() {
            let mut changes = std::mem::take(&mut self.pending[dir]);
            changes.truncate(kept);
            for change in changes {
                change.apply(&mut self.durable);
            }
        }
        self.now = self.durable;
        for inode in self.inodes.iter_mut().flatten().filter(|i| !i.synced) {
            inode.content = None;
        }
        self.collect();
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.now);
        let dir = self.dir_of(change.name.file);
        self.pending[dir].push(change);
        self.collect();
    }

    /// Frees inodes that no name can reach any more.
    fn collect(&mut self) {
        for at in 0..self.inodes.len() {
            let Ok(ino) = Ino::try_from(at + 1) else {
                continue;
            };
            let reached = self.now.contains(&ino)
                || self.durable.contains(&ino)
                || self.pending.iter().flatten().any(|c| c.to == ino);
            if !reached {
                self.inodes[at] = None;
            }
        }
        while self.inodes.last().is_some_and(Option::is_none) {
            self.inodes.pop();
        }
    }
}

impl Change {
    fn apply(self, names: &mut [Ino; NAMES]) {
        names[self.name.slot()] = self.to;
        if let Some(gone) = self.gone {
            names[gone.slot()] = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIVE: Name = Name::new(Which::Index, Role::Live);
    const NEW: Name = Name::new(Which::Index, Role::New);

    fn staged() -> Disk<u8> {
        let mut disk = Disk::new(1, None, false);
        disk.create(NEW, 2);
        disk
    }

    #[test]
    fn a_rename_is_lost_in_a_power_cut_unless_the_directory_was_synced() {
        let mut disk = staged();
        disk.sync_file(NEW);
        disk.rename(NEW, LIVE);
        assert_eq!(disk.read(LIVE), Some(&2));
        let mut lost = disk.clone();
        lost.power_cut([0, 0]);
        assert_eq!((lost.read(LIVE), lost.has(NEW)), (Some(&1), false));
        let mut half = disk.clone();
        half.power_cut([1, 0]);
        assert_eq!((half.read(LIVE), half.read(NEW)), (Some(&1), Some(&2)));
        disk.sync_dirs();
        disk.power_cut([0, 0]);
        assert_eq!((disk.read(LIVE), disk.has(NEW)), (Some(&2), false));
    }

    #[test]
    fn a_file_that_was_not_synced_is_garbage_after_a_power_cut() {
        let mut disk = staged();
        disk.rename(NEW, LIVE);
        disk.sync_dirs();
        disk.power_cut([0, 0]);
        assert!(disk.has(LIVE) && disk.read(LIVE).is_none());
    }

    #[test]
    fn two_directories_are_cut_at_two_points() {
        let mut disk = Disk::new(1, Some(1), true);
        for file in [Which::Expunge, Which::Index] {
            let new = Name::new(file, Role::New);
            disk.create(new, 2);
            disk.sync_file(new);
            disk.rename(new, Name::new(file, Role::Live));
        }
        disk.power_cut([2, 0]);
        assert_eq!(disk.read(LIVE), Some(&2));
        assert_eq!(disk.read(Name::new(Which::Expunge, Role::Live)), Some(&1));
    }

    #[test]
    fn an_inode_number_is_used_again() {
        let mut disk = staged();
        let first = disk.ino(NEW);
        disk.unlink(NEW);
        disk.sync_dirs();
        disk.create(NEW, 3);
        assert_eq!(disk.ino(NEW), first);
    }
}
