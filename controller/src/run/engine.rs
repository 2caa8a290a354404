//! The run itself: greet, recover, resume or begin, list, work in passes, sum up.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use indexfile::mailbox::MailboxName;
use slotd::protocol::{Command, Greeting, PROTOCOL_VERSION, Reply};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use super::alert::Alerts;
use super::connect::Connect;
use super::drive::{Pair, Surroundings, backoff, drive};
use super::intake::{Source, fill, stream};
use super::observe::{Finished, Observer};
use super::peer::{Peer, Target};
use super::recover::{finish, settle_open};
use super::settings::{RunError, Settings, Stop, StopSignal};
use super::summary::{PAGE, Summary, open_names};
use crate::control::Control;
use crate::journal::{
    Attempt, Change, Durability, Ended, Figures, Filter, Job, Journal, JournalError, MailboxId,
    RunId, RunInfo, RunSpec, State,
};
use crate::listing::Skipped;
use crate::two_phase::{Coordinator, Failure, Outcome, Reason, Side};

/// Longest pause between two passes.
const PASS_PAUSE_MAX: Duration = Duration::from_secs(60);

/// What a run is made of.
pub struct Parts {
    /// How it works.
    pub settings: Settings,
    /// How it reaches the hosts.
    pub connect: Arc<dyn Connect>,
    /// Where it keeps what it decided.
    pub journal: Arc<dyn Journal>,
    /// Who watches it.
    pub observer: Arc<dyn Observer>,
    /// Who is told when a human must look.
    pub alerts: Alerts,
    /// How it is stopped.
    pub stop: StopSignal,
}

/// Migrates the mailboxes of the sources, or goes on with a run that was stopped.
///
/// # Errors
/// The run could not begin or go on at all. What happened to single mailboxes is in the summary.
pub async fn run(parts: Parts, sources: &[Source]) -> Result<Summary, RunError> {
    let control = Arc::new(Control::new(parts.settings.parallel));
    run_controlled(parts, sources, &control).await
}

/// As [`run`], with controls that somebody else may turn meanwhile.
///
/// # Errors
/// As [`run`].
pub async fn run_controlled(
    parts: Parts,
    sources: &[Source],
    control: &Arc<Control>,
) -> Result<Summary, RunError> {
    let parts = Arc::new(parts);
    let begun = Instant::now();
    let ids = greet(&parts).await?;
    let recovered = settle_open(&parts).await?;
    let (run, known) = resume_or_begin(&parts, ids, sources)?;
    // What the master walked once need not be walked again.
    let listed = known.is_some_and(|k| k.list_complete);
    let fresh = sources
        .iter()
        .filter(|s| !listed || **s != Source::Master)
        .cloned()
        .collect();
    let batches = stream(fresh, Arc::clone(&parts.connect), parts.stop.clone());
    let skipped = fill(&parts.journal, run, batches).await?;
    if parts.stop.level() == Stop::No {
        parts.journal.list_complete(run)?;
    }
    for (why, n) in &skipped {
        parts
            .observer
            .say(&format!("{n} entries of the list skipped: {why}"));
    }
    work(&parts, control, run).await?;
    sum_up(&parts, run, begun, &skipped, recovered.settled)
}

/// Takes up what failed in the last run: what may pass by itself, or everything, or these names.
///
/// # Errors
/// There is no run, or it has no such mailbox, or it could not go on.
pub async fn retry(
    parts: Parts,
    names: &[MailboxName],
    all: bool,
    control: &Arc<Control>,
) -> Result<Summary, RunError> {
    let parts = Arc::new(parts);
    let begun = Instant::now();
    let last = parts.journal.last_run()?;
    let last = last.ok_or_else(|| RunError::Nothing("there is no run to retry".to_owned()))?;
    if last.spec.to != parts.settings.to || last.spec.verb != parts.settings.verb {
        return Err(RunError::Config("the last run was another one".to_owned()));
    }
    greet(&parts).await?;
    let recovered = settle_open(&parts).await?;
    let mut unknown = Vec::new();
    for name in names {
        match parts.journal.find(last.id, name)? {
            Some(row) => requeue(&parts, row.id),
            None => unknown.push(name.to_string()),
        }
    }
    if !unknown.is_empty() {
        return Err(RunError::NoMailbox(unknown.join(", ")));
    }
    if names.is_empty() {
        requeue_failed(&parts, last.id, all)?;
    }
    parts.journal.flush()?;
    work(&parts, control, last.id).await?;
    sum_up(&parts, last.id, begun, &Skipped::new(), recovered.settled)
}

