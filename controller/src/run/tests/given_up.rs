//! What becomes of a run that was stopped, where it is taken back.

use std::sync::Arc;

use indexfile::exit::Exit;
use slotd::protocol::Code;

use super::fake::What;
use super::world::{NAMES, Witness, World};
use crate::error::RunError;
use crate::journal::{Journal, RunId};
use crate::run::run_controlled;
use crate::stop::{Stop, stop_pair};
use crate::survey::Source;

/// A world in which a run of all mailboxes was stopped after its first.
async fn stopped_after_one(mut world: World) -> World {
    let (handle, stop) = stop_pair();
    world.witness = Arc::new(Witness {
        stop_after: Some((1, handle, Stop::Finish)),
        ..Witness::default()
    });
    let parts = world.parts_with(stop);
    let stopped = run_controlled(parts, &[Source::Master], &world.control(1))
        .await
        .unwrap();
    assert!(
        stopped.pending > 0 && stopped.exit() == Exit::RolledBack,
        "{stopped:?}"
    );
    world.witness = Arc::default();
    world
}

#[tokio::test]
async fn a_run_that_was_stopped_is_given_up_by_the_rollback_of_it_or_of_all() {
    for all in [false, true] {
        let world = stopped_after_one(World::new()).await;
        let summary = if all {
            world.roll_back_all(&[]).await.unwrap()
        } else {
            world.roll_back(Some(1), &[]).await.unwrap()
        };
        assert_eq!(summary.exit(), Exit::Ok);
        assert!(summary.upgraded > 0);
        assert!(
            world.said().contains("run 1 is given up; "),
            "{}",
            world.said()
        );
        let given_up = world.journal.run(RunId(1)).unwrap().unwrap();
        assert!(given_up.finished_ms.is_some());
        assert!(world.journal.totals(RunId(1)).unwrap().pending > 0);
        assert!(NAMES.iter().all(|name| world.versions(name) == [9, 9]));
        if all {
            let back = world.journal.last_run().unwrap().unwrap();
            assert_eq!(
                back.go_on("--state s"),
                "controller rollback --all --state s"
            );
        }
        // The next run is another one.
        assert_eq!(world.run(&[Source::Master]).await.run, 3);
    }
}

#[tokio::test]
async fn a_stopped_run_is_not_given_up_for_some_of_its_mailboxes_or_for_another_run() {
    let world = stopped_after_one(World::new()).await;
    let part = world.roll_back(Some(1), &["user.a"]).await;
    assert!(matches!(part, Err(RunError::Other(_))), "{part:?}");
    assert!(!world.is_finished(1));
}

#[tokio::test]
async fn a_stopped_run_that_changed_nothing_is_given_up_by_its_rollback_too() {
    let world = World::new();
    for name in NAMES {
        world.fault(1, "UPGRADE", name, 99, What::Refuse(Code::Damaged));
    }
    let world = stopped_after_one(world).await;
    assert_eq!(world.journal.totals(RunId(1)).unwrap().upgraded, 0);
    let summary = world.roll_back(Some(1), &[]).await.unwrap();
    assert_eq!((summary.run, summary.exit()), (0, Exit::Ok));
    assert!(
        world.said().contains("run 1 is given up; "),
        "{}",
        world.said()
    );
    assert!(world.is_finished(1));
}
