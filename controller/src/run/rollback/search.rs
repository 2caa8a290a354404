//! Which mailboxes a rollback brings back, and to which version: what runs have changed, page by
//! page, and what stands of it.

use std::collections::HashSet;

use indexfile::mailbox::MailboxName;

use super::super::begin::Start;
use super::super::context::Parts;
use crate::error::RunError;
use crate::journal::{Candidate, Changed, Changing, MailboxId, PAGE, RunId, RunInfo, Verb};
use crate::stop::Stop;
use crate::survey::Source;

/// The lowest index version that slotd writes.
const LOWEST: u8 = 6;
/// The lowest with GUIDs.
const GUIDS: u8 = 10;
/// This many mailboxes that are left alone are named; the rest is counted.
const NAMED: u64 = 20;

/// What was found.
pub(super) struct Found {
    /// The run of this rollback; `None` if there is nothing to bring back.
    pub(super) run: Option<RunId>,
    /// Mailboxes that are left as they are.
    pub(super) left_alone: u64,
}

/// Lists what is to be brought back in a run of its own, and names what is left as it is. Ends
/// early at a stop.
///
/// # Errors
/// The journal cannot be read or written.
pub(super) fn search(
    parts: &Parts,
    start: Start,
    names: &[MailboxName],
    undone: &[RunInfo],
) -> Result<Found, RunError> {
    let mut search = Search {
        parts,
        names,
        going_on: start.goes_on_with(),
        wanted: names.iter().collect(),
        left: Left::default(),
        begun: None,
        start,
        by_name: 0,
    };
    if search.going_on.is_some() {
        search.run()?;
    }
    for run in undone {
        search.through(run)?;
    }
    search.not_changed(undone)?;
    search.left.report(parts);
    if search.by_name > 0 {
        parts.observer.say(&format!(
            "the journal has no unique id of {} of these mailboxes: what has their names now is \
             taken for them",
            search.by_name
        ));
    }
    Ok(Found {
        run: search.begun,
        left_alone: search.left.count,
    })
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
    /// Mailboxes of which nothing but the name is known.
    by_name: u64,
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
                    Ok(back) => {
                        self.by_name += u64::from(changed.row.uniqueids == [None, None]);
                        listed.push(Candidate {
                            name: changed.row.name,
                            partition: changed.row.partition,
                            named: !self.names.is_empty(),
                            back,
                            uniqueids: changed.row.uniqueids,
                        });
                    }
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
        let sources = [Source::Names(self.names.to_vec())];
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
        if let Some(over) = standing.iter().find(|s| s.verb == Verb::Cutover) {
            return Err(Some(format!(
                "run {} changed it over: `controller cutover --undo` comes first",
                over.run.0
            )));
        }
        let left_out = &self.parts.settings.leave_out;
        if left_out.may_have(changed.row.partition.as_deref()) {
            let text = "it is on a partition that leave-out of the fleet file names";
            return Err(Some(text.to_owned()));
        }
        let all = self.parts.settings.undoes.is_none();
        if !all && let Some(later) = standing.iter().rfind(|s| s.run > first.run) {
            let text = format!("run {} changed it again since", later.run.0);
            return Err(Some(text));
        }
        if all && let Some(run) = changed.succeeded(self.going_on) {
            return Err(Some(format!(
                "run {} changed another mailbox of this name since: `controller rollback {} {}` \
                 takes this one back",
                run.0, first.run.0, changed.row.name
            )));
        }
        let before = if all {
            before_all(first, &standing)?
        } else {
            first.before
        };
        match before {
            [Some(a), Some(b)] if a != b => Err(Some(format!(
                "it had version {a} on the master and {b} on the replica before: `controller \
                 downgrade --to` brings both to one version"
            ))),
            [Some(v), _] | [_, Some(v)] if v < LOWEST => Err(Some(format!(
                "it had version {v} before, which is read here and not written; its .OLD files are \
                 what it was"
            ))),
            [None, None] => Err(Some("the journal does not know what it was".to_owned())),
            before => Ok(before),
        }
    }

    /// Names that no run changed are reported.
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
        if self.count <= NAMED {
            self.lines.push(format!("{name}: left as it is: {why}"));
        }
    }

    fn report(&self, parts: &Parts) {
        self.lines.iter().for_each(|line| parts.observer.say(line));
        if self.count > NAMED {
            let text = format!("and {} more are left as they are", self.count - NAMED);
            parts.observer.say(&text);
        }
    }
}
