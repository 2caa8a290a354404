//! One suite, two arms: what every journal has to promise, run against `SQLite` and memory.

use indexfile::mailbox::MailboxName;

use super::memory::MemoryJournal;
use super::model::{
    Attempt, Change, Ended, Figures, Filter, Listed, MailboxId, RunId, RunSpec, State, Verb,
};
use super::{Durability, Journal, SqliteJournal};
use crate::two_phase::{Open, Reason, Side};

/// How a suite gets a journal and crashes it.
trait Arm {
    fn journal(&self) -> &dyn Journal;
    /// What a restart finds after a crash at this point.
    fn crash(self) -> Self;
}

struct Memory(MemoryJournal);

impl Arm for Memory {
    fn journal(&self) -> &dyn Journal {
        &self.0
    }
    fn crash(self) -> Self {
        Self(self.0.after_crash())
    }
}

struct Sqlite {
    directory: tempfile::TempDir,
    journal: SqliteJournal,
}

impl Sqlite {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let journal = SqliteJournal::open(&directory.path().join("state.db")).unwrap();
        Self { directory, journal }
    }
}

impl Arm for Sqlite {
    fn journal(&self) -> &dyn Journal {
        &self.journal
    }
    /// Takes the files as they are on disk at this moment, as a kill would leave them.
    fn crash(self) -> Self {
        let copy = tempfile::tempdir().unwrap();
        for name in ["state.db", "state.db-wal"] {
            let _ = std::fs::copy(self.directory.path().join(name), copy.path().join(name));
        }
        drop(self);
        let journal = SqliteJournal::open(&copy.path().join("state.db")).unwrap();
        Self {
            directory: copy,
            journal,
        }
    }
}

pub(super) fn spec() -> RunSpec {
    RunSpec {
        verb: Verb::Upgrade,
        to: 10,
        undoes: None,
        master: "unix:/m".to_owned(),
        replica: Some("unix:/r".to_owned()),
        master_id: "a".to_owned(),
        replica_id: "b".to_owned(),
    }
}

fn listed(name: &str) -> Listed {
    Listed {
        name: MailboxName::parse(name).unwrap(),
        partition: Some("default".to_owned()),
        named: false,
        back: [None; 2],
    }
}

pub(super) fn attempt(ended: Ended, reason: Option<Reason>) -> Attempt {
    Attempt {
        started_ms: 1,
        finished_ms: 2,
        ended,
        reason,
        side: Some(Side::Replica),
        detail: "why".to_owned(),
        figures: Figures {
            messages: 7,
            altered: 6,
            cached: 4,
            hashed: 2,
            lag: 1,
            lock_us: [Some(9), None],
        },
    }
}

pub(super) fn begin(journal: &dyn Journal, names: &[&str]) -> (RunId, Vec<MailboxId>) {
    let run = journal.begin_run(&spec(), 5).unwrap();
    let mailboxes: Vec<_> = names.iter().map(|n| listed(n)).collect();
    assert_eq!(journal.add(run, &mailboxes).unwrap(), names.len() as u64);
    let rows = journal.page(run, Filter::All, MailboxId(0), 1000).unwrap();
    (run, rows.iter().map(|r| r.id).collect())
}

fn a_decision_with_its_receipt_survives_a_crash(arm: impl Arm) {
    let (_, ids) = begin(arm.journal(), &["user.a", "user.b c", "ex.com!user.d"]);
    let decide = |id| Change::Decide {
        mailbox: id,
        before: [Some(9), None],
    };
    arm.journal()
        .submit(decide(ids[1]), Durability::Durable)
        .wait_blocking()
        .unwrap();
    let after = arm.crash();
    let open = after.journal().open_transactions(MailboxId(0), 10).unwrap();
    assert_eq!(open.len(), 1);
    assert_eq!(open[0].row.name.as_str(), "user.b c");
    assert_eq!(open[0].spec, spec());
    assert_eq!(
        open[0].open,
        Open {
            reversing: false,
            before: [Some(9), None],
            forward: [false; 2]
        }
    );
}

