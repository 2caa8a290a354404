//! How a decided transaction ends when a side fails.

use std::sync::Arc;
use std::time::Duration;

use indexfile::exit::Exit;
use indexfile::mailbox::MailboxName;
use slotd::protocol::Code;

use super::fake::{What, lock};
use super::world::{World, names, spec_of};
use crate::journal::{Change, Filter, Journal, MailboxId, RunId, State};
use crate::run::{recover, run};
use crate::survey::Source;

#[tokio::test]
async fn a_commit_without_an_answer_is_settled_within_the_run() {
    for what in [What::CloseBefore, What::CloseAfter, What::Hang] {
        for side in [0, 1] {
            let world = World::new();
            world.fault(side, "COMMIT", "user.a", 1, what.clone());
            let summary = world.run(&[Source::Master]).await;
            // A hung session keeps its locks until the connection closes, which it did.
            assert_eq!(summary.exit(), Exit::Ok, "{what:?} at {side}: {summary:?}");
            assert_eq!(world.versions("user.a"), [10, 10]);
            assert!(world.witness.alarms.lock().unwrap().is_empty());
        }
    }
}

#[tokio::test]
async fn a_master_that_refuses_its_commit_leaves_both_as_before() {
    let world = World::new();
    world.fault(0, "COMMIT", "user.a", 9, What::Refuse(Code::Io));
    let summary = world.run(&[names(&["user.a"])]).await;
    assert_eq!((summary.rolled_back, summary.exit()), (1, Exit::RolledBack));
    assert_eq!(world.versions("user.a"), [9, 9]);
}

#[tokio::test]
async fn a_host_that_stays_away_after_the_decision_is_in_doubt_and_recovery_heals_it() {
    let world = World::new();
    world.fault(0, "COMMIT", "user.a", 1, What::CloseBefore);
    // From the COMMIT on, nobody answers there.
    let watcher = Arc::clone(&world.hosts[0]);
    let task = tokio::spawn(async move {
        loop {
            {
                let mut host = lock(&watcher);
                if host.log.iter().any(|l| l.starts_with("COMMIT")) {
                    host.down = true;
                    return;
                }
            }
            tokio::time::sleep(Duration::from_micros(50)).await;
        }
    });
    let summary = world.run(&[names(&["user.a"])]).await;
    task.await.unwrap();
    assert_eq!((summary.in_doubt, summary.exit()), (1, Exit::InDoubt));
    assert_eq!(world.versions("user.a"), [9, 10]);
    {
        let alarms = world.witness.alarms.lock().unwrap();
        assert_eq!(alarms.len(), 1);
        assert!(alarms[0].contains("IN DOUBT: user.a") && alarms[0].contains("controller recover"));
    }
    lock(&world.hosts[0]).down = false;
    let recovered = recover(world.parts()).await.unwrap();
    assert_eq!((recovered.settled, recovered.in_doubt), (1, 0));
    assert_eq!(world.versions("user.a"), [10, 10]);
    assert_eq!(world.row("user.a").state, State::Upgraded);
}

#[tokio::test]
async fn a_journal_that_cannot_be_written_stops_the_run_before_any_commit() {
    let world = World::new();
    let journal = Arc::clone(&world.journal);
    let watcher = Arc::clone(&world.hosts[0]);
    let task = tokio::spawn(async move {
        while !lock(&watcher).log.iter().any(|l| l.starts_with("LOCK")) {
            tokio::time::sleep(Duration::from_micros(20)).await;
        }
        journal.break_down();
    });
    let error = run(world.parts(), &[Source::Master]).await.unwrap_err();
    task.await.unwrap();
    assert_eq!(error.exit(), Exit::Io);
    let committed = lock(&world.hosts[0])
        .mailboxes
        .values()
        .filter(|m| m.version == 10)
        .count();
    let decided = world
        .journal
        .page(RunId(1), Filter::All, MailboxId(0), 100)
        .unwrap();
    assert!(committed <= decided.iter().filter(|r| r.state != State::Pending).count());
}

#[tokio::test]
async fn the_way_back_of_a_rewrite_at_version_10_asks_for_what_dot_old_holds() {
    let world = World::new();
    lock(&world.hosts[1])
        .mailboxes
        .get_mut("user.a")
        .unwrap()
        .version = 10;
    let run = world.journal.begin_run(&spec_of(&world), 0).unwrap();
    let name = MailboxName::parse("user.a").unwrap();
    let listed = crate::journal::Candidate {
        name,
        partition: None,
        named: true,
        back: [None; 2],
        uniqueids: [None, None],
    };
    world.journal.add(run, &[listed]).unwrap();
    let mailbox = world.row("user.a").id;
    // Padded GUIDs of version 10 were replaced on the replica; the master could not follow.
    for change in [
        Change::Decide {
            mailbox,
            before: [Some(9), Some(10)],
        },
        Change::Reverse { mailbox },
    ] {
        world.submit(change).await;
    }
    let recovered = recover(world.parts()).await.unwrap();
    assert_eq!((recovered.settled, recovered.in_doubt), (1, 0));
    let log = lock(&world.hosts[1]).log.clone();
    assert!(log.iter().any(|l| l == "UPGRADE 10 uuids=old"), "{log:?}");
    assert!(world.witness.alarms.lock().unwrap().is_empty());
}
