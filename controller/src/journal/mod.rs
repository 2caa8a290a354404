//! The journal: which run, which mailboxes, what was decided, how it ended.
//!
//! # What it is for
//!
//! It is the decision log of the two-phase commit (a transaction exists once
//! [`Change::Decide`] is durable), the queue of a run (so that a run resumes from any stop)
//! and the story that `report` tells. It sits behind one small trait, [`Journal`], with one
//! conformance suite, so that another store can take its place.
//!
//! A [`Journal`] is what one pair of hosts sees: its runs, its mailboxes, its open transactions. A
//! [`JournalStore`] has the journals of one pair, or of all pairs of a fleet; a run over several
//! pairs has one number there, and is finished when all of them are.
//!
//! # What it promises
//!
//! * [`Durability::Durable`]: the receipt comes after the change has been synced to disk;
//!   changes of many mailboxes share one sync.
//! * [`Durability::Lazy`]: becomes durable some time later, never before an earlier change and
//!   never after a later one.
//! * One owner: a second controller on the same state is refused.
//! * Reads are paged; memory does not grow with the number of mailboxes.
//!
//! # What a crash leaves
//!
//! Every change up to some point, in order, and none after it. A mailbox in state `decided` or
//! `reversing` is an open transaction, which `crate::run::recover` settles. After a write error
//! the journal is closed for good ([`JournalError::Poisoned`]): nobody knows what is on disk, and
//! only a restart that reads it again does.

mod at_once;
mod claim;
mod columns;
mod disagreements;
mod earlier;
mod error;
mod history;
pub mod memory;
mod memory_claims;
mod model;
mod options;
mod postgres;
mod queries;
mod runs;
mod schema;
mod sql;
mod sqlite;
mod sqlite_write;
mod state_file;
mod totals;
mod work;
mod writer;

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
#[cfg(test)]
mod durable_tests;
#[cfg(test)]
#[path = "../../../slotd/tests/durable/recorder.rs"]
mod recorder;
#[cfg(test)]
mod sqlite_tests;

use std::sync::Arc;

pub use at_once::AtOnce;
pub use claim::{Claim, Claimed};
pub use disagreements::Disagreement;
pub use error::JournalError;
pub use history::{Changed, Changing, standing};
pub use model::{
    Attempt, Candidate, Change, Ended, Figures, Filter, Job, MailboxId, OpenTransaction, Owner,
    Row, State,
};
pub use options::{ALL, Options};
pub use postgres::{LEASE, PostgresJournal, PostgresStore, is_postgres};
pub use runs::{LEFT_OUT, PairRun, RunId, RunInfo, RunOfPairs, RunSpec, Verb, pair_names};
pub use sqlite::{SqliteJournal, SqliteStore};
pub use state_file::{APPLICATION_ID, USER_VERSION, resolve};
pub use totals::Totals;

/// When a change has to be on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Before the receipt comes.
    Durable,
    /// Together with the next durable change, or after a moment.
    Lazy,
}

/// Comes once a submitted change is durable (or never will be).
#[derive(Debug)]
pub struct Receipt(tokio::sync::oneshot::Receiver<Result<(), JournalError>>);

impl Receipt {
    pub(crate) fn pair() -> (tokio::sync::oneshot::Sender<Result<(), JournalError>>, Self) {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        (sender, Self(receiver))
    }

    /// What came, if it is here already.
    fn ready(&mut self) -> Option<Result<(), JournalError>> {
        self.0.try_recv().ok()
    }

    /// Waits without blocking the thread.
    ///
    /// # Errors
    /// The change is not durable, or nobody knows.
    pub async fn wait(self) -> Result<(), JournalError> {
        self.0.await.unwrap_or_else(|_| Err(writer_ended()))
    }

    /// Waits, blocking the thread. Not for use inside an async runtime.
    ///
    /// # Errors
    /// As [`Receipt::wait`].
    pub fn wait_blocking(self) -> Result<(), JournalError> {
        self.0
            .blocking_recv()
            .unwrap_or_else(|_| Err(writer_ended()))
    }
}

fn writer_ended() -> JournalError {
    JournalError::Poisoned {
        first: "its writer has ended".to_owned(),
    }
}

/// Where the journals of all pairs lie.
pub trait JournalStore: Send + Sync {
    /// The journal of one pair, made if it is new; in a store that was opened for reading only a
    /// pair that is not there has no run. The empty name is the only pair of runs without a fleet
    /// file: a store has that one, or pairs with names. No name has a comma.
    ///
    /// # Errors
    /// The store is of the other kind, or cannot be read or written.
    fn pair(&self, name: &str) -> Result<Arc<dyn Journal>, JournalError> {
        self.pair_above(name, 0)
    }

