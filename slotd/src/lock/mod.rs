//! The locks of one mailbox: cyrus.header, cyrus.index, cyrus.expunge, in that order.
//!
//! Open-file-description locks, which Cyrus's own POSIX locks see and respect. After each lock the
//! inode behind the name is compared with the one that was locked; if the file was replaced while
//! we waited, it is opened and locked anew. Given back in the opposite order, by hand: a mapping
//! would keep a lock beyond its file's close.
//!
//! A crash drops the locks: the kernel does that when the process is gone.

mod hold;
mod holder;
pub mod wait;

use std::cell::{OnceCell, RefCell, RefMut};
use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use indexfile::mailbox::HeaderFile;
use indexfile::{FileKind, IoContext};

use crate::activity::Hold;
use crate::fileops::Durable;
use crate::fs::{Dir, FileId, OpenError};
use crate::protocol::Code;
use crate::refusal::Refusal;
use crate::store::Place;

pub use hold::HoldTimer;
use wait::Wait;

const HEADER: &str = "cyrus.header";

/// One locked file.
#[derive(Debug)]
pub struct LockedFile {
    /// Open for reading and writing.
    pub file: File,
    /// Which file it is.
    pub id: FileId,
    written: Written,
    dir: Arc<Dir>,
    name: &'static str,
}

/// What tells of writes to a file: its size in bytes and the time of its last one. (Links and
/// attributes change neither.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Written {
    size: u64,
    at: (i64, i64),
}

impl Written {
    fn of(file: &File) -> std::io::Result<Written> {
        let meta = file.metadata()?;
        Ok(Written {
            size: meta.size(),
            at: (meta.mtime(), meta.mtime_nsec()),
        })
    }
}

/// The locks of one mailbox. Dropping it unlocks, in order.
#[derive(Debug)]
pub struct MailboxLocks {
    /// The mailbox.
    pub place: Place,
    header: LockedFile,
    /// What it says, once that was asked for.
    header_file: OnceCell<HeaderFile>,
    index: LockedFile,
    expunge: Option<LockedFile>,
    /// Locks on files that were renamed into place of locked ones.
    successors: Vec<(FileKind, File)>,
    waited: Duration,
    hold: RefCell<HoldTimer>,
    durable: RefCell<Durable>,
    given_back: bool,
    /// Counts among the mailboxes that are locked.
    counted: Option<Hold>,
}

/// For how long to wait.
#[derive(Clone, Copy, Debug)]
pub struct Patience<'a> {
    /// Until when.
    pub deadline: Instant,
    /// Set by another thread when the locks are not wanted any more.
    pub cancel: &'a AtomicBool,
}

impl MailboxLocks {
    /// Takes all the locks, or none.
    ///
    /// # Errors
    /// [`Code::Locked`] with the holder's name if the time is over; [`Code::NoMailbox`] if the
    /// mailbox goes away meanwhile.
    pub fn take(place: Place, patience: Patience<'_>) -> Result<MailboxLocks, Refusal> {
        let started = Instant::now();
        let header = lock_file(&place.header, HEADER, patience)?;
        let header = header.ok_or_else(|| removed(&place))?;
        let index = lock_file(&place.index, FileKind::Index.file_name(), patience)?;
        let index = index.ok_or_else(|| removed(&place))?;
        let mut hold = HoldTimer::begin();
        // Nobody makes a cyrus.expunge without the index lock, so its absence is settled now.
        let expunge = lock_file(&place.expunge, FileKind::Expunge.file_name(), patience)?;
        let waited = started.elapsed();
        hold.mark("expunge");
        Ok(MailboxLocks {
            place,
            header,
            header_file: OnceCell::new(),
            index,
            expunge,
            successors: Vec::new(),
            waited,
            hold: RefCell::new(hold),
            durable: RefCell::default(),
            given_back: false,
            counted: None,
        })
    }

    /// The locked cyrus.header.
    #[must_use]
    pub fn header(&self) -> &LockedFile {
        &self.header
    }

    /// What the locked cyrus.header says. It is read once: nobody writes to it while it is locked.
    ///
    /// # Errors
    /// It cannot be read, or is damaged.
    pub fn header_file(&self) -> Result<&HeaderFile, Refusal> {
        if let Some(header) = self.header_file.get() {
            return Ok(header);
        }
        let header = self.place.header_in(&self.header.file)?;
        Ok(self.header_file.get_or_init(|| header))
    }

    /// The locked cyrus.index, or cyrus.expunge if there is one.
    #[must_use]
    pub fn file(&self, kind: FileKind) -> Option<&LockedFile> {
        match kind {
            FileKind::Index => Some(&self.index),
            FileKind::Expunge => self.expunge.as_ref(),
        }
    }

