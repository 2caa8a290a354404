//! The intent log's entry for one mailbox, and how much of it a power cut leaves.

use slotd::fileops::{self, Change, order};

use super::disk::{Disk, Ino, Name, Role, Which};
use super::image::Image;

/// One file as the intent remembers it: inode and time of birth.
pub type Known = (Ino, Option<u32>);

/// What a commit is about to do to one file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pair {
    /// The live file that is to go; `None` if there is none.
    pub old: Option<Known>,
    /// The staged file that is to come; `None` if there is to be none.
    pub new: Option<Known>,
}

impl Pair {
    /// What becomes of the live name.
    #[must_use]
    pub fn change(&self) -> Change {
        Change::of(self.old.is_some(), self.new.is_some())
    }
}

/// Whether an index of that version has the expunged messages in itself.
#[must_use]
pub fn is_over(version: u8) -> bool {
    fileops::is_over(version.into())
}

/// What a commit is about to do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Intent {
    /// Index and expunge; `None` where nothing is staged.
    pub files: [Option<Pair>; 2],
    /// The version of the index before.
    pub from: u8,
    /// The version after.
    pub to: u8,
    /// `ROLLBACK` was ordered while the commit was held.
    pub back: bool,
}

impl Intent {
    /// To rename whatever is staged under that name, or without one.
    #[must_use]
    pub fn of<C: Image>(disk: &Disk<C>, staged: Role) -> Self {
        let version = |role| {
            let of = |file| disk.read(Name::new(file, role)).map(C::version);
            of(Which::Index).or_else(|| of(Which::Expunge)).unwrap_or(0)
        };
        let (from, to) = (version(Role::Live), version(staged));
        let known = |name| Some((disk.ino(name)?, disk.born(name)));
        let pair = |file| {
            let old = known(Name::new(file, Role::Live));
            let new = known(Name::new(file, staged));
            // Up to version 10 no live name comes or goes.
            let is_changed = if is_over(from.max(to)) {
                old.is_some() || new.is_some()
            } else {
                old.is_some() && new.is_some()
            };
            is_changed.then_some(Pair { old, new })
        };
        Self {
            files: Which::ALL.map(pair),
            from,
            to,
            back: false,
        }
    }

    /// The files it is about, and what becomes of each, first to be renamed first.
    #[must_use]
    pub fn order(&self) -> Vec<(Which, Change)> {
        let order = order(self.from.into(), self.to.into()).map(Which::from);
        let change = |file: Which| Some((file, self.files[file as usize].as_ref()?.change()));
        order.into_iter().filter_map(change).collect()
    }

    /// Whether it is to version 12 or later, or back from there.
    #[must_use]
    pub fn is_across(&self) -> bool {
        is_over(self.from.max(self.to))
    }
}

/// The log, as far as it concerns this mailbox: its open intent, as the process knows it and as it
/// is on stable storage.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Log {
    now: Option<Intent>,
    durable: Option<Intent>,
    /// A write or sync failed: this may be on stable storage instead, and nothing is written any
    /// more before slotd was restarted.
    perhaps: Option<Intent>,
}

impl Log {
    /// Whether it can be written.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.perhaps.is_none()
    }

    /// Writes and syncs an intent, and every end before it.
    pub fn begin(&mut self, intent: Intent) {
        self.now = Some(intent);
        self.durable = self.now.clone();
    }

    /// That failed. As the process sees it there is no such intent; on disk there may be.
    pub fn begin_failed(&mut self, intent: Intent) {
        self.now = None;
        self.perhaps = Some(intent);
    }

    /// The open intent, with its way back.
    #[must_use]
    pub fn turned_back(&self) -> Option<Intent> {
        self.now.clone().map(|intent| Intent {
            back: true,
            ..intent
        })
    }

    /// The intent that is open, if any.
    #[must_use]
    pub fn open(&self) -> Option<&Intent> {
        self.now.as_ref()
    }

    /// Notes that it is settled; on stable storage only with the next intent.
    pub fn end(&mut self) {
        self.now = None;
    }

    /// Whether a crash could leave one thing or another.
    #[must_use]
    pub fn is_uncertain(&self) -> bool {
        self.perhaps.is_some()
    }

    /// The process is gone, or the power; what was not known to be durable is there or not.
    pub fn reopen(&mut self, kept: bool) {
        if let Some(perhaps) = self.perhaps.take().filter(|_| kept) {
            self.durable = Some(perhaps);
        }
        self.now = self.durable.clone();
    }
}
