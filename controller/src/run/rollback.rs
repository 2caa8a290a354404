//! Undoes a run: each mailbox that it changed comes back to the version it had, in a run of its own.
//!
//! # What it promises
//!
//! Two-phase and resumable like every run. What a later run changed again is left alone and told:
//! undoing the middle of a history would take away what came after. Nothing is written into the
//! run that is undone.
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
use super::engine::{Parts, Shared, sum_up, work};
use super::queue::Scope;
use super::recover::settle_open;
use super::settings::{RunError, Stop};
use super::summary::{PAGE, Summary};
use crate::control::Control;
use crate::journal::{Changed, Journal, Listed, MailboxId, RunId, RunInfo, Verb};
use crate::listing::Beside;
use crate::two_phase::Side;

/// The lowest index version that slotd writes.
const LOWEST: u8 = 6;
/// So many mailboxes that are left alone are named; the rest is counted.
const TOLD: u64 = 20;

/// The run that `rollback` is to undo: by number, or the last one that is no rollback itself, so that
/// the same words mean the same run when a rollback is taken up again.
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

/// Brings back what the run in [`super::Settings::undoes`] changed; all of it, or these names.
///
/// # Errors
/// There is no such run, it has no such mailbox, it was about other hosts, or it could not go on. What happened to
/// single mailboxes is in the summary.
pub async fn rollback(
    parts: Parts,
    names: &[MailboxName],
    control: &Arc<Control>,
) -> Result<Summary, RunError> {
    let begun = Instant::now();
    let undoes = parts.settings.undoes.unwrap_or(RunId(0));
    let undone = run_to_undo(parts.journal.as_ref(), Some(undoes.0))?;
    check_scope(&parts, &undone)?;
    check_names(&parts, &undone, names)?;
    let (shared, ids) = Shared::begin(parts, control).await?;
    let parts = &shared.parts;
    let sources = [super::Source::Names(names.to_vec())];
    let asked = match names {
        [] => Asked::all(&parts.settings),
        _ => Asked::read(parts, &sources).await?,
    };
    let start = Start::of(parts, ids, &asked)?;
    // What the run had decided belongs to what it changed.
    let recovered = settle_open(&shared).await?;
    let run = start.begin(parts, &sources)?;
    let mut left = Left::default();
    fill(parts, run, &undone, names, &mut left)?;
    left.tell(parts);
    if parts.stop.level() == Stop::No {
        parts.journal.list_complete(run)?;
    }
    work(&shared, run, &Scope::All).await?;
    let mut summary = sum_up(&shared, run, begun, Beside::default(), recovered.settled)?;
    summary.left_alone = left.count;
    Ok(summary)
}

/// What was changed on two hosts is not brought back on one.
fn check_scope(parts: &Parts, undone: &RunInfo) -> Result<(), RunError> {
    let has = parts.connect.address(Side::Replica).is_some();
    match (&undone.spec.replica, has) {
        (Some(replica), false) => Err(RunError::Config(format!(
            "run {} worked on two hosts: give --replica (it was {replica})",
            undone.id.0
        ))),
        (None, true) => Err(RunError::Config(format!(
            "run {} worked on one host: leave --replica away",
            undone.id.0
        ))),
        _ => Ok(()),
    }
}

fn check_names(parts: &Parts, undone: &RunInfo, names: &[MailboxName]) -> Result<(), RunError> {
    let mut unknown = Vec::new();
    for name in names {
        if parts.journal.find(undone.id, name)?.is_none() {
            unknown.push(name.to_string());
        }
    }
    if unknown.is_empty() {
        Ok(())
    } else {
        Err(RunError::NoMailbox(format!(
            "{} (run {})",
            unknown.join(", "),
            undone.id.0
        )))
    }
}

/// Adds what is to be brought back to the run, page by page.
fn fill(
    parts: &Parts,
    run: RunId,
    undone: &RunInfo,
    names: &[MailboxName],
    left: &mut Left,
) -> Result<(), RunError> {
    let mut wanted: HashSet<&MailboxName> = names.iter().collect();
    let mut after = MailboxId(0);
    while parts.stop.level() == Stop::No {
        let page = parts.journal.changed(undone.id, after, PAGE)?;
        let Some(last) = page.last() else { break };
        after = last.row.id;
        let mut listed = Vec::new();
        for changed in page {
            if !names.is_empty() && !wanted.remove(&changed.row.name) {
                continue;
            }
            match judge(&changed, run) {
                Ok(()) => listed.push(Listed {
                    name: changed.row.name,
                    partition: changed.row.partition,
                    named: !names.is_empty(),
                    back: changed.before,
                }),
                Err(why) => left.note(&changed.row.name, why),
            }
        }
        parts.journal.add(run, &listed)?;
    }
    if parts.stop.level() == Stop::No {
        for name in wanted {
            let row = parts.journal.find(undone.id, name)?;
            let state = row.map_or("unknown", |row| row.state.as_str());
            let text = format!("run {} did not change it: it is {state} there", undone.id.0);
            left.note(name, Some(text));
        }
    }
    Ok(())
}

/// Whether it can be brought back; if not, why, if that is worth a word.
fn judge(changed: &Changed, run: RunId) -> Result<(), Option<String>> {
    match changed.later {
        // An earlier start of this very rollback had it.
        Some(later) if later == run => return Err(None),
        Some(later) => {
            let text = format!("run {} changed it again since", later.0);
            return Err(Some(text));
        }
        None => {}
    }
    match changed.before {
        [Some(a), Some(b)] if a != b => Err(Some(format!(
            "it had version {a} on the master and {b} on the replica before: `controller downgrade --to` brings both \
             to one version"
        ))),
        [Some(v), _] | [_, Some(v)] if v < LOWEST => Err(Some(format!(
            "it had version {v} before, which is read here and not written; its .OLD files are what it was"
        ))),
        [None, None] => Err(Some("the journal does not know what it was".to_owned())),
        _ => Ok(()),
    }
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
