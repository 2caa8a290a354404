//! The intent log's entry for one mailbox, and how much of it a power cut leaves.

use super::disk::{Disk, Ino, Name, Role, Which};
use super::image::Image;

/// One file as the intent remembers it: inode and time of birth.
pub type Known = (Ino, Option<u32>);

/// What a commit is about to do to one file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pair {
    /// The live file that is to go.
    pub old: Known,
    /// The staged file that is to come.
    pub new: Known,
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
        let known = |name| Some((disk.ino(name)?, disk.born(name)));
        let pair = |file| {
            let old = known(Name::new(file, Role::Live))?;
            let new = known(Name::new(file, staged))?;
            Some(Pair { old, new })
        };
        let files = Which::ALL.map(pair);
        let version = |role| {
            let of = |file| disk.read(Name::new(file, role)).map(C::version);
            of(Which::Index).or_else(|| of(Which::Expunge)).unwrap_or(0)
        };
        Self {
            files,
            from: version(Role::Live),
            to: version(staged),
            back: false,
        }
    }

    /// The files it is about, first to be renamed first.
    #[must_use]
    pub fn order(&self) -> Vec<Which> {
        let mut order = Which::ALL.to_vec();
        if self.to >= self.from {
            order.reverse();
        }
        order.retain(|f| self.files[*f as usize].is_some());
        order
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
