//! The order of renames, as data: what is done to a mailbox's files, operation by operation. Pure,
//! but for `execute`, which does one of them.
//!
//! A function per purpose gives the list; [`crate::commit`] and [`crate::intent::recovery`] have it
//! done by directory handle, the simulation and the model of the tests crate on a disk in memory.
//! So the order that is proven there is the order that is done here. What settles an intent is in
//! [`crate::intent::settle`], put together from the same pieces; what replaces `cyrus.uuids` in
//! [`replace_uuids`]. `docs/recovery.md` has the lists
//! as a table, and a test compares.
//!
//! A list is made from what lies under the names when it is made, under the locks, and so has no
//! conditions. After a crash in the middle of one the next begins with what it finds.

mod across;
mod execute;
mod needs;
#[cfg(test)]
mod tests;
mod uuids;

use std::fmt;

use indexfile::FileKind;

pub use across::{CROSSING, Guard};
pub(crate) use execute::execute;
pub use needs::{Durable, TooEarly};
pub use uuids::{UuidsOp, replace_uuids};

use crate::intent::Direction;

/// One of the names that a file can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// The name that Cyrus opens.
    Live,
    /// `.NEW`: staged.
    New,
    /// `.OLD`: what was replaced.
    Old,
    /// `.OLD.reguid-prev`: an older `.OLD`, set aside while a transaction may still be undone.
    Prev,
    /// No name: a staged file that only its maker's handle keeps.
    Unnamed,
}

/// The name in the directory of the mailbox; of a file without one, what it is for.
#[must_use]
pub const fn name(kind: FileKind, role: Role) -> &'static str {
    match (kind, role) {
        (FileKind::Index | FileKind::Expunge, Role::Live) => kind.file_name(),
        (FileKind::Index, Role::New | Role::Unnamed) => "cyrus.index.NEW",
        (FileKind::Expunge, Role::New | Role::Unnamed) => "cyrus.expunge.NEW",
        (FileKind::Index, Role::Old) => "cyrus.index.OLD",
        (FileKind::Expunge, Role::Old) => "cyrus.expunge.OLD",
        (FileKind::Index, Role::Prev) => "cyrus.index.OLD.reguid-prev",
        (FileKind::Expunge, Role::Prev) => "cyrus.expunge.OLD.reguid-prev",
    }
}

/// One operation. Each is atomic, and each can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileOp {
    /// Bring the intent that tells recovery of what follows, and which way it goes, to stable
    /// storage.
    Intent(Direction),
    /// Lock a file that is about to become live, until everything is over: nobody may change it
    /// before its rename is durable.
    Lock(FileKind, Role),
    /// fsync a file. If that fails the file is of no use: its name goes.
    SyncFile(FileKind, Role),
    /// Give a file a second name, or its first.
    Link(FileKind, Role, Role),
    /// Rename within the directory, over whatever has that name.
    Rename(FileKind, Role, Role),
    /// Remove a name. That it is gone already is no error.
    Unlink(FileKind, Role),
    /// fsync the directory that this file is in.
    SyncDir(FileKind),
}

/// An operation of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Step {
    /// What to do.
    pub op: FileOp,
    /// What has to be on stable storage by then.
    pub needs: Needs,
    /// If it fails that is logged, and the list goes on.
    pub best_effort: bool,
}

/// What has to be on stable storage before an operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Needs {
    /// The intent that tells recovery of it.
    pub intent: bool,
    /// The bytes of the file that gets the name.
    pub bytes: bool,
    /// What this live name stands for now.
    pub live: Option<FileKind>,
}

/// What becomes of a live name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// It stands for a new file; the one before is `.OLD`.
    Replace,
    /// There is no such file any more; the one before is `.OLD`. Of `cyrus.expunge`, whose messages
    /// the index of version 12 and later has in itself.
    Remove,
    /// There is such a file, where none was.
    Add,
}

impl Change {
    /// By whether there was such a file, and whether there is to be one.
    #[must_use]
    pub const fn of(was: bool, will_be: bool) -> Change {
        match (was, will_be) {
            (false, _) => Change::Add,
            (_, false) => Change::Remove,
            _ => Change::Replace,
        }
    }
}

/// A file that a list is about, and what lies under its other names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Names {
    /// Which file.
    pub kind: FileKind,
    /// What becomes of it.
    pub change: Change,
    /// There is a `.OLD`.
    pub old: Option<Old>,
    /// There is an older `.OLD`, set aside.
    pub prev: bool,
}

/// What `.OLD` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Old {
    /// Another name of the file that the transaction replaces.
    Replaced,
    /// Of an earlier transaction.
    Earlier,
}

/// Whether an index of this version has the expunged messages in itself, without `cyrus.expunge`.
#[must_use]
pub const fn is_over(version: u32) -> bool {
    version >= 12
}