fn lazy_changes_never_overtake_and_are_never_overtaken(arm: impl Arm) {
    let (run, ids) = begin(arm.journal(), &["user.a", "user.b"]);
    let journal = arm.journal();
    let before = [Some(9), Some(8)];
    journal.submit(
        Change::Decide {
            mailbox: ids[0],
            before,
        },
        Durability::Lazy,
    );
    journal.submit(
        Change::Forward {
            mailbox: ids[0],
            side: Side::Replica,
        },
        Durability::Lazy,
    );
    // A later durable change carries the earlier lazy ones with it.
    journal
        .submit(
            Change::Decide {
                mailbox: ids[1],
                before,
            },
            Durability::Durable,
        )
        .wait_blocking()
        .unwrap();
    let after = arm.crash();
    let open = after.journal().open_transactions(MailboxId(0), 10).unwrap();
    assert_eq!(open.len(), 2);
    assert_eq!(open[0].open.forward, [false, true]);
    // And a lazy one that was not carried may be lost, but nothing else with it.
    let finish = Change::Finish {
        mailbox: ids[0],
        attempt: attempt(Ended::Upgraded, None),
    };
    after.journal().submit(finish, Durability::Lazy);
    after.journal().flush().unwrap();
    let again = after.crash();
    let rows = again
        .journal()
        .page(run, Filter::In(State::Upgraded), MailboxId(0), 10)
        .unwrap();
    assert_eq!(rows.len(), 1, "flushed is durable");
}

fn a_transaction_is_open_until_it_is_finished(arm: &impl Arm) {
    let journal = arm.journal();
    let (run, ids) = begin(journal, &["user.a"]);
    let id = ids[0];
    let submit = |change| {
        let receipt = journal.submit(change, Durability::Durable);
        receipt.wait_blocking().unwrap();
    };
    let open = || journal.open_transactions(MailboxId(0), 10).unwrap();
    submit(Change::Decide {
        mailbox: id,
        before: [Some(9), Some(9)],
    });
    submit(Change::Reverse { mailbox: id });
    assert!(open()[0].open.reversing);
    submit(Change::Finish {
        mailbox: id,
        attempt: attempt(Ended::InDoubt, Some(Reason::HostAway)),
    });
    assert!(
        open()[0].row.in_doubt && open()[0].open.reversing,
        "in doubt stays open"
    );
    assert_eq!(journal.totals(run).unwrap().in_doubt, 1);
    submit(Change::Finish {
        mailbox: id,
        attempt: attempt(Ended::RolledBack, Some(Reason::Damaged)),
    });
    assert!(open().is_empty());
    let row = journal
        .find(run, &MailboxName::parse("user.a").unwrap())
        .unwrap()
        .unwrap();
    assert_eq!(
        (row.state, row.attempts, row.in_doubt),
        (State::RolledBack, 2, false)
    );
    assert_eq!(
        (row.reason, row.side, row.detail.as_str()),
        (Some(Reason::Damaged), Some(Side::Replica), "why")
    );
    // A new decision starts afresh.
    submit(Change::Requeue { mailbox: id });
    submit(Change::Decide {
        mailbox: id,
        before: [None, Some(9)],
    });
    assert_eq!(
        open()[0].open,
        Open {
            reversing: false,
            before: [None, Some(9)],
            forward: [false; 2]
        }
    );
}

fn only_what_was_rolled_back_is_requeued(arm: &impl Arm) {
    let journal = arm.journal();
    let (run, ids) = begin(journal, &["user.a", "user.b"]);
    for (id, ended) in ids.iter().zip([Ended::Upgraded, Ended::RolledBack]) {
        journal.submit(
            Change::Finish {
                mailbox: *id,
                attempt: attempt(ended, None),
            },
            Durability::Lazy,
        );
        journal.submit(Change::Requeue { mailbox: *id }, Durability::Lazy);
    }
    journal.flush().unwrap();
    let pending = journal
        .page(run, Filter::In(State::Pending), MailboxId(0), 10)
        .unwrap();
    assert_eq!(
        pending.iter().map(|r| r.name.as_str()).collect::<Vec<_>>(),
        ["user.b"]
    );
}

