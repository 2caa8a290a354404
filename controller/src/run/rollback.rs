//! Undoes a run: each mailbox that it changed comes back to the version it had, in a run of its
//! own. Or undoes all of them: each mailbox comes back to what it was before the first. Or several,
//! one after the other.
//!
//! # What it promises
//!
//! Two-phase and resumable like every run. What a later run changed again, and was not undone
//! since, is left alone and reported: undoing the middle of a history would take away what came
//! after.
//! Nothing is written into the run that is undone, but that it is given up if it was stopped and
//! all of it is taken back. Where nothing is left to bring back no run is begun. Several rollbacks
//! have one stop: once it is asked for, no further one begins, and neither does one after a
//! rollback that left something as it was.
//!
//! # What a crash leaves
//!
//! What a crash of any run leaves; the same command goes on.

mod runs;
mod search;

use std::sync::Arc;
use std::time::Instant;

use indexfile::exit::Exit;
use indexfile::mailbox::MailboxName;

use super::begin::{Start, check_hosts, give_up};
use super::context::{Parts, Shared};
use super::engine::{look, sum_up, work};
use super::queue::Scope;
use super::recover::settle_open;
use super::selection::Selection;
use super::summary::Summary;
use crate::control::Control;
use crate::error::RunError;
use crate::hosts::Sides;
use crate::journal::{RunId, RunInfo, Verb};
use crate::stop::Stop;
use crate::survey::{Excluded, Work};

pub use runs::{Undo, all_runs, names_of_runs, run_to_undo, runs_since, standing_before};
use search::search;

/// Brings back what the run in [`super::Settings::undoes`] changed, or, without one, what all runs
/// did; all of it, or these names.
///
/// # Errors
/// There is no such run, it has no such mailbox, it was about other hosts, it was a change-over, or
/// it could not go on.
/// What happened to single mailboxes is in the summary.
pub async fn rollback(
    mut parts: Parts,
    names: &[MailboxName],
    control: &Arc<Control>,
) -> Result<Summary, RunError> {
    let begun = Instant::now();
    let undone = match parts.settings.undoes {
        Some(run) => vec![run_to_undo(parts.journal.as_ref(), run)?],
        None => all_runs(parts.journal.as_ref())?,
    };
    for run in &undone {
        check_scope(&parts, run)?;
    }
    if parts.settings.undoes.is_some() {
        undone.iter().try_for_each(check_no_cutover)?;
    }
    check_names(&parts, &undone, names)?;
    if parts.settings.abandon.is_none() && names.is_empty() {
        parts.settings.abandon = unfinished(&parts, &undone)?;
    }
    let (shared, ids) = Shared::begin(parts, control, Sides::AsGiven).await?;
    let summary = undo(&shared, ids, &undone, names, begun).await;
    shared.end().await;
    summary
}

async fn undo(
    shared: &Arc<Shared>,
    ids: [String; 2],
    undone: &[RunInfo],
    names: &[MailboxName],
    begun: Instant,
) -> Result<Summary, RunError> {
    let parts = &shared.parts;
    let sources = [super::Source::Names(names.to_vec())];
    let selection = match names {
        [] => Selection::all(&parts.settings),
        _ => Selection::read(parts, &sources).await?,
    };
    let start = Start::of(parts, ids, &selection)?;
    // What the run had decided belongs to what it changed.
    let recovered = settle_open(shared).await?;
    look(parts, Work::default()).await?;
    let found = search(parts, start, names, undone)?;
    let Some(run) = found.run else {
        if parts.stop.level() != Stop::No {
            return Err(RunError::Stopped);
        }
        give_up(parts)?;
        parts.observer.say("nothing is left to bring back");
        let mut summary = Summary::collect_nothing(parts.journal.as_ref(), begun.elapsed())?;
        summary.recovered = recovered.settled;
        summary.taken_back = recovered.rolled_back;
        summary.left_alone = found.left_alone;
        return Ok(summary);
    };
    if parts.stop.level() == Stop::No {
        parts.journal.list_complete(run)?;
    }
    work(shared, run, &Scope::All).await?;
    let mut summary = sum_up(shared, run, begun, Excluded::default(), recovered.settled)?;
    summary.left_alone = found.left_alone;
    Ok(summary)
}