/// The order in which two files change. Up to version 10 the expunge file's version is never below
/// the index's: index first on the way down, expunge first otherwise. To version 12 and later the
/// index goes first, and the expunge file's name only when the index has its messages: no index of
/// version 10 is ever without its expunge file. That is the opposite of every other way up, and
/// only right while no server runs. The way back from there is the reverse.
#[must_use]
pub fn order(index_from: u32, to: u32) -> [FileKind; 2] {
    let index_first = if is_over(index_from.max(to)) {
        to > index_from
    } else {
        to < index_from
    };
    if index_first {
        [FileKind::Index, FileKind::Expunge]
    } else {
        [FileKind::Expunge, FileKind::Index]
    }
}

/// Brings staged files, each with what it lies under, and the intent to stable storage, and gives
/// those that have no name theirs. All that needs nothing may be under way at once.
#[must_use]
pub fn stage(files: &[(FileKind, Role)]) -> Vec<Step> {
    let mut list = List::default();
    list.push(FileOp::Intent(Direction::Commit), Needs::default());
    list.name_staged(files);
    list.steps
}

/// The same where an open intent tells of them already.
#[must_use]
pub fn stage_again(files: &[(FileKind, Role)]) -> Vec<Step> {
    let mut list = List::default();
    list.name_staged(files);
    list.steps
}

/// Puts staged files in place. `files` come in the order of [`order`].
#[must_use]
pub fn commit(files: &[Names]) -> Vec<Step> {
    let mut list = List::default();
    for file in files {
        list.keep_live(*file);
    }
    for file in files {
        list.change(*file);
    }
    list.steps
}

/// Takes back what of [`commit`] was done, the last of it first; staged files that were not in
/// place yet stay under their names.
#[must_use]
pub fn undo(done: &[FileOp]) -> Vec<Step> {
    let mut list = List::default();
    let mut back = Vec::new();
    let had_one = |kind| done.contains(&FileOp::Link(kind, Role::Live, Role::Old));
    for op in done.iter().rev() {
        match *op {
            // Over the live name: the new file is gone, the old one is back with its own inode.
            FileOp::Rename(kind, Role::New, Role::Live) if had_one(kind) => {
                list.rename(kind, Role::Old, Role::Live);
                list.sync_dir(kind);
                back.push(kind);
            }
            FileOp::Rename(kind, from, to) if op.changes_live() => {
                list.rename(kind, to, from);
                list.sync_dir(kind);
            }
            FileOp::Rename(kind, from, to) => list.rename(kind, to, from),
            // If it became live again that name is gone already.
            FileOp::Link(kind, _, to) if !back.contains(&kind) => list.unlink(kind, to),
            _ => {}
        }
    }
    list.steps
}

/// Puts the very same old files back after [`commit`]. `files` come in the order in which they were
/// put in place.
#[must_use]
pub fn put_back(files: &[Names]) -> Vec<Step> {
    let mut list = List::default();
    list.push(FileOp::Intent(Direction::PutBack), Needs::default());
    for file in files.iter().rev() {
        list.change_back(file.kind, file.change);
        if file.prev {
            list.rename(file.kind, Role::Prev, Role::Old);
        }
        list.sync_dir(file.kind);
    }
    let added = files.iter().filter(|file| file.change == Change::Add);
    list.unstage(added.map(|file| file.kind));
    list.steps
}

/// Removes staged files, so that no power cut brings their names back.
#[must_use]
pub fn unstage(kinds: impl IntoIterator<Item = FileKind>) -> Vec<Step> {
    let mut list = List::default();
    list.unstage(kinds);
    list.steps
}

/// Settles the `.OLD` files of a committed transaction: the new ones stay and older ones go, or all
/// go. These names mean nothing to Cyrus, and `CLEAN` takes them too.
#[must_use]
pub fn keep_old(files: &[Names], drop_old: bool) -> Vec<Step> {
    let mut list = List::default();
    list.keep_old(files, drop_old);
    list.steps
}

/// A list in the making.
#[derive(Default)]
pub(crate) struct List {
    pub(crate) steps: Vec<Step>,
    /// The live name that was brought to stable storage last.
    settled: Option<FileKind>,
}

impl List {
    fn push(&mut self, op: FileOp, needs: Needs) {
        self.steps.push(Step {
            op,
            needs,
            best_effort: false,
        });
    }

    pub(crate) fn lock(&mut self, kind: FileKind, role: Role) {
        self.push(FileOp::Lock(kind, role), Needs::default());
    }

    pub(crate) fn sync_file(&mut self, kind: FileKind, role: Role) {
        self.push(FileOp::SyncFile(kind, role), Needs::default());
    }

