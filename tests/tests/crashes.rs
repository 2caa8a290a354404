//! Something is killed in the middle of a run: nothing stays locked, no scratch file stays, and
//! running again finishes the job.

use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use stores::genuine::multiply;
use stores::judge::{State, When};
use tests::fleet::Fleet;
use tests::process::Guard;

const USERS: usize = 4;

/// A run that does not keep trying what cannot be reached any more.
const IMPATIENT: [&str; 4] = ["--attempts", "1", "--settle-attempts", "1"];

fn many() -> Fleet {
    Fleet::of(|host| multiply(host, "alice", USERS).unwrap())
}

/// Waits until some mailbox, but not every one, is converted.
fn wait_for_the_middle(fleet: &Fleet) {
    let deadline = Instant::now() + Duration::from_secs(60);
    let done = || {
        let boxes = fleet.master.mailboxes().unwrap();
        boxes
            .values()
            .filter(|d| d.meta.join("cyrus.index.OLD").exists())
            .count()
    };
    while done() < 4 {
        assert!(Instant::now() < deadline, "the run does not start");
        thread::sleep(Duration::from_millis(1));
    }
}

fn assert_all_new(fleet: &Fleet) {
    for report in fleet.assert_settled() {
        assert_eq!(report.count(State::New), report.states.len());
        assert_eq!(report.states.len(), 18 + 14 * USERS);
    }
}

#[test]
fn the_controller_is_killed_in_the_middle_and_the_next_run_finishes() {
    let mut fleet = many();
    fleet.start();
    for _ in 0..3 {
        let run = Guard::spawn(&mut fleet.command("upgrade", &[]));
        wait_for_the_middle(&fleet);
        run.signal(Signal::SIGKILL);
        assert_eq!(run.finish().code, None, "it was killed");
        // The slotds see the closed connections and let go by themselves.
        wait_until_nothing_is_held(&fleet);
    }
    let _ = fleet.controller("upgrade", &[]).expect_code(0);
    assert_all_new(&fleet);
}

/// No lock and no scratch file within five seconds, though mailboxes may differ between hosts.
fn wait_until_nothing_is_held(fleet: &Fleet) {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let left: Vec<String> = fleet
            .check(When::Settled)
            .into_iter()
            .flat_map(|r| r.violations)
            .filter(|v| v.contains("locked") || v.contains("stray") || v.contains("torn"))
            .collect();
        if left.is_empty() {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "still there after 5 s:\n{}",
            left.join("\n")
        );
        thread::sleep(Duration::from_millis(20));
    }
}

fn a_slotd_is_killed(which: usize) {
    let mut fleet = many();
    fleet.start();
    let run = Guard::spawn(&mut fleet.command("upgrade", &IMPATIENT));
    wait_for_the_middle(&fleet);
    fleet.take_slotd(which).unwrap().kill();
    let ended = run.finish();
    assert!(matches!(ended.code, Some(69 | 70 | 75)), "{ended:?}");
    for report in fleet.check(When::Cut) {
        report.assert_clean(); // whatever lies there now, no set is torn and no lock is left
    }
    fleet.start(); // recovers what was half done before it serves
    let ended = fleet.controller("upgrade", &[]).expect_code(0);
    assert!(!ended.stderr.contains("panicked"), "{ended:?}");
    assert_all_new(&fleet);
}

#[test]
fn the_slotd_of_the_master_is_killed_in_the_middle_and_the_next_run_finishes() {
    a_slotd_is_killed(0);
}

#[test]
fn the_slotd_of_the_replica_is_killed_in_the_middle_and_the_next_run_finishes() {
    a_slotd_is_killed(1);
}

#[test]
fn sigterm_lets_the_slotd_finish_or_roll_back_and_end_with_0() {
    let mut fleet = many();
    fleet.start();
    let run = Guard::spawn(&mut fleet.command("upgrade", &IMPATIENT));
    wait_for_the_middle(&fleet);
    let ended = fleet.take_slotd(1).unwrap().stop();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let ended = run.finish();
    assert!(matches!(ended.code, Some(0 | 69 | 75)), "{ended:?}");
    wait_until_nothing_is_held(&fleet);
    fleet.start();
    let _ = fleet.controller("upgrade", &[]).expect_code(0);
    assert_all_new(&fleet);
}

#[test]
fn sigint_lets_the_controller_finish_what_it_began() {
    let mut fleet = many();
    fleet.start();
    let run = Guard::spawn(&mut fleet.command("upgrade", &[]));
    wait_for_the_middle(&fleet);
    run.signal(Signal::SIGINT);
    let ended = run.finish();
    assert!(ended.code.is_some(), "it ends by itself: {ended:?}");
    wait_until_nothing_is_held(&fleet);
    let _ = fleet.assert_settled(); // both hosts alike, without any recovery
    let _ = fleet.controller("upgrade", &[]).expect_code(0);
    assert_all_new(&fleet);
}

#[test]
fn a_second_controller_is_refused_by_name_until_the_first_is_gone() {
    let mut fleet = Fleet::of_239();
    fleet.start();
    let wait = tempfile::NamedTempFile::new().unwrap();
    let flag = ["--flag-file", wait.path().to_str().unwrap()];
    let first = Guard::spawn(&mut fleet.command("upgrade", &flag));
    let other = tempfile::tempdir().unwrap();
    let state = other.path().join("other.db");
    let second = || {
        let program = fleet.command("status", &[]).get_program().to_owned();
        let mut command = std::process::Command::new(program);
        command.args(["upgrade", "--host-wait", "0"]);
        command.args(["--master", &fleet.addr(0), "--replica", &fleet.addr(1)]);
        command.arg("--state").arg(&state).arg("user.bob");
        Guard::spawn(&mut command).finish()
    };
    // The first one has registered once its run is in its journal.
    let begun = || fleet.controller("status", &[]).code == Some(0);
    while !begun() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let refused = second().expect_code(69);
    assert!(refused.stderr.contains("coordinator"), "{refused:?}");
    for report in fleet.check(When::Settled) {
        assert_eq!(report.count(State::Old), 18, "nothing was touched");
    }
    first.signal(Signal::SIGKILL);
    assert_eq!(first.finish().code, None);
    let _ = second().expect_code(0);
    drop(wait);
    // The first one's run goes on where it was.
    let _ = fleet.controller("upgrade", &[]).expect_code(0);
    let _ = fleet.controller("verify", &[]).expect_code(0);
}
