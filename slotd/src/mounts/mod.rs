//! Whether the file systems that hold the mail are mounted.
//!
//! An unmounted partition looks like an empty directory: every message seems gone. So slotd writes
//! down, when it first sees a root, on which mount point it lies (`mounts.json` in the state
//! directory), and refuses every mailbox on a root whose mount point is no longer one, or is
//! another file system than before. Roots on the file system of `/` have no mount point to lose;
//! they only have to be there.
//!
//! An operator can overrule: `slotd mount state PATH offline` refuses, `ignore` checks nothing,
//! `online` checks (and takes what is mounted now for right). The file is replaced by rename; a
//! crash leaves the old one.
//!
//! It is also written down which roots have had mailboxes, and which directories these were. A root
//! that is empty afterwards has lost them, whatever the system says about mounts, unless it is
//! still the same directory: then they were deleted.
//!
//! A root that hangs is refused after a limited time, and stops nobody who works on another (see
//! `prober`).

mod probe;
mod prober;
mod table;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

pub use probe::mount_point_of;
pub use table::{Mount, MountState, Table, TableError};

use crate::fs::Identity;
use crate::protocol::Code;
use crate::refusal::Refusal;
use prober::{Prober, Question};
use table::Version;

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

    /// Refuses a root whose file system is not there, or does not answer in time.
    ///
    /// # Errors
    /// [`Code::Unmounted`] says so; other codes if it cannot be record.
    pub fn check(&self, root: &Path) -> Result<(), Refusal> {
        self.refresh()?;
        let record = self.inner.lock().record(root);
        let point = match record.state {
            Some(MountState::Ignore) => return Ok(()),
            Some(MountState::Offline) => {
                let point = record.point.unwrap_or_else(|| root.to_path_buf());
                return Err(unmounted(format!(
                    "{} is set offline (slotd mount state)",
                    point.display()
                )));
            }
            Some(MountState::Online) => record.point,
            None => None,
        };
        let seen = self.prober.ask(Question {
            root: root.to_path_buf(),
            point: point.clone(),
            find_point: record.first_sight,
        })?;
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
mod tests {
    use super::*;

    /// A state directory whose table says this of a root.
    fn mounts(root: &Path, point: Option<&Path>) -> (tempfile::TempDir, Mounts) {
        let state = tempfile::tempdir().unwrap();
        let note = |table: &mut Table| table.note(root, point.map(Path::to_path_buf));
        Table::change(&state.path().join(table::FILE_NAME), note).unwrap();
        let mounts = Mounts::open(state.path()).unwrap();
        (state, mounts)
    }

    fn noted(state: &Path, root: &Path) -> Option<PathBuf> {
        let (table, _) = Table::load(&state.join(table::FILE_NAME)).unwrap();
        table.roots.get(root).cloned().flatten()
    }

    #[test]
    fn a_root_whose_file_system_was_mounted_after_the_first_start_is_guarded_from_then_on() {
        // A directory on a mount point that every system has, noted as if it had lain on `/`.
        let root = Path::new("/proc/sys");
        let (state, mounts) = mounts(root, None);
        mounts.check(root).unwrap();
        assert_eq!(noted(state.path(), root), mount_point_of(root).unwrap());
        assert!(noted(state.path(), root).is_some());
    }

    #[test]
    fn a_root_whose_mount_point_is_an_empty_directory_is_refused_until_the_operator_overrules() {
        let tmp = tempfile::tempdir().unwrap();
        let point = tmp.path().join("disk");
        let root = point.join("spool");
        std::fs::create_dir_all(&root).unwrap();
        let (state, mounts) = mounts(&root, Some(&point));
        assert_eq!(mounts.check(&root).unwrap_err().code, Code::Unmounted);
        let file = state.path().join(table::FILE_NAME);
        let set = |to| Table::change(&file, |t| t.set_state(&point, to).unwrap()).unwrap();
        set(MountState::Ignore);
        assert!(mounts.check(&root).is_ok());
        set(MountState::Offline);
        assert_eq!(mounts.check(&root).unwrap_err().code, Code::Unmounted);
    }

    #[test]
    fn what_is_said_of_a_root_that_has_no_mount_point_is_said_of_it_alone() {
        let tmp = tempfile::tempdir().unwrap();
        let [root, other] = ["one", "other"].map(|name| tmp.path().join(name));
        std::fs::create_dir(&root).unwrap();
        std::fs::create_dir(&other).unwrap();
        let (state, mounts) = mounts(&root, None);
        let file = state.path().join(table::FILE_NAME);
        let change = |f: &dyn Fn(&mut Table)| Table::change(&file, f).unwrap();
        change(&|t| t.note(&other, None));
        let set = |to| change(&|t| t.set_state(&root, to).unwrap());
        set(MountState::Offline);
        let refused = mounts.check(&root).unwrap_err();
        assert_eq!(refused.code, Code::Unmounted);
        let text = format!("{} is set offline", root.display());
        assert!(refused.text.contains(&text), "{refused}");
        mounts.check(&other).unwrap();
        // Another process reads it so too, also where the root is not there any more.
        std::fs::remove_dir(&root).unwrap();
        set(MountState::Ignore);
        Mounts::open(state.path()).unwrap().check(&root).unwrap();
        set(MountState::Online);
        assert_eq!(mounts.check(&root).unwrap_err().code, Code::Unmounted);
        std::fs::create_dir(&root).unwrap();
        mounts.check(&root).unwrap();
        let unknown = tmp.path().join("unknown");
        change(&|t| assert!(t.set_state(&unknown, MountState::Offline).is_err()));
    }

    #[test]
    fn a_root_that_hangs_freezes_no_other_root() {
        let (release, released) = std::sync::mpsc::channel::<()>();
        let released = Mutex::new(released);
        let look = move |question: &Question| {
            if question.root == Path::new("/hung") {
                let _ = released.lock().recv();
            }
            probe::look(question)
        };
        let state = tempfile::tempdir().unwrap();
        let limit = std::time::Duration::from_millis(50);
        let prober = Prober::new(Arc::new(look), limit);
        let mounts = Mounts::open_with(state.path(), prober).unwrap();
        let healthy = tempfile::tempdir().unwrap();
        mounts.check(healthy.path()).unwrap();
        // Nothing that a hung root does ends before it is released, below.
        let hung = mounts.check(Path::new("/hung")).unwrap_err();
        assert_eq!(hung.code, Code::Unmounted);
        mounts.check(healthy.path()).unwrap();
        let roots = [Path::new("/hung"), healthy.path()];
        assert_eq!(mounts.note_roots(roots).unwrap(), [hung.text]);
        drop(release);
    }

    #[test]
    fn a_root_that_is_not_there_is_refused_and_not_noted() {
        let state = tempfile::tempdir().unwrap();
        let mounts = Mounts::open(state.path()).unwrap();
        let root = Path::new("/nonexistent/spool");
        assert_eq!(mounts.check(root).unwrap_err().code, Code::Unmounted);
        assert_eq!(noted(state.path(), root), None);
        let plain = tempfile::tempdir().unwrap();
        mounts.check(plain.path()).unwrap();
        let expected = mount_point_of(&plain.path().canonicalize().unwrap()).unwrap();
        assert_eq!(noted(state.path(), plain.path()), expected);
    }

    #[test]
    fn that_a_root_had_mailboxes_is_remembered_until_the_operator_says_otherwise() {
        let tmp = tempfile::tempdir().unwrap();
        let root = tmp.path().join("spool");
        let (state, mounts) = mounts(&root, Some(tmp.path()));
        assert!(!mounts.has_held(&root));
        std::fs::create_dir(&root).unwrap();
        let dir = crate::fs::Dir::open_root(&root).unwrap();
        let is = Identity::of(&dir).unwrap();
        mounts.note_held(&root, is).unwrap();
        let again = Mounts::open(state.path()).unwrap();
        assert!(again.has_held(&root));
        assert_eq!(again.held_in(&root, &is), is.born.is_some());
        let unsure = Identity { born: None, ..is };
        assert!(!again.held_in(&root, &unsure));
        let file = state.path().join(table::FILE_NAME);
        Table::change(&file, |t| t.remove(tmp.path()).unwrap()).unwrap();
        assert!(!Mounts::open(state.path()).unwrap().has_held(&root));
    }
}