pub(super) fn sum_up(
    parts: &Parts,
    run: RunId,
    begun: Instant,
    skipped: &Skipped,
    recovered: u64,
) -> Result<Summary, RunError> {
    let summary = Summary::collect(
        parts.journal.as_ref(),
        run,
        begun.elapsed(),
        skipped,
        recovered,
    )?;
    if summary.pending == 0 && parts.stop.level() == Stop::No {
        parts.journal.finish_run(run, now_ms())?;
    }
    Ok(summary)
}

/// Looks whether each slotd answers and is one that we understand, and not the same one twice.
pub(super) async fn greet(parts: &Parts) -> Result<[String; 2], RunError> {
    greet_hosts(&parts.connect).await
}

pub(super) async fn greet_hosts(connect: &Arc<dyn Connect>) -> Result<[String; 2], RunError> {
    let mut ids = [String::new(), String::new()];
    for side in Side::ALL {
        if connect.address(side).is_none() {
            continue;
        }
        let unavailable = |text: String| RunError::Unavailable {
            side: side.as_str(),
            text,
        };
        let mut peer = Peer::new(side, Arc::clone(connect));
        let reply = peer
            .call(&Command::Hello)
            .await
            .map_err(|error| unavailable(error.to_string()))?;
        let Reply::Ok(fields) = reply else {
            return Err(unavailable(format!(
                "HELLO was answered with {}",
                reply.to_line().trim_end()
            )));
        };
        let greeting =
            Greeting::from_fields(&fields).map_err(|error| unavailable(error.to_string()))?;
        if greeting.protocol != PROTOCOL_VERSION {
            return Err(RunError::Config(format!(
                "the {side}'s slotd speaks version {} of the protocol and this controller version {}",
                greeting.protocol, PROTOCOL_VERSION
            )));
        }
        ids[side.index()] = greeting.host_id;
    }
    if !ids[0].is_empty() && ids[0] == ids[1] {
        return Err(RunError::Config(
            "master and replica are the same slotd".to_owned(),
        ));
    }
    Ok(ids)
}

pub(super) fn resume_or_begin(
    parts: &Arc<Parts>,
    ids: [String; 2],
    sources: &[Source],
) -> Result<(RunId, Option<RunInfo>), RunError> {
    let address = |side| parts.connect.address(side);
    let [master_id, replica_id] = ids;
    let spec = RunSpec {
        verb: parts.settings.verb,
        to: parts.settings.to,
        undoes: parts.settings.undoes,
        master: address(Side::Master).unwrap_or_default(),
        replica: address(Side::Replica),
        master_id,
        replica_id,
    };
    if let Some(last) = parts.journal.last_run()? {
        let swapped = |a: &str, b: &str| !a.is_empty() && a == b;
        if swapped(&last.spec.master_id, &spec.replica_id)
            || swapped(&last.spec.replica_id, &spec.master_id)
        {
            return Err(RunError::Config(
                "master and replica have changed places since the last run with this state file"
                    .to_owned(),
            ));
        }
        let same = last.spec.verb == spec.verb
            && last.spec.to == spec.to
            && last.spec.undoes == spec.undoes
            && last.spec.replica.is_some() == spec.replica.is_some();
        if last.finished_ms.is_none() && same {
            requeue_failed(parts, last.id, false)?;
            for source in sources {
                if let Source::Names(names) = source {
                    for name in names {
                        if let Some(row) = parts.journal.find(last.id, name)? {
                            requeue(parts, row.id);
                        }
                    }
                }
            }
            parts.journal.flush()?;
            let totals = parts.journal.totals(last.id)?;
            let done = totals.mailboxes - totals.pending;
            let text = format!(
                "resuming run {}: {done} of {} mailboxes are done",
                last.id.0, totals.mailboxes
            );
            parts.observer.say(&text);
            return Ok((last.id, Some(last)));
        }
        if last.finished_ms.is_none() {
            parts.observer.say(&format!(
                "run {} was for something else and is given up",
                last.id.0
            ));
            parts.journal.finish_run(last.id, now_ms())?;
        }
    }
    Ok((parts.journal.begin_run(&spec, now_ms())?, None))
}

