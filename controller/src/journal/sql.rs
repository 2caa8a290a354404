//! The journal as SQL: its queries and changes, wherever the tables lie.

use std::path::Path;
use std::sync::Arc;

use indexfile::mailbox::MailboxName;
use tokio::sync::oneshot;

use super::at_once::AtOnce;
use super::disagreements::Disagreement;
use super::history::Changed;
use super::model::{Candidate, Change, Filter, MailboxId, OpenTransaction, Owner, Row};
use super::queries::{self, Ask};
use super::runs::{RunId, RunInfo, RunOfPairs, RunSpec, Verb, pair_names};
use super::totals::Totals;
use super::work::Work;
use super::{
    Claimed, Durability, Journal, JournalError, JournalStore, Receipt, columns, writer_ended,
};

/// Which pair something is of, and by which claim to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Of {
    /// Its number; 0 is none.
    pub(super) pair: i64,
    /// The epoch of the claim; `None` where only one controller can have the journal open.
    pub(super) epoch: Option<u64>,
}

/// Something to be written, and who waits for it.
pub(super) struct Op {
    pub(super) of: Of,
    pub(super) work: Work,
    pub(super) durability: Durability,
    pub(super) done: oneshot::Sender<Result<(), JournalError>>,
    /// Has the answer before `done` comes.
    pub(super) answer: Option<std::sync::mpsc::Sender<i64>>,
}

/// Where the tables lie.
pub(super) trait Sql: Send + Sync + 'static {
    /// What an error names.
    fn path(&self) -> &Path;

    /// Whether it can be written.
    fn is_writable(&self) -> bool;

    /// An id for the journal of a new pair.
    fn new_id(&self, pair: &str) -> Result<String, JournalError>;

    /// Takes a pair for this controller alone, where others could take it: the epoch of the claim,
    /// which is above that one.
    fn claim(&self, pair: i64, name: &str, above: u64) -> Result<Option<u64>, JournalError>;

    /// Whether the newest rows of a pair may be missing.
    fn rows_lost(&self, _pair: i64) -> Result<bool, JournalError> {
        Ok(false)
    }

    /// Who has claimed which pair.
    fn claims(&self) -> Result<Vec<Claimed>, JournalError> {
        Ok(Vec::new())
    }

    /// All that a question finds.
    fn ask<T: Send>(&self, ask: Ask<T>) -> Result<Vec<T>, JournalError>;

    /// Hands something over, to be written after all earlier ones.
    fn submit(&self, op: Op);

    /// The first that a question finds.
    fn first<T: Send>(&self, ask: Ask<T>) -> Result<Option<T>, JournalError> {
        Ok(self.ask(ask)?.into_iter().next())
    }

    /// Hands something over that nobody waits for the answer of.
    fn write(&self, of: Of, work: Work, durability: Durability) -> Receipt {
        let (done, receipt) = Receipt::pair();
        self.submit(Op {
            of,
            work,
            durability,
            done,
            answer: None,
        });
        receipt
    }

    /// Writes something and hands the answer back, durable on return.
    fn write_now(&self, of: Of, work: Work) -> Result<i64, JournalError> {
        let (done, receipt) = Receipt::pair();
        let (answer, answered) = std::sync::mpsc::channel();
        self.submit(Op {
            of,
            work,
            durability: Durability::Durable,
            done,
            answer: Some(answer),
        });
        wait(receipt)?;
        answered.recv().map_err(|_| writer_ended())
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
    of: Of,
}

/// The pair with this name, made if it is new.
pub(super) fn view<S: Sql>(sql: Arc<S>, name: &str) -> Result<View<S>, JournalError> {
    view_above(sql, name, 0)
}

