//! One attempt at one mailbox: what it comes to in the journal, and what the queue does with it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use indexfile::mailbox::MailboxName;
use tokio::time::Instant;

use super::context::{Parts, Shared};
use super::drive::{End, Pair, Surroundings, drive};
use super::participant::{Asks, Participant, Target};
use super::queue::Ticket;
use super::rehash::reported;
use super::whereabouts::seek;
use crate::clock::now_ms;
use crate::error::RunError;
use crate::hosts::Link;
use crate::journal::{Attempt, Change, Durability, Ended, Figures, JournalError, MailboxId, Verb};
use crate::observer::Finished;
use crate::stop::Stop;
use crate::two_phase::{Coordinator, Failure, Outcome, Reason, Side};

/// A mailbox that was under way this many times when its host went away may be the cause.
const HOST_TRIES: u32 = 3;

/// What is to be done about the mailbox after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// Nothing.
    Over,
    /// Another attempt, in the next pass.
    Again,
    /// Another attempt, as soon as its host is back, or what it is postponed for is over.
    Back,
    /// Another attempt, once its partition is mounted.
    Parked,
}

/// An attempt that is over.
pub(super) struct Done {
    /// Connections for the next one.
    pub(super) pair: Pair,
    pub(super) ticket: Ticket,
    pub(super) took: Duration,
    pub(super) after: After,
}

/// Where the pass stands among those of its run.
#[derive(Clone, Copy, Debug)]
pub(super) struct PassPosition {
    /// It is not the first.
    pub(super) again: bool,
    /// There is none after it.
    pub(super) last: bool,
}

/// One attempt at one mailbox.
///
/// # Errors
/// The decision could not be written: the run must end.
#[allow(clippy::too_many_lines)] // what an attempt comes to, in one place
pub(super) async fn attempt(
    shared: &Shared,
    mut ticket: Ticket,
    mut pair: Pair,
    position: PassPosition,
) -> Result<Done, RunError> {
    let parts = &shared.parts;
    let begun = Instant::now();
    if !shared.control.may_begin().await {
        return Ok(Done {
            pair,
            ticket,
            took: begun.elapsed(),
            after: After::Back,
        });
    }
    let started_ms = now_ms();
    let job = ticket.job.clone();
    let replica = parts.connect.address(Side::Replica).is_some();
    let token = shared.token.get().copied().unwrap_or_default();
    let settings = &parts.settings;
    let of = (settings.verb, settings.to);
    let mut plan = settings.plan(of, replica, job.back, &token);
    // Most of it was prepared days ago. What was not, and is too much to be read under the locks,
    // is prepared for the next attempt.
    plan.prepare &= !settings.verb.crosses() || position.again || position.last;
    plan.rows_lost = shared.registration.rows_lost();
    let mut target = Target {
        job: job.clone(),
        lock_wait: shared.control.limits().lock_wait,
        strict: shared.strict.load(Ordering::Relaxed),
        asks: Asks {
            token,
            write: settings.prepare,
            to: plan.to,
            by_content: plan.compares_content(),
        },
        epoch: parts.connect.epoch(),
        // Every other verb is about whatever has that name.
        uniqueids: match settings.verb {
            Verb::Rollback => job.uniqueids.clone(),
            _ => [None, None],
        },
        at: [None, None],
    };
    let driven = loop {
        let around = Surroundings {
            journal: &parts.journal,
            settings: &parts.settings,
            away: &shared.outages,
            stop: parts.stop.clone(),
        };
        let machine = Coordinator::new(plan.clone());
        let mut driven = drive(machine, job.id, target.clone(), &mut pair, around).await;
        match seek(parts, &mut target, &driven, &mut pair).await {
            Ok(true) => {}
            Ok(false) => break driven,
            Err(failure) => {
                driven.end = End::Came(Outcome::RolledBack(failure));
                break driven;
            }
        }
    };
    shared.control.decided(driven.decisions);
    if let Some(failure) = &driven.alert {
        let observer = parts.observer.as_ref();
        parts
            .alerts
            .raise(job.name.as_str(), failure, &shared.alerted, observer)
            .await;
    }
    let end = match driven.end {
        // Its row is the other controller's: nothing is written down.
        End::Came(Outcome::TakenOver(failure)) => {
            shared.taken_over(&failure);
            return Ok(Done {
                pair,
                ticket,
                took: begun.elapsed(),
                after: After::Over,
            });
        }
        End::Came(outcome) => End::Came(reported(outcome, token.rehash, &driven.rehashed)),
        waits @ End::Waits(..) => waits,
    };
    let (ended, failure, after) = fate(shared, &mut ticket, end, position.last).await;
    let found = failure.as_ref().map(|f| f.reason) == Some(Reason::WrongGuid);
    if found || matches!(ended, Ended::Upgraded | Ended::Unchanged | Ended::Rehearsed) {
        shared.liveness.note(&job);
    }
    shared.breaker.note(ended, failure.as_ref());
    let name = job.name.as_str();
    shared
        .warnings
        .record(name, &driven.observed, ended == Ended::Upgraded);
    let control = &shared.control;
    let took = begun.elapsed();
    control.finished(name, ended, failure.as_ref(), &driven.figures, took);
    conclude(
        parts,
        job.id,
        &job.name,
        started_ms,
        ended,
        failure.as_ref(),
        driven.figures,
    );
    if let Some(Failure {
        reason: Reason::Journal,
        text,
        ..
    }) = failure
    {
        // It says itself whether it was taken over, lost its server, or has a disk that fails.
        let error = parts.journal.flush().err();
        return Err(error
            .unwrap_or(JournalError::Poisoned { first: text })
            .into());
    }
    Ok(Done {
        pair,
        ticket,
        took,
        after,
    })
}

