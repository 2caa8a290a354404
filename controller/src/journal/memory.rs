//! A journal in memory, for simulations: it can lose what was not durable, as a crash does.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use indexfile::mailbox::MailboxName;

use super::history::{Changed, Changing};
use super::model::{
    Change, Ended, Filter, Identity, Listed, MailboxId, OpenTransaction, Row, RunId, RunInfo,
    RunSpec, State, Totals,
};
use super::{Durability, Journal, JournalError, Receipt};
use crate::two_phase::Open;

#[derive(Clone, Debug)]
struct Entry {
    run: RunId,
    row: Row,
    open: Open,
    uniqueids: [Option<String>; 2],
}

#[derive(Clone, Debug, Default)]
struct Tables {
    runs: Vec<RunInfo>,
    hosts: [Option<String>; 2],
    mailboxes: BTreeMap<MailboxId, Entry>,
}

#[derive(Debug, Default)]
struct Inner {
    live: Tables,
    durable: Tables,
    broken: bool,
}

/// A journal in memory.
#[derive(Debug, Default)]
pub struct MemoryJournal(Mutex<Inner>);

impl MemoryJournal {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What a restart after a crash finds: everything durable and nothing else.
    #[must_use]
    pub fn after_crash(&self) -> Self {
        let durable = self.inner().durable.clone();
        Self(Mutex::new(Inner {
            live: durable.clone(),
            durable,
            broken: false,
        }))
    }

    /// From now on every write fails, as on a disk that is full.
    pub fn break_down(&self) {
        self.inner().broken = true;
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, work: impl FnOnce(&mut Tables) -> T) -> Result<T, JournalError> {
        let mut inner = self.inner();
        if inner.broken {
            return Err(JournalError::Poisoned {
                first: "told to fail".to_owned(),
            });
        }
        let value = work(&mut inner.live);
        inner.durable = inner.live.clone();
        Ok(value)
    }
}

impl Journal for MemoryJournal {
    fn last_run(&self) -> Result<Option<RunInfo>, JournalError> {
        Ok(self.inner().live.runs.last().cloned())
    }

    fn identity(&self) -> Result<Identity, JournalError> {
        Ok(Identity {
            id: "memory".to_owned(),
            hosts: self.inner().live.hosts.clone(),
        })
    }

    fn run(&self, id: RunId) -> Result<Option<RunInfo>, JournalError> {
        Ok(self.inner().live.runs.iter().find(|r| r.id == id).cloned())
    }

    fn begin_run(&self, spec: &RunSpec, now_ms: i64) -> Result<RunId, JournalError> {
        self.change(|tables| {
            for (host, id) in tables
                .hosts
                .iter_mut()
                .zip([&spec.master_id, &spec.replica_id])
            {
                if host.is_none() && !id.is_empty() {
                    *host = Some(id.clone());
                }
            }
            let id = RunId(tables.runs.last().map_or(1, |run| run.id.0 + 1));
            tables.runs.push(RunInfo {
                id,
                spec: spec.clone(),
                started_ms: now_ms,
                finished_ms: None,
                list_complete: false,
            });
            id
        })
    }

    fn add(&self, run: RunId, listed: &[Listed]) -> Result<u64, JournalError> {
        self.change(|tables| {
            let mut new = 0;
            for one in listed {
                if tables
                    .mailboxes
                    .values()
                    .any(|e| e.run == run && is_same(&e.row, one))
                {
                    continue;
                }
                let id = MailboxId(tables.mailboxes.keys().next_back().map_or(1, |id| id.0 + 1));
                let row = Row {
                    id,
                    name: one.name.clone(),
                    partition: one.partition.clone(),
                    named: one.named,
                    back: one.back,
                    state: State::Pending,
                    attempts: 0,
                    reason: None,
                    side: None,
                    detail: String::new(),
                    in_doubt: false,
                    figures: super::Figures::default(),
                    finished_ms: None,
                };
                let open = Open {
                    reversing: false,
                    before: [None; 2],
                    forward: [false; 2],
                };
                let uniqueids = [None, None];
                let entry = Entry {
                    run,
                    row,
                    open,
                    uniqueids,
                };
                tables.mailboxes.insert(id, entry);
                new += 1;
            }
            new
        })
    }

