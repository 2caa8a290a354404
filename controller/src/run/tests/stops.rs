//! Stopping, pausing, and going on.

use std::sync::Arc;
use std::time::Duration;

use indexfile::exit::Exit;

use super::fake::{What, lock};
use super::world::{Witness, World, names};
use crate::control::Parallel;
use crate::journal::Journal;
use crate::run::{run, run_controlled};
use crate::stop::{Stop, stop_pair};
use crate::survey::Source;
use crate::two_phase::Reason;

#[tokio::test]
async fn a_run_that_was_stopped_goes_on_where_it_was() {
    for how in [Stop::Finish, Stop::Now] {
        let mut world = World::new();
        world.settings.limits.parallel = Parallel::Fixed(1);
        let (handle, stop) = stop_pair();
        world.witness = Arc::new(Witness {
            stop_after: Some((2, handle, how)),
            ..Witness::default()
        });
        let first = run(world.parts_with(stop), &[Source::Master])
            .await
            .unwrap();
        assert_eq!(
            (first.upgraded, first.pending, first.exit()),
            (2, 3, Exit::RolledBack)
        );
        for i in [0, 1] {
            assert_eq!(
                lock(&world.hosts[i])
                    .mailboxes
                    .values()
                    .filter(|m| m.version == 10)
                    .count(),
                2
            );
        }
        // A crash in between loses nothing either.
        world.journal = Arc::new(world.journal.after_crash());
        world.witness = Arc::default();
        let second = world.run(&[Source::Master]).await;
        assert_eq!(
            (second.run, second.upgraded, second.pending),
            (first.run, 5, 0)
        );
        assert_eq!(world.witness.lines.lock().unwrap().len(), 3, "none twice");
    }
}

#[tokio::test]
async fn the_second_signal_rolls_back_what_is_not_decided() {
    let mut world = World::new();
    world.settings.limits.parallel = Parallel::Fixed(1);
    world.fault(1, "UPGRADE", "user.a", 1, What::Hang);
    let (handle, stop) = stop_pair();
    assert_eq!(
        (handle.escalate(), handle.escalate()),
        (Stop::Finish, Stop::Now)
    );
    drop(handle);
    let (handle, live) = stop_pair();
    let parts = world.parts_with(live);
    drop(stop);
    let task = tokio::spawn(async move { run(parts, &[names(&["user.a"])]).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    handle.stop(Stop::Now);
    let summary = tokio::time::timeout(Duration::from_millis(500), task)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!((summary.pending, summary.upgraded), (1, 0));
    assert_eq!(world.versions("user.a"), [9, 9]);
    assert_eq!(world.row("user.a").reason, Some(Reason::Interrupted));
}

#[tokio::test]
async fn a_panic_rolls_back_what_is_not_decided_carries_out_what_is_and_says_why() {
    let mut world = World::new();
    world.settings.settle_attempts = 8;
    world.fault(0, "UPGRADE", "user.a", 99, What::Hang);
    // Decided, and its first COMMITs are lost: after the panic it is still brought to its end.
    world.fault(1, "COMMIT", "user.b", 3, What::CloseBefore);
    let (handle, stop) = stop_pair();
    let parts = world.parts_with(stop);
    let sources = [names(&["user.a", "user.b"])];
    let task = tokio::spawn(async move { run(parts, &sources).await });
    let left = |host: usize| lock(&world.hosts[host]).faults[0].times;
    while left(0) == 99 || left(1) == 3 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    handle.panic("somebody asked");
    let summary = task.await.unwrap().unwrap();
    assert_eq!(
        (summary.upgraded, summary.pending, summary.in_doubt),
        (1, 1, 0)
    );
    assert_eq!(summary.exit(), Exit::RolledBack);
    assert_eq!(summary.panic.as_deref(), Some("somebody asked"));
    assert_eq!(
        [world.versions("user.a"), world.versions("user.b")],
        [[9, 9], [10, 10]]
    );
    assert!(world.hosts.iter().all(|host| lock(host).locked() == 0));
    lock(&world.hosts[0]).faults.clear();
    let again = world.run(&[names(&["user.a", "user.b"])]).await;
    assert_eq!(
        (again.run, again.upgraded, again.panic),
        (summary.run, 2, None)
    );
}

#[tokio::test]
async fn a_paused_run_holds_nothing_and_goes_on_when_resumed() {
    let world = World::new();
    let control = world.control(2);
    control.update(|state| state.paused = true);
    let (parts, watched) = (world.parts(), Arc::clone(&control));
    let task =
        tokio::spawn(async move { run_controlled(parts, &[Source::Master], &watched).await });
    tokio::time::sleep(Duration::from_millis(30)).await;
    let live = control.live();
    assert_eq!((live.mailboxes, live.done, live.under_way), (5, 0, 0));
    assert!(
        !lock(&world.hosts[0])
            .log
            .iter()
            .any(|l| l.starts_with("LOCK"))
    );
    control.update(|state| (state.paused, state.limits.parallel) = (false, Parallel::Fixed(5)));
    let summary = task.await.unwrap().unwrap();
    assert_eq!((summary.upgraded, control.live().done), (5, 5));
}

#[tokio::test]
async fn a_paused_run_can_be_stopped() {
    let world = World::new();
    let control = world.control(2);
    control.update(|state| state.waiting = Some("night".to_owned()));
    let (handle, stop) = stop_pair();
    let (parts, watched) = (world.parts_with(stop), Arc::clone(&control));
    let task =
        tokio::spawn(async move { run_controlled(parts, &[Source::Master], &watched).await });
    tokio::time::sleep(Duration::from_millis(30)).await;
    handle.stop(Stop::Finish);
    let summary = tokio::time::timeout(Duration::from_secs(1), task)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!((summary.pending, summary.upgraded), (5, 0));
}

#[tokio::test]
async fn a_run_that_is_stopped_at_its_last_mailbox_is_over() {
    for (how, done) in [(Stop::Finish, 5), (Stop::Now, 5)] {
        let mut world = World::new();
        world.settings.limits.parallel = Parallel::Fixed(1);
        let (handle, stop) = stop_pair();
        world.witness = Arc::new(Witness {
            stop_after: Some((done, handle, how)),
            ..Witness::default()
        });
        let summary = run(world.parts_with(stop), &[Source::Master]).await;
        let summary = summary.unwrap();
        assert_eq!((summary.upgraded, summary.exit()), (5, Exit::Ok));
        let run = world.journal.last_run().unwrap().unwrap();
        assert!(run.finished_ms.is_some());
        // Another one is not refused.
        let next = world.run(&[names(&["user.a"])]).await;
        assert_eq!((next.unchanged, next.exit()), (1, Exit::Ok));
    }
}