/// The same, claimed with an epoch above that one.
fn view_above<S: Sql>(sql: Arc<S>, name: &str, above: u64) -> Result<View<S>, JournalError> {
    let refused = |what: String| JournalError::Pairs {
        path: sql.path().to_owned(),
        what,
    };
    if name.contains(',') {
        return Err(refused(format!("a pair cannot have the name {name:?}")));
    }
    let pairs = sql.ask(queries::pairs())?;
    let known = sql.first(queries::pair(name))?;
    // 0 is no pair, and has no run.
    let pair = match (known, pairs.first()) {
        (Some(pair), _) => Some(pair),
        (None, Some(other)) if other.is_empty() != name.is_empty() => None,
        (None, _) if !sql.is_writable() => Some(0),
        (None, _) => {
            let work = Work::Pair {
                name: name.to_owned(),
                journal_id: sql.new_id(name)?,
            };
            let made = sql.write_now(Of::default(), work)?;
            (made != 0).then_some(made)
        }
    };
    let epoch = match pair {
        Some(pair) if sql.is_writable() => sql.claim(pair, name, above)?,
        _ => None,
    };
    match pair {
        Some(pair) => Ok(View {
            name: name.to_owned(),
            sql,
            of: Of { pair, epoch },
        }),
        None if name.is_empty() => Err(refused(format!(
            "it is of a fleet, with the pairs {}: give its fleet file, or take another state file",
            pairs.join(", ")
        ))),
        None => Err(refused(
            "it is of one pair without a fleet file: a fleet takes another state file".to_owned(),
        )),
    }
}

impl<S: Sql> JournalStore for Store<S> {
    fn pair_above(&self, name: &str, above: u64) -> Result<Arc<dyn Journal>, JournalError> {
        Ok(Arc::new(view_above(Arc::clone(&self.0), name, above)?))
    }

    fn pairs(&self) -> Result<Vec<String>, JournalError> {
        self.0.ask(queries::pairs())
    }

    fn last_run(&self) -> Result<Option<RunOfPairs>, JournalError> {
        let run = self.0.first(queries::last_run_of_pairs())?;
        run.map(|run| with_pairs(&*self.0, run)).transpose()
    }

    fn last_of(&self, verb: Verb) -> Result<Option<RunOfPairs>, JournalError> {
        let run = self.0.first(queries::last_of_pairs(verb.rehearses()))?;
        run.map(|run| with_pairs(&*self.0, run)).transpose()
    }

    fn run(&self, id: RunId) -> Result<Option<RunOfPairs>, JournalError> {
        let run = self.0.first(queries::run_of_pairs(id))?;
        run.map(|run| with_pairs(&*self.0, run)).transpose()
    }

    fn claims(&self) -> Result<Vec<Claimed>, JournalError> {
        self.0.claims()
    }

    fn disagreements(&self, run: RunId) -> Result<Vec<Disagreement>, JournalError> {
        self.0.ask(queries::disagreements(run))
    }

    fn give_up(&self, run: RunId, now_ms: i64) -> Result<(), JournalError> {
        let work = Work::GiveUp { run, now_ms };
        self.0.write_now(Of::default(), work).map(drop)
    }
}

/// With what it is on those of its pairs where it has begun.
fn with_pairs<S: Sql>(sql: &S, mut run: RunOfPairs) -> Result<RunOfPairs, JournalError> {
    for begun in sql.ask(queries::begun(run.id))? {
        let Some(pair) = run.pairs.iter_mut().find(|p| p.name == begun.name) else {
            return Err(JournalError::Damaged {
                what: format!("run {} has begun on the pair {:?}", run.id.0, begun.name),
            });
        };
        *pair = begun;
    }
    Ok(run)
}
impl<S> View<S> {
    /// The pair's number.
    pub(super) fn pair(&self) -> i64 {
        self.of.pair
    }
}

impl<S: Sql> Journal for View<S> {
    fn last_run(&self) -> Result<Option<RunInfo>, JournalError> {
        self.sql.first(queries::last_run(self.of.pair))
    }

    fn last_of(&self, verb: Verb) -> Result<Option<RunInfo>, JournalError> {
        let rehearsals = verb.rehearses();
        self.sql.first(queries::last_of(self.of.pair, rehearsals))
    }

