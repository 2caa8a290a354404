//! How fast the last run or rehearsal was, and how long it held locks: what a plan expects of the
//! next one.
//!
//! Reads the journal, and memory does not grow with the mailboxes. Nothing is guessed: what was
//! never measured is not known.

use std::collections::BTreeSet;

use serde::Serialize;

use super::time::{per_second, seconds};
use crate::journal::{Filter, Journal, JournalError, RunInfo, State, Verb, for_each_row};
use crate::run::{Histogram, LockMs};

/// Milliseconds of a slot of time in which something was done or not.
const SLOT: i64 = 10_000;
/// A gap of more slots than this was a pause: the run was stopped, or waited.
const PAUSE: i64 = 6;

/// What was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measured {
    /// The run's number.
    pub run: i64,
    /// `rehearse`, `upgrade` or `downgrade`.
    pub command: &'static str,
    /// When it began, milliseconds since 1970.
    pub started_at: i64,
    /// Mailboxes that it changed, or rehearsed.
    pub mailboxes: u64,
    /// Messages in them.
    pub messages: u64,
    /// Of these mailboxes a second, pauses of more than a minute left out.
    pub mailboxes_per_second: f64,
    /// The same of messages.
    pub messages_per_second: f64,
    /// How long locks were held, both hosts together.
    pub lock_ms: LockMs,
}

impl Measured {
    /// What the newest run to that version did that is a rehearsal, an upgrade or a downgrade;
    /// `None` if there is none that has changed or rehearsed a mailbox.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn last(journal: &dyn Journal, to: u32) -> Result<Option<Self>, JournalError> {
        let mut runs = Vec::new();
        for verb in [Verb::Rehearse, Verb::Upgrade] {
            runs.extend(journal.last_of(verb)?);
        }
        runs.sort_by_key(|run| std::cmp::Reverse(run.id));
        let measures = |run: &RunInfo| {
            let one = [Verb::Rehearse, Verb::Upgrade, Verb::Downgrade].contains(&run.spec.verb);
            one && u32::from(run.spec.to) == to
        };
        for run in runs.iter().filter(|run| measures(run)) {
            let measured = Self::of(journal, run)?;
            if measured.mailboxes > 0 {
                return Ok(Some(measured));
            }
        }
        Ok(None)
    }

    fn of(journal: &dyn Journal, run: &RunInfo) -> Result<Self, JournalError> {
        let (mut mailboxes, mut messages) = (0, 0);
        let (mut last, mut slots) = (run.started_ms, BTreeSet::from([run.started_ms / SLOT]));
        let mut held = Histogram::new();
        for state in [State::Rehearsed, State::Upgraded] {
            for_each_row(journal, run.id, Filter::In(state), |row| {
                mailboxes += 1;
                messages = u64::saturating_add(messages, row.figures.messages);
                held.add_row(row);
                if let Some(at) = row.finished_ms {
                    last = last.max(at);
                    slots.insert(at / SLOT);
                }
            })?;
        }
        let gaps = slots.iter().zip(slots.iter().skip(1)).map(|(a, b)| b - a);
        let paused: i64 = gaps.filter(|gap| *gap > PAUSE).map(|gap| gap * SLOT).sum();
        let took = seconds((last - run.started_ms - paused).max(1));
        Ok(Self {
            run: run.id.0,
            command: run.spec.verb.as_str(),
            started_at: run.started_ms,
            mailboxes,
            messages,
            mailboxes_per_second: per_second(mailboxes, took),
            messages_per_second: per_second(messages, took),
            lock_ms: held.lock_ms(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::memory::MemoryJournal;
    use crate::journal::{
        Attempt, Candidate, Change, Durability, Ended, Figures, MailboxId, RunId,
    };
    use crate::report::sample;

    fn run(journal: &MemoryJournal, verb: Verb, ends: &[(i64, Ended)]) -> RunId {
        let run = journal
            .begin_run(&sample::spec(verb, ""), 1_000_000)
            .unwrap();
        let name = |n: usize| format!("user.u{n}").parse().unwrap();
        let listed = (0..ends.len()).map(|n| Candidate::new(name(n), false));
        journal.add(run, &listed.collect::<Vec<_>>()).unwrap();
        let rows = journal.page(run, Filter::All, MailboxId(0), 99).unwrap();
        for (row, (at, ended)) in rows.iter().zip(ends) {
            let attempt = Attempt {
                started_ms: 0,
                finished_ms: 1_000_000 + at,
                ended: *ended,
                reason: None,
                side: None,
                detail: String::new(),
                figures: Figures {
                    messages: 10,
                    lock_us: [Some(2_000), Some(4_000)],
                    ..Figures::default()
                },
            };
            let mailbox = row.id;
            let change = Change::Finish { mailbox, attempt };
            journal
                .submit(change, Durability::Durable)
                .wait_blocking()
                .unwrap();
        }
        run
    }

    #[test]
    fn the_newest_run_that_did_something_tells_and_its_pauses_do_not_count() {
        let journal = MemoryJournal::new();
        assert_eq!(Measured::last(&journal, 10).unwrap(), None);
        // One mailbox after 10 s, the next after an hour, and the last 10 s later.
        let ends = [10_000, 3_600_000, 3_610_000].map(|at| (at, Ended::Rehearsed));
        let rehearsal = run(&journal, Verb::Rehearse, &ends);
        run(&journal, Verb::Upgrade, &[(5_000, Ended::Unchanged)]);
        let measured = Measured::last(&journal, 10).unwrap().unwrap();
        assert_eq!((measured.run, measured.command), (rehearsal.0, "rehearse"));
        assert_eq!((measured.mailboxes, measured.messages), (3, 30));
        let took = 3.0 / measured.mailboxes_per_second;
        assert!((10.0..=40.0).contains(&took), "{took} s");
        assert!((measured.lock_ms.max - 4.0).abs() < 1e-9);
        assert_eq!(Measured::last(&journal, 9).unwrap(), None);
        let upgrade = run(&journal, Verb::Upgrade, &[(5_000, Ended::Upgraded)]);
        let measured = Measured::last(&journal, 10).unwrap().unwrap();
        assert_eq!((measured.run, measured.command), (upgrade.0, "upgrade"));
    }
}
