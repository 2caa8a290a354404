//! A journal in memory, for tests and simulations: the tables, queries and changes of the journal
//! in a file, without the file. It can lose what was not durable, as a crash does.

use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;

use super::memory_claims::Claims;
use super::queries::Ask;
use super::sql::{Of, Op, Sql, Store, View, view};
use super::sqlite::all;
use super::sqlite_write::apply;
use super::state_file::sqlite;
use super::work::Work;
use super::{Durability, JournalError, schema};
use parking_lot::{Mutex, MutexGuard};

pub use super::memory_claims::{Claimant, Clock};

/// What an error names in place of a file.
const NO_FILE: &str = "(in memory)";

struct Inner {
    db: Connection,
    /// Every change so far, in order.
    changes: Vec<Arc<(Of, Work)>>,
    /// How many of them a crash leaves.
    durable: usize,
    broken: bool,
    /// The newest changes are missing.
    rows_lost: bool,
    claims: Claims,
    /// How often a standby has taken over.
    timeline: u64,
}

/// Tables in memory, as one controller sees them.
pub struct Memory {
    inner: Arc<Mutex<Inner>>,
    /// Which, where there are several.
    who: Option<Claimant>,
    /// When it began to look.
    timeline: u64,
}

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

    /// The same tables, as another process opens them that is one of several controllers.
    #[must_use]
    pub fn open(&self, who: Claimant) -> Self {
        Self(Arc::new(self.0.open(Some(who))))
    }

    /// The journal of the only pair, to look at, by nobody who claims it.
    ///
    /// # Panics
    /// There is no memory for it.
    #[must_use]
    pub fn only(&self) -> MemoryJournal {
        view(Arc::new(self.0.open(None)), "").expect("a pair in memory")
    }

    /// Renews all claims of this controller.
    pub fn renew(&self) {
        let mut inner = self.0.inner();
        // Of another database it knows nothing.
        if let Some(who) = self
            .0
            .who
            .as_ref()
            .filter(|_| inner.timeline == self.0.timeline)
        {
            inner.claims.renew(who);
        }
    }

    /// Gives them back, as at its end.
    pub fn release(&self) {
        if let Some(who) = &self.0.who {
            self.0.inner().claims.release(who);
        }
    }

    /// A controller dies with what it had not made durable. The tables stay the same ones.
    pub fn lose_what_is_lazy(&self) {
        let mut inner = self.0.inner();
        let kept = inner.durable;
        inner.keep(kept);
    }

    /// A standby takes over that lacks this many of the newest changes, and the last claims.
    /// Whoever has the tables open has to open them again.
    pub fn fail_over(&self, missing: usize) {
        let mut inner = self.0.inner();
        // The first one makes the pair.
        let kept = inner.durable.saturating_sub(missing).max(1);
        inner.keep(kept);
        inner.rows_lost = true;
        inner.timeline += 1;
        inner.claims.go_back();
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

    /// What is found once a standby has taken over that lacked this many of the newest changes,
    /// durable or not. It knows that some may be missing.
    ///
    /// # Panics
    /// There is no memory for it.
    #[must_use]
    pub fn after_failover(&self, missing: usize) -> Self {
        view(Arc::new(self.sql.after_failover(missing)), "").expect("a pair in memory")
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
        let inner = Inner {
            db: made().expect("tables in memory"),
            changes: changes.to_vec(),
            durable: changes.len(),
            broken: false,
            rows_lost: false,
            claims: Claims::default(),
            timeline: 0,
        };
        Self {
            inner: Arc::new(Mutex::new(inner)),
            who: None,
            timeline: 0,
        }
    }

    fn open(&self, who: Option<Claimant>) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            who,
            timeline: self.inner().timeline,
        }
    }

    fn after_crash(&self) -> Self {
        let inner = self.inner();
        let found = Self::with(&inner.changes[..inner.durable]);
        found.inner().rows_lost = inner.rows_lost;
        found
    }

    fn after_failover(&self, missing: usize) -> Self {
        let inner = self.inner();
        let kept = inner.changes.len().saturating_sub(missing);
        let found = Self::with(&inner.changes[..kept]);
        found.inner().rows_lost = true;
        found
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }
}

impl Inner {
    /// Leaves this many changes, the first ones.
    fn keep(&mut self, kept: usize) {
        let found = Memory::with(&self.changes[..kept]);
        let inner = Arc::into_inner(found.inner).expect("no one else has it");
        let inner = inner.into_inner();
        (self.db, self.changes, self.durable) = (inner.db, inner.changes, inner.durable);
    }

    /// Whether this controller looks at the tables that it opened.
    fn same(&self, memory: &Memory) -> Result<(), JournalError> {
        if self.timeline == memory.timeline || memory.who.is_none() {
            return Ok(());
        }
        Err(JournalError::Timeline {
            server: NO_FILE.to_owned(),
            was: memory.timeline.to_string(),
            now: self.timeline.to_string(),
        })
    }

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

    fn claim(&self, pair: i64, name: &str, above: u64) -> Result<Option<u64>, JournalError> {
        let Some(who) = &self.who else {
            return Ok(None);
        };
        let mut inner = self.inner();
        inner.same(self)?;
        let (epoch, went_back) = inner.claims.take(pair, name, above, who)?;
        inner.rows_lost |= went_back;
        Ok(Some(epoch))
    }

    fn rows_lost(&self, _: i64) -> Result<bool, JournalError> {
        Ok(self.inner().rows_lost)
    }

    fn ask<T: Send>(&self, ask: Ask<T>) -> Result<Vec<T>, JournalError> {
        let inner = self.inner();
        inner.same(self)?;
        all(&inner.db, &ask).map_err(|fault| fault.into_error(Path::new(NO_FILE)))
    }

    fn submit(&self, op: Op) {
        let mut inner = self.inner();
        let stands = inner.same(self).and_then(|()| match &self.who {
            Some(who) => inner.claims.check(op.of, who),
            None => Ok(()),
        });
        let result = stands.and_then(|()| inner.write(&op));
        drop(inner);
        let _ = op.done.send(result);
    }
}
