//! Another controller takes the pair over in the midst of a run: this one says so, and nothing
//! more.

use indexfile::exit::Exit;
use slotd::protocol::Code;

use super::fake::{What, lock};
use super::world::{World, names};
use crate::error::RunError;
use crate::journal::State;
use crate::run::recover;
use crate::survey::Source;

/// What the hosts have heard.
fn heard(world: &World) -> [Vec<String>; 2] {
    [0, 1].map(|side: usize| lock(&world.hosts[side]).log.clone())
}

#[tokio::test]
async fn a_run_that_is_fenced_ends_with_one_sentence_and_sends_nothing_more() {
    for (side, command, state) in [
        (0, "LOCK", State::Pending),
        (0, "UPGRADE", State::Pending),
        (1, "CONFIRM", State::Pending),
        (1, "COMMIT", State::Decided),
        (0, "COMMIT", State::Decided),
        (1, "RELEASE", State::Decided),
    ] {
        let mut world = World::new();
        world.settings.limits.parallel = 1;
        world.fault(side, command, "user.b", 1, What::Refuse(Code::Fenced));
        let summary = world.run(&[Source::Master]).await;
        let what = format!("{command} on host {side}");
        let text = summary
            .taken_over
            .clone()
            .unwrap_or_else(|| panic!("{what}"));
        assert!(
            text.starts_with(["the master says ", "the replica says "][side]),
            "{text}"
        );
        assert_eq!(summary.exit(), Exit::RolledBack, "{what}");
        assert_eq!(world.row("user.b").state, state, "{what}");
        // The row is as it was; no attempt was written down.
        assert_eq!(world.row("user.b").reason, None, "{what}");
        assert!(world.witness.alarms.lock().unwrap().is_empty(), "{what}");
        let heard = heard(&world);
        let last = heard[side].last().unwrap();
        assert!(last.starts_with(command), "{what}: then {last}");
        for line in heard.iter().flatten() {
            let ends = ["ROLLBACK", "LEAVE"]
                .into_iter()
                .any(|end| line.starts_with(end));
            assert!(!ends, "{what}: {line}");
        }
    }
}

#[tokio::test]
async fn what_is_open_is_left_to_the_controller_that_took_over() {
    let mut world = World::new();
    world.settings.limits.parallel = 1;
    world.fault(1, "COMMIT", "user.b", 1, What::Refuse(Code::Fenced));
    world.run(&[names(&["user.b"])]).await;
    // Settling is refused as well, and changes no row.
    world.fault(0, "LOCK", "user.b", 1, What::Refuse(Code::Fenced));
    let error = recover(world.parts()).await.unwrap_err();
    assert!(matches!(error, RunError::TakenOver(_)), "{error}");
    assert_eq!(error.exit(), Exit::RolledBack);
    assert_eq!(world.row("user.b").state, State::Decided);
    // The other one: what was decided goes forward.
    let settled = recover(world.parts()).await.unwrap();
    assert_eq!((settled.settled, settled.in_doubt), (1, 0));
    assert_eq!(world.versions("user.b"), [10, 10]);
}

#[tokio::test]
async fn where_one_side_is_forward_and_the_journal_knows_nothing_it_goes_forward_or_not_at_all() {
    // The database lost its last rows at a failover: the replica was committed, the master not.
    let lost = || {
        let world = World::new();
        let mut replica = lock(&world.hosts[1]);
        replica.mailboxes.get_mut("user.b").unwrap().version = 10;
        drop(replica);
        world
    };
    let world = lost();
    let summary = world.run(&[names(&["user.b"])]).await;
    assert_eq!(
        (summary.exit(), world.versions("user.b")),
        (Exit::Ok, [10, 10])
    );
    for command in ["LOCK", "UPGRADE", "CONFIRM", "COMMIT"] {
        let world = lost();
        world.fault(0, command, "user.b", 9, What::Refuse(Code::Damaged));
        let summary = world.run(&[names(&["user.b"])]).await;
        assert_ne!(summary.exit(), Exit::Ok, "{command}");
        // What is committed there is never taken back.
        assert_eq!(world.versions("user.b"), [9, 10], "{command}");
        let replica = lock(&world.hosts[1]).log.clone();
        let back = replica.iter().any(|line| line.starts_with("UPGRADE 9"));
        assert!(!back, "{command}: {replica:?}");
    }
}
