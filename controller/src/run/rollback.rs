//! Undoes a run: each mailbox that it changed comes back to the version it had, in a run of its
//! own. Or undoes all of them: each mailbox comes back to what it was before the first.
//!
//! # What it promises
//!
//! Two-phase and resumable like every run. What a later run changed again, and was not undone
//! since, is left alone and told: undoing the middle of a history would take away what came after.
//! Nothing is written into the run that is undone. Where nothing is left to bring back no run is
//! begun.
//!
//! # What a crash leaves
//!
//! What a crash of any run leaves; the same command goes on.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use indexfile::mailbox::MailboxName;

use super::asked::Asked;
use super::begin::Start;
use super::bound::Sides;
use super::context::{Parts, Shared};
use super::engine::{look, sum_up, work};
use super::preflight::Work;
use super::queue::Scope;
use super::recover::settle_open;
use super::settings::{RunError, Stop};
use super::summary::{PAGE, Summary};
use crate::control::Control;
use crate::journal::{Changed, Changing, Journal, Listed, MailboxId, RunId, RunInfo, Verb};
use crate::listing::Beside;
use crate::two_phase::Side;

/// The lowest index version that slotd writes.
const LOWEST: u8 = 6;
/// The lowest with GUIDs.
const GUIDS: u8 = 10;
/// So many mailboxes that are left alone are named; the rest is counted.
const TOLD: u64 = 20;

/// The run that `rollback` is to undo: by number, or the last one that is no rollback itself, so
/// that the same words mean the same run when a rollback is taken up again.
///
/// # Errors
/// There is none, or the journal cannot be read.
pub fn run_to_undo(journal: &dyn Journal, number: Option<i64>) -> Result<RunInfo, RunError> {
    if let Some(number) = number {
        return journal
            .run(RunId(number))?
            .ok_or_else(|| RunError::Nothing(format!("there is no run {number}")));
    }
    let mut run = journal.last_run()?;
    while let Some(info) = run {
        if info.spec.verb != Verb::Rollback {
            return Ok(info);
        }
        run = journal.run(RunId(info.id.0 - 1))?;
    }
    Err(RunError::Nothing("there is no run to undo".to_owned()))
}

/// The runs that began at a moment (milliseconds since 1970) or later and are no rollbacks, the
/// last first.
///
/// # Errors
/// There is none, or the journal cannot be read.
pub fn runs_since(journal: &dyn Journal, started_ms: i64) -> Result<Vec<RunId>, RunError> {
    let begun = all_runs(journal)?.into_iter().rev();
    let wanted = begun.filter(|r| r.started_ms >= started_ms && r.spec.verb != Verb::Rollback);
    let runs: Vec<RunId> = wanted.map(|run| run.id).collect();
    if runs.is_empty() {
        let text = "no run began at that date or later".to_owned();
        return Err(RunError::Nothing(text));
    }
    Ok(runs)
}

/// One rollback of those that a command asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undo {
    /// `None` undoes all runs.
    pub run: Option<RunId>,
    /// All of it without names.
    pub names: Vec<MailboxName>,
}

/// Which of the names each of these runs has; all of it without names. Runs that have none of them
/// are left out.
///
/// # Errors
/// No run has a name, or the journal cannot be read.
pub fn names_of_runs(
    journal: &dyn Journal,
    runs: &[RunId],
    names: &[MailboxName],
) -> Result<Vec<Undo>, RunError> {
    let mut unknown: Vec<&MailboxName> = names.iter().collect();
    let mut found = Vec::new();
    for run in runs {
        let mut of_run = Vec::new();
        for name in names {
            if journal.find(*run, name)?.is_some() {
                of_run.push(name.clone());
                unknown.retain(|other| *other != name);
            }
        }
        if names.is_empty() || !of_run.is_empty() {
            found.push(Undo {
                run: Some(*run),
                names: of_run,
            });
        }
    }
    match unknown.first() {
        Some(name) => Err(RunError::NoMailbox(format!("{name} (any of these runs)"))),
        None => Ok(found),
    }
}