    fn link(&mut self, kind: FileKind, from: Role, to: Role) {
        let needs = Needs {
            intent: true,
            bytes: true,
            live: None,
        };
        self.push(FileOp::Link(kind, from, to), needs);
    }

    fn name_staged(&mut self, files: &[(FileKind, Role)]) {
        for (kind, role) in files {
            self.sync_file(*kind, *role);
        }
        for (kind, role) in files {
            if *role == Role::Unnamed {
                self.link(*kind, Role::Unnamed, Role::New);
            }
        }
    }

    /// What is to be live no more gets the name `.OLD`, or room under it; an older one steps aside.
    pub(crate) fn keep_live(&mut self, file: Names) {
        if file.old.is_some() && file.change != Change::Add {
            self.rename(file.kind, Role::Old, Role::Prev);
        }
        if file.change == Change::Replace {
            self.link(file.kind, Role::Live, Role::Old);
        }
    }

    /// The live name changes, on stable storage.
    pub(crate) fn change(&mut self, file: Names) {
        match file.change {
            Change::Replace | Change::Add => self.rename(file.kind, Role::New, Role::Live),
            Change::Remove => self.rename(file.kind, Role::Live, Role::Old),
        }
        self.sync_dir(file.kind);
    }

    /// The live name is what it was; what had been added is a staged file again.
    pub(crate) fn change_back(&mut self, kind: FileKind, change: Change) {
        match change {
            Change::Replace | Change::Remove => self.rename(kind, Role::Old, Role::Live),
            Change::Add => self.rename(kind, Role::Live, Role::New),
        }
    }

    pub(crate) fn rename(&mut self, kind: FileKind, from: Role, to: Role) {
        // One live name after the other, on stable storage too: that is what keeps the two in
        // order.
        let op = FileOp::Rename(kind, from, to);
        let live = self.settled.filter(|_| op.changes_live());
        let needs = Needs {
            intent: true,
            bytes: true,
            live,
        };
        self.push(op, needs);
    }

    pub(crate) fn unlink(&mut self, kind: FileKind, role: Role) {
        self.push(FileOp::Unlink(kind, role), Needs::default());
    }

    pub(crate) fn sync_dir(&mut self, kind: FileKind) {
        self.push(FileOp::SyncDir(kind), Needs::default());
        self.settled = Some(kind);
    }

    pub(crate) fn unstage(&mut self, kinds: impl IntoIterator<Item = FileKind>) {
        for kind in kinds {
            self.unlink(kind, Role::New);
            self.push(FileOp::SyncDir(kind), Needs::default());
        }
    }

    pub(crate) fn keep_old(&mut self, files: &[Names], drop_old: bool) {
        for file in files {
            let gone = [
                (file.prev, Role::Prev),
                (drop_old && file.old.is_some(), Role::Old),
            ];
            for (_, role) in gone.into_iter().filter(|(there, _)| *there) {
                // As long as the new file may be gone after a power cut the old one must not be.
                let needs = Needs {
                    live: Some(file.kind),
                    ..Needs::default()
                };
                self.steps.push(Step {
                    op: FileOp::Unlink(file.kind, role),
                    needs,
                    best_effort: true,
                });
            }
        }
    }
}

impl FileOp {
    /// Whether a live name stands for something else afterwards.
    #[must_use]
    pub const fn changes_live(self) -> bool {
        matches!(
            self,
            Self::Rename(_, _, Role::Live) | Self::Rename(_, Role::Live, _)
        )
    }

    /// The file that it is about, if it is about one.
    #[must_use]
    pub const fn kind(self) -> Option<FileKind> {
        match self {
            Self::Intent(_) => None,
            Self::Lock(kind, _)
            | Self::SyncFile(kind, _)
            | Self::Link(kind, ..)
            | Self::Rename(kind, ..)
            | Self::Unlink(kind, _)
            | Self::SyncDir(kind) => Some(kind),
        }
    }
}

impl fmt::Display for FileOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Intent(_) => write!(f, "fdatasync the intent"),
            Self::Lock(kind, role) => write!(f, "lock {}", name(kind, role)),
            Self::SyncFile(kind, role) => write!(f, "fsync {}", name(kind, role)),
            Self::Link(kind, Role::Unnamed, to) => write!(f, "link the file as {}", name(kind, to)),
            Self::Link(kind, from, to) => {
                write!(f, "link {} to {}", name(kind, from), name(kind, to))
            }
            Self::Rename(kind, from, to) => {
                write!(f, "rename {} to {}", name(kind, from), name(kind, to))
            }
            Self::Unlink(kind, role) => write!(f, "remove the name {}", name(kind, role)),
            Self::SyncDir(_) => write!(f, "fsync its directory"),
        }
    }
}