    fn list_complete(&self, run: RunId) -> Result<(), JournalError> {
        self.change(|tables| {
            tables
                .runs
                .iter_mut()
                .filter(|r| r.id == run)
                .for_each(|r| r.list_complete = true);
        })
    }

    fn finish_run(&self, run: RunId, now_ms: i64) -> Result<(), JournalError> {
        self.change(|tables| {
            tables
                .runs
                .iter_mut()
                .filter(|r| r.id == run)
                .for_each(|r| r.finished_ms = Some(now_ms));
        })
    }

    fn page(
        &self,
        run: RunId,
        filter: Filter,
        after: MailboxId,
        limit: u32,
    ) -> Result<Vec<Row>, JournalError> {
        let inner = self.inner();
        let wanted = |entry: &&Entry| match filter {
            Filter::All => entry.run == run,
            Filter::In(state) => entry.run == run && entry.row.state == state,
        };
        let later = inner
            .live
            .mailboxes
            .range(MailboxId(after.0.saturating_add(1))..);
        let page = later
            .map(|(_, entry)| entry)
            .filter(wanted)
            .take(limit as usize);
        Ok(page.map(|entry| entry.row.clone()).collect())
    }

    fn find_all(&self, run: RunId, name: &MailboxName) -> Result<Vec<Row>, JournalError> {
        let inner = self.inner();
        let all = inner.live.mailboxes.values();
        let found = all.filter(|e| e.run == run && e.row.name == *name);
        Ok(found.map(|e| e.row.clone()).collect())
    }

    fn changed(
        &self,
        run: RunId,
        after: MailboxId,
        limit: u32,
    ) -> Result<Vec<Changed>, JournalError> {
        let inner = self.inner();
        let all = &inner.live.mailboxes;
        let touched = |s: State| s == State::Upgraded || s.is_open();
        let changing = |entry: &Entry| -> Result<Changing, JournalError> {
            let run = inner.live.runs.iter().find(|r| r.id == entry.run);
            let spec = &run.ok_or_else(no_run)?.spec;
            Ok(Changing {
                run: entry.run,
                verb: spec.verb,
                undoes: spec.undoes,
                before: entry.open.before,
            })
        };
        let others = |entry: &Entry| {
            let again = |e: &&Entry| {
                e.run != entry.run && is_one(&e.row, &entry.row) && touched(e.row.state)
            };
            let others = all.values().filter(again).map(changing);
            let mut others: Vec<Changing> = others.collect::<Result<_, _>>()?;
            others.sort_by_key(|o| o.run);
            Ok(others)
        };
        all.values()
            .filter(|e| e.run == run && e.row.id > after && e.row.state == State::Upgraded)
            .take(limit as usize)
            .map(|e| {
                Ok(Changed {
                    row: e.row.clone(),
                    change: changing(e)?,
                    others: others(e)?,
                })
            })
            .collect()
    }

    fn open_transactions(
        &self,
        after: MailboxId,
        limit: u32,
    ) -> Result<Vec<OpenTransaction>, JournalError> {
        let inner = self.inner();
        let later = inner
            .live
            .mailboxes
            .range(MailboxId(after.0.saturating_add(1))..);
        let open = later
            .filter(|(_, e)| e.row.state.is_open())
            .take(limit as usize);
        open.map(|(_, e)| {
            let run = inner.live.runs.iter().find(|r| r.id == e.run);
            let spec = run.ok_or_else(no_run)?;
            Ok(OpenTransaction {
                row: e.row.clone(),
                run: e.run,
                uniqueids: e.uniqueids.clone(),
                spec: spec.spec.clone(),
                open: e.open,
            })
        })
        .collect()
    }

