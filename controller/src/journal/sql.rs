//! The journal as SQL: its queries and changes, wherever the tables lie.

use std::path::Path;
use std::sync::Arc;

use indexfile::mailbox::MailboxName;
use rusqlite::Connection;

use super::history::Changed;
use super::model::{Change, Filter, Identity, Listed, MailboxId, OpenTransaction, Row, Totals};
use super::runs::{RunId, RunInfo, RunOfPairs, RunSpec, pair_names};
use super::sqlite_read::Query;
use super::writer::Apply;
use super::{
    Durability, Journal, JournalError, JournalStore, Receipt, sqlite_read, sqlite_write,
    writer_ended,
};

/// Where the tables lie.
pub(super) trait Sql: Send + Sync + 'static {
    /// What an error names.
    fn path(&self) -> &Path;

    /// Whether it can be written.
    fn is_writable(&self) -> bool;

    /// An id for the journal of a new pair.
    fn new_id(&self, pair: &str) -> Result<String, JournalError>;

    fn read<T>(&self, query: impl FnOnce(&Connection) -> Query<T>) -> Result<T, JournalError>;

    /// Hands a change over, to be made after all earlier ones.
    fn write(&self, durability: Durability, apply: Apply) -> Receipt;

    /// Makes a change and hands a value back, durable on return.
    fn write_now<T: Send + 'static>(
        &self,
        apply: impl Fn(&Connection) -> rusqlite::Result<T> + Send + Sync + 'static,
    ) -> Result<T, JournalError> {
        let (sender, receiver) = std::sync::mpsc::channel();
        let apply = move |db: &Connection| {
            // Nobody listens any more when a journal in memory makes its changes again.
            let _ = sender.send(apply(db)?);
            Ok(())
        };
        wait(self.write(Durability::Durable, Box::new(apply)))?;
        receiver.recv().map_err(|_| writer_ended())
    }
}

/// Waits for a receipt, inside or outside an async runtime.
fn wait(mut receipt: Receipt) -> Result<(), JournalError> {
    if let Some(result) = receipt.ready() {
        return result;
    }
    if tokio::runtime::Handle::try_current().is_err() {
        return receipt.wait_blocking();
    }
    // Blocking a runtime thread is not allowed through tokio's own channels; a plain thread is.
    let waited = std::thread::scope(|scope| scope.spawn(|| receipt.wait_blocking()).join());
    waited.unwrap_or_else(|_| Err(writer_ended()))
}

/// The journals of all pairs, in tables.
pub struct Store<S>(pub(super) Arc<S>);

/// What one pair sees of them.
pub struct View<S> {
    pub(super) sql: Arc<S>,
    name: String,
    /// 0, which is none, if the pair is not there and could not be made.
    pair: i64,
}

/// The pair with this name, made if it is new.
pub(super) fn view<S: Sql>(sql: Arc<S>, name: &str) -> Result<View<S>, JournalError> {
    let refused = |what: String| JournalError::Pairs {
        path: sql.path().to_owned(),
        what,
    };
    if name.contains(',') {
        return Err(refused(format!("a pair cannot have the name {name:?}")));
    }
    let pairs = sql.read(sqlite_read::pairs)?;
    let known = sql.read(|db| sqlite_read::pair(db, name))?;
    let pair = match (known, pairs.first()) {
        (Some(pair), _) => Some(pair),
        (None, Some(other)) if other.is_empty() != name.is_empty() => None,
        (None, _) if !sql.is_writable() => Some(0),
        (None, _) => {
            let (name, id) = (name.to_owned(), sql.new_id(name)?);
            sql.write_now(move |db| sqlite_write::pair(db, &name, &id))?
        }
    };
    match pair {
        Some(pair) => Ok(View {
            name: name.to_owned(),
            sql,
            pair,
        }),
        None if name.is_empty() => Err(refused(format!(
            "it is of a fleet, with the pairs {}: give its fleet file, or take another state \
                 file",
            pairs.join(", ")
        ))),
        None => Err(refused(
            "it is of one pair without a fleet file: a fleet takes another state file".to_owned(),
        )),
    }
}
impl<S: Sql> JournalStore for Store<S> {
    fn pair(&self, name: &str) -> Result<Arc<dyn Journal>, JournalError> {
        Ok(Arc::new(view(Arc::clone(&self.0), name)?))
    }