    fn owner(&self) -> Result<Owner, JournalError> {
        let found = self.sql.first(queries::owner(self.of.pair))?;
        let owner = found.ok_or_else(|| JournalError::Damaged {
            what: "it does not say whose journal it is".to_owned(),
        })?;
        Ok(Owner {
            epoch: self.of.epoch,
            rows_lost: self.sql.rows_lost(self.of.pair)?,
            ..owner
        })
    }

    fn run(&self, id: RunId) -> Result<Option<RunInfo>, JournalError> {
        self.sql.first(queries::run(self.of.pair, id))
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
        let spec = Box::new(spec.clone());
        self.sql
            .write_now(self.of, Work::Begin { spec, now_ms })
            .map(RunId)
    }

    fn add(&self, run: RunId, listed: &[Candidate]) -> Result<u64, JournalError> {
        let listed = listed.to_vec();
        let new = self.sql.write_now(self.of, Work::Add { run, listed })?;
        Ok(u64::try_from(new).unwrap_or(0))
    }

    fn list_complete(&self, run: RunId) -> Result<(), JournalError> {
        self.sql.write_now(self.of, Work::Listed { run }).map(drop)
    }

    fn finish_run(&self, run: RunId, now_ms: i64) -> Result<(), JournalError> {
        self.sql
            .write_now(self.of, Work::Finish { run, now_ms })
            .map(drop)
    }

    fn note_disagreements(&self, run: RunId, found: &[Disagreement]) -> Result<(), JournalError> {
        let found = found.to_vec();
        self.sql
            .write_now(self.of, Work::Note { run, found })
            .map(drop)
    }

    fn set_paused(&self, since_ms: Option<i64>) -> Result<(), JournalError> {
        self.sql
            .write_now(self.of, Work::Pause { since_ms })
            .map(drop)
    }

    fn note_at_once(&self, run: RunId, found: &AtOnce) -> Result<(), JournalError> {
        let found = found.clone();
        self.sql
            .write_now(self.of, Work::AtOnce { run, found })
            .map(drop)
    }

    fn at_once(&self, run: RunId) -> Result<Option<AtOnce>, JournalError> {
        self.sql.first(queries::at_once(self.of.pair, run))
    }

    fn paused(&self) -> Result<Option<i64>, JournalError> {
        self.sql.first(queries::paused(self.of.pair))
    }

    fn page(
        &self,
        run: RunId,
        filter: Filter,
        after: MailboxId,
        limit: u32,
    ) -> Result<Vec<Row>, JournalError> {
        let page = queries::page(self.of.pair, run, filter, after, limit);
        self.sql.ask(page)
    }

    fn find_all(&self, run: RunId, name: &MailboxName) -> Result<Vec<Row>, JournalError> {
        self.sql.ask(queries::find_all(self.of.pair, run, name))
    }

    fn changed(
        &self,
        run: RunId,
        after: MailboxId,
        limit: u32,
    ) -> Result<Vec<Changed>, JournalError> {
        let changed = queries::changed(self.of.pair, run, after, limit);
        self.sql.ask(changed)
    }

    fn open_transactions(
        &self,
        after: MailboxId,
        limit: u32,
    ) -> Result<Vec<OpenTransaction>, JournalError> {
        let open = queries::open_transactions(self.of.pair, after, limit);
        self.sql.ask(open)
    }

    fn submit(&self, change: Change, durability: Durability) -> Receipt {
        self.sql.write(self.of, Work::Change(change), durability)
    }

    fn flush(&self) -> Result<(), JournalError> {
        self.sql.write_now(self.of, Work::Flush).map(drop)
    }

    fn totals(&self, run: RunId) -> Result<Totals, JournalError> {
        let parts = self.sql.ask(queries::totals(self.of.pair, run))?;
        Ok(columns::totals(&parts))
    }
}
