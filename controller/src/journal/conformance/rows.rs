//! What is read back: pages, totals, runs, and what a run changed.

use super::{Arm, attempt, begin, begin_with, listed};
use crate::journal::model::{Candidate, Change, Ended, Filter, MailboxId, State};
use crate::journal::runs::{RunId, RunSpec, Verb};
use crate::journal::{Changing, Durability, Journal};

pub(super) fn pages_come_in_order_and_show_each_mailbox_once(arm: &impl Arm) {
    let journal = arm.journal();
    let names: Vec<String> = (0..250).map(|n| format!("user.u{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (run, ids) = begin(arm, &names);
    let (other, _) = begin(arm, &["user.other"]);
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

pub(super) fn a_name_on_two_partitions_is_two_mailboxes(arm: &impl Arm) {
    let journal = arm.journal();
    let on = |partition: Option<&str>| Candidate {
        partition: partition.map(str::to_owned),
        ..listed("user.a")
    };
    let (run, _) = begin(arm, &["user.a"]);
    for (partition, new) in [
        (Some("default"), 0),
        (Some("two"), 1),
        (Some("two"), 0),
        // A name without a partition means one that is known.
        (None, 0),
    ] {
        assert_eq!(
            journal.add(run, &[on(partition)]).unwrap(),
            new,
            "{partition:?}"
        );
    }
    let name = on(None).name;
    let rows = journal.find_all(run, &name).unwrap();
    let partitions: Vec<_> = rows.iter().map(|r| r.partition.as_deref()).collect();
    assert_eq!(partitions, [Some("default"), Some("two")]);
    assert_eq!(journal.find(run, &name).unwrap(), rows.first().cloned());
    let other = journal.begin_run(&arm.spec(), 6).unwrap();
    assert_eq!(journal.add(other, &[on(None)]).unwrap(), 1);
    assert_eq!(journal.add(other, &[on(Some("two"))]).unwrap(), 0);
}

pub(super) fn totals_add_up(arm: &impl Arm) {
    let journal = arm.journal();
    let (run, ids) = begin(
        arm,
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

pub(super) fn what_a_run_changed_is_told_with_the_versions_before_and_the_later_runs(
    arm: &impl Arm,
) {
    let names = ["user.a", "user.b", "user.c", "user.d"];
    let (first, ids) = begin(arm, &names);
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
    // A later run changes one of them, is about to change another, and finds a third as it wants
    // it.
    let (second, again) = begin(arm, &["user.c", "user.a", "user.b"]);
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
    let changes_of = |run| -> Vec<(String, [Option<u8>; 2], Option<RunId>)> {
        let (mut after, mut all) = (MailboxId(0), Vec::new());
        loop {
            let page = journal.changed(run, after, 2).unwrap();
            let Some(last) = page.last() else { return all };
            after = last.row.id;
            let short = page.iter().map(|c| {
                (
                    c.row.name.to_string(),
                    c.change.before,
                    c.others.last().map(|o| o.run),
                )
            });
            all.extend(short);
        }
    };
    let nine = [Some(9), Some(9)];
    assert_eq!(
        changes_of(first),
        [
            ("user.a".to_owned(), nine, Some(second)),
            ("user.b".to_owned(), [None, Some(8)], None),
            ("user.c".to_owned(), nine, Some(second)),
        ]
    );
    assert_eq!(
        changes_of(second),
        [("user.c".to_owned(), [Some(10); 2], Some(first))]
    );
    let found = journal.run(first).unwrap().map(|run| run.id);
    assert_eq!(
        (found, journal.run(RunId(99)).unwrap()),
        (Some(first), None)
    );
}

pub(super) fn a_rollback_knows_what_it_undoes_and_where_each_mailbox_goes(arm: &impl Arm) {
    let (first, _) = begin(arm, &["user.a"]);
    let spec = RunSpec {
        verb: Verb::Rollback,
        to: 0,
        undoes: Some(first),
        ..arm.spec()
    };
    let run = arm.journal().begin_run(&spec, 6).unwrap();
    let back = [Some(9), None];
    let uniqueids = [Some("id".to_owned()), None];
    let listed = Candidate {
        back,
        uniqueids: uniqueids.clone(),
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
    assert_eq!(open[0].row.uniqueids, uniqueids);
    assert_eq!(after.journal().last_run().unwrap().unwrap().spec, spec);
}

pub(super) fn what_was_changed_under_a_name_that_another_mailbox_has_now_is_told_apart(
    arm: &impl Arm,
) {
    let spec = |verb| RunSpec { verb, ..arm.spec() };
    let mut runs = Vec::new();
    // Of the second nobody knows which mailbox it was.
    for (verb, id) in [
        (Verb::Upgrade, Some("a")),
        (Verb::Downgrade, None),
        (Verb::Upgrade, Some("x")),
    ] {
        let (run, ids) = begin_with(arm.journal(), &spec(verb), &["user.a"]);
        let mailbox = ids[0];
        let uniqueids = [id.map(str::to_owned), None];
        for change in [
            Change::Identify { mailbox, uniqueids },
            Change::Finish {
                mailbox,
                attempt: attempt(Ended::Upgraded, None),
            },
        ] {
            let written = arm.journal().submit(change, Durability::Durable);
            written.wait_blocking().unwrap();
        }
        runs.push(run);
    }
    let changed = |run| {
        let mut page = arm.journal().changed(run, MailboxId(0), 9).unwrap();
        page.pop().unwrap()
    };
    let numbers = |all: &[Changing]| all.iter().map(|c| c.run).collect::<Vec<_>>();
    let first = changed(runs[0]);
    assert_eq!(numbers(&first.others), [runs[1]]);
    assert_eq!(numbers(&first.namesakes), [runs[2]]);
    assert_eq!(first.succeeded(None), Some(runs[2]));
    let second = changed(runs[1]);
    assert_eq!(numbers(&second.others), [runs[0], runs[2]]);
    let last = changed(runs[2]);
    assert_eq!(numbers(&last.namesakes), [runs[0]]);
    assert_eq!(last.succeeded(None), None);
}

pub(super) fn a_run_is_found_again(arm: &impl Arm) {
    assert_eq!(arm.journal().last_run().unwrap(), None);
    let (run, _) = begin(arm, &["user.a"]);
    arm.journal().list_complete(run).unwrap();
    let after = arm.crash();
    let found = after.journal().last_run().unwrap().unwrap();
    assert_eq!(
        (found.id, &found.spec, found.started_ms),
        (run, &arm.spec(), 5)
    );
    assert!(found.list_complete && found.finished_ms.is_none());
    after.journal().finish_run(run, 77).unwrap();
    assert_eq!(
        after.journal().last_run().unwrap().unwrap().finished_ms,
        Some(77)
    );
}

pub(super) fn what_was_rehearsed_is_counted_and_is_no_change(arm: &impl Arm) {
    let spec = RunSpec {
        verb: Verb::Rehearse,
        ..arm.spec()
    };
    let (run, ids) = begin_with(arm.journal(), &spec, &["user.a", "user.b"]);
    let change = Change::Finish {
        mailbox: ids[0],
        attempt: attempt(Ended::Rehearsed, None),
    };
    arm.journal()
        .submit(change, Durability::Durable)
        .wait_blocking()
        .unwrap();
    let totals = arm.journal().totals(run).unwrap();
    assert_eq!(
        (totals.rehearsed, totals.upgraded, totals.pending),
        (1, 0, 1)
    );
    let rehearsed = Filter::In(State::Rehearsed);
    let rows = arm.journal().page(run, rehearsed, MailboxId(0), 9).unwrap();
    assert_eq!((rows.len(), rows[0].figures.lock_us[0]), (1, Some(9)));
    assert_eq!(arm.journal().changed(run, MailboxId(0), 9).unwrap(), []);
}
