//! The power of both hosts and the controller is cut at every failpoint of a run: after the journal
//! of ext4 was replayed no set is torn, and running again ends with everything new on both hosts.
//!
//! Told apart: needs root and loop devices. `REGUID_SWEEP_EVERY=N` takes every N-th point only.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use stores::Host;
use stores::judge::{State, When};
use tests::fleet::{Fleet, program};
use tests::power::Ext4;
use tests::process::{Guard, Slotd};
use tests::sweep::{MAILBOXES, template};

/// Starts the slotd of one side; it writes a line to `trace` at each failpoint and sleeps at the
/// k-th.
fn start(fleet: &mut Fleet, side: usize, trace: &Path, k: usize) {
    let host = [&fleet.master, &fleet.replica][side].clone();
    let env = [
        "env".to_owned(),
        format!("REGUID_FAILPOINTS_TRACE={}", trace.display()),
        format!("REGUID_FAILPOINTS=*={k}:sleep-4000"),
    ];
    fleet.put_slotd(
        side,
        Slotd::start_under(&env, &program("slotd"), &host, &[]),
    );
}

/// Cuts the power at the k-th failpoint of one side; false if the run has no such point.
fn cut_at(store: &Host, options: &str, side: usize, k: usize) -> bool {
    let ext4 = Ext4::make(options);
    let outside = tempfile::tempdir().unwrap();
    let trace = outside.path().join("trace");
    let mut fleet = Fleet::copies_of(store, &ext4.path()).unwatched();
    nix::unistd::sync(); // the mail itself was there long ago
    start(&mut fleet, side, &trace, k);
    fleet.start();
    let mut run = Guard::spawn(&mut fleet.command("upgrade", &[]));
    let hits = || {
        fs::read_to_string(&trace)
            .unwrap_or_default()
            .lines()
            .count()
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    while hits() < k {
        assert!(Instant::now() < deadline, "stuck");
        if run.0.try_wait().unwrap().is_some() && hits() < k {
            return false;
        }
        thread::sleep(Duration::from_micros(200));
    }
    ext4.cut();
    drop(run);
    for side in [0, 1] {
        fleet.take_slotd(side).unwrap().kill();
    }
    ext4.unmount();
    ext4.mount();

    let point = fs::read_to_string(&trace)
        .unwrap()
        .lines()
        .nth(k - 1)
        .unwrap()
        .to_owned();
    let what = format!("{options}, side {side}, hit {k} ({point})");
    let torn: Vec<_> = fleet
        .check(When::Cut)
        .into_iter()
        .flat_map(|r| r.violations)
        .collect();
    assert!(
        torn.is_empty(),
        "{what}: right after the cut:\n{}",
        torn.join("\n")
    );
    fleet.start();
    let again = fleet.controller("upgrade", &[]);
    assert_eq!(again.code, Some(0), "{what}: {again:?}");
    for report in fleet.check(When::Settled) {
        assert!(
            report.violations.is_empty(),
            "{what}:\n{}",
            report.violations.join("\n")
        );
        assert_eq!(report.count(State::New), MAILBOXES.len(), "{what}");
    }
    drop(fleet);
    true
}

fn sweep(options: &str) {
    let every = std::env::var("REGUID_SWEEP_EVERY")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(1);
    let dir = tempfile::tempdir().unwrap();
    let store = template(dir.path());
    for side in [0, 1] {
        let points = (1..)
            .step_by(every)
            .take_while(|k| cut_at(&store, options, side, *k))
            .count();
        println!("{options}: power cut at {points} points of side {side}, all healed");
        assert!(points > 5 / every, "only {points} points; is the trace on?");
    }
}

#[test]
#[ignore = "needs root and loop devices"]
fn data_ordered() {
    sweep("data=ordered");
}

#[test]
#[ignore = "needs root and loop devices"]
fn data_writeback() {
    sweep("data=writeback");
}
