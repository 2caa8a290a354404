//! Limits hold while a run works, and the reason for which it waits is named.

use std::sync::Arc;
use std::time::Duration;

use indexfile::exit::Exit;

use super::fake::lock;
use super::world::{NAMES, World};
use crate::control::Control;
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

#[tokio::test(start_paused = true)]
async fn long_locks_leave_one_at_once() {
    let world = World::new();
    for host in &world.hosts {
        let mut host = lock(host);
        for n in 0..30 {
            let like = host.mailboxes["user.a"].clone();
            host.mailboxes.insert(format!("user.z{n:02}"), like);
        }
        host.delay = Duration::from_millis(5);
        host.held = Duration::from_millis(50);
    }
    let control = world.control(8);
    control.update(|state| state.limits.target_lock = Some(Duration::from_millis(10)));
    let (parts, watched) = (world.parts(), Arc::clone(&control));
    let task =
        tokio::spawn(async move { run_controlled(parts, &[Source::Master], &watched).await });
    while control.live().done < 8 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(lock(&world.hosts[0]).most_locked, 8);
    assert_eq!(control.live().allowed, 1);
    // What had begun ends; from then on there is one.
    while control.live().under_way > 1 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    lock(&world.hosts[0]).most_locked = 0;
    let summary = task.await.unwrap().unwrap();
    assert_eq!(summary.upgraded, 35);
    assert_eq!(lock(&world.hosts[0]).most_locked, 1);
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