fn pages_come_in_order_and_show_each_mailbox_once(arm: &impl Arm) {
    let journal = arm.journal();
    let names: Vec<String> = (0..250).map(|n| format!("user.u{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (run, ids) = begin(journal, &names);
    let (other, _) = begin(journal, &["user.other"]);
    for id in ids.iter().step_by(2) {
        let change = Change::Finish {
            mailbox: *id,
            attempt: attempt(Ended::Unchanged, None),
        };
        journal.submit(change, Durability::Lazy);
    }
    journal.flush().unwrap();
    let (mut after, mut seen) = (MailboxId(0), Vec::new());
    loop {
        let page = journal
            .page(run, Filter::In(State::Pending), after, 7)
            .unwrap();
        let Some(last) = page.last() else { break };
        after = last.id;
        seen.extend(page.iter().map(|r| r.id));
    }
    let odd: Vec<_> = ids.iter().skip(1).step_by(2).copied().collect();
    assert_eq!(seen, odd);
    assert_eq!(
        journal
            .page(other, Filter::All, MailboxId(0), 1000)
            .unwrap()
            .len(),
        1
    );
    assert_eq!(
        journal
            .add(run, &[listed("user.u3"), listed("user.new")])
            .unwrap(),
        1,
        "known ones are left alone"
    );
}

fn totals_add_up(arm: &impl Arm) {
    let journal = arm.journal();
    let (run, ids) = begin(
        journal,
        &["user.a", "user.b", "user.c", "user.d", "user.e", "user.f"],
    );
    let ends = [
        Ended::Upgraded,
        Ended::Unchanged,
        Ended::RolledBack,
        Ended::Again,
        Ended::Gone,
    ];
    for (id, ended) in ids.iter().zip(ends) {
        journal.submit(
            Change::Finish {
                mailbox: *id,
                attempt: attempt(ended, None),
            },
            Durability::Lazy,
        );
    }
    journal
        .submit(
            Change::Decide {
                mailbox: ids[5],
                before: [None; 2],
            },
            Durability::Durable,
        )
        .wait_blocking()
        .unwrap();
    let t = journal.totals(run).unwrap();
    assert_eq!(
        (
            t.mailboxes,
            t.pending,
            t.open,
            t.upgraded,
            t.unchanged,
            t.rolled_back,
            t.gone
        ),
        (6, 1, 1, 1, 1, 1, 1)
    );
    assert_eq!(
        (t.messages, t.cached, t.hashed, t.lag, t.in_doubt),
        (35, 20, 10, 5, 0)
    );
}

fn what_a_run_changed_is_told_with_the_versions_before_and_the_later_runs(arm: impl Arm) {
    let names = ["user.a", "user.b", "user.c", "user.d"];
    let (first, ids) = begin(arm.journal(), &names);
    let upgrade = |journal: &dyn Journal, mailbox, before| {
        journal.submit(Change::Decide { mailbox, before }, Durability::Lazy);
        let attempt = attempt(Ended::Upgraded, None);
        journal.submit(Change::Finish { mailbox, attempt }, Durability::Lazy);
    };
    upgrade(arm.journal(), ids[0], [Some(9), Some(9)]);
    upgrade(arm.journal(), ids[1], [None, Some(8)]);
    upgrade(arm.journal(), ids[2], [Some(9), Some(9)]);
    let unchanged = attempt(Ended::Unchanged, None);
    let finish = Change::Finish {
        mailbox: ids[3],
        attempt: unchanged.clone(),
    };
    arm.journal().submit(finish, Durability::Lazy);
    // A later run changes one of them, is about to change another, and finds a third as it wants it.
    let (second, again) = begin(arm.journal(), &["user.c", "user.a", "user.b"]);
    upgrade(arm.journal(), again[0], [Some(10), Some(10)]);
    let before = [Some(10), Some(10)];
    let mailbox = again[1];
    arm.journal()
        .submit(Change::Decide { mailbox, before }, Durability::Lazy);
    let finish = Change::Finish {
        mailbox: again[2],
        attempt: unchanged,
    };
    arm.journal().submit(finish, Durability::Lazy);
    arm.journal().flush().unwrap();
    let arm = arm.crash();
    let journal = arm.journal();
    let told = |run| -> Vec<(String, [Option<u8>; 2], Option<RunId>)> {
        let (mut after, mut all) = (MailboxId(0), Vec::new());
        loop {
            let page = journal.changed(run, after, 2).unwrap();
            let Some(last) = page.last() else { return all };
            after = last.row.id;
            let short = page
                .iter()
                .map(|c| (c.row.name.to_string(), c.before, c.later));
            all.extend(short);
        }
    };
    let nine = [Some(9), Some(9)];
    assert_eq!(
        told(first),
        [
            ("user.a".to_owned(), nine, Some(second)),
            ("user.b".to_owned(), [None, Some(8)], None),
            ("user.c".to_owned(), nine, Some(second)),
        ]
    );
    assert_eq!(told(second), [("user.c".to_owned(), [Some(10); 2], None)]);
    let found = journal.run(first).unwrap().map(|run| run.id);
    assert_eq!(
        (found, journal.run(RunId(99)).unwrap()),
        (Some(first), None)
    );
}

fn a_rollback_knows_what_it_undoes_and_where_each_mailbox_goes(arm: impl Arm) {
    let (first, _) = begin(arm.journal(), &["user.a"]);
    let spec = RunSpec {
        verb: Verb::Rollback,
        to: 0,
        undoes: Some(first),
        ..spec()
    };
    let run = arm.journal().begin_run(&spec, 6).unwrap();
    let back = [Some(9), None];
    let listed = Listed {
        back,
        ..listed("user.a")
    };
    arm.journal().add(run, &[listed]).unwrap();
    let mailbox = arm
        .journal()
        .page(run, Filter::All, MailboxId(0), 9)
        .unwrap()[0]
        .id;
    let before = [Some(10), None];
    arm.journal()
        .submit(Change::Decide { mailbox, before }, Durability::Durable)
        .wait_blocking()
        .unwrap();
    let after = arm.crash();
    let open = after.journal().open_transactions(MailboxId(0), 9).unwrap();
    assert_eq!((&open[0].spec, open[0].row.back), (&spec, back));
    assert_eq!(after.journal().last_run().unwrap().unwrap().spec, spec);
}

fn a_run_is_found_again(arm: impl Arm) {
    assert_eq!(arm.journal().last_run().unwrap(), None);
    let (run, _) = begin(arm.journal(), &["user.a"]);
    arm.journal().list_complete(run).unwrap();
    let after = arm.crash();
    let found = after.journal().last_run().unwrap().unwrap();
    assert_eq!((found.id, &found.spec, found.started_ms), (run, &spec(), 5));
    assert!(found.list_complete && found.finished_ms.is_none());
    after.journal().finish_run(run, 77).unwrap();
    assert_eq!(
        after.journal().last_run().unwrap().unwrap().finished_ms,
        Some(77)
    );
}

macro_rules! suite {
    ($arm:ident, $new:expr) => {
        mod $arm {
            use super::*;
            #[test]
            fn a_decision_with_its_receipt_survives_a_crash() {
                super::a_decision_with_its_receipt_survives_a_crash($new);
            }
            #[test]
            fn lazy_changes_never_overtake_and_are_never_overtaken() {
                super::lazy_changes_never_overtake_and_are_never_overtaken($new);
            }
            #[test]
            fn a_transaction_is_open_until_it_is_finished() {
                super::a_transaction_is_open_until_it_is_finished(&$new);
            }
            #[test]
            fn only_what_was_rolled_back_is_requeued() {
                super::only_what_was_rolled_back_is_requeued(&$new);
            }
            #[test]
            fn pages_come_in_order_and_show_each_mailbox_once() {
                super::pages_come_in_order_and_show_each_mailbox_once(&$new);
            }
            #[test]
            fn totals_add_up() {
                super::totals_add_up(&$new);
            }
            #[test]
            fn what_a_run_changed_is_told_with_the_versions_before_and_the_later_runs() {
                super::what_a_run_changed_is_told_with_the_versions_before_and_the_later_runs($new);
            }
            #[test]
            fn a_rollback_knows_what_it_undoes_and_where_each_mailbox_goes() {
                super::a_rollback_knows_what_it_undoes_and_where_each_mailbox_goes($new);
            }
            #[test]
            fn a_run_is_found_again() {
                super::a_run_is_found_again($new);
            }
        }
    };
}

suite!(sqlite, Sqlite::new());
suite!(memory, Memory(MemoryJournal::new()));
