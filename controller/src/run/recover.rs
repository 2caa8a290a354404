//! Settles the open transactions that an earlier run left.

use std::fmt;
use std::sync::Arc;

use indexfile::exit::Exit;
use serde::Serialize;
use tokio::task::JoinSet;

use super::attempt::{conclude, pair};
use super::context::{Parts, Shared};
use super::drive::{End, Surroundings, drive};
use super::participant::{Asks, Target};
use super::summary::count_open;
use super::token::Token;
use crate::clock::now_ms;
use crate::control::Control;
use crate::error::RunError;
use crate::hosts::{Sides, fallen_fence};
use crate::journal::{Ended, Job, MailboxId, OpenTransaction, for_each_open};
use crate::stop::Stop;
use crate::two_phase::{Coordinator, Failure, Outcome};

/// What became of the open transactions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Recovered {
    /// Brought to an end, forward or back.
    pub settled: u64,
    /// Of them, those that were taken back: their mailboxes are as before, for a reason that was
    /// said.
    pub rolled_back: u64,
    /// Still open, and a human must look.
    pub in_doubt: u64,
    /// Still open, until their partition is mounted.
    pub waiting: u64,
}

impl Recovered {
    /// The exit code of the contract.
    #[must_use]
    pub fn exit(&self) -> Exit {
        if self.in_doubt > 0 {
            Exit::InDoubt
        } else if self.waiting > 0 {
            Exit::Unavailable
        } else if self.rolled_back > 0 {
            Exit::RolledBack
        } else {
            Exit::Ok
        }
    }
}

/// For a person.
impl fmt::Display for Recovered {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (settled, in_doubt) = (self.settled, self.in_doubt);
        write!(out, "{settled} transaction(s) settled")?;
        if self.rolled_back > 0 {
            write!(out, " ({} of them rolled back)", self.rolled_back)?;
        }
        write!(out, ", {in_doubt} in doubt")?;
        if self.waiting > 0 {
            let what = "decided and waiting for a partition that is not mounted";
            write!(out, ", {} {what}", self.waiting)?;
        }
        Ok(())
    }
}

/// What became of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Settled,
    RolledBack,
    InDoubt,
    Waits,
    /// Another controller settles it.
    TakenOver,
}

/// Brings every open transaction of the journal to its end, and does nothing else. Those whose
/// partition is not mounted are waited for, as a run does.
///
/// # Errors
/// A host does not answer, the journal fails, or the transactions do not fit the hosts given.
pub async fn recover(parts: Parts) -> Result<Recovered, RunError> {
    let control = Arc::new(Control::new(parts.settings.limits.clone()));
    recover_controlled(parts, &control).await
}

/// As [`recover`], with controls that another task may set meanwhile.
///
/// # Errors
/// As [`recover`].
pub async fn recover_controlled(
    parts: Parts,
    control: &Arc<Control>,
) -> Result<Recovered, RunError> {
    let (shared, _) = Shared::begin(parts, control, Sides::Found).await?;
    let recovered = settle_all(&shared).await;
    shared.end().await;
    recovered
}

async fn settle_all(shared: &Arc<Shared>) -> Result<Recovered, RunError> {
    let mut recovered = settle_open(shared).await?;
    while wait_for_mounts(shared).await && shared.parts.stop.level() == Stop::No {
        let more = settle_waiting(shared).await?;
        recovered.settled += more.settled;
        recovered.rolled_back += more.rolled_back;
        recovered.in_doubt += more.in_doubt;
    }
    // Also those whose partition was given up.
    recovered.waiting = count_open(shared.parts.journal.as_ref())?.waiting;
    Ok(recovered)
}

/// Brings every open transaction to its end, as many at once as a run would.
///
/// # Errors
/// The journal fails, or the transactions do not fit the hosts given.
pub(super) async fn settle_open(shared: &Arc<Shared>) -> Result<Recovered, RunError> {
    settle_those(shared, |_| true).await
}

/// Brings those to their end whose partition came back.
///
/// # Errors
/// As [`settle_open`].
pub(super) async fn settle_waiting(shared: &Arc<Shared>) -> Result<Recovered, RunError> {
    settle_those(shared, |open| {
        open.row.waits() && shared.outages.is_mounted(open.row.partition.as_deref())
    })
    .await
}

async fn settle_those(
    shared: &Arc<Shared>,
    which: impl Fn(&OpenTransaction) -> bool,
) -> Result<Recovered, RunError> {
    let parts = &shared.parts;
    check_fence_of_open(parts, &which).await?;
    let mut recovered = Recovered::default();
    let mut after = MailboxId(0);
    loop {
        let page = parts.journal.open_transactions(after, 256)?;
        let Some(last) = page.last() else { break };
        after = last.row.id;
        let mut tasks = JoinSet::new();
        for open in page.into_iter().filter(&which) {
            while tasks.len() >= shared.control.allowed() {
                count(&mut recovered, tasks.join_next().await.as_ref());
            }
            let shared = Arc::clone(shared);
            tasks.spawn(async move { settle(&shared, open).await });
        }
        while !tasks.is_empty() {
            count(&mut recovered, tasks.join_next().await.as_ref());
        }
    }
    shared.flush()?;
    if let Some(text) = shared.breaker.is_taken_over() {
        return Err(RunError::TakenOver(text));
    }
    if recovered.settled > 0 {
        let text = format!(
            "settled {} open transaction(s) of an earlier run",
            recovered.settled
        );
        parts.observer.say(&text);
    }
    Ok(recovered)
}

