//! A host that goes away, and a partition that is not mounted, fail no mailbox: they wait for it.

use std::sync::Arc;
use std::time::Duration;

use indexfile::exit::Exit;
use slotd::protocol::Code;

use super::fake::{What, lock};
use super::world::{NAMES, World, names};
use crate::control::{Control, Parallel};
use crate::journal::{Journal, State};
use crate::run::{Summary, recover, run_controlled};
use crate::stop::{Stop, stop_pair};
use crate::survey::Source;
use crate::two_phase::Reason;

fn patient() -> World {
    let mut world = World::new();
    world.settings.limits.host_wait = Duration::from_secs(120);
    world
}

/// Runs until `when` holds, does `then`, and waits for the end.
async fn run_and(
    world: &World,
    control: &Arc<Control>,
    when: impl Fn(&Control) -> bool,
    then: impl FnOnce(),
) -> Summary {
    let (parts, watched) = (world.parts(), Arc::clone(control));
    let task =
        tokio::spawn(async move { run_controlled(parts, &[Source::Master], &watched).await });
    tokio::time::timeout(Duration::from_secs(300), async {
        while !when(control) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap_or_else(|_| {
        panic!(
            "what the test waits for does not come: {:?} {:?}",
            control.live(),
            world.witness.said
        )
    });
    // What is under way has come to its end, or waits without a lock.
    tokio::time::sleep(Duration::from_secs(5)).await;
    then();
    tokio::time::timeout(Duration::from_secs(3600), task)
        .await
        .expect("every wait is bounded")
        .unwrap()
        .unwrap()
}

fn waits_for(side: &'static str) -> impl Fn(&Control) -> bool {
    move |control| {
        let why = control.live().waiting;
        why.is_some_and(|why| why.starts_with(&format!("{side} away since ")))
    }
}

fn said(world: &World, what: &str) -> usize {
    let said = world.witness.said.lock().unwrap();
    said.iter().filter(|line| line.contains(what)).count()
}

#[tokio::test(start_paused = true)]
async fn a_host_that_goes_away_fails_no_mailbox_and_the_run_goes_on_when_it_is_back() {
    for (side, name) in [(0, "master"), (1, "replica")] {
        for command in ["LOCK", "UPGRADE"] {
            let world = patient();
            world.fault(side, command, "user.b", 1, What::GoDown);
            let control = world.control(2);
            let other = Arc::clone(&world.hosts[1 - side]);
            let host = Arc::clone(&world.hosts[side]);
            let summary = run_and(&world, &control, waits_for(name), || {
                assert_eq!(lock(&other).locked(), 0, "no lock is held meanwhile");
                lock(&host).down = false;
            })
            .await;
            assert_eq!((summary.upgraded, summary.exit()), (5, Exit::Ok), "{name}");
            assert_eq!(summary.rolled_back + summary.pending + summary.in_doubt, 0);
            assert_eq!(said(&world, &format!("the {name} is away: ")), 1);
            assert_eq!(said(&world, &format!("the {name} is back after ")), 1);
            assert_eq!(control.live().waiting, None);
            // No mailbox was begun in vain while it was away.
            let lines = world.witness.lines.lock().unwrap();
            assert!(lines.len() <= 5 + 2, "{lines:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_stays_away_ends_the_run_with_69_and_the_next_one_goes_on() {
    let world = patient();
    world.fault(1, "LOCK", "user.b", 1, What::GoDown);
    let begun = tokio::time::Instant::now();
    let summary = world.run(&[Source::Master]).await;
    let waited = begun.elapsed();
    assert!(
        (Duration::from_secs(120)..Duration::from_secs(180)).contains(&waited),
        "{waited:?}"
    );
    assert_eq!(summary.exit(), Exit::Unavailable);
    assert_eq!((summary.rolled_back, summary.in_doubt), (0, 0));
    assert_eq!(summary.pending + summary.upgraded, 5);
    assert!(summary.away.unwrap().contains("the replica was away"));
    assert_eq!(lock(&world.hosts[0]).locked(), 0);
    // It was asked now and then, not all the time.
    let asked = lock(&world.hosts[1]).refused;
    assert!((5..40).contains(&asked), "{asked} questions in 120 s");
    lock(&world.hosts[1]).down = false;
    let summary = world.run(&[Source::Master]).await;
    assert_eq!((summary.upgraded, summary.exit()), (5, Exit::Ok));
}

#[tokio::test(start_paused = true)]
async fn a_decided_mailbox_waits_for_its_host_and_is_not_in_doubt() {
    for side in [0, 1] {
        let world = patient();
        world.fault(side, "COMMIT", "user.a", 1, What::GoDown);
        let control = world.control(1);
        let host = Arc::clone(&world.hosts[side]);
        let away = |control: &Control| control.live().waiting.is_some();
        let (parts, watched) = (world.parts(), Arc::clone(&control));
        let task =
            tokio::spawn(async move { run_controlled(parts, &[Source::Master], &watched).await });
        while !away(&control) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // Far longer than the attempts to settle would last.
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(world.row("user.a").state, State::Decided);
        lock(&host).down = false;
        let summary = task.await.unwrap().unwrap();
        assert_eq!((summary.upgraded, summary.exit()), (5, Exit::Ok));
        assert_eq!(world.versions("user.a"), [10, 10]);
        assert!(world.witness.alarms.lock().unwrap().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn several_mailboxes_in_doubt_are_one_block_and_a_line_each() {
    let mut world = patient();
    world.settings.limits.parallel = Parallel::Fixed(5);
    world.settings.limits.host_wait = Duration::from_secs(10);
    world.fault(1, "COMMIT", "*", 9, What::Hang);
    let host = Arc::clone(&world.hosts[1]);
    let watcher = tokio::spawn(async move {
        while !lock(&host).log.iter().any(|l| l.starts_with("COMMIT")) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // All five have been decided by now, or wait for the journal.
        tokio::time::sleep(Duration::from_millis(50)).await;
        lock(&host).down = true;
    });
    let summary = world.run(&[Source::Master]).await;
    watcher.await.unwrap();
    assert_eq!((summary.in_doubt, summary.exit()), (5, Exit::InDoubt));
    let alarms = world.witness.alarms.lock().unwrap();
    let blocks = alarms.iter().filter(|a| a.contains("What to do:")).count();
    assert_eq!((alarms.len(), blocks), (5, 1), "{alarms:#?}");
    let rest = alarms
        .iter()
        .filter(|a| a.starts_with("*** also IN DOUBT: "));
    assert_eq!(rest.filter(|a| !a.contains('\n')).count(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_slotd_that_is_shutting_down_is_waited_for() {
    let world = patient();
    world.fault(1, "LOCK", "*", 1, What::Refuse(Code::Draining));
    lock(&world.hosts[1]).draining = true;
    let control = world.control(2);
    let host = Arc::clone(&world.hosts[1]);
    let summary = run_and(&world, &control, waits_for("replica"), || {
        lock(&host).draining = false;
    })
    .await;
    assert_eq!((summary.upgraded, summary.exit()), (5, Exit::Ok));
}

#[tokio::test(start_paused = true)]
async fn another_hosts_slotd_at_that_address_is_not_the_one_that_is_waited_for() {
    let world = patient();
    world.fault(1, "LOCK", "user.b", 1, What::GoDown);
    let control = world.control(2);
    let host = Arc::clone(&world.hosts[1]);
    let summary = run_and(&world, &control, waits_for("replica"), || {
        let mut host = lock(&host);
        (host.down, host.id) = (false, Some("somebody else".to_owned()));
    })
    .await;
    assert_eq!(summary.exit(), Exit::Unavailable);
    assert_eq!(lock(&world.hosts[0]).locked(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_mailbox_that_brings_its_slotd_down_each_time_is_given_up() {
    let mut world = patient();
    world.settings.limits.parallel = Parallel::Fixed(1);
    world.fault(1, "UPGRADE", "user.b", 99, What::CloseBefore);
    let summary = world.run(&[Source::Master]).await;
    assert_eq!((summary.upgraded, summary.rolled_back), (4, 1));
    assert_eq!(world.row("user.b").reason, Some(Reason::HostAway));
    // The host answered each time it was asked, so no outage was reported.
    assert_eq!(said(&world, "is away"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_waits_for_a_host_can_be_stopped() {
    let world = patient();
    world.fault(1, "LOCK", "user.b", 1, What::GoDown);
    let (handle, stop) = stop_pair();
    let control = world.control(2);
    let (parts, watched) = (world.parts_with(stop), Arc::clone(&control));
    let task =
        tokio::spawn(async move { run_controlled(parts, &[Source::Master], &watched).await });
    while !waits_for("replica")(&control) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    handle.stop(Stop::Finish);
    let summary = tokio::time::timeout(Duration::from_secs(1), task)
        .await
        .expect("it ends at once")
        .unwrap()
        .unwrap();
    assert_eq!((summary.rolled_back, summary.exit()), (0, Exit::RolledBack));
    assert!(summary.pending > 0 && summary.away.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_host_wait_of_zero_fails_the_mailboxes_instead() {
    let mut world = World::new();
    world.settings.passes = 1;
    world.fault(1, "LOCK", "user.b", 1, What::GoDown);
    let summary = world.run(&[Source::Master]).await;
    assert_eq!(summary.exit(), Exit::RolledBack);
    assert!(summary.rolled_back > 0 && summary.pending == 0);
}

/// `user.b` and its folder lie on another partition.
fn partitioned() -> World {
    let world = patient();
    for host in &world.hosts {
        let mut host = lock(host);
        host.partitions.insert("user.b", "p2");
        host.partitions.insert("user.b.&AOk-", "p2");
    }
    world
}

fn parked(control: &Control) -> bool {
    let live = control.live();
    live.done == 3 && live.under_way == 0 && live.waiting.is_some()
}

#[tokio::test(start_paused = true)]
async fn a_partition_that_is_not_mounted_parks_its_mailboxes_and_the_others_go_on() {
    for side in [0, 1] {
        let world = partitioned();
        lock(&world.hosts[side]).unmounted.push("p2");
        let control = world.control(1);
        let host = Arc::clone(&world.hosts[side]);
        let summary = run_and(&world, &control, parked, || {
            let live = control.live();
            let whose = format!(
                "partition p2 of the {} not mounted since ",
                ["master", "replica"][side]
            );
            assert!(live.waiting.unwrap().starts_with(&whose));
            assert!(live.parked[0].starts_with(&whose), "{:?}", live.parked);
            for name in NAMES {
                let version = if name.starts_with("user.b") { 9 } else { 10 };
                assert_eq!(world.versions(name), [version; 2], "{name}");
            }
            // One refusal told enough: the second mailbox was not even asked for.
            let tried = lock(&world.hosts[0]).was_asked("LOCK", "user.b.&AOk-");
            assert!(!tried);
            lock(&host).unmounted.clear();
        })
        .await;
        assert_eq!((summary.upgraded, summary.exit()), (5, Exit::Ok));
        assert_eq!(said(&world, "is back: its mailboxes are taken up again"), 1);
        assert!(control.live().parked.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_partition_that_stays_away_ends_as_failures_that_retry_takes_up() {
    let world = partitioned();
    lock(&world.hosts[1]).unmounted.push("p2");
    let begun = tokio::time::Instant::now();
    let summary = world.run(&[Source::Master]).await;
    assert!((120..180).contains(&begun.elapsed().as_secs()));
    assert_eq!(
        (summary.upgraded, summary.rolled_back, summary.pending),
        (3, 2, 0)
    );
    assert_eq!(summary.exit(), Exit::RolledBack);
    for name in ["user.b", "user.b.&AOk-"] {
        assert_eq!(world.row(name).reason, Some(Reason::Unmounted));
        assert_eq!(world.versions(name), [9, 9]);
    }
    assert!(lock(&world.hosts[1]).was_asked("STATUS", "user.b"));
}

#[tokio::test(start_paused = true)]
async fn where_the_list_names_no_partition_only_what_was_refused_is_parked() {
    let world = partitioned();
    lock(&world.hosts[0]).unmounted.push("p2");
    let control = world.control(2);
    let (parts, watched) = (world.parts(), Arc::clone(&control));
    let sources = [names(&NAMES)];
    let task = tokio::spawn(async move { run_controlled(parts, &sources, &watched).await });
    while !parked(&control) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    lock(&world.hosts[0]).unmounted.clear();
    let summary = task.await.unwrap().unwrap();
    assert_eq!((summary.upgraded, summary.exit()), (5, Exit::Ok));
}

#[tokio::test(start_paused = true)]
async fn a_partition_that_is_said_to_be_back_and_is_not_does_not_keep_the_run_for_ever() {
    let world = partitioned();
    // STATUS finds it mounted, LOCK does not.
    world.fault(1, "LOCK", "user.b", 999, What::Refuse(Code::Unmounted));
    world.fault(
        1,
        "LOCK",
        "user.b.&AOk-",
        999,
        What::Refuse(Code::Unmounted),
    );
    let summary = tokio::time::timeout(Duration::from_secs(3600), world.run(&[Source::Master]))
        .await
        .expect("it ends");
    assert_eq!((summary.upgraded, summary.rolled_back), (3, 2));
}

/// `user.b` is decided when the replica's p2 goes away.
fn decided_and_unmounted() -> World {
    let world = partitioned();
    world.fault(1, "COMMIT", "user.b", 1, What::LosePartition);
    world
}

fn assert_waits(world: &World) {
    let row = world.row("user.b");
    assert_eq!((row.state, row.in_doubt), (State::Decided, false));
    assert_eq!(row.reason, Some(Reason::Unmounted));
    assert!(world.witness.alarms.lock().unwrap().is_empty());
    assert_eq!(lock(&world.hosts[0]).locked(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_decided_mailbox_waits_for_its_partition_and_is_finished_when_it_is_back() {
    let world = decided_and_unmounted();
    let control = world.control(1);
    let host = Arc::clone(&world.hosts[1]);
    let summary = run_and(&world, &control, parked, || {
        // The others are done, far more attempts than there are have had their time, and nothing is
        // in doubt.
        assert_waits(&world);
        assert_eq!(world.versions("ex.com!user.c"), [10; 2]);
        lock(&host).unmounted.clear();
    })
    .await;
    assert_eq!((summary.upgraded, summary.exit()), (5, Exit::Ok));
    assert_eq!((summary.waiting, summary.in_doubt), (0, 0));
    assert_eq!(world.versions("user.b"), [10, 10]);
}

#[tokio::test(start_paused = true)]
async fn a_decision_whose_partition_stays_away_stays_open_and_the_same_command_ends_it() {
    for host_wait in [0, 120] {
        let mut world = decided_and_unmounted();
        world.settings.limits.host_wait = Duration::from_secs(host_wait);
        world.settings.passes = 1;
        let summary = world.run(&[Source::Master]).await;
        assert_waits(&world);
        assert_eq!((summary.waiting, summary.in_doubt), (1, 0));
        assert_eq!(summary.exit(), Exit::Unavailable);
        let run = world.journal.last_run().unwrap().unwrap();
        assert_eq!(run.finished_ms, None, "it is to be resumed");
        // Still away: the others of the run are not held up by it, and again nothing is in doubt.
        let again = world.run(&[Source::Master]).await;
        assert_eq!((again.run, again.waiting, again.in_doubt), (run.id.0, 1, 0));
        assert_waits(&world);
        lock(&world.hosts[1]).unmounted.clear();
        let last = world.run(&[Source::Master]).await;
        assert_eq!((last.run, last.waiting, last.recovered), (run.id.0, 0, 1));
        assert_eq!(world.versions("user.b"), [10, 10]);
    }
}

#[tokio::test(start_paused = true)]
async fn recover_waits_for_the_partition_too() {
    let mut world = decided_and_unmounted();
    world.settings.limits.host_wait = Duration::ZERO;
    world.run(&[Source::Master]).await;
    world.settings.limits.host_wait = Duration::from_secs(120);
    let found = recover(world.parts()).await.unwrap();
    assert_eq!((found.settled, found.in_doubt, found.waiting), (0, 0, 1));
    let host = Arc::clone(&world.hosts[1]);
    let mounts = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(30)).await;
        lock(&host).unmounted.clear();
    });
    let found = recover(world.parts()).await.unwrap();
    mounts.await.unwrap();
    assert_eq!((found.settled, found.in_doubt, found.waiting), (1, 0, 0));
    assert_eq!(world.versions("user.b"), [10, 10]);
}
