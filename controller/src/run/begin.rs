//! How a run begins: the hosts are greeted, the journal's last run is taken up or a new one begun,
//! and what failed is queued again.

use indexfile::mailbox::MailboxName;

use super::attempt::conclude;
use super::context::Parts;
use super::queue::Scope;
use super::selection::{Selection, is_same};
use crate::clock::now_ms;
use crate::error::{OtherRun, RunError};
use crate::journal::{
    Candidate, Change, Durability, Ended, Figures, Filter, MailboxId, Row, RunId, RunInfo, RunSpec,
    State, for_each_row,
};
use crate::survey::{BATCH, Source, Spool, Spooled};
use crate::two_phase::{Failure, Reason, Side};

/// What `retry` takes up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Retry {
    /// What may have passed by itself.
    MayPass,
    /// Everything that was rolled back.
    All,
    /// What failed for one of these reasons, also one that cannot pass by itself.
    Reasons(Vec<Reason>),
    /// These mailboxes and no others, whatever their failure.
    Names(Vec<MailboxName>),
}

/// How this start begins.
pub(super) struct Start {
    spec: RunSpec,
    /// The run that it goes on with.
    known: Option<RunInfo>,
}

impl Start {
    /// Compares what is asked for with the last run: that one is gone on with if it was stopped and
    /// is the same. Changes nothing.
    ///
    /// # Errors
    /// It was stopped and is another one, and nobody gave it up; or the hosts have changed places.
    pub(super) fn of(
        parts: &Parts,
        ids: [String; 2],
        selection: &Selection,
    ) -> Result<Self, RunError> {
        let address = |side| parts.connect.address(side);
        let [master_id, replica_id] = ids;
        let fleet = parts.settings.fleet.as_ref();
        let spec = RunSpec {
            verb: parts.settings.verb,
            to: parts.settings.to,
            undoes: parts.settings.undoes,
            master: address(Side::Master).unwrap_or_default(),
            replica: address(Side::Replica),
            master_id,
            replica_id,
            selection: selection.text.clone(),
            words: fleet.map_or(&selection.words, |f| &f.words).clone(),
            pairs: fleet.map_or_else(String::new, |f| f.pairs.clone()),
        };
        let given_up = given_up(parts)?;
        let Some(last) = parts.journal.last_of(spec.verb)? else {
            return Self::anew(parts, spec);
        };
        let swapped = |a: &str, b: &str| !a.is_empty() && a == b;
        if swapped(&last.spec.master_id, &spec.replica_id)
            || swapped(&last.spec.replica_id, &spec.master_id)
        {
            return Err(RunError::Config(
                "master and replica have changed places since the last run with this state file"
                    .to_owned(),
            ));
        }
        let over = last.finished_ms.is_some() || given_up == Some(last.id);
        let same = last.spec.verb == spec.verb
            && last.spec.to == spec.to
            && last.spec.undoes == spec.undoes
            && last.spec.replica.is_some() == spec.replica.is_some()
            && last.spec.pairs == spec.pairs
            && is_same(&last.spec.selection, &spec.selection);
        match (over, same) {
            (true, _) => Self::anew(parts, spec),
            (false, true) => Ok(Self {
                spec,
                known: Some(last),
            }),
            (false, false) => Err(other(parts, last, &spec)?),
        }
    }

    /// A run of its own. What is changed on the master of a pair alone the two hosts have no more
    /// alike, and replication sends it again: nobody is taken to have meant that. A rollback asks
    /// what the run that it undoes had.
    fn anew(parts: &Parts, spec: RunSpec) -> Result<Self, RunError> {
        let [_, replica] = parts.journal.owner()?.hosts;
        match replica {
            Some(replica) if spec.replica.is_none() && !spec.verb.takes_back() => {
                let last = parts.journal.last_run()?;
                let address = last.and_then(|run| run.spec.replica);
                let address = address.map_or_else(String::new, |at| format!(" (it was {at})"));
                Err(RunError::Config(format!(
                    "this state file belongs to a pair, whose replica is {replica}: give \
                     --replica{address}, or, for the master alone, another --state"
                )))
            }
            _ => Ok(Self { spec, known: None }),
        }
    }

