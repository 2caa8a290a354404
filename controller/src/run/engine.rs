//! The run itself: look at the hosts, recover, resume or begin, list, work in passes, sum up.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use indexfile::exit::Exit;
use tokio::task::JoinSet;

use super::attempt::PassPosition;
use super::begin::{Retry, Start, check_hosts, fill, take_up_again};
use super::context::{Parts, Shared};
use super::pass::one_pass;
use super::queue::Scope;
use super::recover::{Recovered, settle_open, settle_waiting, wait_for_mounts};
use super::second_walk::walk_again;
use super::selection::Selection;
use super::summary::Summary;
use super::token::Token;
use crate::clock::now_ms;
use crate::control::{Control, Steered};
use crate::error::RunError;
use crate::hosts::{Sides, backoff, check_rehash, fallen_fence};
use crate::journal::{MailboxId, RunId, Verb};
use crate::stop::Stop;
use crate::survey::{
    Excluded, SAMPLE, SERVERS_BEFORE_2_3_10, Source, Spool, Weight, Work, preflight, sample,
};

/// Longest pause between two passes.
const PASS_PAUSE_MAX: Duration = Duration::from_secs(60);

/// Migrates the mailboxes of the sources, or goes on with a run that was stopped.
///
/// # Errors
/// The run could not begin or go on at all. What happened to single mailboxes is in the summary.
pub async fn run(parts: Parts, sources: &[Source]) -> Result<Summary, RunError> {
    let control = Arc::new(Control::new(parts.settings.limits.clone()));
    run_controlled(parts, sources, &control).await
}

/// As [`run`], with controls that another task may set meanwhile.
///
/// # Errors
/// As [`run`].
pub async fn run_controlled(
    parts: Parts,
    sources: &[Source],
    control: &Arc<Control>,
) -> Result<Summary, RunError> {
    let begun = Instant::now();
    let (shared, ids) = Shared::begin(parts, control, Sides::AsGiven).await?;
    let summary = begin_and_work(&shared, ids, sources, begun).await;
    shared.end().await;
    summary
}

async fn begin_and_work(
    shared: &Arc<Shared>,
    ids: [String; 2],
    sources: &[Source],
    begun: Instant,
) -> Result<Summary, RunError> {
    let parts = &shared.parts;
    let selection = Selection::read(parts, sources).await?;
    let start = Start::of(parts, ids, &selection)?;
    check_own_fence(parts).await?;
    let recovered = if parts.settings.verb.rehearses() {
        check_settled(shared)?;
        Recovered::default()
    } else {
        settle_open(shared).await?
    };
    if parts.settings.is_too_new_for_2_3_9() {
        parts.observer.warn(SERVERS_BEFORE_2_3_10);
    }
    let resumed = start.is_listed();
    let (run, mut excluded) = if resumed {
        look(parts, Work::default()).await?;
        // What the master walked once need not be walked again.
        (start.begin(parts, sources)?, Excluded::default())
    } else {
        let spool = match selection.mailboxes(parts, sources).await {
            // Other pairs have what is meant.
            Err(RunError::Empty(text)) if is_of_a_fleet(parts, sources) => {
                parts.observer.say(&text);
                let run = start.begin(parts, sources)?;
                parts.journal.list_complete(run)?;
                return sum_up(shared, run, begun, Excluded::default(), recovered.settled);
            }
            spool => spool?,
        };
        look(parts, work_on(parts, &spool)?).await?;
        let run = start.begin(parts, sources)?;
        fill(parts, run, &spool)?;
        parts.journal.list_complete(run)?;
        (run, spool.excluded)
    };
    for (why, n) in &excluded.skipped {
        parts
            .observer
            .say(&format!("{n} entries of the list skipped: {why}"));
    }
    for line in excluded.warnings() {
        parts.observer.say(&line);
    }
    if parts.settings.verb == Verb::Cutover {
        parts.observer.warn(NO_SERVER);
    }
    work(shared, run, &Scope::All).await?;
    if let Some((is_new, found)) = walk_again(shared, run, sources, resumed).await? {
        excluded = found;
        if is_new {
            work(shared, run, &Scope::All).await?;
        }
    }
    sum_up(shared, run, begun, excluded, recovered.settled)
}

