//! Each failure is called what it is, and too many of them stop the run.

use std::sync::Arc;
use std::time::Duration;

use indexfile::exit::Exit;
use slotd::protocol::{Code, Odd, OddKind};

use super::fake::{What, lock};
use super::world::{NAMES, Witness, World, names};
use crate::control::Parallel;
use crate::journal::{Journal, State};
use crate::run::{MaxFailures, run, run_controlled};
use crate::stop::{Stop, stop_pair};
use crate::survey::Source;
use crate::two_phase::Reason;

/// Lists the master's mailboxes, works on the first, and stops.
async fn listed(world: &mut World) {
    let (handle, stop) = stop_pair();
    world.settings.limits.parallel = Parallel::Fixed(1);
    world.witness = Arc::new(Witness {
        stop_after: Some((1, handle, Stop::Finish)),
        ..Witness::default()
    });
    let first = run(world.parts_with(stop), &[Source::Master])
        .await
        .unwrap();
    assert_eq!((first.upgraded, first.pending), (1, 4));
    world.witness = Arc::default();
}

#[tokio::test]
async fn a_run_in_which_too_much_fails_stops_by_itself_and_can_be_gone_on_with() {
    let mut world = World::new();
    let wrong: Vec<String> = (0..300).map(|n| format!("user.wrong{n}")).collect();
    let all: Vec<&str> = wrong.iter().map(String::as_str).chain(NAMES).collect();
    let sources = [names(&all)];
    let summary = world.run(&sources).await;
    let attempts = world.witness.lines.lock().unwrap().len();
    assert!(
        (20..20 + 2 * world.settings.limits.parallel.most()).contains(&attempts),
        "{attempts}"
    );
    assert_eq!((summary.upgraded, summary.exit()), (0, Exit::RolledBack));
    let why = summary.stopped.unwrap();
    assert!(
        why.starts_with(
            "20 of 20 attempts failed (20 no_mailbox), which is more than --max-failures 5%"
        ),
        "{why}"
    );
    world.settings.max_failures = MaxFailures::Percent(100.0);
    let again = world.run(&sources).await;
    assert_eq!(
        (
            again.run,
            again.upgraded,
            again.unknown,
            again.stopped.clone(),
            again.exit()
        ),
        (summary.run, 5, 300, None, Exit::NoMailbox)
    );
}

#[tokio::test]
async fn what_only_waits_does_not_stop_a_run() {
    let mut world = World::new();
    world.settings.max_failures = MaxFailures::Number(0);
    world.fault(0, "LOCK", "*", 9, What::Refuse(Code::Locked));
    let summary = world.run(&[Source::Master]).await;
    assert_eq!((summary.stopped.clone(), summary.upgraded), (None, 5));
    let world = World {
        settings: world.settings,
        ..World::new()
    };
    world.fault(0, "UPGRADE", "*", 99, What::Refuse(Code::NoSpace));
    let summary = world.run(&[Source::Master]).await;
    assert!(
        summary.stopped.is_some() && summary.pending > 0,
        "{summary:?}"
    );
}

#[tokio::test]
async fn a_mailbox_is_gone_only_if_its_store_is_still_there() {
    let mut world = World::new();
    listed(&mut world).await;
    for host in &world.hosts {
        lock(host).mailboxes.remove("user.b");
    }
    let summary = world.run(&[Source::Master]).await;
    assert_eq!(
        (summary.upgraded, summary.gone, summary.exit()),
        (4, 1, Exit::Ok)
    );

    // Its slotd was started on an empty store: nobody has deleted anything.
    let mut world = World::new();
    listed(&mut world).await;
    let before = std::mem::take(&mut lock(&world.hosts[0]).mailboxes);
    let summary = world.run(&[Source::Master]).await;
    assert_eq!(
        (summary.gone, summary.rolled_back, summary.exit()),
        (0, 4, Exit::NoMailbox)
    );
    let row = world.row("user.b");
    assert_eq!(
        (row.state, row.reason),
        (State::RolledBack, Some(Reason::NoMailbox))
    );
    assert!(
        row.detail
            .contains("no other mailbox of partition default is there"),
        "{}",
        row.detail
    );

    // Another store, which has other mailboxes on another partition.
    let mut world = World::new();
    listed(&mut world).await;
    {
        let mut host = lock(&world.hosts[0]);
        host.mailboxes = [("a.other".to_owned(), before["user.b"].clone())].into();
        host.partitions.insert("a.other", "two");
    }
    let summary = world.run(&[Source::Master]).await;
    assert_eq!((summary.gone, summary.rolled_back), (0, 4));
}