    /// The same, claimed with an epoch above `above`, where pairs are claimed: a slotd may have
    /// seen a higher one than a database that was brought back from a copy. A journal of this
    /// controller's that was given before writes nothing more if the epoch has risen.
    ///
    /// # Errors
    /// As [`JournalStore::pair`], or another controller has it.
    fn pair_above(&self, name: &str, above: u64) -> Result<Arc<dyn Journal>, JournalError>;

    /// The names of its pairs, sorted.
    ///
    /// # Errors
    /// The store cannot be read.
    fn pairs(&self) -> Result<Vec<String>, JournalError>;

    /// The newest run over all pairs, if there is any.
    ///
    /// # Errors
    /// The store cannot be read.
    fn last_run(&self) -> Result<Option<RunOfPairs>, JournalError>;

    /// The newest one that counts beside a run of that verb: rehearsals change nothing, so they and
    /// other runs do not know of each other.
    ///
    /// # Errors
    /// The store cannot be read.
    fn last_of(&self, verb: Verb) -> Result<Option<RunOfPairs>, JournalError>;

    /// A run by its number, if there is one.
    ///
    /// # Errors
    /// The store cannot be read.
    fn run(&self, id: RunId) -> Result<Option<RunOfPairs>, JournalError>;

    /// Who works on which pair, in the order of their names; empty where only one controller can
    /// have the store open.
    ///
    /// # Errors
    /// The store cannot be read.
    fn claims(&self) -> Result<Vec<Claimed>, JournalError>;

    /// What the comparison with a Murder's list found when a run was started last: the kinds of
    /// which there are any, in the order of their codes.
    ///
    /// # Errors
    /// The store cannot be read.
    fn disagreements(&self, run: RunId) -> Result<Vec<Disagreement>, JournalError>;

    /// Gives a run up: it is finished for all its pairs, also for those that have not begun. What
    /// is open stays open. A run that is finished stays as it is. Durable on return.
    ///
    /// # Errors
    /// The store cannot be written.
    fn give_up(&self, run: RunId, now_ms: i64) -> Result<(), JournalError>;
}

/// What one pair sees of the place where runs and decisions are kept. Calls that return a value are
/// synchronous and may take as long as one disk sync; [`Journal::submit`] never waits.
pub trait Journal: Send + Sync {
    /// The newest run that began on this pair, if there is any.
    ///
    /// # Errors
    /// The store cannot be read.
    fn last_run(&self) -> Result<Option<RunInfo>, JournalError>;

    /// The newest one that counts beside a run of that verb, as [`JournalStore::last_of`] has it.
    ///
    /// # Errors
    /// The store cannot be read.
    fn last_of(&self, verb: Verb) -> Result<Option<RunInfo>, JournalError>;

    /// Whose journal it is. The first run on a host binds it to that host's store, for good.
    ///
    /// # Errors
    /// The store cannot be read.
    fn owner(&self) -> Result<Owner, JournalError>;

    /// A run by its number, if there is one that began on this pair.
    ///
    /// # Errors
    /// The store cannot be read.
    fn run(&self, id: RunId) -> Result<Option<RunInfo>, JournalError>;

    /// Starts a run. In a fleet the newest run is joined instead if it has not begun on this pair,
    /// is not finished, and is the same but for hosts and selection, which each pair has of its
    /// own. Durable on return.
    ///
    /// # Errors
    /// The run is not of this pair, or the store cannot be written.
    fn begin_run(&self, spec: &RunSpec, now_ms: i64) -> Result<RunId, JournalError>;

    /// Adds mailboxes to a run; those it has already are left alone: the same name on the same
    /// partition, or where either does not tell its partition. Returns how many are new. A run that
    /// was finished on this pair is open again if there are any, in the same step.
    ///
    /// # Errors
    /// The store cannot be written.
    fn add(&self, run: RunId, listed: &[Candidate]) -> Result<u64, JournalError>;

    /// Notes that the whole list of this pair has been added.
    ///
    /// # Errors
    /// The store cannot be written.
    fn list_complete(&self, run: RunId) -> Result<(), JournalError>;

    /// Notes that nothing of the run is left to do on this pair; the run is finished when that is
    /// so for all its pairs.
    ///
    /// # Errors
    /// The store cannot be written.
    fn finish_run(&self, run: RunId, now_ms: i64) -> Result<(), JournalError>;