fn requeue(parts: &Parts, mailbox: MailboxId) {
    parts
        .journal
        .submit(Change::Requeue { mailbox }, Durability::Lazy);
}

fn requeue_failed(parts: &Parts, run: RunId, all: bool) -> Result<(), RunError> {
    let mut after = MailboxId(0);
    loop {
        let page = parts
            .journal
            .page(run, Filter::In(State::RolledBack), after, PAGE)?;
        let Some(last) = page.last() else {
            return Ok(());
        };
        after = last.id;
        for row in &page {
            if all || row.reason.is_none_or(Reason::may_pass) {
                requeue(parts, row.id);
            }
        }
    }
}

/// The queue of one pass: pages through what is pending, each mailbox once. A mailbox that an earlier run left
/// in doubt is passed over: a new transaction would start from two hosts that may differ, and its "rolled
/// back" would hide that. Only [`settle_open`] ends it.
struct Queue {
    journal: Arc<dyn Journal>,
    run: RunId,
    in_doubt: HashSet<MailboxName>,
    state: Mutex<(MailboxId, VecDeque<Job>)>,
}

impl Queue {
    async fn next(&self) -> Result<Option<Job>, JournalError> {
        let mut state = self.state.lock().await;
        while state.1.is_empty() {
            let page = self
                .journal
                .page(self.run, Filter::In(State::Pending), state.0, PAGE)?;
            let Some(last) = page.last() else {
                return Ok(None);
            };
            state.0 = last.id;
            let jobs = page.into_iter().map(Job::from);
            let settled = jobs.filter(|job| !self.in_doubt.contains(&job.name));
            state.1.extend(settled);
        }
        Ok(state.1.pop_front())
    }
}

/// Works until nothing is pending, or the passes are used up, or it is told to stop.
pub(super) async fn work(
    parts: &Arc<Parts>,
    control: &Arc<Control>,
    run: RunId,
) -> Result<(), RunError> {
    let totals = parts.journal.totals(run)?;
    control.begins(run.0, totals.mailboxes, totals.mailboxes - totals.pending);
    parts
        .observer
        .begins(totals.mailboxes, totals.mailboxes - totals.pending);
    for pass in 1..=parts.settings.passes.max(1) {
        if pass > 1 {
            let pending = parts.journal.totals(run)?.pending;
            let pause = backoff(parts.settings.pass_pause, pass - 1, PASS_PAUSE_MAX);
            let seconds = pause.as_secs_f64();
            parts.observer.say(&format!(
                "{pending} mailbox(es) are tried again in {seconds:.1} s"
            ));
            let mut stop = parts.stop.clone();
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.reached(Stop::Finish) => return Ok(()),
            }
        }
        one_pass(parts, control, run, pass >= parts.settings.passes).await?;
        parts.journal.flush()?;
        if parts.stop.level() != Stop::No || parts.journal.totals(run)?.pending == 0 {
            break;
        }
    }
    Ok(())
}