/// The last run, if it was stopped and is among those that are taken back: nobody wants the rest of
/// it any more. Of a change-over that was stopped, `cutover` says what comes next.
fn unfinished(parts: &Parts, undone: &[RunInfo]) -> Result<Option<RunId>, RunError> {
    let last = parts.journal.last_of(Verb::Rollback)?;
    let open = last.filter(|run| {
        let is_undone = undone.iter().any(|other| other.id == run.id);
        let verb = run.spec.verb;
        run.finished_ms.is_none() && is_undone && !verb.crosses() && !verb.takes_back()
    });
    Ok(open.map(|run| run.id))
}

/// A change-over is taken back while no server runs, and in a way of its own; a rehearsal has left
/// nothing to be taken back.
fn check_no_cutover(undone: &RunInfo) -> Result<(), RunError> {
    let run = undone.id.0;
    match undone.spec.verb {
        Verb::Cutover => Err(RunError::Config(format!(
            "run {run} was a change-over: `controller cutover --undo` takes it back; `rollback` \
             takes the number of an earlier run"
        ))),
        Verb::Undo => Err(RunError::Config(format!(
            "run {run} took a change-over back: `controller cutover` makes it again; `rollback` \
             takes the number of an earlier run"
        ))),
        Verb::Rehearse => Err(RunError::Config(format!(
            "run {run} was a rehearsal, and changed nothing that could be taken back"
        ))),
        _ => Ok(()),
    }
}

/// What was changed on two hosts is not brought back on one.
fn check_scope(parts: &Parts, undone: &RunInfo) -> Result<(), RunError> {
    match check_hosts(parts, undone) {
        // Among all runs there may be such: they are looked at one by one.
        Err(_) if undone.spec.replica.is_none() && parts.settings.undoes.is_none() => Ok(()),
        checked => checked,
    }
}

fn check_names(parts: &Parts, undone: &[RunInfo], names: &[MailboxName]) -> Result<(), RunError> {
    let mut unknown = Vec::new();
    for name in names {
        let mut known = false;
        for run in undone {
            known |= parts.journal.find(run.id, name)?.is_some();
        }
        if !known {
            unknown.push(name.to_string());
        }
    }
    if unknown.is_empty() {
        return Ok(());
    }
    let runs = match undone {
        [run] => format!("run {}", run.id.0),
        _ => "any run".to_owned(),
    };
    Err(RunError::NoMailbox(format!(
        "{} ({runs})",
        unknown.join(", ")
    )))
}

/// What several rollbacks came to.
#[derive(Debug)]
pub struct Undone {
    /// The last one that was begun.
    pub undo: Undo,
    /// What it came to.
    pub summary: Summary,
    /// The one that was to follow, and was not begun.
    pub next: Option<Undo>,
}

impl Undone {
    /// The exit code that fits: what was not begun is not undone.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match (self.summary.exit(), &self.next) {
            (Exit::Ok, Some(_)) => Exit::RolledBack,
            (exit, _) => exit,
        }
    }
}

/// Carries out rollbacks one after the other, each as [`rollback`] does, with one stop and one set
/// of controls. `between` is called after each that another one follows.
///
/// # Errors
/// As [`rollback`], for the one under way.
pub async fn rollback_each(
    mut parts: Parts,
    undos: Vec<Undo>,
    control: &Arc<Control>,
    mut between: impl FnMut(&Summary),
) -> Result<Undone, RunError> {
    let mut undos = undos.into_iter().peekable();
    while let Some(undo) = undos.next() {
        parts.settings.undoes = undo.run;
        let summary = rollback(parts.clone(), &undo.names, control).await?;
        let goes_on = summary.exit() == Exit::Ok && parts.stop.level() == Stop::No;
        if !goes_on || undos.peek().is_none() {
            return Ok(Undone {
                undo,
                summary,
                next: undos.next(),
            });
        }
        between(&summary);
        // Another run begins with abandoned ones out of the way.
        parts.settings.abandon = None;
    }
    Err(RunError::Nothing("there is no run to undo".to_owned()))
}