/// Whether it is one pair's part of what need not fit any of its mailboxes.
fn is_of_a_fleet(parts: &Parts, sources: &[Source]) -> bool {
    parts.settings.fleet.is_some() && sources.iter().any(Source::may_be_empty)
}

/// What a person must know before the first mailbox is changed over, quiet or not.
const NO_SERVER: &str = "\
WARNING: from now on no server may be started, old or new, on either host, before `controller \
cutover --verify` has ended with 0, or `controller cutover --undo` has taken everything back";

/// Before anything is begun that needs the fence.
///
/// # Errors
/// It does not stand on both hosts.
async fn check_own_fence(parts: &Parts) -> Result<(), RunError> {
    if !parts.settings.verb.crosses() {
        return Ok(());
    }
    match fallen_fence(&parts.connect).await? {
        None => Ok(()),
        Some(why) => Err(RunError::Preflight {
            exit: Exit::Config,
            text: format!("a change-over needs the fence, and {why}"),
        }),
    }
}

/// A rehearsal settles nothing, as that would change mailboxes.
///
/// # Errors
/// Something is open, or may be.
fn check_settled(shared: &Shared) -> Result<(), RunError> {
    let journal = shared.parts.journal.as_ref();
    let what = match journal.open_transactions(MailboxId(0), 1)?.first() {
        Some(open) => format!(
            "{} is decided and not settled, perhaps others too",
            open.row.name
        ),
        None if shared.registration.rows_lost() => {
            "the journal may have lost its newest rows, and what they decided".to_owned()
        }
        None => return Ok(()),
    };
    Err(RunError::Preflight {
        exit: Exit::Config,
        text: format!(
            "{what}: a rehearsal changes nothing, and so settles nothing; `controller recover`, or \
             the run itself, comes first"
        ),
    })
}

/// What the look at the hosts is about. To take a change-over back needs no room: the old files are
/// there.
fn work_on(parts: &Parts, spool: &Spool) -> Result<Work, RunError> {
    match parts.settings.verb {
        Verb::Undo => Ok(Work::default()),
        _ => Work::of(spool, SAMPLE),
    }
}

/// The look at the hosts before anything is begun.
///
/// # Errors
/// Every mailbox would be refused.
pub(super) async fn look(parts: &Parts, work: Work) -> Result<(), RunError> {
    check_rehash(&parts.connect, parts.settings.rehash).await?;
    let found = preflight(&parts.connect, work).await?;
    if parts.settings.servers_stopped {
        found.check_stopped()?;
    }
    for trouble in found.troubles.iter().filter(|t| t.weight != Weight::All) {
        parts.observer.say(&trouble.text);
    }
    found.refusal().map_or(Ok(()), Err)
}

/// Takes up what failed in the last run.
///
/// # Errors
/// There is no run, or it has no such mailbox, or it could not go on.
pub async fn retry(
    parts: Parts,
    what: &Retry,
    control: &Arc<Control>,
) -> Result<Summary, RunError> {
    let begun = Instant::now();
    let last = parts.journal.last_of(parts.settings.verb)?;
    let last = last.ok_or_else(|| RunError::Nothing("there is no run to retry".to_owned()))?;
    if last.spec.to != parts.settings.to || last.spec.verb != parts.settings.verb {
        return Err(RunError::Config("the last run was another one".to_owned()));
    }
    check_hosts(&parts, &last)?;
    if !last.list_complete {
        return Err(RunError::Nothing(format!(
            "run {} was stopped before its list was whole: give its own command again ({}, {})",
            last.id.0,
            last.spec.task(),
            last.spec.of_what()
        )));
    }
    let (shared, _) = Shared::begin(parts, control, Sides::AsGiven).await?;
    let summary = work_again(&shared, last.id, what, begun).await;
    shared.end().await;
    summary
}

async fn work_again(
    shared: &Arc<Shared>,
    run: RunId,
    what: &Retry,
    begun: Instant,
) -> Result<Summary, RunError> {
    check_own_fence(&shared.parts).await?;
    let recovered = settle_open(shared).await?;
    look(&shared.parts, Work::default()).await?;
    let scope = take_up_again(&shared.parts, run, what)?;
    work(shared, run, &scope).await?;
    sum_up(shared, run, begun, Excluded::default(), recovered.settled)
}

