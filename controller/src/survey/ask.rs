//! Asks both hosts about many mailboxes, without a journal and without a lock: the engine under
//! `plan`, `verify` and `clean`.
//!
//! Flat memory: mailboxes stream in, answers stream out in the order in which they come. Nothing is
//! kept, so a crash leaves nothing.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::excluded::Excluded;
use super::preflight::{Preflight, Work, preflight};
use super::source::Source;
use super::sources::{Batch, Batches};
use super::spool::Spool;
use crate::error::RunError;
use crate::hosts::{Connect, Link, Question, Said, ask_about, check_hosts};
use crate::journal::{Candidate, Filter, Journal, MailboxId, PAGE, Row, RunId, State};
use crate::stop::{Stop, StopSignal};
use crate::two_phase::Side;

/// What the hosts said about one mailbox; `None` for a host that was not asked.
#[derive(Debug)]
pub struct Answered {
    /// The mailbox.
    pub of: Candidate,
    /// Master's and replica's answer.
    pub said: [Option<Said>; 2],
    /// Their answers to [`Asking::then`].
    pub then: [Option<Said>; 2],
}

/// How to ask.
pub struct Asking<'a> {
    /// How to reach the hosts.
    pub connect: &'a Arc<dyn Connect>,
    /// Mailboxes at once.
    pub parallel: usize,
    /// When to end early.
    pub stop: &'a StopSignal,
    /// What to ask about each mailbox.
    pub question: Arc<Question>,
    /// What to ask after that of those that answered with `OK`.
    pub then: Option<Arc<Question>>,
}

/// How many mailboxes are sampled before a person relies on the answer.
const LOOKED_AT: u64 = 50;

/// Looks at both hosts, and goes through the sources; of single mailboxes only a sample is asked
/// about.
///
/// # Errors
/// The list cannot be read, or the master does not answer.
pub async fn list(
    connect: &Arc<dyn Connect>,
    sources: Vec<Source>,
    stop: &StopSignal,
    mut sink: impl FnMut(&Candidate),
) -> Result<(Excluded, Preflight), RunError> {
    check_hosts(connect).await?;
    let mut spool = Spool::whole(&sources, connect, stop).await?;
    spool.note_replica(&sources, connect, stop).await?;
    let found = preflight(connect, Work::of(&spool, LOOKED_AT)?).await?;
    let mut excluded = std::mem::take(&mut spool.excluded);
    let mut after = 0;
    loop {
        let page = spool.page(after, PAGE as usize)?;
        let Some(last) = page.last() else {
            return Ok((excluded, found));
        };
        after = last.at;
        for spooled in &page {
            excluded.note_places(&spooled.listed.name, spooled.places.as_deref());
            sink(&spooled.listed);
        }
    }
}

/// Asks about every mailbox of the sources, `parallel` at once.
///
/// # Errors
/// A host does not answer at all, or the list cannot be read. What single mailboxes are refused is
/// among the answers.
pub async fn survey(
    asking: &Asking<'_>,
    sources: Vec<Source>,
    sink: impl FnMut(Answered),
) -> Result<Excluded, RunError> {
    check_hosts(asking.connect).await?;
    let mut spool = Spool::whole(&sources, asking.connect, asking.stop).await?;
    spool
        .note_replica(&sources, asking.connect, asking.stop)
        .await?;
    survey_spool(asking, &sources, spool, sink).await
}

/// The same, after a look at both hosts.
///
/// # Errors
/// As [`survey`].
pub async fn survey_and_look(
    asking: &Asking<'_>,
    sources: Vec<Source>,
    sink: impl FnMut(Answered),
) -> Result<(Excluded, Preflight), RunError> {
    check_hosts(asking.connect).await?;
    let mut spool = Spool::whole(&sources, asking.connect, asking.stop).await?;
    spool
        .note_replica(&sources, asking.connect, asking.stop)
        .await?;
    let found = preflight(asking.connect, Work::of(&spool, LOOKED_AT)?).await?;
    let excluded = survey_spool(asking, &sources, spool, sink).await?;
    Ok((excluded, found))
}