/// What is decided of a change-over can only be settled under the fence: without it nothing is
/// tried, and no mailbox is called in doubt for it.
///
/// # Errors
/// There is such a transaction, and the fence does not stand.
async fn check_fence_of_open(
    parts: &Parts,
    which: impl Fn(&OpenTransaction) -> bool,
) -> Result<(), RunError> {
    let mut crossing = 0_u64;
    for_each_open(parts.journal.as_ref(), |open| {
        crossing += u64::from(open.spec.verb.crosses() && which(&open));
        Ok::<_, RunError>(())
    })?;
    if crossing == 0 {
        return Ok(());
    }
    match fallen_fence(&parts.connect).await? {
        None => Ok(()),
        Some(why) => Err(RunError::Config(format!(
            "{crossing} mailbox(es) of a change-over are decided and not settled, which needs the \
             fence, and {why}; none of them was touched"
        ))),
    }
}

fn count(recovered: &mut Recovered, joined: Option<&Result<Fate, tokio::task::JoinError>>) {
    match joined {
        Some(Ok(Fate::Settled)) => recovered.settled += 1,
        Some(Ok(Fate::RolledBack)) => {
            recovered.settled += 1;
            recovered.rolled_back += 1;
        }
        Some(Ok(Fate::Waits)) => recovered.waiting += 1,
        // The run ends with it.
        Some(Ok(Fate::TakenOver)) | None => {}
        // A task that panicked has settled nothing.
        Some(Ok(Fate::InDoubt) | Err(_)) => recovered.in_doubt += 1,
    }
}

/// Settles one.
async fn settle(shared: &Shared, open: OpenTransaction) -> Fate {
    let parts = &shared.parts;
    let replica = open.spec.replica.is_some();
    let token = match Token::of(parts.journal.as_ref(), open.run, &open.spec) {
        Ok(token) => token,
        // The next write fails with the same error.
        Err(error) => {
            parts.observer.say(&error.to_string());
            return Fate::InDoubt;
        }
    };
    let settings = &parts.settings;
    let of = (open.spec.verb, open.spec.to);
    let mut plan = settings.plan(of, replica, open.row.back, &token);
    // Replication goes on after the decision: what was in sync then need not be now.
    plan.require_in_sync = false;
    plan.rows_lost = shared.registration.rows_lost();
    let id = open.row.id;
    let name = open.row.name.clone();
    let asks = Asks {
        token,
        write: settings.prepare,
        to: plan.to,
        by_content: plan.compares_content(),
    };
    let machine = Coordinator::resume(plan, open.open);
    let job = Job::from(open.row);
    let target = Target {
        job: job.clone(),
        lock_wait: shared.control.limits().lock_wait,
        // It is decided: wherever it is by now.
        strict: false,
        asks,
        epoch: parts.connect.epoch(),
        uniqueids: job.uniqueids.clone(),
        at: [None, None],
    };
    let around = Surroundings {
        journal: &parts.journal,
        settings: &parts.settings,
        away: &shared.outages,
        stop: parts.stop.clone(),
    };
    let started_ms = now_ms();
    let driven = drive(machine, id, target, &mut pair(parts), around).await;
    if let Some(failure) = &driven.alert {
        parts
            .alerts
            .raise(
                name.as_str(),
                failure,
                &shared.alerted,
                parts.observer.as_ref(),
            )
            .await;
    }
    let (ended, failure): (Ended, Option<Failure>) = match driven.end {
        End::Came(Outcome::Upgraded) => (Ended::Upgraded, None),
        End::Came(Outcome::Rehearsed) => (Ended::Rehearsed, None),
        End::Came(Outcome::Unchanged) => (Ended::Unchanged, None),
        End::Came(Outcome::RolledBack(failure)) => (Ended::RolledBack, Some(failure)),
        End::Came(Outcome::InDoubt(failure)) => (Ended::InDoubt, Some(failure)),
        End::Came(Outcome::TakenOver(failure)) => {
            shared.taken_over(&failure);
            return Fate::TakenOver;
        }
        End::Waits(side, failure) => {
            shared.outages.park(side, &job, &failure.text);
            (Ended::Waits, Some(failure))
        }
    };
    conclude(
        parts,
        id,
        &name,
        started_ms,
        ended,
        failure.as_ref(),
        driven.figures,
    );
    match ended {
        Ended::InDoubt => Fate::InDoubt,
        Ended::Waits => Fate::Waits,
        Ended::RolledBack => {
            let why = failure.map_or_else(String::new, |f| format!(": {}", f.text));
            parts.observer.warn(&format!(
                "{name} was decided by run {} and is rolled back{why}",
                open.run.0
            ));
            shared.taken_back.lock().push(open.run);
            Fate::RolledBack
        }
        _ => Fate::Settled,
    }
}

/// Waits until a partition is back, or given up; `false` if there is none to wait for.
pub(super) async fn wait_for_mounts(shared: &Shared) -> bool {
    let mut changed = shared.outages.subscribe();
    let mut stop = shared.parts.stop.clone();
    loop {
        let parked = shared.outages.parked();
        if shared.outages.take_news() {
            shared.control.holds(None);
            return true;
        }
        if parked.is_empty() {
            return false;
        }
        shared.control.holds(Some(parked.join("; ")));
        shared.control.parks(parked);
        tokio::select! {
            biased;
            () = stop.reached(Stop::Finish) => return true,
            _ = changed.changed() => {}
        }
    }
}
