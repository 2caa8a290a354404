//! The journal has lost its newest rows, as at a failover to a standby that did not have them: one
//! side that is committed proves a decision, and nothing is called rolled back that it may leave
//! unlike.

use std::sync::Arc;

use indexfile::exit::Exit;
use slotd::protocol::Code;

use super::fake::{What, lock};
use super::world::{World, names};
use crate::control::Parallel;
use crate::journal::memory::MemoryJournal;
use crate::journal::{Change, Journal, MailboxId, State};
use crate::run::{Retry, recover, retry};
use crate::survey::Source;
use crate::two_phase::Reason;

/// As a `COMMIT` does of which no row is left.
fn commit_replica(world: &World) {
    let mut replica = lock(&world.hosts[1]);
    replica.mailboxes.get_mut("user.b").unwrap().version = 10;
}

/// The decision of user.b is missing, the replica was committed by it, and the master was not.
fn lost() -> World {
    let mut world = World::new();
    world.settings.limits.parallel = Parallel::Fixed(1);
    world.journal = Arc::new(MemoryJournal::new().after_failover(0));
    commit_replica(&world);
    world
}

#[tokio::test]
async fn a_side_that_refuses_beside_a_committed_one_is_in_doubt_until_it_can_go_forward() {
    for command in ["LOCK", "UPGRADE", "CONFIRM", "COMMIT"] {
        for code in [Code::Damaged, Code::Locked, Code::NoSpace] {
            let what = format!("{command} says {code:?}");
            let world = lost();
            world.fault(0, command, "user.b", 99, What::Refuse(code));
            let summary = world.run(&[names(&["user.b"])]).await;
            assert_eq!(summary.exit(), Exit::InDoubt, "{what}: {summary:?}");
            assert_eq!(summary.rolled_back, 0, "{what}");
            assert_eq!(world.row("user.b").state, State::Decided, "{what}");
            let alarms = world.witness.alarms.lock().unwrap().join("\n");
            let why = "the journal may have lost its newest rows, so the hosts may differ";
            assert!(alarms.contains(why), "{what}: {alarms}");
            assert_eq!(world.versions("user.b"), [9, 10], "{what}");
            // What refused is repaired.
            lock(&world.hosts[0]).faults.clear();
            let recovered = recover(world.parts()).await.unwrap();
            assert_eq!((recovered.settled, recovered.in_doubt), (1, 0), "{what}");
            assert_eq!(world.versions("user.b"), [10, 10], "{what}");
            assert_eq!(world.row("user.b").state, State::Upgraded, "{what}");
        }
    }
}

#[tokio::test]
async fn what_passes_by_itself_costs_nothing_and_what_is_as_before_is_rolled_back() {
    let world = lost();
    world.fault(0, "LOCK", "user.b", 1, What::Refuse(Code::Locked));
    // On neither side was anything committed.
    world.fault(1, "UPGRADE", "user.a", 99, What::Refuse(Code::Damaged));
    let summary = world.run(&[Source::Master]).await;
    let counts = (summary.upgraded, summary.rolled_back, summary.in_doubt);
    assert_eq!((counts, summary.exit()), ((4, 1, 0), Exit::RolledBack));
    assert_eq!(world.versions("user.b"), [10, 10]);
    assert_eq!(world.versions("user.a"), [9, 9]);
}

#[tokio::test]
async fn a_replica_that_is_refused_is_not_taken_for_one_that_is_as_before() {
    let world = lost();
    world.fault(1, "LOCK", "user.a", 99, What::Refuse(Code::Damaged));
    let summary = world.run(&[names(&["user.a"])]).await;
    assert_eq!(summary.exit(), Exit::InDoubt);
    // Without rows that may be missing nothing was committed there.
    let world = World::new();
    world.fault(1, "LOCK", "user.a", 99, What::Refuse(Code::Damaged));
    let summary = world.run(&[names(&["user.a"])]).await;
    assert_eq!(summary.exit(), Exit::RolledBack);
}

#[tokio::test]
async fn a_row_that_says_rolled_back_is_looked_at_again_whatever_its_reason() {
    let mut world = World::new();
    world.fault(0, "LOCK", "user.b", 1, What::Refuse(Code::Damaged));
    let summary = world.run(&[names(&["user.b"])]).await;
    assert_eq!(summary.rolled_back, 1);
    // It was retried, decided, and committed on the replica; and that was lost.
    world.journal = Arc::new(world.journal.after_failover(0));
    commit_replica(&world);
    let control = world.control(1);
    let again = retry(world.parts(), &Retry::MayPass, &control).await;
    assert_eq!(again.unwrap().exit(), Exit::Ok);
    assert_eq!(world.versions("user.b"), [10, 10]);
}

#[tokio::test]
async fn a_note_that_a_side_is_forward_is_not_believed_and_the_side_is_asked() {
    let world = lost();
    let mailbox = {
        world.fault(0, "LOCK", "user.a", 99, What::Refuse(Code::Damaged));
        world.run(&[names(&["user.a"])]).await;
        lock(&world.hosts[0]).faults.clear();
        world.row("user.a").id
    };
    // The replica was brought back after this note, and the rows that say so are missing.
    let before = [Some(9), Some(9)];
    world.submit(Change::Decide { mailbox, before }).await;
    let side = crate::two_phase::Side::Replica;
    world.submit(Change::Forward { mailbox, side }).await;
    assert_eq!(world.versions("user.a"), [9, 9]);
    let recovered = recover(world.parts()).await.unwrap();
    assert_eq!((recovered.settled, recovered.in_doubt), (1, 0));
    assert_eq!(world.versions("user.a"), [10, 10]);
    let open = world.journal.open_transactions(MailboxId(0), 9).unwrap();
    assert!(open.is_empty(), "{open:?}");
    assert_ne!(world.row("user.a").reason, Some(Reason::Damaged));
}
