//! Several pairs in one store: runs over all of them, and what each sees.

use super::{Stores, attempt, begin_with, listed, spec};
use crate::journal::model::{Change, Ended, Filter, MailboxId};
use crate::journal::runs::{PairRun, RunId, RunSpec, Verb};
use crate::journal::{AtOnce, Disagreement, Durability, JournalError};

fn over(pairs: &str) -> RunSpec {
    RunSpec {
        pairs: pairs.to_owned(),
        words: "--match user.*".to_owned(),
        ..spec()
    }
}

pub(super) fn a_run_over_pairs_has_one_number_and_is_finished_when_all_of_them_are(
    arm: &impl Stores,
) {
    let [a, b] = ["a", "b"].map(|name| arm.store().pair(name).unwrap());
    assert_eq!(arm.store().last_run().unwrap(), None);
    let run = a.begin_run(&over("a,b,c"), 5).unwrap();
    let joining = RunSpec {
        master: "unix:/other".to_owned(),
        selection: "7 digest".to_owned(),
        ..over("a,b,c")
    };
    assert_eq!(b.begin_run(&joining, 6).unwrap(), run);
    assert_eq!(b.last_run().unwrap().unwrap().spec, joining);
    assert_eq!(a.last_run().unwrap().unwrap().spec, over("a,b,c"));
    a.list_complete(run).unwrap();
    a.finish_run(run, 10).unwrap();
    b.finish_run(run, 11).unwrap();
    let arm = arm.crash();
    let found = arm.store().run(run).unwrap().unwrap();
    let pair = |name: &str, started_ms, listed, finished_ms| PairRun {
        name: name.to_owned(),
        started_ms,
        listed,
        finished_ms,
    };
    assert_eq!(
        found.pairs,
        [
            pair("a", Some(5), true, Some(10)),
            pair("b", Some(6), false, Some(11)),
            pair("c", None, false, None),
        ]
    );
    assert_eq!((found.started_ms, found.finished_ms), (5, None));
    assert_eq!(
        (found.verb, found.to, found.undoes, found.words.as_str()),
        (Verb::Upgrade, 10, None, "--match user.*")
    );
    let c = arm.store().pair("c").unwrap();
    assert_eq!(c.run(run).unwrap(), None, "it has not begun there");
    assert_eq!(c.begin_run(&over("a,b,c"), 7).unwrap(), run);
    c.finish_run(run, 12).unwrap();
    let last = arm.store().last_run().unwrap().unwrap();
    assert_eq!((last.id, last.finished_ms), (run, Some(12)));
    assert_eq!(arm.store().run(RunId(run.0 + 1)).unwrap(), None);
}

pub(super) fn a_pair_that_is_paused_stays_so_until_it_is_resumed(arm: &impl Stores) {
    let [a, b] = ["a", "b"].map(|name| arm.store().pair(name).unwrap());
    a.set_paused(None).unwrap();
    assert_eq!(a.paused().unwrap(), None);
    for since in [7, 9] {
        a.set_paused(Some(since)).unwrap();
    }
    let arm = arm.crash();
    let [a, of_b] = ["a", "b"].map(|name| arm.store().pair(name).unwrap());
    assert_eq!(
        (a.paused().unwrap(), of_b.paused().unwrap()),
        (Some(7), None)
    );
    drop(b);
    a.set_paused(None).unwrap();
    let arm = arm.crash();
    let a = arm.store().pair("a").unwrap();
    assert_eq!(a.paused().unwrap(), None);
    a.set_paused(Some(11)).unwrap();
    assert_eq!(a.paused().unwrap(), Some(11));
}