/// What an outcome means for the mailbox in this run.
async fn fate(
    shared: &Shared,
    ticket: &mut Ticket,
    end: End,
    last: bool,
) -> (Ended, Option<Failure>, After) {
    let mut failure = match end {
        End::Came(Outcome::Upgraded) => return (Ended::Upgraded, None, After::Over),
        End::Came(Outcome::Rehearsed) => return (Ended::Rehearsed, None, After::Over),
        End::Came(Outcome::Unchanged) => return (Ended::Unchanged, None, After::Over),
        End::Came(Outcome::InDoubt(failure)) => {
            return (Ended::InDoubt, Some(failure), After::Over);
        }
        End::Waits(side, failure) => {
            if let Some(text) = shared.failover_of(side).await {
                shared.breaker.fails_over(text);
            }
            // Whether it is asked for or was given up: only recovery goes on with it.
            shared.outages.park(side, &ticket.job, &failure.text);
            return (Ended::Waits, Some(failure), After::Over);
        }
        End::Came(Outcome::RolledBack(failure) | Outcome::TakenOver(failure)) => failure,
    };
    if let (Reason::Unmounted, Some(side)) = (failure.reason, failure.side)
        && let Some(text) = shared.failover_of(side).await
    {
        failure = Failure::new(Some(side), Reason::Failover, text);
    }
    let (ended, after) = match (failure.reason, failure.side) {
        (Reason::NoMailbox, Some(Side::Master)) if !ticket.job.named => {
            let (connect, job) = (&shared.parts.connect, &ticket.job);
            if shared.liveness.is_store_there(connect, job).await {
                (Ended::Gone, After::Over)
            } else {
                let why = match &job.partition {
                    Some(partition) => format!(
                        "no other mailbox of partition {partition} is there to show that its \
                         store is"
                    ),
                    None => {
                        "on which partition it was is not known, so that nothing shows whether \
                             its store is there"
                            .to_owned()
                    }
                };
                failure.text = format!(
                    "{}, and {why}; is it the right one, and mounted?",
                    failure.text
                );
                (Ended::RolledBack, After::Over)
            }
        }
        // No mailbox's failure: the run ends with it, and the same command goes on.
        (Reason::Interrupted | Reason::Journal | Reason::Unfenced | Reason::Failover, _) => {
            (Ended::Again, After::Again)
        }
        (Reason::HostAway | Reason::Draining, Some(side))
            if is_away(shared, side, &failure.text, ticket).await =>
        {
            (Ended::Again, After::Back)
        }
        (Reason::Unmounted, Some(side))
            if shared.outages.park(side, &ticket.job, &failure.text) =>
        {
            (Ended::Again, After::Parked)
        }
        (reason, _) if reason.may_pass() && !last => (Ended::Again, After::Again),
        _ => (Ended::RolledBack, After::Over),
    };
    (ended, Some(failure), after)
}

/// Whether the host is away, which is not this mailbox's failure.
async fn is_away(shared: &Shared, side: Side, why: &str, ticket: &mut Ticket) -> bool {
    ticket.tries += 1;
    if ticket.tries >= HOST_TRIES {
        return false;
    }
    let mut stop = shared.parts.stop.clone();
    tokio::select! {
        biased;
        away = shared.outages.look(side, why) => away,
        () = stop.reached(Stop::Now) => true,
    }
}

/// Writes down how an attempt ended, and tells the observer.
pub(super) fn conclude(
    parts: &Parts,
    id: MailboxId,
    name: &MailboxName,
    started_ms: i64,
    ended: Ended,
    failure: Option<&Failure>,
    figures: Figures,
) {
    let attempt = Attempt {
        started_ms,
        finished_ms: now_ms(),
        ended,
        reason: failure.map(|f| f.reason),
        side: failure.and_then(|f| f.side),
        detail: failure.map(|f| f.text.clone()).unwrap_or_default(),
        figures,
    };
    let change = Change::Finish {
        mailbox: id,
        attempt,
    };
    parts.journal.submit(change, Durability::Lazy);
    parts.observer.finished(&Finished {
        name: name.as_str(),
        ended,
        failure,
        figures: &figures,
    });
}

pub(super) fn pair(parts: &Parts) -> Pair {
    let connect = Arc::clone(&parts.connect);
    Pair::new(move |side| Participant::new(Link::new(side, &connect)))
}