/// Brings back what the run in [`super::Settings::undoes`] changed, or, without one, what all runs
/// did; all of it, or these names.
///
/// # Errors
/// There is no such run, it has no such mailbox, it was about other hosts, or it could not go on.
/// What happened to single mailboxes is in the summary.
pub async fn rollback(
    parts: Parts,
    names: &[MailboxName],
    control: &Arc<Control>,
) -> Result<Summary, RunError> {
    let begun = Instant::now();
    let undone = match parts.settings.undoes {
        Some(run) => vec![run_to_undo(parts.journal.as_ref(), Some(run.0))?],
        None => all_runs(parts.journal.as_ref())?,
    };
    for run in &undone {
        check_scope(&parts, run)?;
    }
    check_names(&parts, &undone, names)?;
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
    let asked = match names {
        [] => Asked::all(&parts.settings),
        _ => Asked::read(parts, &sources).await?,
    };
    let start = Start::of(parts, ids, &asked)?;
    // What the run had decided belongs to what it changed.
    let recovered = settle_open(shared).await?;
    look(parts, Work::default()).await?;
    let mut search = Search {
        parts,
        names,
        going_on: start.goes_on_with(),
        wanted: names.iter().collect(),
        left: Left::default(),
        begun: None,
        start,
    };
    if search.going_on.is_some() {
        search.run()?;
    }
    for run in undone {
        search.through(run)?;
    }
    search.not_changed(undone)?;
    let Search {
        left, begun: run, ..
    } = search;
    left.tell(parts);
    let Some(run) = run else {
        parts.observer.say("nothing is left to bring back");
        let mut summary = Summary::collect_nothing(parts.journal.as_ref(), begun.elapsed())?;
        summary.recovered = recovered.settled;
        summary.left_alone = left.count;
        return Ok(summary);
    };
    if parts.stop.level() == Stop::No {
        parts.journal.list_complete(run)?;
    }
    work(shared, run, &Scope::All).await?;
    let mut summary = sum_up(shared, run, begun, Beside::default(), recovered.settled)?;
    summary.left_alone = left.count;
    Ok(summary)
}

/// Every run, in the order in which they came.
fn all_runs(journal: &dyn Journal) -> Result<Vec<RunInfo>, RunError> {
    let last = journal.last_run()?.map_or(0, |run| run.id.0);
    let mut runs = Vec::new();
    for number in 1..=last {
        runs.extend(journal.run(RunId(number))?);
    }
    if runs.iter().all(|run| run.spec.verb == Verb::Rollback) {
        return Err(RunError::Nothing("there is no run to undo".to_owned()));
    }
    Ok(runs)
}

