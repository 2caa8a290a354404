//! The journal in one `SQLite` file, in WAL mode with `synchronous=FULL`.
//!
//! `SQLite` syncs the WAL at each commit, so a commit that returned is on disk; the directory is
//! synced when the file is made. The file `STATE.lock` next to it carries the lock that keeps a
//! second controller out; readers (`status`, `report`, `sqlite3`) need no lock.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, OpenFlags, params_from_iter};

use super::JournalError;
use super::columns::Query;
use super::queries::{Ask, Value};
use super::sql::{Op, Sql, Store, View, view};
use super::sqlite_write::apply;
use super::state_file::{
    Ownership, check, check_or_create, connect, io, resolved, said, sqlite, sync_directory,
    take_ownership,
};
use super::writer::{Backend, Writer};
use parking_lot::Mutex;

/// Tables in a file.
pub struct StateFile {
    path: PathBuf,
    writer: Option<Writer>,
    reader: Mutex<Connection>,
    /// Held for the lock.
    _owner: Option<Ownership>,
}

impl StateFile {
    fn open(path: &Path) -> Result<Self, JournalError> {
        let path = &resolved(path)?;
        let owner = take_ownership(path)?;
        let fresh = !path.exists();
        let connection = Self::writing(path)?;
        if fresh {
            sync_directory(path)?;
        }
        let reader = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let file = File {
            connection,
            path: path.to_owned(),
            failed: None,
        };
        let writer = Writer::start(file).map_err(|e| io(path, &e))?;
        Ok(Self {
            path: path.to_owned(),
            writer: Some(writer),
            reader: Mutex::new(reader),
            _owner: Some(owner),
        })
    }

    /// The connection of the thread that writes.
    pub(super) fn writing(path: &Path) -> Result<Connection, JournalError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let connection = connect(path, flags)?;
        check_or_create(&connection, path)?;
        Ok(connection)
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
    match path.try_exists() {
        Ok(true) => Ok(()),
        Ok(false) => Err(JournalError::Missing {
            path: path.to_owned(),
        }),
        Err(error) => Err(io(path, &error)),
    }
}

impl Sql for StateFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn is_writable(&self) -> bool {
        self.writer.is_some()
    }

    fn new_id(&self, _: &str) -> Result<String, JournalError> {
        let id = |db: &Connection| {
            db.query_row("SELECT lower(hex(randomblob(8)))", [], |row| row.get(0))
        };
        id(&self.reader.lock()).map_err(|error| sqlite(&self.path, &error))
    }

    /// The lock on the file keeps every other controller out.
    fn claim(&self, _: i64, _: &str, _: u64) -> Result<Option<u64>, JournalError> {
        Ok(None)
    }

    fn ask<T: Send>(&self, ask: Ask<T>) -> Result<Vec<T>, JournalError> {
        all(&self.reader.lock(), &ask).map_err(|fault| fault.into_error(&self.path))
    }

    fn submit(&self, op: Op) {
        if let Some(writer) = &self.writer {
            return writer.submit(op);
        }
        let _ = op.done.send(Err(JournalError::Poisoned {
            first: "it was opened for reading only".to_owned(),
        }));
    }
}

/// All that a question finds.
pub(super) fn all<T>(db: &Connection, ask: &Ask<T>) -> Query<Vec<T>> {
    let mut statement = db.prepare_cached(&ask.sql)?;
    let mut rows = statement.query(params_from_iter::<&[Value]>(&ask.values))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push((ask.read)(row)?);
    }
    Ok(found)
}

/// The file, as the thread that writes has it.
struct File {
    connection: Connection,
    path: PathBuf,
    failed: Option<JournalError>,
}

impl Backend for File {
    fn write(&mut self, group: Vec<Op>) {
        let result = match &self.failed {
            Some(first) => Err(first.clone()),
            None => self.commit(&group).map_err(|error| {
                // Whether it is on disk or not, nobody knows: never write after it.
                let now = sqlite(&self.path, &error);
                let first = said(&error);
                self.failed = Some(match &now {
                    JournalError::Damaged { .. } => now.clone(),
                    _ => JournalError::Poisoned { first },
                });
                now
            }),
        };
        for op in group {
            // Nobody waits for most lazy changes.
            let _ = op.done.send(result.clone());
        }
    }
}

impl File {
    fn commit(&self, group: &[Op]) -> rusqlite::Result<()> {
        let transaction = self.connection.unchecked_transaction()?;
        for op in group {
            let number = apply(&transaction, op.of.pair, &op.work)?;
            if let Some(answer) = &op.answer {
                let _ = answer.send(number);
            }
        }
        transaction.commit()
    }
}
