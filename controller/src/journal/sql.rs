//! The journal as SQL: its queries and changes, wherever the tables lie.

use indexfile::mailbox::MailboxName;
use rusqlite::Connection;

use super::history::Changed;
use super::model::{
    Change, Filter, Identity, Listed, MailboxId, OpenTransaction, Row, RunId, RunInfo, RunSpec,
    Totals,
};
use super::sqlite_read::Query;
use super::writer::Apply;
use super::{Durability, Journal, JournalError, Receipt, sqlite_read, sqlite_write, writer_ended};

/// Where the tables lie.
pub(super) trait Sql: Send + Sync {
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

impl<S: Sql> Journal for S {
    fn last_run(&self) -> Result<Option<RunInfo>, JournalError> {
        self.read(sqlite_read::last_run)
    }

    fn identity(&self) -> Result<Identity, JournalError> {
        self.read(sqlite_read::identity)
    }

    fn run(&self, id: RunId) -> Result<Option<RunInfo>, JournalError> {
        self.read(|db| sqlite_read::run(db, id))
    }

    fn begin_run(&self, spec: &RunSpec, now_ms: i64) -> Result<RunId, JournalError> {
        let spec = spec.clone();
        self.write_now(move |db| sqlite_write::begin_run(db, &spec, now_ms))
    }

    fn add(&self, run: RunId, listed: &[Listed]) -> Result<u64, JournalError> {
        let listed = listed.to_vec();
        self.write_now(move |db| sqlite_write::add(db, run, &listed))
    }

    fn list_complete(&self, run: RunId) -> Result<(), JournalError> {
        self.write_now(move |db| sqlite_write::list_complete(db, run))
    }

    fn finish_run(&self, run: RunId, now_ms: i64) -> Result<(), JournalError> {
        self.write_now(move |db| sqlite_write::finish_run(db, run, now_ms))
    }

    fn page(
        &self,
        run: RunId,
        filter: Filter,
        after: MailboxId,
        limit: u32,
    ) -> Result<Vec<Row>, JournalError> {
        self.read(|db| sqlite_read::page(db, run, filter, after, limit))
    }

    fn find_all(&self, run: RunId, name: &MailboxName) -> Result<Vec<Row>, JournalError> {
        self.read(|db| sqlite_read::find_all(db, run, name))
    }

    fn changed(
        &self,
        run: RunId,
        after: MailboxId,
        limit: u32,
    ) -> Result<Vec<Changed>, JournalError> {
        self.read(|db| sqlite_read::changed(db, run, after, limit))
    }

    fn open_transactions(
        &self,
        after: MailboxId,
        limit: u32,
    ) -> Result<Vec<OpenTransaction>, JournalError> {
        self.read(|db| sqlite_read::open_transactions(db, after, limit))
    }

    fn submit(&self, change: Change, durability: Durability) -> Receipt {
        let apply = move |db: &Connection| sqlite_write::apply(db, &change);
        self.write(durability, Box::new(apply))
    }

    fn flush(&self) -> Result<(), JournalError> {
        self.write_now(|_| Ok(()))
    }

    fn totals(&self, run: RunId) -> Result<Totals, JournalError> {
        self.read(|db| sqlite_read::totals(db, run))
    }
}
