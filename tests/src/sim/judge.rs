//! What must be so when everything is over.

use std::sync::Arc;

use controller::journal::{Journal, State, Verb};

use super::disk::{Name, Role, Which};
use super::image::Image;
use super::intent::is_over;
use super::mail::Mail;
use super::site::{LIVE, Site};
use super::world::{Shared, name_of};

/// Looks whether it is; gives how the mailboxes ended.
pub(super) fn judge(all: &mut Shared) -> Vec<State> {
    let mut ends = Vec::new();
    if all.broken.is_some() {
        return ends;
    }
    let journal = Arc::clone(&all.journal);
    let Some(run) = journal.last_run().ok().flatten() else {
        all.violate("the journal has forgotten its run");
        return ends;
    };
    let versions = all.versions();
    for (m, now) in versions.iter().enumerate() {
        let Some(row) = journal.find(run.id, &name_of(m)).ok().flatten() else {
            all.violate("the journal has forgotten a mailbox");
            return ends;
        };
        ends.push(row.state);
        let first = all.operator.before[m];
        let pair = &all.sites[m];
        if !is_legal(run.spec.verb, row.state, (first, *now), pair) {
            let what = format!("mailbox {m} ended {:?} with versions {now:?}", row.state);
            all.violate(&what);
        }
        for side in 0..2 {
            if let Err(what) = at_rest(&all.sites[m][side]) {
                all.violate(&format!("mailbox {m} on host {side}: {what}"));
            }
        }
    }
    judge_complete(all, run.spec.verb);
    ends
}

/// Whether a mailbox may end so: new on both hosts, or old on both.
fn is_legal(
    verb: Verb,
    state: State,
    (first, now): ([u8; 2], [u8; 2]),
    pair: &[Site<Mail>; 2],
) -> bool {
    let new = match verb {
        Verb::Cutover => [16, 16],
        _ => [10, 10],
    };
    let alike = now == new && same_guids(pair);
    match state {
        // What was never of version 12 or later has nothing to be taken back.
        State::Unchanged if verb == Verb::Undo && now == first && !is_over(first[0]) => true,
        State::Upgraded | State::Unchanged => alike,
        // Given up half-way, one that was decided is brought to its end first.
        State::RolledBack => now == first || now == new || now == [16, 16],
        _ => false,
    }
}

/// Where every mailbox is proven both stores are called complete, and no store else.
fn judge_complete(all: &mut Shared, last: Verb) {
    let there = all.complete.map(|mark| mark.there);
    let proven = all.operator.proven == Some(true) && last == Verb::Cutover;
    if there != [proven; 2] {
        all.violate(&format!(
            "it is proven: {proven}, and called complete: {there:?}"
        ));
    }
    let new = all.versions().iter().all(|now| *now == [16, 16]);
    let live = |site: &Site<Mail>| site.disk.read(LIVE[0]).map(|index| index.records.clone());
    let alike = all
        .sites
        .iter()
        .all(|[one, other]| live(one) == live(other));
    if last == Verb::Cutover && new && alike && !proven {
        all.violate("all is changed over and alike, and is not proven");
    }
}

fn same_guids(sites: &[Site<Mail>; 2]) -> bool {
    let [master, replica] = [&sites[0], &sites[1]].map(|s| s.disk.read(LIVE[0]));
    let (Some(master), Some(replica)) = (master, replica) else {
        return false;
    };
    let shared = master
        .records
        .iter()
        .filter_map(|(uid, r)| Some((r, replica.records.get(uid)?)));
    shared
        .into_iter()
        .all(|(a, b)| a.guid() == b.guid() && a.sha1)
}

fn at_rest(site: &Site<Mail>) -> Result<(), String> {
    // A connection whose end the network swallowed may linger, as long as it holds nothing.
    let busy = site
        .sessions
        .iter()
        .find(|s| s.tx.is_open() || !s.ops.is_empty());
    if site.lock.is_some() || busy.is_some() {
        return Err(format!("locked by {:?}, session {busy:?}", site.lock));
    }
    if site.log.open().is_some() {
        return Err("an open intent".to_owned());
    }
    for name in Which::ALL
        .into_iter()
        .flat_map(|f| [Role::New, Role::Prev].map(|r| Name::new(f, r)))
    {
        if site.disk.has(name) {
            return Err(format!("a stray {name:?}"));
        }
    }
    let [index, expunge] = LIVE.map(|name| site.disk.read(name).map(Mail::version));
    if expunge.is_some() && index != expunge {
        return Err(format!(
            "index {index:?} and expunge {expunge:?} are out of step"
        ));
    }
    Ok(())
}