    fn submit(&self, change: Change, durability: Durability) -> Receipt {
        let (done, receipt) = Receipt::pair();
        let mut inner = self.inner();
        let result = if inner.broken {
            Err(JournalError::Poisoned {
                first: "told to fail".to_owned(),
            })
        } else {
            apply(&mut inner.live, change);
            if durability == Durability::Durable {
                inner.durable = inner.live.clone();
            }
            Ok(())
        };
        let _ = done.send(result);
        receipt
    }

    fn flush(&self) -> Result<(), JournalError> {
        self.change(|_| ())
    }

    fn totals(&self, run: RunId) -> Result<Totals, JournalError> {
        let inner = self.inner();
        let mut totals = Totals::default();
        for Entry { row, .. } in inner.live.mailboxes.values().filter(|e| e.run == run) {
            totals.mailboxes += 1;
            match row.state {
                State::Pending => totals.pending += 1,
                State::Decided | State::Reversing => {
                    totals.open += 1;
                    totals.in_doubt += u64::from(row.in_doubt);
                    totals.waiting += u64::from(row.waits());
                }
                State::Upgraded => totals.upgraded += 1,
                State::Unchanged => totals.unchanged += 1,
                State::RolledBack => totals.rolled_back += 1,
                State::Gone => totals.gone += 1,
            }
            totals.messages += row.figures.messages;
            totals.cached += row.figures.cached;
            totals.hashed += row.figures.hashed;
            totals.lag += row.figures.lag;
        }
        Ok(totals)
    }
}

/// Whether two rows are of one mailbox: on one partition, or where one of the two does not tell.
fn is_one(a: &Row, b: &Row) -> bool {
    let partitions = a.partition.as_ref().zip(b.partition.as_ref());
    a.name == b.name && partitions.is_none_or(|(a, b)| a == b)
}

/// Whether a run has this one already: on this partition, or where one of the two does not tell.
fn is_same(row: &Row, one: &Listed) -> bool {
    let alike = |a: &String, b: &String| a == b;
    let partitions = row.partition.as_ref().zip(one.partition.as_ref());
    row.name == one.name && partitions.is_none_or(|(a, b)| alike(a, b))
}

fn no_run() -> JournalError {
    JournalError::Damaged {
        what: "a mailbox without a run".to_owned(),
    }
}

fn apply(tables: &mut Tables, change: Change) {
    let id = match &change {
        Change::Decide { mailbox, .. }
        | Change::Identify { mailbox, .. }
        | Change::Forward { mailbox, .. }
        | Change::Reverse { mailbox }
        | Change::Requeue { mailbox }
        | Change::Finish { mailbox, .. } => *mailbox,
    };
    let Some(entry) = tables.mailboxes.get_mut(&id) else {
        return;
    };
    match change {
        Change::Decide { before, .. } => {
            entry.row.state = State::Decided;
            entry.row.in_doubt = false;
            entry.open = Open {
                reversing: false,
                before,
                forward: [false; 2],
            };
        }
        Change::Identify { uniqueids, .. } => entry.uniqueids = uniqueids,
        Change::Forward { side, .. } => entry.open.forward[side.index()] = true,
        Change::Reverse { .. } => {
            entry.row.state = State::Reversing;
            entry.open.reversing = true;
        }
        Change::Requeue { .. } => {
            if matches!(entry.row.state, State::RolledBack | State::Gone) {
                entry.row.state = State::Pending;
            }
        }
        Change::Finish { attempt, .. } => {
            if let Some(state) = attempt.ended.state() {
                entry.row.state = state;
            }
            entry.row.in_doubt = attempt.ended == Ended::InDoubt;
            entry.row.attempts += 1;
            entry.row.reason = attempt.reason;
            entry.row.side = attempt.side;
            entry.row.detail = attempt.detail;
            entry.row.figures = attempt.figures;
            entry.row.finished_ms = Some(attempt.finished_ms);
        }
    }
}
