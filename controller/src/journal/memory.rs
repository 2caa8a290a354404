//! A journal in memory, for tests and simulations: the tables, queries and changes of the journal
//! in a file, without the file. It can lose what was not durable, as a crash does.

use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;

use super::sql::{Sql, Store, View, view};
use super::sqlite_read::Query;
use super::state_file::sqlite;
use super::writer::Apply;
use super::{Durability, JournalError, Receipt, schema};
use parking_lot::{Mutex, MutexGuard};

/// What an error names in place of a file.
const NO_FILE: &str = "(in memory)";

struct Inner {
    db: Connection,
    /// Every change so far, in order.
    changes: Vec<Arc<Apply>>,
    /// How many of them a crash leaves.
    durable: usize,
    broken: bool,
}

/// Tables in memory.
pub struct Memory(Mutex<Inner>);

/// The journals of all pairs, in memory.
pub type MemoryStore = Store<Memory>;

/// A journal in memory: the one of the only pair, or one pair's of a [`MemoryStore`].
pub type MemoryJournal = View<Memory>;

impl MemoryStore {
    /// An empty one.
    ///
    /// # Panics
    /// There is no memory for it.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Memory::with(&[])))
    }

    /// What a restart after a crash finds: everything durable and nothing else.
    #[must_use]
    pub fn after_crash(&self) -> Self {
        Self(Arc::new(self.0.after_crash()))
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryJournal {
    /// An empty one, of the only pair.
    ///
    /// # Panics
    /// There is no memory for it.
    #[must_use]
    pub fn new() -> Self {
        view(Arc::new(Memory::with(&[])), "").expect("a pair in memory")
    }

    /// What a restart after a crash finds: everything durable and nothing else.
    ///
    /// # Panics
    /// There is no memory for it.
    #[must_use]
    pub fn after_crash(&self) -> Self {
        view(Arc::new(self.sql.after_crash()), "").expect("a pair in memory")
    }

    /// From now on every write fails, as on a disk that is full.
    pub fn break_down(&self) {
        self.sql.inner().broken = true;
    }
}

impl Default for MemoryJournal {
    fn default() -> Self {
        Self::new()
    }
}

impl Memory {
    fn with(changes: &[Arc<Apply>]) -> Self {
        let made = || -> rusqlite::Result<Connection> {
            let db = Connection::open_in_memory()?;
            db.set_prepared_statement_cache_capacity(64);
            db.execute_batch("PRAGMA journal_mode = OFF;")?;
            db.execute_batch(&schema::create())?;
            changes.iter().try_for_each(|apply| apply(&db))?;
            Ok(db)
        };
        Self(Mutex::new(Inner {
            db: made().expect("tables in memory"),
            changes: changes.to_vec(),
            durable: changes.len(),
            broken: false,
        }))
    }

    fn after_crash(&self) -> Self {
        let inner = self.inner();
        Self::with(&inner.changes[..inner.durable])
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock()
    }
}

impl Inner {
    fn write(&mut self, durability: Durability, apply: Apply) -> Result<(), JournalError> {
        if self.broken {
            return Err(JournalError::Poisoned {
                first: "told to fail".to_owned(),
            });
        }
        apply(&self.db).map_err(|error| sqlite(Path::new(NO_FILE), &error))?;
        self.changes.push(Arc::new(apply));
        if durability == Durability::Durable {
            self.durable = self.changes.len();
        }
        Ok(())
    }
}

impl Sql for Memory {
    fn path(&self) -> &Path {
        Path::new(NO_FILE)
    }

    fn is_writable(&self) -> bool {
        true
    }

    /// The same each time, so that a simulation can be repeated.
    fn new_id(&self, pair: &str) -> Result<String, JournalError> {
        Ok(["memory", pair].concat())
    }

    fn read<T>(&self, query: impl FnOnce(&Connection) -> Query<T>) -> Result<T, JournalError> {
        query(&self.inner().db).map_err(|fault| fault.into_error(Path::new(NO_FILE)))
    }

    fn write(&self, durability: Durability, apply: Apply) -> Receipt {
        let (done, receipt) = Receipt::pair();
        let _ = done.send(self.inner().write(durability, apply));
        receipt
    }
}