/// One pass over what is pending: begins mailboxes while there is room, and waits while there is none.
async fn one_pass(
    parts: &Arc<Parts>,
    control: &Arc<Control>,
    run: RunId,
    last: bool,
) -> Result<(), RunError> {
    let queue = Queue {
        journal: Arc::clone(&parts.journal),
        run,
        in_doubt: open_names(parts.journal.as_ref())?,
        state: Mutex::new((MailboxId(0), VecDeque::new())),
    };
    let mut turned = control.subscribe();
    let mut stop = parts.stop.clone();
    let mut pool: Vec<Pair> = Vec::new();
    let mut tasks = JoinSet::new();
    let mut first_error = None;
    let mut exhausted = false;
    loop {
        turned.mark_unchanged();
        while !exhausted && first_error.is_none() && stop.level() == Stop::No && control.room() > 0
        {
            let job = match queue.next().await {
                Ok(Some(job)) => job,
                Ok(None) => {
                    exhausted = true;
                    break;
                }
                Err(error) => {
                    // What is under way still comes to its end.
                    first_error = Some(error.into());
                    break;
                }
            };
            let pair = pool.pop().unwrap_or_else(|| pair(parts));
            let (parts, control) = (Arc::clone(parts), Arc::clone(control));
            control.starts();
            tasks.spawn(async move { attempt(&parts, &control, job, pair, last).await });
        }
        let over = exhausted || first_error.is_some() || stop.level() != Stop::No;
        if over && tasks.is_empty() {
            break;
        }
        tokio::select! {
            joined = tasks.join_next(), if !tasks.is_empty() => match joined {
                Some(Ok(Ok(pair))) => pool.push(pair),
                Some(Ok(Err(error))) => first_error = first_error.or(Some(error)),
                Some(Err(error)) => {
                    let text = format!("a mailbox's task failed: {error}");
                    first_error = first_error.or(Some(RunError::Config(text)));
                }
                None => {}
            },
            // Limits may have been changed, or what was waited for may be over.
            _ = turned.changed(), if !over => {}
            () = stop.reached(Stop::Finish), if !over => {}
        }
    }
    first_error.map_or(Ok(()), Err)
}

/// One attempt at one mailbox; gives the connections back.
async fn attempt(
    parts: &Arc<Parts>,
    control: &Control,
    job: Job,
    mut pair: Pair,
    last: bool,
) -> Result<Pair, RunError> {
    let _under_way = UnderWay(control);
    let replica = parts.connect.address(Side::Replica).is_some();
    let plan = parts.settings.plan(parts.settings.to, replica, job.back);
    let started_ms = now_ms();
    let (id, name, named) = (job.id, job.name.clone(), job.named);
    let machine = Coordinator::new(plan);
    let target = Target {
        job,
        lock_wait: parts.settings.lock_wait,
    };
    let around = Surroundings {
        journal: &parts.journal,
        settings: &parts.settings,
        stop: parts.stop.clone(),
    };
    let driven = drive(machine, id, target, &mut pair, around).await;
    if let Some(failure) = &driven.alert {
        parts
            .alerts
            .raise(name.as_str(), failure, parts.observer.as_ref())
            .await;
    }
    let (ended, failure) = ending(driven.outcome, named, last);
    control.finished(name.as_str(), ended, failure.as_ref(), &driven.figures);
    conclude(
        parts,
        id,
        &name,
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
        return Err(JournalError::Poisoned { first: text }.into());
    }
    Ok(pair)
}

/// Counts a mailbox as under way until it is dropped, also when its task is.
struct UnderWay<'a>(&'a Control);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.ends();
    }
}

/// What an outcome means for the mailbox in this run.
fn ending(outcome: Outcome, named: bool, last: bool) -> (Ended, Option<Failure>) {
    match outcome {
        Outcome::Upgraded => (Ended::Upgraded, None),
        Outcome::Unchanged => (Ended::Unchanged, None),
        Outcome::InDoubt(failure) => (Ended::InDoubt, Some(failure)),
        Outcome::RolledBack(failure) => {
            let ended = match failure.reason {
                Reason::NoMailbox if failure.side == Some(Side::Master) && !named => Ended::Gone,
                Reason::Interrupted | Reason::Journal => Ended::Again,
                reason if reason.may_pass() && !last => Ended::Again,
                _ => Ended::RolledBack,
            };
            (ended, Some(failure))
        }
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
    finish(parts, id, attempt);
    parts.observer.finished(&Finished {
        name: name.as_str(),
        ended,
        failure,
        figures: &figures,
    });
}

pub(super) fn pair(parts: &Arc<Parts>) -> Pair {
    let connect = Arc::clone(&parts.connect);
    Pair::new(move |side| Peer::new(side, Arc::clone(&connect)))
}

/// Milliseconds since 1970.
pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