/// What was changed on two hosts is not brought back on one.
fn check_scope(parts: &Parts, undone: &RunInfo) -> Result<(), RunError> {
    let has = parts.connect.address(Side::Replica).is_some();
    match (&undone.spec.replica, has) {
        (Some(replica), false) => Err(RunError::Config(format!(
            "run {} worked on two hosts: give --replica (it was {replica})",
            undone.id.0
        ))),
        // Among all runs there may be such: they are looked at one by one.
        (None, true) if parts.settings.undoes.is_some() => Err(RunError::Config(format!(
            "run {} worked on one host: leave --replica away",
            undone.id.0
        ))),
        _ => Ok(()),
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

/// What is to be brought back, page by page.
struct Search<'a> {
    parts: &'a Parts,
    names: &'a [MailboxName],
    /// A rollback that was stopped and has some of it already.
    going_on: Option<RunId>,
    /// Those of the names that were not met.
    wanted: HashSet<&'a MailboxName>,
    left: Left,
    /// Once there is something to bring back.
    begun: Option<RunId>,
    start: Start,
}

impl Search<'_> {
    fn through(&mut self, undone: &RunInfo) -> Result<(), RunError> {
        let mut after = MailboxId(0);
        while self.parts.stop.level() == Stop::No {
            let page = self.parts.journal.changed(undone.id, after, PAGE)?;
            let Some(last) = page.last() else { break };
            after = last.row.id;
            let mut listed = Vec::new();
            for changed in page {
                if !self.names.is_empty() && !self.names.contains(&changed.row.name) {
                    continue;
                }
                self.wanted.remove(&changed.row.name);
                match self.judge(&changed) {
                    Ok(back) => listed.push(Listed {
                        name: changed.row.name,
                        partition: changed.row.partition,
                        named: !self.names.is_empty(),
                        back,
                    }),
                    Err(why) => self.left.note(&changed.row.name, why),
                }
            }
            if !listed.is_empty() {
                let run = self.run()?;
                self.parts.journal.add(run, &listed)?;
            }
        }
        Ok(())
    }

    /// The run of this rollback.
    fn run(&mut self) -> Result<RunId, RunError> {
        if let Some(run) = self.begun {
            return Ok(run);
        }
        let sources = [super::Source::Names(self.names.to_vec())];
        let run = self.start.begin(self.parts, &sources)?;
        self.begun = Some(run);
        Ok(run)
    }

    /// To which versions it is brought back; if it is not, why, if that is worth a word.
    fn judge(&self, changed: &Changed) -> Result<[Option<u8>; 2], Option<String>> {
        // An earlier start of this very rollback had it.
        if changed.others.iter().any(|o| Some(o.run) == self.going_on) {
            return Err(None);
        }
        let standing = changed.standing();
        let Some(first) = standing.iter().find(|s| s.run == changed.change.run) else {
            return Err(None); // It is undone.
        };
        let all = self.parts.settings.undoes.is_none();
        if !all && let Some(later) = standing.iter().rfind(|s| s.run > first.run) {
            let text = format!("run {} changed it again since", later.run.0);
            return Err(Some(text));
        }
        let before = if all {
            before_all(first, &standing)?
        } else {
            first.before
        };
        match before {
            [Some(a), Some(b)] if a != b => Err(Some(format!(
                "it had version {a} on the master and {b} on the replica before: `controller downgrade --to` brings both \
                 to one version"
            ))),
            [Some(v), _] | [_, Some(v)] if v < LOWEST => Err(Some(format!(
                "it had version {v} before, which is read here and not written; its .OLD files are what it was"
            ))),
            [None, None] => Err(Some("the journal does not know what it was".to_owned())),
            before => Ok(before),
        }
    }

    /// Names that no run changed are told.
    fn not_changed(&mut self, undone: &[RunInfo]) -> Result<(), RunError> {
        if self.parts.stop.level() != Stop::No {
            return Ok(());
        }
        for name in std::mem::take(&mut self.wanted) {
            for run in undone {
                let Some(row) = self.parts.journal.find(run.id, name)? else {
                    continue;
                };
                let state = row.state.as_str();
                let text = format!("run {} did not change it: it is {state} there", run.id.0);
                self.left
                    .lines
                    .push(format!("{name}: left as it is: {text}"));
                break;
            }
        }
        Ok(())
    }
}

/// Each side's version before the first of the runs that stand changed it.
fn before_all(first: &Changing, standing: &[Changing]) -> Result<[Option<u8>; 2], Option<String>> {
    if standing.iter().any(|s| s.run < first.run) {
        return Err(None); // An earlier run has it.
    }
    if first.verb != Verb::Upgrade && first.before.contains(&Some(GUIDS)) {
        return Err(Some(format!(
            "it had version {GUIDS} before the {} of run {}: `controller upgrade` brings it there",
            first.verb.as_str(),
            first.run.0
        )));
    }
    Ok([0, 1].map(|side| standing.iter().find_map(|s| s.before[side])))
}

/// Mailboxes that are left as they are.
#[derive(Default)]
struct Left {
    count: u64,
    lines: Vec<String>,
}

impl Left {
    fn note(&mut self, name: &MailboxName, why: Option<String>) {
        let Some(why) = why else { return };
        self.count += 1;
        if self.count <= TOLD {
            self.lines.push(format!("{name}: left as it is: {why}"));
        }
    }

    fn tell(&self, parts: &Parts) {
        self.lines.iter().for_each(|line| parts.observer.say(line));
        if self.count > TOLD {
            let text = format!("and {} more are left as they are", self.count - TOLD);
            parts.observer.say(&text);
        }
    }
}