#[tokio::test]
async fn a_mailbox_that_has_another_name_at_its_turn_is_found_by_a_second_walk() {
    let mut world = World::new();
    listed(&mut world).await;
    for host in &world.hosts {
        let mut host = lock(host);
        let renamed = host.mailboxes.remove("user.b").unwrap();
        host.mailboxes.insert("user.z".to_owned(), renamed);
    }
    let summary = world.run(&[Source::Master]).await;
    assert_eq!(
        (summary.upgraded, summary.gone, summary.exit()),
        (5, 1, Exit::Ok)
    );
    assert_eq!(world.versions("user.z"), [10, 10]);
}

#[tokio::test]
async fn what_a_walk_left_out_is_known_of_a_run_that_goes_on() {
    let mut world = World::new();
    listed(&mut world).await;
    lock(&world.hosts[0]).odd = vec![Odd {
        kind: OddKind::Unmounted,
        path: "/two".into(),
    }];
    let summary = world.run(&[Source::Master]).await;
    assert_eq!((summary.upgraded, summary.exit()), (5, Exit::RolledBack));
}

#[tokio::test]
async fn a_mailbox_that_was_moved_to_another_partition_is_found_there_unless_one_was_named() {
    let mut world = World::new();
    listed(&mut world).await;
    lock(&world.hosts[0]).partitions.insert("user.b", "two");
    let summary = world.run(&[Source::Master]).await;
    assert_eq!(
        (summary.upgraded, summary.gone, summary.exit()),
        (5, 0, Exit::Ok)
    );

    let world = World::new();
    lock(&world.hosts[0]).partitions.insert("user.b", "two");
    let on = Source::On("default".to_owned(), Box::new(names(&["user.a", "user.b"])));
    let summary = world.run(&[on]).await;
    assert_eq!((summary.upgraded, summary.exit()), (1, Exit::RolledBack));
    assert_eq!(world.row("user.b").reason, Some(Reason::Elsewhere));
    assert_eq!(world.versions("user.b"), [9, 9]);
}

#[tokio::test(start_paused = true)]
async fn a_controller_that_runs_out_of_descriptors_does_not_call_its_hosts_away() {
    for (times, upgraded) in [(1, 5), (usize::MAX, 4)] {
        let mut world = World::new();
        world.settings.limits.host_wait = Duration::from_secs(900);
        world.settings.limits.parallel = Parallel::Fixed(1);
        world.fault(1, "LOCK", "ex.com!user.c", 1, What::Starve(times));
        let summary = world.run(&[names(&NAMES)]).await;
        let said = world.witness.said.lock().unwrap().join("\n");
        assert!(!said.contains("away"), "{said}");
        assert_eq!((summary.upgraded, summary.away.clone()), (upgraded, None));
        if upgraded < 5 {
            let row = world.row("ex.com!user.c");
            assert_eq!(
                (row.reason, summary.exit()),
                (Some(Reason::Local), Exit::RolledBack)
            );
            assert!(
                row.detail
                    .contains("this controller cannot make another connection")
            );
        }
    }
    // Nothing was begun: it is told as what it is.
    let world = World::new();
    lock(&world.hosts[0]).starved = 9;
    let error = run(world.parts(), &[Source::Master]).await.unwrap_err();
    assert_eq!(error.exit(), Exit::Io);
    assert!(error.to_string().contains("this controller"), "{error}");
}

#[tokio::test]
async fn no_more_is_worked_on_at_once_than_the_hosts_have_connections_for() {
    let mut world = World::new();
    world.settings.limits.parallel = Parallel::Fixed(64);
    lock(&world.hosts[1]).capacity = Some(5);
    for host in &world.hosts {
        lock(host).delay = Duration::from_millis(5);
    }
    let control = world.control(64);
    let summary = run_controlled(world.parts(), &[Source::Master], &control)
        .await
        .unwrap();
    assert_eq!(summary.upgraded, 5);
    assert!(lock(&world.hosts[0]).most_locked <= 2);
    let said = world.witness.said.lock().unwrap().join("\n");
    assert!(
        said.contains("the replica's slotd serves 5 connections at once; 2 are worked on"),
        "{said}"
    );
    assert_eq!(
        (control.limits().parallel.most(), control.state().most),
        (2, 2)
    );
}

#[tokio::test]
async fn a_run_that_stopped_by_itself_at_its_last_mailbox_is_gone_on_with_by_the_same_command() {
    let mut world = World::new();
    world.settings.max_failures = MaxFailures::Number(0);
    world.fault(0, "UPGRADE", "user.a", 1, What::Refuse(Code::Damaged));
    let sources = [names(&["user.a"])];
    let summary = world.run(&sources).await;
    assert!(summary.stopped.is_some() && summary.pending == 0);
    let run = world.journal.last_run().unwrap().unwrap();
    assert_eq!(run.finished_ms, None);
    let again = world.run(&sources).await;
    assert_eq!((again.run, again.stopped.as_ref()), (summary.run, None));
    assert_eq!(again.exit(), Exit::Ok, "{again:?}");
    let run = world.journal.last_run().unwrap().unwrap();
    assert!(run.finished_ms.is_some());
}
