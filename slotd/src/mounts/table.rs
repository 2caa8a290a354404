//! `mounts.json`: which mounts there are, which root lies on which, and what the operator says of
//! them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use indexfile::dir::{OpenError, limit, open_named, read_bounded};
use indexfile::{IoContext, IoError};
use serde::{Deserialize, Serialize};

use crate::fs::{FileId, Identity, open_own, rewrite};
use crate::lock::wait;

/// Its name in the state directory.
pub const FILE_NAME: &str = "mounts.json";

/// What the operator says about a mount point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MountState {
    /// Must be mounted.
    #[default]
    Online,
    /// Every mailbox on it is refused.
    Offline,
    /// Likewise, and the mail of the other host is believed: no run begins on that pair.
    Failover,
    /// Is not looked at.
    Ignore,
}

/// A mount point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// What the operator says.
    #[serde(default)]
    pub state: MountState,
}

/// The whole file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Mount points.
    pub mounts: BTreeMap<PathBuf, Mount>,
    /// Roots of partitions, and the mount point each lies on; null for the file system of `/`.
    pub roots: BTreeMap<PathBuf, Option<PathBuf>>,
    /// Mounts that are ignored, by wildcard.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub ignored: BTreeSet<String>,
    /// Roots below which mailboxes were found.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub held: BTreeSet<PathBuf>,
    /// Which directory such a root was. If it is empty and still that one, its mailboxes were
    /// deleted; another one, a mount point with nothing mounted for example, proves nothing.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub held_in: BTreeMap<PathBuf, Identity>,
}

/// Why the table could not be read or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// An I/O error.
    #[error(transparent)]
    Io(#[from] IoError),
    /// The file is not what we wrote.
    #[error("{} is damaged: {source}; move it away, and the mounts are noted anew", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// A wildcard with another state than ignore.
    #[error("{} has a wildcard, which goes with the state ignore alone", path.display())]
    Wildcard {
        /// It.
        path: PathBuf,
    },
    /// A path that the table does not have.
    #[error("{} is neither a mount point nor a root that is known here; see `slotd mount list`", path.display())]
    Unknown {
        /// The path.
        path: PathBuf,
    },
}

/// Which file was read. It stays open, so that no later one gets its inode number.
#[derive(Debug)]
pub struct Version {
    id: FileId,
    _file: File,
}

impl Version {
    fn of(file: File, path: &Path) -> Result<Version, TableError> {
        let id = FileId::of(&file).io_context("stat", path)?;
        Ok(Version { id, _file: file })
    }

    /// Its device and inode number.
    #[must_use]
    pub fn id(&self) -> FileId {
        self.id
    }
}

impl Table {
    /// Reads it, with what tells whether it was replaced since.
    ///
    /// # Errors
    /// It is there and cannot be read or understood.
    pub fn load(path: &Path) -> Result<(Table, Option<Version>), TableError> {
        let file = match open_named(path) {
            Ok(file) => file,
            Err(OpenError::Missing { .. }) => return Ok((Table::default(), None)),
            Err(error) => return Err(IoError::from(error).into()),
        };
        let text = read_bounded(&file, path, limit::STATE).map_err(IoError::from)?;
        let table = serde_json::from_slice(&text).map_err(|source| TableError::Damaged {
            path: path.to_path_buf(),
            source,
        })?;
        Ok((table, Some(Version::of(file, path)?)))
    }

    /// Which file lies there now.
    ///
    /// # Errors
    /// The system's, but not its absence.
    pub fn id(path: &Path) -> Result<Option<FileId>, TableError> {
        match rustix::fs::stat(path) {
            Ok(stat) => Ok(Some(FileId::from(&stat))),
            Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(errno) => Err(IoError::new("stat", path, errno.into()).into()),
        }
    }

    /// Reads, changes and replaces it, alone: two processes never lose each other's change.
    ///
    /// # Errors
    /// It cannot be read, understood or replaced.
    pub fn change(
        path: &Path,
        f: impl FnOnce(&mut Table),
    ) -> Result<(Table, Option<Version>), TableError> {
        let dir = path.parent().unwrap_or(Path::new("."));
        let guard_path = dir.join("mounts.lock");
        let guard = open_own(&guard_path, true).io_context("open", &guard_path)?;
        let patience = std::time::Instant::now() + std::time::Duration::from_secs(5);
        let never = std::sync::atomic::AtomicBool::new(false);
        if wait::lock(&guard, patience, &never).io_context("lock", &guard_path)?
            != wait::Wait::Taken
        {
            return Err(
                IoError::new("lock", &guard_path, std::io::ErrorKind::TimedOut.into()).into(),
            );
        }
        let (mut table, _) = Table::load(path)?;
        f(&mut table);
        let text = serde_json::to_vec_pretty(&table).map_err(|source| TableError::Damaged {
            path: path.to_path_buf(),
            source,
        })?;
        let new = rewrite(path, |new| new.write_all(&text))?;
        Ok((table, Some(Version::of(new, path)?)))
    }