    /// The run that it goes on with, if it does.
    pub(super) fn goes_on_with(&self) -> Option<RunId> {
        self.known.as_ref().map(|run| run.id)
    }

    /// Whether the journal has the whole list already.
    pub(super) fn is_listed(&self) -> bool {
        self.known.as_ref().is_some_and(|run| run.list_complete)
    }

    /// Goes on with the last run, or begins a new one.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub(super) fn begin(&self, parts: &Parts, sources: &[Source]) -> Result<RunId, RunError> {
        let run = self.begin_or_take_up(parts, sources)?;
        let found = &parts.settings.disagreements;
        if !found.is_empty() {
            parts.journal.note_disagreements(run, found)?;
        }
        Ok(run)
    }

    fn begin_or_take_up(&self, parts: &Parts, sources: &[Source]) -> Result<RunId, RunError> {
        if let Some(run) = &self.known {
            take_up(parts, run.id, sources)?;
            return Ok(run.id);
        }
        give_up(parts)?;
        Ok(parts.journal.begin_run(&self.spec, now_ms())?)
    }
}

/// What a run did on two hosts is neither gone on with nor taken back on one, nor the other way
/// round.
///
/// # Errors
/// It had a replica, and there is none now; or it had none, and there is one.
pub(super) fn check_hosts(parts: &Parts, run: &RunInfo) -> Result<(), RunError> {
    let has = parts.connect.address(Side::Replica).is_some();
    match (&run.spec.replica, has) {
        (Some(replica), false) => Err(RunError::Config(format!(
            "run {} worked on two hosts: give --replica (it was {replica})",
            run.id.0
        ))),
        (None, true) => Err(RunError::Config(format!(
            "run {} worked on one host: leave --replica away",
            run.id.0
        ))),
        _ => Ok(()),
    }
}

/// Gives up the run that is to be given up, if there is one and it is not over yet.
///
/// # Errors
/// The journal cannot be read or written.
pub(super) fn give_up(parts: &Parts) -> Result<(), RunError> {
    let Some(run) = given_up(parts)? else {
        return Ok(());
    };
    let totals = parts.journal.totals(run)?;
    parts.observer.say(&format!(
        "run {} is given up; {} of its mailboxes are not done",
        run.0, totals.pending
    ));
    Ok(parts.journal.finish_run(run, now_ms())?)
}

fn other(parts: &Parts, run: RunInfo, wanted: &RunSpec) -> Result<RunError, RunError> {
    let left = parts.journal.totals(run.id)?.pending;
    Ok(RunError::Other(Box::new(OtherRun {
        // A rollback, which has all that it undoes, lists none.
        left_out_others: run.spec.left_out() != wanted.left_out(),
        run,
        left,
    })))
}

/// The run that is to be given up, if it is not over yet: the same command can be given twice.
fn given_up(parts: &Parts) -> Result<Option<RunId>, RunError> {
    let Some(id) = parts.settings.abandon else {
        return Ok(None);
    };
    let Some(run) = parts.journal.run(id)? else {
        let text = format!("there is no run {} to be given up", id.0);
        return Err(RunError::Nothing(text));
    };
    Ok(run.finished_ms.is_none().then_some(id))
}

/// Queues again what a run that goes on has left, and what was asked for by name.
fn take_up(parts: &Parts, run: RunId, sources: &[Source]) -> Result<(), RunError> {
    requeue_passing(parts, run)?;
    // They may have been looked for on a store that was not there.
    requeue_in(parts, run, State::Gone, |_| true)?;
    for source in sources {
        if let Source::Names(names) = source {
            for name in names {
                for row in parts.journal.find_all(run, name)? {
                    if !is_left_out(parts, &row) {
                        requeue(parts, row.id);
                    }
                }
            }
        }
    }
    parts.journal.flush()?;
    let totals = parts.journal.totals(run)?;
    let done = totals.done();
    let text = format!(
        "resuming run {}: {done} of {} mailboxes are done",
        run.0, totals.mailboxes
    );
    parts.observer.say(&text);
    Ok(())
}

