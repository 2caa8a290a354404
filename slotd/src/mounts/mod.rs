//! Whether the file systems that hold the mail are mounted.
//!
//! An unmounted partition looks like an empty directory: every message seems gone. So slotd writes
//! down, when it first sees a root, on which mount point it lies (`mounts.json` in the state
//! directory), and refuses every mailbox on a root whose mount point is no longer one, or is
//! another file system than before. Roots on the file system of `/` have no mount point to lose;
//! they only have to be there.
//!
//! An operator can overrule: `slotd mount state PATH offline` refuses, `failover` refuses and has
//! the other host's mail believed, `ignore` checks nothing, `online` checks (and takes what is
//! mounted now for right). The file is replaced by rename; a crash leaves the old one.
//!
//! Other mounts of this system are learned at each start, so that one that is missing later is
//! warned of; nothing else follows from them.
//!
//! It is also written down which roots have had mailboxes, and which directories these were. A root
//! that is empty afterwards has lost them, whatever the system says about mounts, unless it is
//! still the same directory: then they were deleted.
//!
//! A root that hangs is refused after a limited time, and stops nobody who works on another (see
//! `prober`).

mod probe;
mod prober;
mod system;
mod table;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

pub use probe::mount_point_of;
pub use system::file_system;
pub use table::{Mount, MountState, Table, TableError};

use crate::fs::Identity;
use crate::protocol::Code;
use crate::refusal::Refusal;
use prober::{Prober, Question};
use system::SystemMount;
use table::Version;

/// How old a good look at a root may be for [`Mounts::check_lately`].
const LATELY: Duration = Duration::from_millis(10);

/// The most mounts that are learned at a start.
const LEARNED: usize = 1000;

/// The mounts that this slotd knows.
#[derive(Debug)]
pub struct Mounts {
    file: PathBuf,
    prober: Prober,
    inner: Mutex<Inner>,
}

/// Never held while a file system with mail is looked at: one that hangs would stop every session.
#[derive(Debug)]
struct Inner {
    table: Table,
    /// Which `mounts.json` was read: another one is read again.
    read: Option<Version>,
    /// The device of each root as it was when this process first used it.
    devices: HashMap<PathBuf, u64>,
    /// Roots whose mailboxes this process has noted.
    noted: HashSet<PathBuf>,
}

impl Mounts {
    /// Reads the table of a state directory; none is an empty one.
    ///
    /// # Errors
    /// The file is there and cannot be read or understood.
    pub fn open(state_dir: &Path) -> Result<Mounts, TableError> {
        let prober = Prober::new(Arc::new(probe::look), prober::LIMIT);
        Mounts::open_with(state_dir, prober)
    }

    fn open_with(state_dir: &Path, prober: Prober) -> Result<Mounts, TableError> {
        let file = state_dir.join(table::FILE_NAME);
        let (table, read) = Table::load(&file)?;
        Ok(Mounts {
            file,
            prober,
            inner: Mutex::new(Inner {
                table,
                read,
                devices: HashMap::new(),
                noted: HashSet::new(),
            }),
        })
    }

    /// For tests: every root is there while `is_there` says so.
    #[cfg(test)]
    pub(crate) fn that_are_there(
        state_dir: &Path,
        is_there: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Mounts {
        let look = move |_: &Question| {
            Ok(prober::Seen {
                mounted: true,
                point: None,
                device: is_there().then_some(1),
            })
        };
        let prober = Prober::new(Arc::new(look), prober::LIMIT);
        Mounts::open_with(state_dir, prober).expect("a new state directory")
    }

    /// Notes the mount points of roots not seen before, and gives a warning for each root that is
    /// not there or not mounted.
    ///
    /// # Errors
    /// The table cannot be written.
    pub fn note_roots<'a>(
        &self,
        roots: impl IntoIterator<Item = &'a Path>,
    ) -> Result<Vec<String>, TableError> {
        let mut warnings = Vec::new();
        for root in roots {
            if let Err(refusal) = self.check(root) {
                warnings.push(refusal.text);
            }
        }
        Ok(warnings)
    }