    /// Notes on which mount point a root lies.
    pub fn note(&mut self, root: &Path, point: Option<PathBuf>) {
        if let Some(point) = &point {
            self.mounts.entry(point.clone()).or_default();
        }
        self.roots.insert(root.to_path_buf(), point);
    }

    /// Sets the state of a mount point, named by itself or by a root on it.
    ///
    /// # Errors
    /// Neither is known, or a wildcard has another state than `ignore`.
    pub fn set_state(&mut self, path: &Path, state: MountState) -> Result<(), TableError> {
        let unknown = || TableError::Unknown {
            path: path.to_path_buf(),
        };
        if let Some(wildcard) = wildcard(path) {
            if state != MountState::Ignore {
                let path = path.to_path_buf();
                return Err(TableError::Wildcard { path });
            }
            self.ignored.insert(wildcard.to_owned());
            return Ok(());
        }
        let point = match self.roots.get(path) {
            Some(Some(point)) => point.clone(),
            // On the file system of `/`: what is said is said of the root alone.
            Some(None) => {
                self.mounts.entry(path.to_path_buf()).or_default().state = state;
                return Ok(());
            }
            None => path.to_path_buf(),
        };
        self.mounts.get_mut(&point).ok_or_else(unknown)?.state = state;
        Ok(())
    }

    /// Whether a mount is ignored by a wildcard. One that holds a partition never is: its guard is
    /// taken away by its own name alone.
    #[must_use]
    pub fn is_wildly_ignored(&self, point: &Path) -> bool {
        let text = point.to_string_lossy();
        self.roots.values().all(|on| on.as_deref() != Some(point))
            && self
                .ignored
                .iter()
                .any(|w| fits(w.as_bytes(), text.as_bytes()))
    }

    /// The mounts that are in failover.
    pub fn in_failover(&self) -> impl Iterator<Item = &Path> {
        let is = |mount: &Mount| mount.state == MountState::Failover;
        let all = self.mounts.iter().filter(move |(_, mount)| is(mount));
        all.map(|(point, _)| point.as_path())
    }

    /// Forgets a mount point, and the roots on it, or a wildcard; what is seen again is noted anew.
    ///
    /// # Errors
    /// It is not known.
    pub fn remove(&mut self, path: &Path) -> Result<(), TableError> {
        let wild = wildcard(path).is_some_and(|wildcard| self.ignored.remove(wildcard));
        let known = wild | self.mounts.remove(path).is_some() | self.roots.remove(path).is_some();
        self.roots.retain(|_, point| point.as_deref() != Some(path));
        self.held
            .retain(|root| root != path && self.roots.contains_key(root));
        self.held_in.retain(|root, _| self.held.contains(root));
        if known {
            Ok(())
        } else {
            Err(TableError::Unknown {
                path: path.to_path_buf(),
            })
        }
    }
}

/// A path with `*` or `?` in it.
fn wildcard(path: &Path) -> Option<&str> {
    path.to_str().filter(|text| text.contains(['*', '?']))
}

/// Whether a text fits a wildcard: `*` is any text, `?` any byte.
fn fits(wildcard: &[u8], text: &[u8]) -> bool {
    match (wildcard.split_first(), text.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) if fits(rest, text) => true,
        (Some((b'*', _)), Some((_, rest))) => fits(wildcard, rest),
        (Some((b'?', more)), Some((_, rest))) => fits(more, rest),
        (Some((one, more)), Some((other, rest))) => one == other && fits(more, rest),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_ignores_what_fits_but_never_a_mount_that_holds_a_partition() {
        let mut table = Table::default();
        table.note(Path::new("/snap/mail/spool"), Some("/snap/mail".into()));
        table
            .set_state(Path::new("/snap/*"), MountState::Ignore)
            .unwrap();
        table
            .set_state(Path::new("/med?a"), MountState::Ignore)
            .unwrap();
        let ignored = |point: &str| table.is_wildly_ignored(Path::new(point));
        assert!(ignored("/snap/core/17") && ignored("/media"));
        assert!(!ignored("/snap/mail") && !ignored("/snapshots") && !ignored("/media/usb"));
        for state in [
            MountState::Online,
            MountState::Offline,
            MountState::Failover,
        ] {
            let error = table.set_state(Path::new("/a*"), state).unwrap_err();
            assert!(matches!(error, TableError::Wildcard { .. }), "{error}");
        }
        table.remove(Path::new("/snap/*")).unwrap();
        assert!(!table.is_wildly_ignored(Path::new("/snap/core/17")));
        assert!(table.remove(Path::new("/snap/*")).is_err());
    }

    #[test]
    fn an_older_table_is_read_and_what_it_does_not_say_is_not_so() {
        let text = r#"{"mounts": {"/mail": {"state": "offline"}}, "roots": {"/mail/a": "/mail"}}"#;
        let table: Table = serde_json::from_str(text).unwrap();
        assert_eq!(table.mounts[Path::new("/mail")].state, MountState::Offline);
        assert!(table.ignored.is_empty() && table.in_failover().next().is_none());
    }
}
