//! Limits hold while a run works, and the reason for which it waits is named.

use std::sync::Arc;
use std::time::Duration;

use indexfile::exit::Exit;
use slotd::protocol::{HostStatus, SyncLogAge};
use tokio::task::JoinHandle;

use super::fake::lock;
use super::world::{NAMES, World};
use crate::control::{Control, Limits, Parallel, TargetLock};
use crate::journal::{Journal, RunId, Verb};
use crate::run::{Summary, run_controlled};
use crate::survey::{Source, list};

async fn run_with(world: &World, control: &Arc<Control>) -> Summary {
    run_controlled(world.parts(), &[Source::Master], control)
        .await
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn never_more_at_once_than_allowed_on_a_host_or_a_partition() {
    for (parallel, each, most) in [(4, None, 4), (2, None, 2), (4, Some(1), 2), (4, Some(9), 4)] {
        let world = World::new();
        for host in &world.hosts {
            let mut host = lock(host);
            for name in &NAMES[..2] {
                host.partitions.insert(name, "p1");
            }
            host.delay = Duration::from_millis(5);
        }
        let control = world.control(parallel);
        control.update(|state| state.limits.parallel_partition = each);
        let summary = run_with(&world, &control).await;
        assert_eq!((summary.upgraded, summary.exit()), (5, Exit::Ok));
        for host in &world.hosts {
            assert_eq!(lock(host).most_locked, most, "{parallel} {each:?}");
        }
    }
}

/// A world with this many mailboxes more, each of whose locks is held for this long.
fn held_for(mailboxes: usize, held: Duration) -> World {
    let world = World::new();
    for host in &world.hosts {
        let mut host = lock(host);
        for n in 0..mailboxes {
            let like = host.mailboxes["user.a"].clone();
            host.mailboxes.insert(format!("user.z{n:04}"), like);
        }
        host.delay = Duration::from_millis(5);
        host.held = held;
    }
    world
}

#[tokio::test(start_paused = true)]
async fn a_target_that_is_given_leaves_one_at_once_where_locks_are_longer_with_each() {
    let world = held_for(2500, Duration::ZERO);
    for host in &world.hosts {
        lock(host).held_each = Duration::from_millis(60);
    }
    let control = world.control(8);
    let target = TargetLock::Of(Duration::from_millis(10));
    control.update(|state| state.limits.target_lock = target);
    let summary = run_with(&world, &control).await;
    assert_eq!(summary.upgraded, 2505);
    let steered = summary.steered.unwrap();
    // Two are tried again at times.
    assert!(steered.now.at_once <= 2, "{steered:?}");
    assert_eq!((steered.now.least, steered.now.most), (1, 4), "{steered:?}");
    // It does not begin with the most.
    assert_eq!(lock(&world.hosts[0]).most_locked, 4);
}

#[tokio::test(start_paused = true)]
async fn auto_works_on_more_at_once_while_that_is_faster_in_each_kind_of_run() {
    for verb in [Verb::Upgrade, Verb::Rehearse] {
        let mut world = held_for(3000, Duration::from_millis(4));
        world.settings.verb = verb;
        let control = world.control_of(Parallel::Auto);
        let summary = run_with(&world, &control).await;
        assert_eq!(summary.exit(), Exit::Ok);
        assert_eq!(summary.upgraded + summary.rehearsed, 3005);
        let steered = summary.steered.as_ref().unwrap();
        assert!(
            steered.now.least <= 4 && steered.now.most >= 9,
            "{steered:?}"
        );
        let found = steered.found().unwrap();
        assert_eq!(
            world.journal.at_once(RunId(summary.run)).unwrap(),
            Some(found.clone()),
            "for its report"
        );
        let said = found.to_string();
        let range = format!(" of auto ({} to {}): ", steered.now.least, steered.now.most);
        assert!(said.contains(&range), "{said}");
        let most = lock(&world.hosts[0]).most_locked;
        assert!(
            (9..=64).contains(&most),
            "{most} {:?}",
            control.live().steered
        );
    }
}

#[tokio::test(start_paused = true)]
async fn auto_has_no_more_at_once_than_the_hosts_have_connections_for() {
    let world = held_for(1500, Duration::from_millis(4));
    lock(&world.hosts[1]).capacity = Some(9);
    let control = world.control_of(Parallel::Auto);
    let summary = run_with(&world, &control).await;
    assert_eq!(summary.upgraded, 1505);
    assert_eq!(lock(&world.hosts[0]).most_locked, 6);
    assert_eq!(control.live().parallel, 6);
    // Nobody has asked for more, so there is nothing to say.
    let said = world.witness.said.lock().unwrap().join("\n");
    assert!(!said.contains("connections at once"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn a_nice_run_rests_as_long_as_it_was_told_and_can_be_told_otherwise() {
    let world = World::new();
    for host in &world.hosts {
        lock(host).delay = Duration::from_millis(200);
    }
    let control = world.control(1);
    let timed = async |control: &Arc<Control>| {
        let begun = tokio::time::Instant::now();
        run_with(&world, control).await;
        begun.elapsed().as_secs_f64()
    };
    // The walk and the look at the hosts, which come before any work and are no reason to rest.
    let looked = {
        let (begun, parts) = (tokio::time::Instant::now(), world.parts());
        let found = list(&parts.connect, vec![Source::Master], &parts.stop, |_| ()).await;
        found.unwrap();
        begun.elapsed().as_secs_f64()
    };
    let usual = timed(&control).await;
    for host in &world.hosts {
        lock(host)
            .mailboxes
            .values_mut()
            .for_each(|m| m.version = 9);
    }
    control.update(|state| state.limits.nice_ratio = 3.0);
    let nice = timed(&control).await;
    // Five works and four rests.
    let expected = usual + (usual - looked) * (3.0 * 4.0 / 5.0);
    assert!((nice - expected).abs() < 0.1 * expected, "{usual} {nice}");

    for host in &world.hosts {
        lock(host)
            .mailboxes
            .values_mut()
            .for_each(|m| m.version = 9);
    }
    control.update(|state| state.limits.nice_ratio = 1000.0);
    let (parts, watched) = (world.parts(), Arc::clone(&control));
    let task =
        tokio::spawn(async move { run_controlled(parts, &[Source::Master], &watched).await });
    let rests = |control: &Control| {
        let live = control.live();
        live.waiting.is_some_and(|why| why.contains("nice-ratio"))
    };
    while !rests(&control) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    control.update(|state| state.limits.nice_ratio = 0.0);
    tokio::time::timeout(Duration::from_secs_f64(usual * 2.0), task)
        .await
        .expect("the rest ends when nobody asks for it any more")
        .unwrap()
        .unwrap();
}

/// What a host says of itself.
fn status(name: &str, load: f64) -> HostStatus {
    HostStatus {
        servername: name.to_owned(),
        load: Some(load),
        sync_log: Some(SyncLogAge::NoLog),
        ..HostStatus::default()
    }
}

/// A run whose limits are set before it begins.
fn begin(world: &World, limits: Limits) -> (Arc<Control>, JoinHandle<Summary>) {
    let control = world.control(2);
    control.update(|state| {
        let host_wait = state.limits.host_wait;
        state.limits = Limits {
            host_wait,
            ..limits
        };
    });
    let (parts, watched) = (world.parts(), Arc::clone(&control));
    let run = async move { run_controlled(parts, &[Source::Master], &watched).await };
    (control, tokio::spawn(async { run.await.unwrap() }))
}

/// Returns once the run waits for this; for ever if it does not.
async fn until_it_waits(control: &Control, wanted: &str) {
    let waits = || control.live().waiting.is_some_and(|why| why == wanted);
    let wait = async {
        while !waits() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), wait).await;
    assert!(
        waited.is_ok(),
        "{:?}, not {wanted:?}",
        control.live().waiting
    );
}

fn locks_nothing(world: &World) -> bool {
    let is_lock = |line: &String| line.starts_with("LOCK") || line.starts_with("PREPARE");
    world
        .hosts
        .iter()
        .all(|host| !lock(host).log.iter().any(is_lock))
}

fn times_asked(world: &World, side: usize) -> usize {
    let log = &lock(&world.hosts[side]).log;
    log.iter().filter(|line| *line == "STATUS").count()
}

#[tokio::test(start_paused = true)]
async fn a_pair_whose_host_is_too_busy_waits_alone_and_names_host_and_reason() {
    let (world, other) = (World::new(), World::new());
    for (side, name) in ["mail1", "mail2"].into_iter().enumerate() {
        lock(&world.hosts[side]).status = Some(status(name, 1.0));
        lock(&other.hosts[side]).status = Some(status(name, 12.0));
    }
    lock(&world.hosts[0]).status = Some(status("mail1", 14.2));
    let limits = Limits {
        max_load: Some(12.0),
        ..Limits::default()
    };
    let (control, run) = begin(&world, limits.clone());
    until_it_waits(&control, "master mail1: load 14.2 over 12").await;
    let (_, quiet) = begin(&other, limits);
    assert_eq!(quiet.await.unwrap().upgraded, 5, "12 is not over 12");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(locks_nothing(&world));
    assert_eq!(control.state().busy[0].limit, "max-load");
    for side in [0, 1] {
        let asked = times_asked(&world, side);
        assert!((10..=15).contains(&asked), "once in five seconds: {asked}");
    }

    // The other one, for another reason, and then none.
    lock(&world.hosts[0]).status = Some(status("mail1", 12.0));
    let lags = SyncLogAge::Seconds(601);
    lock(&world.hosts[1]).status = Some(HostStatus {
        sync_log: Some(lags),
        sync_log_file: Some("/imap/sync/log".to_owned()),
        ..status("mail2", 0.0)
    });
    control.update(|state| state.limits.max_lag = Some(600.0));
    let why = "replica mail2: /imap/sync/log not worked off for 601 s, over 600 s";
    until_it_waits(&control, why).await;
    assert!(locks_nothing(&world));
    lock(&world.hosts[1]).status = Some(status("mail2", 0.0));
    let summary = run.await.unwrap();
    assert_eq!((summary.upgraded, summary.exit()), (5, Exit::Ok));
    assert_eq!(control.live().waiting, None);
}

#[tokio::test(start_paused = true)]
async fn what_a_host_cannot_say_does_not_count_as_quiet() {
    let (no_log, unreadable) = ("read /imap/sync: Permission denied", "/proc/loadavg: odd");
    let set = |load: bool, io: bool, lag: bool| Limits {
        max_load: load.then_some(9.0),
        max_io: io.then_some(20.0),
        max_lag: lag.then_some(60.0),
        ..Limits::default()
    };
    let quiet = || status("mail1", 1.0);
    for (limits, status, why) in [
        (
            set(true, false, false),
            HostStatus {
                load: None,
                load_error: Some(unreadable.to_owned()),
                ..quiet()
            },
            "its load is not known: /proc/loadavg: odd",
        ),
        (
            set(true, true, true),
            quiet(),
            "its kernel does not count the disk pressure",
        ),
        (
            set(false, false, true),
            HostStatus {
                sync_log: None,
                sync_log_error: Some(no_log.to_owned()),
                ..quiet()
            },
            "its sync logs could not be looked for: read /imap/sync: Permission denied",
        ),
    ] {
        let world = World::new();
        lock(&world.hosts[0]).status = Some(status);
        lock(&world.hosts[1]).status = Some(HostStatus {
            io: Some(0.0),
            ..quiet()
        });
        let (control, run) = begin(&world, limits);
        until_it_waits(&control, &format!("master mail1: {why}")).await;
        assert!(locks_nothing(&world));
        control.update(|state| state.limits = Limits::default());
        assert_eq!(run.await.unwrap().upgraded, 5);
    }
}

#[tokio::test(start_paused = true)]
async fn a_slotd_of_an_older_release_keeps_no_run_waiting_but_for_what_only_it_could_say() {
    let world = World::new();
    let limits = Limits {
        max_load: Some(0.0),
        max_io: Some(0.0),
        ..Limits::default()
    };
    let (_, run) = begin(&world, limits);
    assert_eq!(run.await.unwrap().upgraded, 5);
    let warned = world.witness.warned.lock().unwrap().clone();
    for side in ["master", "replica"] {
        let about = |line: &&String| line.contains(&format!("the {side}'s slotd is of a release"));
        assert_eq!(warned.iter().filter(about).count(), 1, "{warned:?}");
    }

    let world = World::new();
    let limits = Limits {
        max_lag: Some(60.0),
        ..Limits::default()
    };
    let (control, run) = begin(&world, limits);
    let why = |side| format!("{side}: its slotd is of a release that does not tell of sync logs");
    let why = ["master", "replica"].map(|side| why(side) + " (max-lag)");
    until_it_waits(&control, &why.join("; ")).await;
    assert!(locks_nothing(&world));
    control.update(|state| state.limits.max_lag = None);
    assert_eq!(run.await.unwrap().upgraded, 5);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_does_not_answer_is_away_and_not_busy() {
    let mut world = World::new();
    world.settings.limits.host_wait = Duration::from_secs(30);
    lock(&world.hosts[0]).status = Some(status("mail1", 1.0));
    lock(&world.hosts[1]).status = Some(status("mail2", 99.0));
    let limits = Limits {
        max_load: Some(9.0),
        ..Limits::default()
    };
    let (control, run) = begin(&world, limits);
    until_it_waits(&control, "replica mail2: load 99 over 9").await;
    lock(&world.hosts[1]).down = true;
    let summary = tokio::time::timeout(Duration::from_secs(120), run).await;
    let summary = summary
        .expect("as long as --host-wait and no longer")
        .unwrap();
    assert_eq!(summary.exit(), Exit::Unavailable);
    assert!(summary.away.unwrap().contains("replica"));
}