    /// Notes the mounts of this system that are new, and gives a warning for each that was known
    /// and is not mounted now. Those of roots are [`Mounts::note_roots`]'s.
    ///
    /// # Errors
    /// The table cannot be read or written.
    pub fn learn(&self) -> Result<Vec<String>, TableError> {
        match system::mounts() {
            Ok(now) => self.learn_from(&now),
            // A system without such a table has nothing to be learned.
            Err(error) => Ok(vec![error.to_string()]),
        }
    }

    fn learn_from(&self, now: &[SystemMount]) -> Result<Vec<String>, TableError> {
        self.refresh()?;
        let table = self.inner.lock().table.clone();
        let is_new = |mount: &&SystemMount| {
            let point = &mount.point;
            mount.may_hold_mail()
                && !table.mounts.contains_key(point)
                && !table.is_wildly_ignored(point)
        };
        let new: Vec<&SystemMount> = now.iter().filter(is_new).take(LEARNED).collect();
        if !new.is_empty() {
            let (table, read) = Table::change(&self.file, |table| {
                for mount in new {
                    table.mounts.entry(mount.point.clone()).or_default();
                }
            })?;
            let mut inner = self.inner.lock();
            (inner.table, inner.read) = (table, read);
        }
        let of_roots: Vec<&PathBuf> = table
            .roots
            .iter()
            .map(|(r, p)| p.as_ref().unwrap_or(r))
            .collect();
        let is_gone = |(point, mount): &(&PathBuf, &Mount)| {
            mount.state == MountState::Online
                && !of_roots.contains(point)
                && !table.is_wildly_ignored(point)
                && now.iter().all(|mount| mount.point != **point)
        };
        let gone = table.mounts.iter().filter(is_gone);
        let warn = |(point, _): (&PathBuf, &Mount)| {
            let point = point.display();
            format!(
                "{point} was mounted at an earlier start, and is not now; no partition lies on it. \
                 If it is gone for good: `slotd mount remove {point}`"
            )
        };
        Ok(gone.map(warn).collect())
    }

    /// The mounts whose mail is not believed, but the other host's.
    ///
    /// # Errors
    /// The table cannot be read.
    pub fn in_failover(&self) -> Result<Vec<PathBuf>, TableError> {
        self.refresh()?;
        let inner = self.inner.lock();
        Ok(inner.table.in_failover().map(Path::to_path_buf).collect())
    }

    /// Refuses a root whose file system is not there, or does not answer in time.
    ///
    /// # Errors
    /// [`Code::Unmounted`] says so; other codes if it cannot be record.
    pub fn check(&self, root: &Path) -> Result<(), Refusal> {
        self.check_within(root, Duration::ZERO)
    }

    /// The same, where a look at the root of the last 10 ms serves too: before files below it are
    /// opened. That nothing is there is believed only after [`Mounts::check`].
    ///
    /// # Errors
    /// As of [`Mounts::check`].
    pub fn check_lately(&self, root: &Path) -> Result<(), Refusal> {
        self.check_within(root, LATELY)
    }

    fn check_within(&self, root: &Path, age: Duration) -> Result<(), Refusal> {
        self.refresh()?;
        let record = self.inner.lock().record(root);
        let point = match record.state {
            Some(MountState::Ignore) => return Ok(()),
            Some(MountState::Offline) => {
                let point = record.point.unwrap_or_else(|| root.to_path_buf());
                let (point, back) = (point.display(), back_online(&point));
                let text = format!("{point} is set offline, until {back}");
                return Err(unmounted(text));
            }
            Some(MountState::Failover) => {
                let point = record.point.unwrap_or_else(|| root.to_path_buf());
                let (point, back) = (point.display(), back_online(&point));
                let text = format!(
                    "{point} is in failover: the other host's mail is believed, until {back}"
                );
                return Err(unmounted(text));
            }
            Some(MountState::Online) => record.point,
            None => None,
        };
        let question = Question {
            root: root.to_path_buf(),
            point: point.clone(),
            find_point: record.first_sight,
        };
        let seen = self.prober.ask(question, age)?;
        if let Some(point) = point.filter(|_| !seen.mounted) {
            return Err(unmounted(format!(
                "{} is not mounted, and {} lies on it",
                point.display(),
                root.display()
            )));
        }
        let Some(device) = seen.device else {
            return Err(unmounted(format!(
                "{} does not exist; is it mounted?",
                root.display()
            )));
        };
        if record.first_sight && (seen.point.is_some() || !record.in_table) {
            // Others may have changed the table in the meantime.
            let (table, read) = Table::change(&self.file, |table| table.note(root, seen.point))?;
            let mut inner = self.inner.lock();
            (inner.table, inner.read) = (table, read);
        }
        self.inner.lock().same_device(root, device)
    }

