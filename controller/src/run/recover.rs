//! Settles the open transactions that an earlier run left.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::attempt::{conclude, now_ms, pair};
use super::drive::{Surroundings, drive};
use super::engine::{Parts, Shared};
use super::peer::Target;
use super::settings::RunError;
use crate::control::Control;
use crate::journal::{Ended, MailboxId, OpenTransaction};
use crate::two_phase::{Coordinator, Failure, Outcome, Side};

/// What became of the open transactions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Brought to an end, forward or back.
    pub settled: u64,
    /// Still open.
    pub in_doubt: u64,
}

/// Brings every open transaction of the journal to its end, and does nothing else.
///
/// # Errors
/// A host does not answer, the journal fails, or the transactions do not fit the hosts given.
pub async fn recover(parts: Parts) -> Result<Recovered, RunError> {
    let control = Arc::new(Control::new(parts.settings.parallel));
    let (shared, _) = Shared::begin(parts, &control).await?;
    settle_open(&shared).await
}

/// Brings every open transaction to its end, as many at once as a run would.
///
/// # Errors
/// The journal fails, or the transactions do not fit the hosts given.
pub(super) async fn settle_open(shared: &Arc<Shared>) -> Result<Recovered, RunError> {
    let parts = &shared.parts;
    let mut recovered = Recovered::default();
    let mut after = MailboxId(0);
    loop {
        let page = parts.journal.open_transactions(after, 256)?;
        let Some(last) = page.last() else { break };
        after = last.row.id;
        let mut tasks = JoinSet::new();
        for open in page {
            check_scope(parts, &open)?;
            while tasks.len() >= parts.settings.parallel {
                count(&mut recovered, tasks.join_next().await.as_ref());
            }
            let shared = Arc::clone(shared);
            tasks.spawn(async move { settle(&shared, open).await });
        }
        while !tasks.is_empty() {
            count(&mut recovered, tasks.join_next().await.as_ref());
        }
    }
    parts.journal.flush()?;
    if recovered.settled > 0 {
        let text = format!(
            "settled {} open transaction(s) of an earlier run",
            recovered.settled
        );
        parts.observer.say(&text);
    }
    Ok(recovered)
}

fn count(recovered: &mut Recovered, joined: Option<&Result<bool, tokio::task::JoinError>>) {
    match joined {
        Some(Ok(true)) => recovered.settled += 1,
        // A task that panicked has settled nothing.
        Some(Ok(false) | Err(_)) => recovered.in_doubt += 1,
        None => {}
    }
}

/// A transaction of two hosts cannot be settled on one, nor the other way round.
fn check_scope(parts: &Parts, open: &OpenTransaction) -> Result<(), RunError> {
    let has = parts.connect.address(Side::Replica).is_some();
    match (&open.spec.replica, has) {
        (Some(replica), false) => Err(RunError::Config(format!(
            "{} has an open transaction with the replica {replica}: give --replica",
            open.row.name
        ))),
        (None, true) => Err(RunError::Config(format!(
            "{} has an open transaction of a run without a replica: first recover without --replica",
            open.row.name
        ))),
        _ => Ok(()),
    }
}

/// Settles one; whether it came to an end.
async fn settle(shared: &Shared, open: OpenTransaction) -> bool {
    let parts = &shared.parts;
    let replica = open.spec.replica.is_some();
    let mut plan = parts.settings.plan(open.spec.to, replica, open.row.back);
    // Replication goes on after the decision: what was in sync then need not be now.
    plan.require_in_sync = false;
    let id = open.row.id;
    let name = open.row.name.clone();
    let machine = Coordinator::resume(plan, open.open);
    let target = Target {
        job: open.row.into(),
        lock_wait: parts.settings.lock_wait,
    };
    let around = Surroundings {
        journal: &parts.journal,
        settings: &parts.settings,
        away: &shared.away,
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
                &shared.told,
                parts.observer.as_ref(),
            )
            .await;
    }
    let (ended, failure): (Ended, Option<Failure>) = match driven.outcome {
        Outcome::Upgraded => (Ended::Upgraded, None),
        Outcome::Unchanged => (Ended::Unchanged, None),
        Outcome::RolledBack(failure) => (Ended::RolledBack, Some(failure)),
        Outcome::InDoubt(failure) => (Ended::InDoubt, Some(failure)),
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
    ended != Ended::InDoubt
}