pub(super) fn how_many_at_once_the_last_start_found_is_kept_with_the_run_by_pair(
    arm: &impl Stores,
) {
    let [a, b] = ["a", "b"].map(|name| arm.store().pair(name).unwrap());
    let run = a.begin_run(&over("a,b"), 5).unwrap();
    assert_eq!(b.begin_run(&over("a,b"), 5).unwrap(), run);
    assert_eq!(a.at_once(run).unwrap(), None);
    let first = AtOnce {
        at_once: 4,
        of: "auto".to_owned(),
        least: 2,
        most: 6,
        why: "6 were no faster".to_owned(),
    };
    a.note_at_once(run, &first).unwrap();
    assert_eq!(a.at_once(run).unwrap(), Some(first.clone()));
    let later = AtOnce {
        at_once: 9,
        of: "40".to_owned(),
        most: 9,
        ..first
    };
    a.note_at_once(run, &later).unwrap();
    drop((a, b));
    let arm = arm.crash();
    let [a, b] = ["a", "b"].map(|name| arm.store().pair(name).unwrap());
    assert_eq!(a.at_once(run).unwrap(), Some(later));
    assert_eq!(b.at_once(run).unwrap(), None);
}

pub(super) fn a_run_is_joined_once_by_each_pair_and_only_while_it_is_the_same(arm: &impl Stores) {
    let [a, b] = ["a", "b"].map(|name| arm.store().pair(name).unwrap());
    let mut run = a.begin_run(&over("a,b"), 5).unwrap();
    let others = [
        RunSpec {
            verb: Verb::Downgrade,
            ..over("a,b")
        },
        RunSpec {
            to: 9,
            ..over("a,b")
        },
        RunSpec {
            verb: Verb::Rollback,
            undoes: Some(run),
            ..over("a,b")
        },
        RunSpec {
            words: "user.x".to_owned(),
            ..over("a,b")
        },
        over("b"),
    ];
    for other in others {
        let next = b.begin_run(&other, 6).unwrap();
        assert!(next > run, "{other:?} is another run");
        run = next;
    }
    // Only the newest one is joined.
    let next = b.begin_run(&over("a,b"), 7).unwrap();
    assert!(next > run);
    assert_eq!(a.begin_run(&over("a,b"), 8).unwrap(), next);
    // Both have begun it.
    let third = a.begin_run(&over("a,b"), 9).unwrap();
    assert!(third > next);
    arm.store().give_up(third, 10).unwrap();
    assert!(b.begin_run(&over("a,b"), 11).unwrap() > third);
}

