//! Whether the file systems that hold the mail are mounted.
//!
//! An unmounted partition looks like an empty directory: every message seems gone. So slotd writes down, when
//! it first sees a root, on which mount point it lies (`mounts.json` in the state directory), and refuses
//! every mailbox on a root whose mount point is no longer one, or is another file system than before.
//! Roots on the file system of `/` have no mount point to lose; they only have to be there.
//!
//! An operator can overrule: `slotd mount state PATH offline` refuses, `ignore` checks nothing, `online`
//! checks (and takes what is mounted now for right). The file is replaced by rename; a crash leaves the old one.

mod probe;
mod table;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use indexfile::IoError;

pub use probe::mount_point_of;
pub use table::{Mount, MountState, Table, TableError};

use crate::fs::FileId;
use crate::protocol::Code;
use crate::refusal::Refusal;

/// The mounts that this slotd knows.
#[derive(Debug)]
pub struct Mounts {
    file: PathBuf,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    table: Table,
    /// Which `mounts.json` was read: another one is read again.
    read: Option<FileId>,
    /// The device of each root as it was when this process first used it.
    devices: HashMap<PathBuf, u64>,
}

impl Mounts {
    /// Reads the table of a state directory; none is an empty one.
    ///
    /// # Errors
    /// The file is there and cannot be read or understood.
    pub fn open(state_dir: &Path) -> Result<Mounts, TableError> {
        let file = state_dir.join(table::FILE_NAME);
        let (table, read) = Table::load(&file)?;
        Ok(Mounts {
            file,
            inner: Mutex::new(Inner {
                table,
                read,
                devices: HashMap::new(),
            }),
        })
    }

    /// Notes the mount points of roots not seen before, and gives a warning for each root that is not there
    /// or not mounted.
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

    /// Refuses a root whose file system is not there.
    ///
    /// # Errors
    /// [`Code::Unmounted`] says so; other codes if it cannot be known.
    pub fn check(&self, root: &Path) -> Result<(), Refusal> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.refresh(&self.file)?;
        // Also a root that lay on the file system of `/` when it was noted: perhaps slotd was started before
        // its file system was mounted, and from now on that can be missing.
        let has_point = inner.table.roots.get(root).is_some_and(Option::is_some);
        if !has_point && !inner.devices.contains_key(root) {
            inner.first_sight(root, &self.file)?;
        }
        inner.check(root)
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

impl Inner {
    fn refresh(&mut self, file: &Path) -> Result<(), TableError> {
        if Table::id(file)? != self.read {
            (self.table, self.read) = Table::load(file)?;
            self.devices.clear();
        }
        Ok(())
    }

    fn first_sight(&mut self, root: &Path, file: &Path) -> Result<(), Refusal> {
        let real = match root.canonicalize() {
            Ok(real) => real,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(unmounted(format!(
                    "{} does not exist; is it mounted?",
                    root.display()
                )));
            }
            Err(e) => return Err(IoError::new("find", root, e).into()),
        };
        let point = mount_point_of(&real)?;
        if point.is_none() && self.table.roots.contains_key(root) {
            return Ok(());
        }
        // Others may have changed the table in the meantime.
        let (table, read) = Table::change(file, |table| table.note(root, point))?;
        (self.table, self.read) = (table, read);
        Ok(())
    }

    fn check(&mut self, root: &Path) -> Result<(), Refusal> {
        let point = self.table.roots.get(root).and_then(Option::as_deref);
        let mount = point.and_then(|p| self.table.mounts.get(p));
        match (point, mount.map(|m| m.state)) {
            (_, Some(MountState::Ignore)) => return Ok(()),
            (Some(point), Some(MountState::Offline)) => {
                return Err(unmounted(format!(
                    "{} is set offline (slotd mount state)",
                    point.display()
                )));
            }
            (Some(point), Some(MountState::Online)) if !probe::is_mounted(point)? => {
                return Err(unmounted(format!(
                    "{} is not mounted, and {} lies on it",
                    point.display(),
                    root.display()
                )));
            }
            _ => {}
        }
        let Some(dev) = probe::device(root)? else {
            return Err(unmounted(format!(
                "{} does not exist; is it mounted?",
                root.display()
            )));
        };
        let first = *self.devices.entry(root.to_path_buf()).or_insert(dev);
        if first != dev {
            return Err(unmounted(format!(
                "{} is on another file system (device {dev}) than before (device {first}); if that is right, \
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
}
