//! The journal in one `SQLite` file, in WAL mode with `synchronous=FULL`.
//!
//! `SQLite` syncs the WAL at each commit, so a commit that returned is on disk; the directory is
//! synced when the file is made. The file `STATE.lock` next to it carries the lock that keeps a
//! second controller out; readers (`status`, `report`, `sqlite3`) need no lock.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, OpenFlags};

use super::sql::{Sql, Store, View, view};
use super::sqlite_read::{self, Query};
use super::state_file::{
    check, check_or_create, connect, io, resolved, sync_directory, take_ownership,
};
use super::writer::{Apply, Writer};
use super::{Durability, JournalError, Receipt};
use parking_lot::Mutex;

/// Tables in a file.
pub struct StateFile {
    path: PathBuf,
    writer: Option<Writer>,
    reader: Mutex<Connection>,
    /// Held for the lock on it; released when the process ends, however it ends.
    _owner: Option<File>,
}

impl StateFile {
    fn open(path: &Path) -> Result<Self, JournalError> {
        let path = &resolved(path)?;
        let owner = take_ownership(path)?;
        let fresh = !path.exists();
        let connection = connect(
            path,
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
        )?;
        check_or_create(&connection, path)?;
        if fresh {
            sync_directory(path)?;
        }
        let reader = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let writer = Writer::start(connection, path.to_owned()).map_err(|e| io(path, &e))?;
        Ok(Self {
            path: path.to_owned(),
            writer: Some(writer),
            reader: Mutex::new(reader),
            _owner: Some(owner),
        })
    }

    fn open_read_only(path: &Path) -> Result<Self, JournalError> {
        existing(path)?;
        let reader = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        check(&reader, path)?;
        Ok(Self {
            path: path.to_owned(),
            writer: None,
            reader: Mutex::new(reader),
            _owner: None,
        })
    }
}

/// The journals of all pairs, in a file.
pub type SqliteStore = Store<StateFile>;

/// A journal in a file: the one of the only pair, or one pair's of a [`SqliteStore`].
pub type SqliteJournal = View<StateFile>;

impl SqliteStore {
    /// Opens or creates the state file of a fleet, and keeps every other controller out.
    ///
    /// # Errors
    /// It is in use, is not one of ours, or cannot be opened.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        Ok(Self(Arc::new(StateFile::open(path)?)))
    }

    /// As [`SqliteStore::open`], for work that only goes on with what is in it.
    ///
    /// # Errors
    /// There is no such file. Else as [`SqliteStore::open`].
    pub fn open_existing(path: &Path) -> Result<Self, JournalError> {
        existing(path)?;
        Self::open(path)
    }

    /// Opens an existing state file for reading, with or without a running controller.
    ///
    /// # Errors
    /// There is none, or it is not one of ours.
    pub fn open_read_only(path: &Path) -> Result<Self, JournalError> {
        Ok(Self(Arc::new(StateFile::open_read_only(path)?)))
    }
}

impl SqliteJournal {
    /// Opens or creates the state file of the only pair, and keeps every other controller out.
    ///
    /// # Errors
    /// It is in use, is not one of ours, or cannot be opened.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        view(Arc::new(StateFile::open(path)?), "")
    }

    /// As [`SqliteJournal::open`], for work that only goes on with what is in it.
    ///
    /// # Errors
    /// There is no such file. Else as [`SqliteJournal::open`].
    pub fn open_existing(path: &Path) -> Result<Self, JournalError> {
        existing(path)?;
        Self::open(path)
    }

    /// Opens an existing state file for reading, with or without a running controller.
    ///
    /// # Errors
    /// There is none, or it is not one of ours.
    pub fn open_read_only(path: &Path) -> Result<Self, JournalError> {
        view(Arc::new(StateFile::open_read_only(path)?), "")
    }

    /// The state file.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.sql.path()
    }
}

fn existing(path: &Path) -> Result<(), JournalError> {
    if path.exists() {
        return Ok(());
    }
    Err(JournalError::Missing {
        path: path.to_owned(),
    })
}

impl Sql for StateFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn is_writable(&self) -> bool {
        self.writer.is_some()
    }

    fn new_id(&self, _: &str) -> Result<String, JournalError> {
        self.read(sqlite_read::new_id)
    }

    fn read<T>(&self, query: impl FnOnce(&Connection) -> Query<T>) -> Result<T, JournalError> {
        let reader = self.reader.lock();
        query(&reader).map_err(|fault| fault.into_error(&self.path))
    }

    fn write(&self, durability: Durability, apply: Apply) -> Receipt {
        if let Some(writer) = &self.writer {
            return writer.submit(durability, apply);
        }
        let (done, receipt) = Receipt::pair();
        let _ = done.send(Err(JournalError::Poisoned {
            first: "it was opened for reading only".to_owned(),
        }));
        receipt
    }
}
