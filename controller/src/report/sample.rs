//! A run for the tests of reports: mailboxes that were changed, unchanged and refused, in a journal
//! in memory.

use indexfile::mailbox::MailboxName;

use crate::journal::memory::MemoryStore;
use crate::journal::{
    Attempt, Candidate, Change, Durability, Ended, Figures, Journal, JournalStore, RunId,
    RunOfPairs, RunSpec, Verb, pair_names,
};
use crate::two_phase::{Reason, Side};

/// When the run began, milliseconds since 1970: 2026-11-22 04:00:00 UTC.
pub(super) const BEGUN: i64 = 1_795_320_000_000;

/// A spec of that verb over these pairs.
pub(super) fn spec(verb: Verb, pairs: &str) -> RunSpec {
    RunSpec {
        verb,
        to: if verb.takes_back() { 0 } else { 10 },
        undoes: verb.takes_back().then_some(RunId(1)),
        master: "unix:/run/m".to_owned(),
        replica: Some("unix:/run/r".to_owned()),
        master_id: "id-m".to_owned(),
        replica_id: "id-r".to_owned(),
        selection: "all".to_owned(),
        words: "--user joe".to_owned(),
        pairs: pairs.to_owned(),
    }
}

/// An attempt that ended this long after the begin, with this many messages and microseconds.
pub(super) fn attempt(after_ms: i64, ended: Ended, messages: u64, us: u64) -> Attempt {
    Attempt {
        started_ms: BEGUN,
        finished_ms: BEGUN + after_ms,
        ended,
        reason: None,
        side: None,
        detail: String::new(),
        figures: Figures {
            messages,
            hashed: messages,
            lag: u64::from(messages == 7),
            lock_us: [Some(us), Some(us * 2)],
            ..Figures::default()
        },
    }
}

/// The same, refused for this reason.
pub(super) fn refused(mut attempt: Attempt, reason: Reason, detail: &str) -> Attempt {
    attempt.ended = Ended::RolledBack;
    attempt.reason = Some(reason);
    attempt.side = Some(Side::Master);
    detail.clone_into(&mut attempt.detail);
    attempt
}

/// Puts a mailbox into a run, with its attempt.
pub(super) fn put(
    journal: &dyn Journal,
    run: RunId,
    name: &str,
    partition: &str,
    attempt: Option<Attempt>,
) {
    let name = MailboxName::parse(name).unwrap();
    let mut candidate = Candidate::new(name.clone(), false);
    candidate.partition = Some(partition.to_owned());
    journal.add(run, &[candidate]).unwrap();
    let mailbox = journal.find(run, &name).unwrap().unwrap().id;
    if let Some(attempt) = attempt {
        journal.submit(Change::Finish { mailbox, attempt }, Durability::Durable);
    }
}

/// A run of that verb with this many mailboxes on each of these pairs. Of twenty mailboxes one is
/// damaged, one was locked, one needed nothing.
pub(super) fn run(verb: Verb, pairs: &str, each: u32) -> (MemoryStore, RunOfPairs) {
    let store = MemoryStore::new();
    let spec = spec(verb, pairs);
    for name in pair_names(pairs) {
        let journal = store.pair(name).unwrap();
        let run = journal.begin_run(&spec, BEGUN).unwrap();
        for n in 0..each {
            let us = 400 + u64::from(n * n) % 9000;
            let plain = attempt(i64::from(n + 1) * 250, Ended::Upgraded, (n % 30).into(), us);
            let done = match n % 20 {
                7 => refused(
                    plain,
                    Reason::Damaged,
                    "cyrus.index: it ends within a record",
                ),
                13 => refused(
                    plain,
                    Reason::Locked,
                    "cyrus.header is locked by process 4711",
                ),
                17 => Attempt {
                    ended: Ended::Unchanged,
                    ..plain
                },
                _ => plain,
            };
            let partition = if n % 3 == 0 { "default" } else { "p2" };
            put(
                journal.as_ref(),
                run,
                &format!("user.u{n}"),
                partition,
                Some(done),
            );
        }
        journal.list_complete(run).unwrap();
        journal.finish_run(run, BEGUN + 300_000).unwrap();
    }
    let last = store.last_run().unwrap().unwrap();
    (store, last)
}
