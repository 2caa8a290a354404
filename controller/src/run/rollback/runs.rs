//! Which runs a rollback undoes: read from the journal, nothing is changed.

use indexfile::mailbox::MailboxName;

use crate::error::RunError;
use crate::journal::{Changed, Journal, MailboxId, PAGE, RunId, RunInfo, Verb};

/// The run that is to be undone.
///
/// # Errors
/// There is none on this pair, or the journal cannot be read.
pub fn run_to_undo(journal: &dyn Journal, run: RunId) -> Result<RunInfo, RunError> {
    let none = || RunError::Nothing(format!("there is no run {}", run.0));
    journal.run(run)?.ok_or_else(none)
}

/// The runs that began at a moment (milliseconds since 1970) or later and are no rollbacks, the
/// last first.
///
/// # Errors
/// There is none, or the journal cannot be read.
pub fn runs_since(journal: &dyn Journal, started_ms: i64) -> Result<Vec<RunId>, RunError> {
    let begun = all_runs(journal)?.into_iter().rev();
    let changes = |verb: Verb| !verb.takes_back() && !verb.rehearses();
    let wanted = begun.filter(|r| r.started_ms >= started_ms && changes(r.spec.verb));
    let mut runs = Vec::new();
    for run in wanted {
        // One that stands is refused in its turn: it is not taken back by a rollback.
        if run.spec.verb != Verb::Cutover || stands(journal, run.id)? {
            runs.push(run.id);
        }
    }
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

/// Every run, in the order in which they came.
///
/// # Errors
/// None of them has changed what a rollback takes back, or the journal cannot be read.
pub fn all_runs(journal: &dyn Journal) -> Result<Vec<RunInfo>, RunError> {
    let last = journal.last_run()?.map_or(0, |run| run.id.0);
    let runs = runs(journal, 1..=last)?;
    if runs.iter().all(|run| changes_nothing_else(run.spec.verb)) {
        return Err(RunError::Nothing("there is no run to undo".to_owned()));
    }
    Ok(runs)
}

/// Whether a run of that verb leaves nothing that a rollback takes back.
const fn changes_nothing_else(verb: Verb) -> bool {
    verb.crosses() || verb.takes_back() || verb.rehearses()
}

/// How many earlier runs, none of them a rollback, have changes that stand.
///
/// # Errors
/// The journal cannot be read.
pub fn standing_before(journal: &dyn Journal, run: RunId) -> Result<u64, RunError> {
    let mut standing = 0;
    for earlier in runs(journal, 1..=run.0 - 1)? {
        if !earlier.spec.verb.takes_back() {
            standing += u64::from(stands(journal, earlier.id)?);
        }
    }
    Ok(standing)
}

fn runs(
    journal: &dyn Journal,
    numbers: std::ops::RangeInclusive<i64>,
) -> Result<Vec<RunInfo>, RunError> {
    let mut runs = Vec::new();
    for number in numbers {
        runs.extend(journal.run(RunId(number))?);
    }
    Ok(runs)
}

fn stands(journal: &dyn Journal, run: RunId) -> Result<bool, RunError> {
    let mut after = MailboxId(0);
    loop {
        let page = journal.changed(run, after, PAGE)?;
        let Some(last) = page.last() else {
            return Ok(false);
        };
        after = last.row.id;
        let of_run = |c: &Changed| c.standing().iter().any(|s| s.run == run);
        if page.iter().any(of_run) {
            return Ok(true);
        }
    }
}
