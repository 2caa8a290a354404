//! Where a mailbox is that a rollback takes back, and that is not under its name any more.
//!
//! Between a run and its rollback its owner may have renamed it, deleted it (a delayed delete is a
//! rename), or made a new one of that name. Only the mailbox that the run changed is taken back,
//! under whatever name it has; a new one of its old name is left as it is. Nothing is locked while
//! it is looked for.

use slotd::protocol::Named;

use super::context::Parts;
use super::drive::{Driven, End, Pair};
use super::participant::Target;
use crate::journal::{Changing, JournalError, Row, RunId, State, standing};
use crate::stop::Stop;
use crate::two_phase::{Answer, Event, Failure, Outcome, Reason, Side};

/// Looks for the mailbox by its unique id, where an attempt failed because it was not under its
/// name. `true`: it was found, `target` says so, and the attempt is to be made again.
///
/// # Errors
/// It is nowhere, nobody knows where it is, or a later run changed it under its new name.
pub(super) async fn seek(
    parts: &Parts,
    target: &mut Target,
    driven: &Driven,
    pair: &mut Pair,
) -> Result<bool, Failure> {
    let Some((side, failure)) = not_there(driven) else {
        return Ok(false);
    };
    let known = target.uniqueids[side.index()].clone();
    let (Some(uniqueid), None) = (known, &target.at[side.index()]) else {
        return Ok(false);
    };
    let mut peer = pair.take(side);
    let mut stop = parts.stop.clone();
    let found = tokio::select! {
        biased;
        () = stop.reached(Stop::Now) => {
            let text = "the run was stopped while the mailbox was looked for";
            return Err(Failure::new(None, Reason::Interrupted, text));
        }
        found = peer.find(&uniqueid) => found,
    };
    pair.put(side, peer);
    let at = match found {
        Ok(Some(at)) => at,
        Ok(None) => {
            let text = format!(
                "{}; no mailbox of that host has the unique id {uniqueid}",
                failure.text
            );
            return Err(Failure::new(side, failure.reason, text));
        }
        Err(event) => return Err(why(side, event)),
    };
    let name = &target.job.name;
    if at.mailbox != *name {
        let journal = |error: JournalError| Failure::new(None, Reason::Journal, error.to_string());
        if has_it_too(parts, side, &uniqueid, &at).map_err(journal)? {
            let text = format!(
                "{}; {} has the same unique id, {uniqueid}, so it cannot be looked for by that",
                failure.text, at.mailbox
            );
            return Err(Failure::new(side, Reason::Superseded, text));
        }
        match changed_since(parts, side, &uniqueid, &at).map_err(journal)? {
            None => parts.observer.say(&format!(
                "{name} is {} on the {side} now, and is taken back there",
                at.mailbox
            )),
            Some(run) => {
                let text = format!(
                    "it is {} now, and run {} changed it again",
                    at.mailbox, run.0
                );
                return Err(Failure::new(side, Reason::Superseded, text));
            }
        }
    }
    target.at[side.index()] = Some(at);
    Ok(true)
}

/// The side that has no such mailbox under its name, of an attempt that decided nothing.
fn not_there(driven: &Driven) -> Option<(Side, &Failure)> {
    let End::Came(Outcome::RolledBack(failure)) = &driven.end else {
        return None;
    };
    let may_be_elsewhere = matches!(
        failure.reason,
        Reason::NoMailbox | Reason::Elsewhere | Reason::Superseded
    );
    let side = failure
        .side
        .filter(|_| may_be_elsewhere && driven.decisions == 0)?;
    Some((side, failure))
}

/// Why there is no answer to `FIND`.
fn why(side: Side, event: Event) -> Failure {
    match event {
        Event::Reply(_, Answer::No(refusal)) => Failure::new(side, refusal.reason, refusal.text),
        Event::Lost(_, text) => Failure::new(side, Reason::HostAway, text),
        _ => Failure::new(side, Reason::Protocol, "FIND was not answered"),
    }
}

/// Whether the run that is taken back changed another mailbox with that unique id under the name
/// that was found: one is a copy of the other, made without Cyrus.
fn has_it_too(parts: &Parts, side: Side, uniqueid: &str, at: &Named) -> Result<bool, JournalError> {
    let Some(run) = parts.settings.undoes else {
        return Ok(false); // `changed_since` sees it
    };
    let rows = parts.journal.find_all(run, &at.mailbox)?;
    let same = |row: &Row| row.uniqueids[side.index()].as_deref() == Some(uniqueid);
    Ok(rows.iter().any(same))
}

/// The last run after the one that is taken back (of all, if all are) that changed the mailbox
/// under the name that it has now, if that stands.
fn changed_since(
    parts: &Parts,
    side: Side,
    uniqueid: &str,
    at: &Named,
) -> Result<Option<RunId>, JournalError> {
    let journal = parts.journal.as_ref();
    let last = journal.last_run()?.map_or(0, |run| run.id.0);
    let mut changes = Vec::new();
    for number in 1..=last {
        let Some(info) = journal.run(RunId(number))? else {
            continue;
        };
        let rows = journal.find_all(info.id, &at.mailbox)?;
        let changed = |row: &Row| {
            let same = row.uniqueids[side.index()].as_deref() == Some(uniqueid);
            same && (row.state == State::Upgraded || row.state.is_open())
        };
        if rows.iter().any(changed) {
            changes.push(Changing {
                run: info.id,
                verb: info.spec.verb,
                undoes: info.spec.undoes,
                before: [None; 2],
            });
        }
    }
    let since = parts.settings.undoes.unwrap_or(RunId(0));
    let standing = standing(&changes);
    Ok(standing.iter().map(|s| s.run).rfind(|run| *run > since))
}
