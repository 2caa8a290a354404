//! A journal in memory, for tests and simulations: the tables, queries and changes of the journal
//! in a file, without the file. It can lose what was not durable, as a crash does.

use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;

use super::queries::Ask;
use super::sql::{Of, Op, Sql, Store, View, view};
use super::sqlite::all;
use super::sqlite_write::apply;
use super::state_file::sqlite;
use super::work::Work;
use super::{Durability, JournalError, schema};
use parking_lot::{Mutex, MutexGuard};

/// What an error names in place of a file.
const NO_FILE: &str = "(in memory)";

struct Inner {
    db: Connection,
    /// Every change so far, in order.
    changes: Vec<Arc<(Of, Work)>>,
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
    fn with(changes: &[Arc<(Of, Work)>]) -> Self {
        let made = || -> rusqlite::Result<Connection> {
            let db = Connection::open_in_memory()?;
            db.set_prepared_statement_cache_capacity(64);
            db.execute_batch("PRAGMA journal_mode = OFF;")?;
            db.execute_batch(&schema::create())?;
            for change in changes {
                let (of, work) = &**change;
                apply(&db, of.pair, work)?;
            }
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
    fn write(&mut self, op: &Op) -> Result<(), JournalError> {
        if self.broken {
            return Err(JournalError::Poisoned {
                first: "set to fail".to_owned(),
            });
        }
        let number = apply(&self.db, op.of.pair, &op.work)
            .map_err(|error| sqlite(Path::new(NO_FILE), &error))?;
        if let Some(answer) = &op.answer {
            let _ = answer.send(number);
        }
        self.changes.push(Arc::new((op.of, op.work.clone())));
        if op.durability == Durability::Durable {
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

    fn claim(&self, _: i64, _: &str) -> Result<Option<u64>, JournalError> {
        Ok(None)
    }

    fn ask<T: Send>(&self, ask: Ask<T>) -> Result<Vec<T>, JournalError> {
        all(&self.inner().db, &ask).map_err(|fault| fault.into_error(Path::new(NO_FILE)))
    }

    fn submit(&self, op: Op) {
        let result = self.inner().write(&op);
        let _ = op.done.send(result);
    }
}