pub(super) fn sum_up(
    shared: &Shared,
    run: RunId,
    begun: Instant,
    excluded: Excluded,
    recovered: u64,
) -> Result<Summary, RunError> {
    let parts = &shared.parts;
    shared.flush()?;
    let mut summary = Summary::collect(
        parts.journal.as_ref(),
        run,
        begun.elapsed(),
        excluded,
        recovered,
    )?;
    match shared.outages.lost() {
        Some(lost) if lost.refuses => summary.denied = Some(lost.text),
        lost => summary.away = lost.map(|lost| lost.text),
    }
    let others = shared
        .taken_back
        .lock()
        .iter()
        .filter(|of| **of != run)
        .count();
    summary.taken_back = others as u64;
    summary.stopped = shared.breaker.tripped();
    summary.panic = parts.stop.panic();
    summary.fence = shared.breaker.fence();
    summary.failover = shared.breaker.failover();
    summary.taken_over = shared.breaker.is_taken_over();
    summary.warnings = shared.warnings.warnings();
    summary.steered = shared.control.live().steered;
    if let Some(found) = summary.steered.as_ref().and_then(Steered::found)
        && summary.taken_over.is_none()
    {
        parts.journal.note_at_once(run, found)?;
    }
    let listed = parts
        .journal
        .run(run)?
        .is_some_and(|info| info.list_complete);
    // Otherwise the same command takes it up: also one with a decision that waits for its
    // partition, and one of which that was said.
    let over = listed
        && summary.pending == 0
        && summary.waiting == 0
        && summary.taken_over.is_none()
        && summary.stopped.is_none()
        && summary.panic.is_none();
    if over {
        parts.journal.finish_run(run, now_ms())?;
    }
    Ok(summary)
}

/// Works until nothing is pending, or the passes are used up, or it is stopped, or a host
/// stays away.
pub(super) async fn work(shared: &Arc<Shared>, run: RunId, scope: &Scope) -> Result<(), RunError> {
    let (parts, control) = (&shared.parts, &shared.control);
    if let Some(info) = parts.journal.run(run)? {
        let token = Token::of(parts.journal.as_ref(), run, &info.spec)?;
        shared.token.get_or_init(|| token);
        // What was moved to a partition that is left out since is not followed there.
        let strict = info.spec.names_partition() || !parts.settings.leave_out.is_empty();
        shared.strict.store(strict, Ordering::Relaxed);
    }
    let totals = parts.journal.totals(run)?;
    control.begins(run.0, &totals);
    parts.observer.begins(totals.mailboxes, totals.done());
    // Ends with this function at the latest.
    let mut sampling = JoinSet::new();
    sampling.spawn(sample(
        Arc::clone(&parts.connect),
        Arc::clone(&parts.journal),
        Arc::clone(control),
        run,
        totals,
    ));
    let passes = parts.settings.passes.max(1);
    let (mut pass, mut news) = (1, false);
    loop {
        // What waited for a host or partition is selected before the pass: one that comes back
        // during the pass may have been skipped by then.
        if std::mem::take(&mut news) | shared.outages.take_news() {
            settle_waiting(shared).await?;
        }
        let position = PassPosition {
            again: pass > 1,
            last: pass >= passes,
        };
        let again = one_pass(shared, run, scope.clone(), position).await?;
        shared.flush()?;
        if parts.stop.level() != Stop::No
            || shared.outages.lost().is_some()
            || shared.breaker.is_tripped()
        {
            return Ok(());
        }
        if again > 0 && pass < passes {
            let pause = backoff(parts.settings.pass_pause, pass, PASS_PAUSE_MAX);
            let seconds = pause.as_secs_f64();
            let text = format!("{again} mailbox(es) are tried again in {seconds:.1} s");
            parts.observer.say(&text);
            control.holds(Some(text));
            let mut stop = parts.stop.clone();
            tokio::select! {
                biased;
                () = stop.reached(Stop::Finish) => {}
                () = tokio::time::sleep(pause) => {}
            }
            control.holds(None);
            pass += 1;
        } else if shared.outages.take_news() || wait_for_mounts(shared).await {
            (pass, news) = (1, true);
        } else {
            return Ok(());
        }
        if parts.stop.level() != Stop::No {
            return Ok(());
        }
    }
}