/// Queues again what `retry` was asked for.
///
/// # Errors
/// A name is not in the run; then nothing was queued.
pub(super) fn take_up_again(parts: &Parts, run: RunId, what: &Retry) -> Result<Scope, RunError> {
    match what {
        Retry::MayPass => requeue_passing(parts, run)?,
        Retry::All => requeue_failed(parts, run, |_| true)?,
        Retry::Reasons(reasons) => requeue_failed(parts, run, |r| reasons.contains(&r))?,
        Retry::Names(names) => {
            let rows = find_all(parts, run, names)?;
            for row in &rows {
                match row.state {
                    _ if is_left_out(parts, row) => parts.observer.warn(&format!(
                        "{} is not retried: it is on a partition that leave-out names",
                        row.name
                    )),
                    State::RolledBack | State::Gone => requeue(parts, row.id),
                    State::Pending => {}
                    state => parts.observer.say(&format!(
                        "{} is not retried: it is {}",
                        row.name,
                        state.as_str()
                    )),
                }
            }
            parts.journal.flush()?;
            // In the order given, each once.
            return Ok(Scope::Names(names.iter().cloned().collect()));
        }
    }
    parts.journal.flush()?;
    Ok(Scope::All)
}

fn find_all(parts: &Parts, run: RunId, names: &[MailboxName]) -> Result<Vec<Row>, RunError> {
    let mut unknown = Vec::new();
    let mut rows = Vec::new();
    for name in names {
        let found = parts.journal.find_all(run, name)?;
        if found.is_empty() {
            unknown.push(name.to_string());
        }
        rows.extend(found);
    }
    if unknown.is_empty() {
        Ok(rows)
    } else {
        Err(RunError::NoMailbox(unknown.join(", ")))
    }
}

/// Whether it may be on a partition on which nothing is done.
fn is_left_out(parts: &Parts, row: &Row) -> bool {
    let left_out = &parts.settings.leave_out;
    left_out.may_have(row.partition.as_deref())
}

pub(super) fn requeue(parts: &Parts, mailbox: MailboxId) {
    parts
        .journal
        .submit(Change::Requeue { mailbox }, Durability::Lazy);
}

/// Queues again what failed for a reason that may have passed; everything where rows of the journal
/// may be missing: what is rolled back may have been begun again, and that be lost.
fn requeue_passing(parts: &Parts, run: RunId) -> Result<(), RunError> {
    let lost = parts.journal.owner()?.rows_lost;
    requeue_failed(parts, run, |reason| lost || reason.may_pass())
}

/// Queues what was rolled back for a reason that is wanted, or for none that is known.
fn requeue_failed(
    parts: &Parts,
    run: RunId,
    wanted: impl Fn(Reason) -> bool,
) -> Result<(), RunError> {
    requeue_in(parts, run, State::RolledBack, wanted)
}

fn requeue_in(
    parts: &Parts,
    run: RunId,
    state: State,
    wanted: impl Fn(Reason) -> bool,
) -> Result<(), RunError> {
    for_each_row(parts.journal.as_ref(), run, Filter::In(state), |row| {
        if row.reason.is_none_or(&wanted) && !is_left_out(parts, row) {
            requeue(parts, row.id);
        }
    })?;
    Ok(())
}

/// Adds everything to a run. A name that is on two partitions fails at once: the name does not say
/// which one is meant, and the wrong one may be what an interrupted rename left.
pub(super) fn fill(parts: &Parts, run: RunId, spool: &Spool) -> Result<(), RunError> {
    let mut after = 0;
    loop {
        let page = spool.page(after, BATCH)?;
        let Some(last) = page.last() else {
            return Ok(());
        };
        after = last.at;
        let listed: Vec<Candidate> = page.iter().map(|s| s.listed.clone()).collect();
        parts.journal.add(run, &listed)?;
        for Spooled { listed, places, .. } in &page {
            let Some(places) = places else { continue };
            let rows = parts.journal.find_all(run, &listed.name)?;
            let row = rows.into_iter().find(|r| r.partition == listed.partition);
            let Some(row) = row.filter(|r| r.state == State::Pending) else {
                continue;
            };
            let failure = Failure::new(
                Side::Master,
                Reason::TwoPlaces,
                format!("it is on the partitions {places}"),
            );
            conclude(
                parts,
                row.id,
                &row.name,
                now_ms(),
                Ended::RolledBack,
                Some(&failure),
                Figures::default(),
            );
        }
    }
}