    /// Checks once more that what is locked is what lies under the names and was not written to,
    /// just before a rename.
    ///
    /// # Errors
    /// [`Code::Damaged`] if a file was replaced in spite of our locks, or written to, as `cp`
    /// does.
    pub fn check(&self) -> Result<(), Refusal> {
        let files = [Some(&self.header), Some(&self.index), self.expunge.as_ref()];
        for locked in files.into_iter().flatten() {
            if locked.dir.id(locked.name)? != Some(locked.id) {
                return Err(replaced(&locked.dir, locked.name));
            }
            let path = locked.dir.path_of(locked.name);
            if Written::of(&locked.file).io_context("stat", &path)? != locked.written {
                let text = format!("{} was written to while we held its lock", path.display());
                return Err(Refusal::new(Code::Damaged, text));
            }
        }
        let name = FileKind::Expunge.file_name();
        if self.expunge.is_none() && self.place.expunge.stat(name)?.is_some() {
            return Err(replaced(&self.place.expunge, name));
        }
        Ok(())
    }

    /// Keeps the lock of a file that takes the place of a locked one.
    pub fn add_successor(&mut self, kind: FileKind, file: File) {
        self.successors.push((kind, file));
    }

    /// How long `take` took.
    #[must_use]
    pub fn waited(&self) -> Duration {
        self.waited
    }

    /// Counts among the mailboxes that are locked, until they are given back.
    pub fn counts_as(&mut self, hold: Hold) {
        self.counted = Some(hold);
    }

    /// How long cyrus.index has been locked.
    #[must_use]
    pub fn held(&self) -> Duration {
        self.hold.borrow().elapsed()
    }

    /// Notes that what was done since the last mark has this name.
    pub fn mark(&self, name: &'static str) {
        self.hold.borrow_mut().mark(name);
    }

    /// What of the mailbox was brought to stable storage under the locks.
    pub fn durable(&self) -> RefMut<'_, Durable> {
        self.durable.borrow_mut()
    }

    /// What was done while the locks were held, `name:microseconds,...`
    #[must_use]
    pub fn timings(&self) -> String {
        self.hold.borrow().to_text()
    }

    /// Unlocks expunge, index and header, in that order, and tells how long cyrus.index was locked,
    /// and what for.
    #[must_use]
    pub fn unlock(mut self) -> (Duration, String) {
        self.give_back();
        self.mark("unlock");
        (self.held(), self.timings())
    }

    fn give_back(&mut self) {
        if std::mem::replace(&mut self.given_back, true) {
            return;
        }
        let successor = |kind| {
            self.successors
                .iter()
                .filter(move |(k, _)| *k == kind)
                .map(|(_, file)| file)
        };
        let files = successor(FileKind::Expunge)
            .chain(self.expunge.as_ref().map(|l| &l.file))
            .chain(successor(FileKind::Index))
            .chain([&self.index.file, &self.header.file]);
        for file in files {
            if let Err(error) = wait::unlock(file) {
                // Closing the file, which follows, does it too unless a reader has a duplicate.
                tracing::error!(mailbox = %self.place.mailbox, "unlock: {error}");
            }
        }
        self.counted = None;
    }
}

impl Drop for MailboxLocks {
    fn drop(&mut self) {
        self.give_back();
    }
}

fn removed(place: &Place) -> Refusal {
    Refusal::new(
        Code::NoMailbox,
        format!("mailbox {} was removed just now", place.mailbox),
    )
}

fn replaced(dir: &Dir, name: &str) -> Refusal {
    let path = dir.path_of(name);
    Refusal::new(
        Code::Damaged,
        format!("{} was replaced while we held its lock", path.display()),
    )
}

/// Opens and locks one file, again and again if it is replaced meanwhile. `None` if there is no
/// such file.
fn lock_file(
    dir: &Arc<Dir>,
    name: &'static str,
    patience: Patience<'_>,
) -> Result<Option<LockedFile>, Refusal> {
    let started = Instant::now();
    loop {
        let file = match dir.open_file(name, true) {
            Ok(file) => file,
            Err(OpenError::Missing { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let path = dir.path_of(name);
        match wait::lock(&file, patience.deadline, patience.cancel).io_context("lock", &path)? {
            Wait::Taken => {}
            Wait::Cancelled => {
                return Err(Refusal::new(
                    Code::Expired,
                    "nobody waits for the lock any more",
                ));
            }
            Wait::TimedOut => {
                let (who, waited) = (holder::describe(&file), started.elapsed());
                let text = format!(
                    "{} is locked by {who}; waited {:.1} s",
                    path.display(),
                    waited.as_secs_f64()
                );
                return Err(Refusal::new(Code::Locked, text));
            }
        }
        let id = FileId::of(&file).io_context("stat", &path)?;
        if dir.id(name)? == Some(id) {
            let written = Written::of(&file).io_context("stat", &path)?;
            return Ok(Some(LockedFile {
                file,
                id,
                written,
                dir: Arc::clone(dir),
                name,
            }));
        }
        // Replaced while we waited: the lock we got is that of a dead file.
        wait::unlock(&file).io_context("unlock", &path)?;
        if Instant::now() >= patience.deadline {
            return Err(Refusal::new(
                Code::Locked,
                format!("{} is being replaced again and again", path.display()),
            ));
        }
    }
}