async fn survey_spool(
    asking: &Asking<'_>,
    sources: &[Source],
    mut spool: Spool,
    sink: impl FnMut(Answered),
) -> Result<Excluded, RunError> {
    let strict = sources.iter().any(|source| source.partition().is_some());
    let mut excluded = std::mem::take(&mut spool.excluded);
    let (out, batches) = tokio::sync::mpsc::channel(2);
    let feed = tokio::task::spawn_blocking(move || {
        let mut places = Excluded::default();
        let mut after = 0;
        loop {
            let page = match spool.page(after, PAGE as usize) {
                Ok(page) => page,
                Err(error) => {
                    // If nobody listens any more, nobody wants to know.
                    let _ = out.blocking_send(Err(error));
                    return places;
                }
            };
            let Some(last) = page.last() else {
                return places;
            };
            after = last.at;
            for spooled in &page {
                places.note_places(&spooled.listed.name, spooled.places.as_deref());
            }
            let batch = Batch::Listed(page.into_iter().map(|s| s.listed).collect());
            if out.blocking_send(Ok(batch)).is_err() {
                return places;
            }
        }
    });
    survey_batches(asking, batches, strict, sink).await?;
    let places = feed.await;
    excluded.add(&places.map_err(|e| RunError::Spool(e.to_string()))?);
    Ok(excluded)
}

/// Asks about every mailbox of a run that is in one of these states.
///
/// # Errors
/// As [`survey`], or the journal cannot be read.
pub async fn survey_rows(
    asking: &Asking<'_>,
    journal: Arc<dyn Journal>,
    run: RunId,
    states: &'static [State],
    sink: impl FnMut(Answered),
) -> Result<(), RunError> {
    check_hosts(asking.connect).await?;
    let (out, batches) = tokio::sync::mpsc::channel(2);
    tokio::task::spawn_blocking(move || {
        for state in states {
            let mut after = MailboxId(0);
            loop {
                let page = match journal.page(run, Filter::In(*state), after, PAGE) {
                    Ok(page) => page,
                    Err(error) => {
                        // If nobody listens any more, nobody wants to know.
                        let _ = out.blocking_send(Err(error.into()));
                        return;
                    }
                };
                let Some(last) = page.last() else { break };
                after = last.id;
                let listed = |row: Row| Candidate {
                    partition: row.partition,
                    ..Candidate::new(row.name, row.named)
                };
                let batch = Batch::Listed(page.into_iter().map(listed).collect());
                if out.blocking_send(Ok(batch)).is_err() {
                    return;
                }
            }
        }
    });
    survey_batches(asking, batches, false, sink).await
}

/// Asks both hosts at once; one that is not in scope is not asked.
async fn ask_both(
    [master, replica]: &mut [Link; 2],
    in_scope: [Option<bool>; 2],
    of: &Candidate,
    question: &Question,
) -> [Option<Said>; 2] {
    let (a, b) = tokio::join!(
        ask_about(master, Side::Master, in_scope[0], of, question),
        ask_about(replica, Side::Replica, in_scope[1], of, question)
    );
    [a, b]
}

async fn survey_batches(
    asking: &Asking<'_>,
    mut batches: Batches,
    strict: bool,
    mut sink: impl FnMut(Answered),
) -> Result<(), RunError> {
    let Asking {
        connect,
        parallel,
        stop,
        question,
        then,
    } = asking;
    let mut pool: Vec<[Link; 2]> = Vec::new();
    let mut tasks: JoinSet<([Link; 2], Answered)> = JoinSet::new();
    let mut settle = |joined: Option<Result<([Link; 2], Answered), tokio::task::JoinError>>,
                      pool: &mut Vec<[Link; 2]>| match joined {
        Some(Ok((peers, answered))) => {
            pool.push(peers);
            sink(answered);
            Ok(())
        }
        Some(Err(error)) => Err(RunError::Config(format!(
            "a mailbox's task failed: {error}"
        ))),
        None => Ok(()),
    };
    while let Some(batch) = batches.recv().await {
        let listed = match batch? {
            Batch::Listed(listed) => listed,
            Batch::Excluded(_) => continue,
        };
        for of in listed {
            if stop.level() != Stop::No {
                break;
            }
            while tasks.len() >= (*parallel).max(1) {
                settle(tasks.join_next().await, &mut pool)?;
            }
            let new = || Side::ALL.map(|side| Link::new(side, connect));
            let mut peers = pool.pop().unwrap_or_else(new);
            let in_scope = Side::ALL.map(|side| {
                let in_run = connect.address(side).is_some();
                in_run.then_some(strict)
            });
            let (question, then) = (Arc::clone(question), then.clone());
            tasks.spawn(async move {
                let said = ask_both(&mut peers, in_scope, &of, question.as_ref()).await;
                let then = match then {
                    Some(then) => {
                        let answered = |side: usize| matches!(said[side], Some(Ok(_)));
                        let asked = [0, 1].map(|side| in_scope[side].filter(|_| answered(side)));
                        ask_both(&mut peers, asked, &of, then.as_ref()).await
                    }
                    None => [None, None],
                };
                (peers, Answered { of, said, then })
            });
        }
    }
    while !tasks.is_empty() {
        settle(tasks.join_next().await, &mut pool)?;
    }
    Ok(())
}