    fn pairs(&self) -> Result<Vec<String>, JournalError> {
        self.0.read(sqlite_read::pairs)
    }

    fn last_run(&self) -> Result<Option<RunOfPairs>, JournalError> {
        self.0.read(sqlite_read::last_run_of_pairs)
    }

    fn run(&self, id: RunId) -> Result<Option<RunOfPairs>, JournalError> {
        self.0.read(|db| sqlite_read::run_of_pairs(db, id))
    }

    fn give_up(&self, run: RunId, now_ms: i64) -> Result<(), JournalError> {
        self.0
            .write_now(move |db| sqlite_write::give_up(db, run, now_ms))
    }
}

impl<S: Sql> Journal for View<S> {
    fn last_run(&self) -> Result<Option<RunInfo>, JournalError> {
        self.sql.read(|db| sqlite_read::last_run(db, self.pair))
    }

    fn identity(&self) -> Result<Identity, JournalError> {
        self.sql.read(|db| sqlite_read::identity(db, self.pair))
    }

    fn run(&self, id: RunId) -> Result<Option<RunInfo>, JournalError> {
        self.sql.read(|db| sqlite_read::run(db, self.pair, id))
    }

    fn begin_run(&self, spec: &RunSpec, now_ms: i64) -> Result<RunId, JournalError> {
        if !pair_names(&spec.pairs).any(|name| name == self.name) {
            return Err(JournalError::Pairs {
                path: self.sql.path().to_owned(),
                what: format!(
                    "a run of the pairs {:?} is none of the pair {:?}",
                    spec.pairs, self.name
                ),
            });
        }
        let spec = spec.clone();
        let pair = self.pair;
        self.sql
            .write_now(move |db| sqlite_write::begin_run(db, pair, &spec, now_ms))
    }

    fn add(&self, run: RunId, listed: &[Listed]) -> Result<u64, JournalError> {
        let listed = listed.to_vec();
        let pair = self.pair;
        self.sql
            .write_now(move |db| sqlite_write::add(db, pair, run, &listed))
    }

    fn list_complete(&self, run: RunId) -> Result<(), JournalError> {
        let pair = self.pair;
        self.sql
            .write_now(move |db| sqlite_write::list_complete(db, pair, run))
    }

    fn finish_run(&self, run: RunId, now_ms: i64) -> Result<(), JournalError> {
        let pair = self.pair;
        self.sql
            .write_now(move |db| sqlite_write::finish_run(db, pair, run, now_ms))
    }

    fn page(
        &self,
        run: RunId,
        filter: Filter,
        after: MailboxId,
        limit: u32,
    ) -> Result<Vec<Row>, JournalError> {
        self.sql
            .read(|db| sqlite_read::page(db, self.pair, run, filter, after, limit))
    }

    fn find_all(&self, run: RunId, name: &MailboxName) -> Result<Vec<Row>, JournalError> {
        self.sql
            .read(|db| sqlite_read::find_all(db, self.pair, run, name))
    }

    fn changed(
        &self,
        run: RunId,
        after: MailboxId,
        limit: u32,
    ) -> Result<Vec<Changed>, JournalError> {
        self.sql
            .read(|db| sqlite_read::changed(db, self.pair, run, after, limit))
    }

    fn open_transactions(
        &self,
        after: MailboxId,
        limit: u32,
    ) -> Result<Vec<OpenTransaction>, JournalError> {
        self.sql
            .read(|db| sqlite_read::open_transactions(db, self.pair, after, limit))
    }

    fn submit(&self, change: Change, durability: Durability) -> Receipt {
        let apply = move |db: &Connection| sqlite_write::apply(db, &change);
        self.sql.write(durability, Box::new(apply))
    }

    fn flush(&self) -> Result<(), JournalError> {
        self.sql.write_now(|_| Ok(()))
    }

    fn totals(&self, run: RunId) -> Result<Totals, JournalError> {
        self.sql.read(|db| sqlite_read::totals(db, self.pair, run))
    }
}