    /// Whether the mailboxes below a root were noted by this process, and the table still says so.
    #[must_use]
    pub fn is_noted(&self, root: &Path) -> bool {
        let inner = self.inner.lock();
        inner.noted.contains(root) && inner.table.held.contains(root)
    }

    /// Notes that there are mailboxes below a root, which is this directory.
    ///
    /// # Errors
    /// The table cannot be read or written.
    pub fn note_held(&self, root: &Path, is: Identity) -> Result<(), TableError> {
        let known = {
            let inner = self.inner.lock();
            inner.table.held.contains(root) && inner.table.held_in.get(root) == Some(&is)
        };
        if !known {
            let (table, read) = Table::change(&self.file, |table| {
                table.held.insert(root.to_path_buf());
                table.held_in.insert(root.to_path_buf(), is);
            })?;
            let mut inner = self.inner.lock();
            (inner.table, inner.read) = (table, read);
        }
        self.inner.lock().noted.insert(root.to_path_buf());
        Ok(())
    }

    /// Whether there were mailboxes below a root at some time, as far as is known.
    #[must_use]
    pub fn has_held(&self, root: &Path) -> bool {
        self.inner.lock().table.held.contains(root)
    }

    /// Whether this directory is beyond doubt the one in which mailboxes were seen below a root.
    #[must_use]
    pub fn held_in(&self, root: &Path, is: &Identity) -> bool {
        let inner = self.inner.lock();
        let then = inner.table.held_in.get(root);
        then.is_some_and(|then| then.is_surely(is))
    }

    /// Whether the operator wants nothing looked at below a root.
    #[must_use]
    pub fn is_ignored(&self, root: &Path) -> bool {
        self.inner.lock().record(root).state == Some(MountState::Ignore)
    }

    /// Reads the table again if it is another one.
    fn refresh(&self) -> Result<(), TableError> {
        let id = |read: &Option<Version>| read.as_ref().map(Version::id);
        if Table::id(&self.file)? == id(&self.inner.lock().read) {
            return Ok(());
        }
        let (table, read) = Table::load(&self.file)?;
        let mut inner = self.inner.lock();
        if id(&inner.read) != id(&read) {
            (inner.table, inner.read) = (table, read);
            inner.devices.clear();
            inner.noted.clear();
        }
        Ok(())
    }
}

impl From<TableError> for Refusal {
    fn from(error: TableError) -> Refusal {
        match error {
            TableError::Io(io) => io.into(),
            error => Refusal::new(Code::Io, error.to_string()),
        }
    }
}

/// The command that lets a mount be used again, for a person.
#[must_use]
pub fn back_online(point: &Path) -> String {
    format!(
        "`slotd mount --imapd-conf FILE --state DIR state {} online`",
        point.display()
    )
}

fn unmounted(text: String) -> Refusal {
    Refusal::new(Code::Unmounted, text)
}

/// What is on record of a root.
struct RootRecord {
    in_table: bool,
    point: Option<PathBuf>,
    state: Option<MountState>,
    /// It has no mount point on record, and this process has not looked at it yet. A root that lay
    /// on the file system of `/` when it was noted is looked at too: perhaps slotd was started
    /// before its file system was mounted, and from now on that can be missing.
    first_sight: bool,
}

impl Inner {
    fn record(&self, root: &Path) -> RootRecord {
        let noted = self.table.roots.get(root);
        let point = noted.cloned().flatten();
        let mount = self.table.mounts.get(point.as_deref().unwrap_or(root));
        RootRecord {
            in_table: noted.is_some(),
            state: mount.map(|m| m.state),
            first_sight: point.is_none() && !self.devices.contains_key(root),
            point,
        }
    }

    fn same_device(&mut self, root: &Path, dev: u64) -> Result<(), Refusal> {
        let first = *self.devices.entry(root.to_path_buf()).or_insert(dev);
        if first != dev {
            return Err(unmounted(format!(
                "{} is on another file system (device {dev}) than before (device {first}); if \
                 that is right, \
                 `slotd mount add {}`",
                root.display(),
                root.display()
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
