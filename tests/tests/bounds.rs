//! Every wait has a bound, and nobody is left locked: not by a Cyrus that holds on, not by a
//! controller that stalls, not by a slotd that hangs.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use stores::genuine::unpack_239;
use stores::judge::locks;
use stores::judge::{Before, State, When};
use tests::fleet::{Fleet, program};
use tests::process::{Guard, Slotd};
use tests::wire::Wire;

const MAILBOX: &str = "user.alice.expunged";

/// A process that holds the POSIX lock of a file, as Cyrus does, until it is dropped.
struct Holder(Child);

impl Holder {
    fn of(file: &Path) -> Self {
        let mut command = Command::new(program("cyrus23"));
        command
            .arg("hold")
            .arg(file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line, "held\n");
        Self(child)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_lock_that_cyrus_holds_is_refused_in_the_end_and_its_holder_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let host = unpack_239(dir.path()).unwrap();
    let slotd = Slotd::start(&program("slotd"), &host, &[]);
    let mut wire = Wire::connect(&slotd.addr).unwrap();
    for file in ["cyrus.header", "cyrus.index", "cyrus.expunge"] {
        let path = host.dirs(MAILBOX).meta.join(file);
        let holder = Holder::of(&path);
        let reply = wire.ask(&format!("LOCK {MAILBOX} wait_ms=200"));
        assert!(reply.starts_with("NO [LOCKED] "), "{file}: {reply}");
        assert!(
            reply.contains(&holder.0.id().to_string()) && reply.contains(file),
            "{reply}"
        );
        drop(holder);
        wire.must(&format!("LOCK {MAILBOX} wait_ms=5000"));
        wire.must("ROLLBACK");
    }
}

#[test]
fn a_mailbox_that_cyrus_keeps_locked_on_one_side_is_left_alone_on_both() {
    let mut fleet = Fleet::of_239();
    fleet.start();
    let holder = Holder::of(&fleet.replica.dirs(MAILBOX).meta.join("cyrus.index"));
    let ended = fleet.controller(
        "upgrade",
        &["--json", "--attempts", "1", "--lock-wait", "1"],
    );
    let ended = ended.expect_code(75);
    assert_eq!(ended.json()["rolled_back"], 1, "{ended:?}");
    assert!(ended.stderr.contains(MAILBOX), "{ended:?}");
    let index = fleet.master.dirs(MAILBOX).meta.join("cyrus.index");
    assert!(!locks::held(&index).unwrap(), "the master is still locked");
    drop(holder);
    for report in fleet.assert_settled() {
        assert_eq!(
            (report.states[MAILBOX], report.count(State::New)),
            (State::Old, 17)
        );
    }
    let _ = fleet.controller("retry", &[]).expect_code(0);
    assert_eq!(fleet.assert_settled()[1].count(State::New), 18);
}

#[test]
fn the_first_signal_waits_for_what_is_under_way_and_the_second_rolls_it_back() {
    let mut fleet = Fleet::of_239();
    fleet.start();
    let holder = Holder::of(&fleet.replica.dirs(MAILBOX).meta.join("cyrus.index"));
    let index = fleet.master.dirs(MAILBOX).meta.join("cyrus.index");
    let mut run = Guard::spawn(&mut fleet.command("upgrade", &["--lock-wait", "60", MAILBOX]));
    let deadline = Instant::now() + Duration::from_secs(20);
    while !locks::held(&index).unwrap() {
        assert!(Instant::now() < deadline, "the run does not start");
        thread::sleep(Duration::from_millis(5));
    }
    run.signal(Signal::SIGINT);
    thread::sleep(Duration::from_millis(500));
    assert!(run.0.try_wait().unwrap().is_none(), "it did not wait");
    assert!(locks::held(&index).unwrap());
    run.signal(Signal::SIGTERM);
    let ended = run.finish().expect_code(75);
    for said in [
        "are finished",
        "what is not decided stays as it was",
        "give the same command again",
    ] {
        assert!(ended.stderr.contains(said), "{said}: {}", ended.stderr);
    }
    while locks::held(&index).unwrap() {
        assert!(Instant::now() < deadline, "the master is still locked");
        thread::sleep(Duration::from_millis(5));
    }
    drop(holder);
    for report in fleet.assert_settled() {
        assert_eq!(report.count(State::Old), 18);
    }
    let _ = fleet.controller("upgrade", &[MAILBOX]).expect_code(0);
}

#[test]
fn a_controller_that_stalls_loses_its_locks_and_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let host = unpack_239(dir.path()).unwrap();
    let before = Before::remember(&host).unwrap();
    let slotd = Slotd::start(&program("slotd"), &host, &["--max-lock", "1"]);
    let mut wire = Wire::connect(&slotd.addr).unwrap();
    wire.must(&format!("LOCK {MAILBOX}"));
    wire.must("UPGRADE");
    let index = host.dirs(MAILBOX).meta.join("cyrus.index");
    assert!(locks::held(&index).unwrap());
    let deadline = Instant::now() + Duration::from_secs(20);
    while locks::held(&index).unwrap() {
        assert!(Instant::now() < deadline, "locked for ever");
        thread::sleep(Duration::from_millis(50));
    }
    let reply = wire.ask("COMMIT");
    assert!(reply.starts_with("NO [EXPIRED] "), "{reply}");
    let report = before.check(When::Settled);
    report.assert_clean();
    assert_eq!(report.count(State::Old), 18);
}

#[test]
fn a_masters_slotd_that_hangs_does_not_hang_the_run_and_the_next_one_finishes() {
    hangs(0);
}

#[test]
fn a_replicas_slotd_that_hangs_does_not_hang_the_run_and_the_next_one_finishes() {
    hangs(1);
}

fn hangs(which: usize) {
    let mut fleet = Fleet::of_239();
    fleet.start();
    let bounds = [
        ["--call-timeout", "1"],
        ["--work-timeout", "1"],
        ["--connect-timeout", "1"],
        ["--attempts", "1"],
        ["--settle-attempts", "1"],
        ["--parallel", "16"],
    ];
    let run = Guard::spawn(&mut fleet.command("upgrade", &bounds.concat()));
    let slotd = fleet.take_slotd(which).unwrap();
    let first = fleet
        .master
        .dirs("shared.news")
        .meta
        .join("cyrus.index.OLD");
    let deadline = Instant::now() + Duration::from_secs(60);
    while !first.exists() {
        assert!(Instant::now() < deadline, "the run did not begin");
        thread::sleep(Duration::from_micros(200));
    }
    slotd.signal(Signal::SIGSTOP);
    let ended = run.finish(); // within its patience, or the test fails
    // All was done before, or something waits, or is in doubt.
    assert!(matches!(ended.code, Some(0 | 70 | 75)), "{ended:?}");
    slotd.signal(Signal::SIGCONT);
    fleet.put_slotd(which, slotd);
    let again = fleet.controller("upgrade", &[]);
    assert_eq!(again.code, Some(0), "{again:?}\nfirst {ended:?}");
    assert_eq!(fleet.assert_settled()[which].count(State::New), 18);
    assert_eq!(fleet.open_transactions(), Vec::<String>::new());
}