pub(super) fn a_pair_sees_its_own_and_nothing_else(arm: &impl Stores) {
    let [a, b] = ["a", "b"].map(|name| arm.store().pair(name).unwrap());
    let hosts = |n: u8| RunSpec {
        master_id: format!("m{n}"),
        replica_id: format!("r{n}"),
        ..over("a,b")
    };
    let (run, of_a) = begin_with(a.as_ref(), &hosts(1), &["user.x", "user.y"]);
    let (same, of_b) = begin_with(b.as_ref(), &hosts(2), &["user.x"]);
    assert_eq!(run, same);
    for (journal, mailbox) in [(&a, of_a[0]), (&b, of_b[0])] {
        let before = [Some(9), Some(9)];
        journal.submit(Change::Decide { mailbox, before }, Durability::Lazy);
    }
    let finish = Change::Finish {
        mailbox: of_b[0],
        attempt: attempt(Ended::Upgraded, None),
    };
    b.submit(finish, Durability::Durable)
        .wait_blocking()
        .unwrap();
    let arm = arm.crash();
    let [a, b] = ["a", "b"].map(|name| arm.store().pair(name).unwrap());
    assert_eq!(arm.store().pairs().unwrap(), ["a", "b"]);
    let names = |rows: Vec<crate::journal::Row>| -> Vec<String> {
        rows.iter().map(|r| r.name.to_string()).collect()
    };
    let all = |journal: &dyn crate::journal::Journal| {
        names(journal.page(run, Filter::All, MailboxId(0), 9).unwrap())
    };
    assert_eq!(all(a.as_ref()), ["user.x", "user.y"]);
    assert_eq!(all(b.as_ref()), ["user.x"]);
    let name = listed("user.x").name;
    assert_eq!(a.find_all(run, &name).unwrap()[0].id, of_a[0]);
    assert_eq!(b.find_all(run, &name).unwrap().len(), 1);
    let open = |journal: &dyn crate::journal::Journal| {
        let open = journal.open_transactions(MailboxId(0), 9).unwrap();
        open.iter()
            .map(|o| (o.row.id, o.spec.clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(open(a.as_ref()), [(of_a[0], hosts(1))]);
    assert_eq!(open(b.as_ref()), []);
    let (totals_a, totals_b) = (a.totals(run).unwrap(), b.totals(run).unwrap());
    assert_eq!(
        (totals_a.mailboxes, totals_a.open, totals_a.upgraded),
        (2, 1, 0)
    );
    assert_eq!(
        (totals_b.mailboxes, totals_b.open, totals_b.upgraded),
        (1, 0, 1)
    );
    assert_eq!(a.changed(run, MailboxId(0), 9).unwrap(), []);
    let changed = b.changed(run, MailboxId(0), 9).unwrap();
    assert_eq!(changed.len(), 1);
    assert_eq!(
        changed[0].others,
        [],
        "what the other pair has of that name"
    );
    let identities = [&a, &b].map(|journal| journal.owner().unwrap());
    assert_ne!(identities[0].id, identities[1].id);
    let stores = identities.map(|i| i.hosts.map(Option::unwrap).concat());
    assert_eq!(stores, ["m1r1", "m2r2"]);
}

pub(super) fn a_run_that_is_given_up_is_finished_for_all_its_pairs(arm: &impl Stores) {
    let a = arm.store().pair("a").unwrap();
    let done = a.begin_run(&over("a"), 4).unwrap();
    a.finish_run(done, 5).unwrap();
    let run = a.begin_run(&over("a,b"), 6).unwrap();
    for id in [done, run] {
        arm.store().give_up(id, 9).unwrap();
    }
    let arm = arm.crash();
    let found = arm.store().run(run).unwrap().unwrap();
    assert_eq!(found.finished_ms, Some(9));
    let a = arm.store().pair("a").unwrap();
    assert_eq!(a.last_run().unwrap().unwrap().finished_ms, Some(9));
    let before = a.run(done).unwrap().unwrap();
    assert_eq!(before.finished_ms, Some(5), "it was finished before");
}

pub(super) fn a_run_that_gets_another_mailbox_on_a_pair_is_open_again_there(arm: &impl Stores) {
    let [a, b] = ["a", "b"].map(|name| arm.store().pair(name).unwrap());
    let (run, _) = begin_with(a.as_ref(), &over("a,b"), &["user.x"]);
    begin_with(b.as_ref(), &over("a,b"), &["user.y"]);
    a.finish_run(run, 7).unwrap();
    b.finish_run(run, 8).unwrap();
    let finished = |arm: &dyn crate::journal::JournalStore| {
        let found = arm.run(run).unwrap().unwrap();
        let pairs = found.pairs.iter().map(|pair| pair.finished_ms);
        (found.finished_ms, pairs.collect::<Vec<_>>())
    };
    let all = (Some(8), vec![Some(7), Some(8)]);
    assert_eq!(b.add(run, &[listed("user.y")]).unwrap(), 0);
    assert_eq!(finished(arm.store()), all, "it has that one already");
    assert_eq!(b.add(run, &[listed("user.x")]).unwrap(), 1);
    let arm = arm.crash();
    assert_eq!(finished(arm.store()), (None, vec![Some(7), None]));
    let b = arm.store().pair("b").unwrap();
    assert_eq!(b.totals(run).unwrap().pending, 2);
    b.finish_run(run, 9).unwrap();
    assert_eq!(finished(arm.store()), (Some(9), vec![Some(7), Some(9)]));
}

pub(super) fn what_a_murders_list_disagrees_on_is_kept_with_the_run_as_last_seen(
    arm: &impl Stores,
) {
    let [a, b] = ["a", "b"].map(|name| arm.store().pair(name).unwrap());
    let found = |code: &str, first: &[&str]| Disagreement {
        code: code.to_owned(),
        findings: first.len() as u64,
        first: first.iter().map(|&line| line.to_owned()).collect(),
    };
    let run = a.begin_run(&over("a,b"), 5).unwrap();
    assert_eq!(arm.store().disagreements(run).unwrap(), []);
    let stale = found("stale", &["user.x: stale", "user.y: stale"]);
    let duplicate = found("duplicate", &["user.z: it's here\tand there"]);
    let noted = [stale.clone(), duplicate.clone()];
    a.note_disagreements(run, &noted).unwrap();
    let arm = arm.crash();
    assert_eq!(arm.store().disagreements(run).unwrap(), [duplicate, stale]);
    b.note_disagreements(run, &noted).unwrap();
    let b = arm.store().pair("b").unwrap();
    let now = found("stale", &["user.y: stale"]);
    b.note_disagreements(run, &[found("duplicate", &[]), now.clone()])
        .unwrap();
    assert_eq!(arm.store().disagreements(run).unwrap(), [now]);
    assert_eq!(arm.store().disagreements(RunId(run.0 + 1)).unwrap(), []);
}

pub(super) fn a_store_has_the_only_pair_or_pairs_with_names(arm: &impl Stores) {
    let id = arm.store().pair("b").unwrap().owner().unwrap().id;
    let refused = |store: &dyn crate::journal::JournalStore, name: &str| match store.pair(name) {
        Err(JournalError::Pairs { what, .. }) => what,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("the pair {name:?} was made"),
    };
    assert!(refused(arm.store(), "").contains("with the pairs b:"));
    refused(arm.store(), "a,c");
    arm.store().pair("a").unwrap();
    let arm = arm.crash();
    assert_eq!(arm.store().pairs().unwrap(), ["a", "b"]);
    let again = arm.store().pair("b").unwrap();
    assert_eq!(again.owner().unwrap().id, id, "it is the same pair");
}

pub(super) fn a_run_begins_only_on_its_own_pairs(arm: &impl Stores) {
    let only = arm.store().pair("").unwrap();
    let refused = only.begin_run(&over("a"), 5);
    assert!(matches!(refused, Err(JournalError::Pairs { .. })));
    let run = only.begin_run(&spec(), 5).unwrap();
    let pairs = arm.store().run(run).unwrap().unwrap().pairs;
    assert_eq!(pairs.len(), 1);
    assert!(pairs[0].name.is_empty() && pairs[0].is_started());
    only.finish_run(run, 6).unwrap();
    let last = arm.store().last_run().unwrap().unwrap();
    assert_eq!(last.finished_ms, Some(6));
    let named = arm.store().pair("a").map(drop);
    let Err(JournalError::Pairs { what, .. }) = named else {
        panic!("{named:?}");
    };
    assert!(what.contains("without a fleet file"), "{what}");
}

pub(super) fn a_rehearsal_and_other_runs_do_not_know_of_each_other(arm: &impl Stores) {
    let [a, b] = ["a", "b"].map(|name| arm.store().pair(name).unwrap());
    let rehearsal = RunSpec {
        verb: Verb::Rehearse,
        ..over("a,b")
    };
    let run = a.begin_run(&over("a,b"), 5).unwrap();
    let tried = a.begin_run(&rehearsal, 6).unwrap();
    assert_ne!(tried, run);
    // The other pair joins each, whichever began last.
    assert_eq!(b.begin_run(&over("a,b"), 7).unwrap(), run);
    assert_eq!(b.begin_run(&rehearsal, 8).unwrap(), tried);
    for journal in [&a, &b] {
        let last = |verb| journal.last_of(verb).unwrap().map(|run| run.id);
        assert_eq!(last(Verb::Rehearse), Some(tried));
        for verb in [Verb::Upgrade, Verb::Rollback] {
            assert_eq!(last(verb), Some(run));
        }
        assert_eq!(journal.last_run().unwrap().unwrap().id, tried);
    }
    let last = |verb| arm.store().last_of(verb).unwrap().map(|run| run.id);
    assert_eq!(
        (last(Verb::Rehearse), last(Verb::Upgrade)),
        (Some(tried), Some(run))
    );
}