    /// Keeps what the comparison with a Murder's list found, of the whole run. A kind that was
    /// noted before is replaced; other kinds stay. Durable on return.
    ///
    /// # Errors
    /// The store cannot be written.
    fn note_disagreements(&self, run: RunId, found: &[Disagreement]) -> Result<(), JournalError>;

    /// Keeps that an operator has paused this pair, or no longer has. One that is paused stays so
    /// since the first time. Durable on return.
    ///
    /// # Errors
    /// The store cannot be written.
    fn set_paused(&self, since_ms: Option<i64>) -> Result<(), JournalError>;

    /// Keeps how many mailboxes at once the last start of a run found on this pair. Durable on
    /// return.
    ///
    /// # Errors
    /// The store cannot be written.
    fn note_at_once(&self, run: RunId, found: &AtOnce) -> Result<(), JournalError>;

    /// The same, if that was found.
    ///
    /// # Errors
    /// The store cannot be read.
    fn at_once(&self, run: RunId) -> Result<Option<AtOnce>, JournalError>;

    /// Since when this pair is paused, milliseconds since 1970, if it is.
    ///
    /// # Errors
    /// The store cannot be read.
    fn paused(&self) -> Result<Option<i64>, JournalError>;

    /// Mailboxes of a run in order of their ids, after `after`, at most `limit`.
    ///
    /// # Errors
    /// The store cannot be read.
    fn page(
        &self,
        run: RunId,
        filter: Filter,
        after: MailboxId,
        limit: u32,
    ) -> Result<Vec<Row>, JournalError>;

    /// The mailboxes of a run that have this name: one, or one on each partition where it was
    /// listed.
    ///
    /// # Errors
    /// The store cannot be read.
    fn find_all(
        &self,
        run: RunId,
        name: &indexfile::mailbox::MailboxName,
    ) -> Result<Vec<Row>, JournalError>;

    /// The first of them.
    ///
    /// # Errors
    /// The store cannot be read.
    fn find(
        &self,
        run: RunId,
        name: &indexfile::mailbox::MailboxName,
    ) -> Result<Option<Row>, JournalError> {
        Ok(self.find_all(run, name)?.into_iter().next())
    }

    /// Mailboxes that a run changed ([`State::Upgraded`]), in order of their ids, after `after`, at
    /// most `limit`.
    ///
    /// # Errors
    /// The store cannot be read.
    fn changed(
        &self,
        run: RunId,
        after: MailboxId,
        limit: u32,
    ) -> Result<Vec<Changed>, JournalError>;

    /// Open transactions of all runs of this pair, in order, after `after`, at most `limit`.
    ///
    /// # Errors
    /// The store cannot be read.
    fn open_transactions(
        &self,
        after: MailboxId,
        limit: u32,
    ) -> Result<Vec<OpenTransaction>, JournalError>;

    /// Hands a change over.
    fn submit(&self, change: Change, durability: Durability) -> Receipt;

    /// Returns once everything submitted before is durable and visible to reads.
    ///
    /// # Errors
    /// Something of it is not durable.
    fn flush(&self) -> Result<(), JournalError>;

    /// What a run amounts to on this pair so far.
    ///
    /// # Errors
    /// The store cannot be read.
    fn totals(&self, run: RunId) -> Result<Totals, JournalError>;
}

/// Rows per page when many mailboxes are looked through.
pub(crate) const PAGE: u32 = 1000;

/// Visits the mailboxes of a run, page by page, in order of their ids.
///
/// # Errors
/// The store cannot be read.
pub(crate) fn for_each_row(
    journal: &dyn Journal,
    run: RunId,
    filter: Filter,
    mut visit: impl FnMut(&Row),
) -> Result<(), JournalError> {
    let mut after = MailboxId(0);
    loop {
        let page = journal.page(run, filter, after, PAGE)?;
        let Some(last) = page.last() else {
            return Ok(());
        };
        after = last.id;
        page.iter().for_each(&mut visit);
    }
}

/// Visits every open transaction, of whatever run, until one visit fails.
pub(crate) fn for_each_open<E: From<JournalError>>(
    journal: &dyn Journal,
    mut visit: impl FnMut(OpenTransaction) -> Result<(), E>,
) -> Result<(), E> {
    let mut after = MailboxId(0);
    loop {
        let page = journal.open_transactions(after, PAGE)?;
        let Some(last) = page.last() else {
            return Ok(());
        };
        after = last.row.id;
        for open in page {
            visit(open)?;
        }
    }
}
