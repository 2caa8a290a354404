//! Bad input: each gets one clear sentence and the right exit code, and nothing is touched.

use std::fs;
use std::path::PathBuf;

use stores::Dirs;
use stores::genuine::unpack_239;
use stores::judge::{Before, State, When};
use tests::damage;
use tests::fleet::{Fleet, program};
use tests::process::{Guard, Slotd, run};
use tests::wire::Wire;

const VICTIM: &str = "user.alice.expunged";

/// The whole job on a store with one spoilt mailbox: that one is refused, named and left as it
/// was, the other 17 are done.
fn run_refuses(spoil: impl Fn(&Dirs), code: &str, about: &str) {
    let mut fleet = Fleet::of(|host| spoil(&host.dirs(VICTIM)));
    fleet.start();
    let ended = fleet.controller("upgrade", &["--json"]).expect_code(75);
    let summary = ended.json();
    assert_eq!(summary["upgraded"], 17, "{summary}");
    assert_eq!(summary["rolled_back"], 1, "{summary}");
    let said = format!("{}\n{}", ended.stdout, ended.stderr);
    let line = said
        .lines()
        .find(|l| l.contains(VICTIM) && l.contains(about));
    assert!(
        line.is_some(),
        "no line about {VICTIM} and {about}:\n{said}"
    );
    for report in fleet.assert_settled() {
        assert_eq!(report.states[VICTIM], State::Old);
        assert_eq!(report.count(State::New), 17);
    }
    // The same said by slotd itself, with its code.
    let mut wire = Wire::connect(&fleet.addr(0)).unwrap();
    let locked = wire.ask(&format!("LOCK {VICTIM}"));
    let reply = if locked.starts_with("OK") {
        wire.ask("UPGRADE")
    } else {
        locked
    };
    assert!(reply.starts_with(&format!("NO [{code}] ")), "{reply}");
    assert!(reply.contains(about), "{reply}");
}

#[test]
fn not_an_index_file() {
    run_refuses(
        |d| damage::write_nonsense(&index(d)),
        "DAMAGED",
        "cyrus.index",
    );
}

#[test]
fn an_unknown_version() {
    run_refuses(|d| damage::set_minor(&index(d), 77), "DAMAGED", "77");
}

#[test]
fn an_index_of_a_later_cyrus() {
    let later = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../fixtures/cyrus-3.6.1/v13/cyrus.index"
    );
    let copy = |dirs: &Dirs| {
        fs::copy(later, index(dirs)).unwrap();
    };
    run_refuses(copy, "UNSUPPORTED", "version 13");
}

#[test]
fn a_truncated_index() {
    run_refuses(|d| damage::truncate(&index(d)), "DAMAGED", "cyrus.index");
}

#[test]
fn a_zero_length_expunge() {
    run_refuses(
        |d| damage::empty(&d.meta.join("cyrus.expunge")),
        "DAMAGED",
        "cyrus.expunge",
    );
}

#[test]
fn minor_version_9_with_records_of_88_bytes() {
    run_refuses(|d| damage::make_hybrid(&index(d)), "DAMAGED", "88");
}

#[test]
fn index_at_version_10_beside_expunge_at_version_9() {
    run_refuses(|d| damage::make_v10(&index(d)), "DAMAGED", "expunge");
}

#[test]
fn a_message_file_that_is_missing() {
    run_refuses(
        |d| fs::remove_file(d.data.join("2.")).unwrap(),
        "NOMESSAGE",
        "2.",
    );
}

fn index(dirs: &Dirs) -> PathBuf {
    dirs.meta.join("cyrus.index")
}

/// Runs the job while the replica's spool is away, and puts it back. Returns the summary and what
/// the replica's slotd says to LOCK, or else to UPGRADE.
fn without_spool(fleet: &mut Fleet, empty_directory: bool) -> (serde_json::Value, String) {
    fleet.start();
    let away = fleet.replica.root.join("spool-away");
    fs::rename(&fleet.replica.data, &away).unwrap();
    if empty_directory {
        fs::create_dir(&fleet.replica.data).unwrap();
    }
    let once_more = ["--json", "--attempts", "2", "--pause", "0.1"];
    let ended = fleet.controller("upgrade", &once_more).expect_code(75);
    let mut wire = Wire::connect(&fleet.addr(1)).unwrap();
    let locked = wire.ask(&format!("LOCK {VICTIM}"));
    let reply = if locked.starts_with("OK") {
        wire.ask("UPGRADE")
    } else {
        locked
    };
    drop(wire);
    if empty_directory {
        fs::remove_dir(&fleet.replica.data).unwrap();
    }
    fs::rename(&away, &fleet.replica.data).unwrap();
    (ended.json(), reply)
}

#[test]
fn a_spool_that_is_not_there() {
    let mut fleet = Fleet::of_239();
    let (summary, reply) = without_spool(&mut fleet, false);
    assert_eq!(
        (&summary["upgraded"], &summary["rolled_back"]),
        (&0.into(), &18.into()),
        "{summary}"
    );
    assert!(reply.starts_with("NO [UNMOUNTED] "), "{reply}");
    assert!(
        reply.contains(fleet.replica.data.to_str().unwrap()),
        "{reply}"
    );
    for report in fleet.assert_settled() {
        assert_eq!(report.count(State::Old), 18);
    }
}

#[test]
fn an_empty_directory_where_the_spool_should_be() {
    let mut fleet = Fleet::of_239();
    let (_, reply) = without_spool(&mut fleet, true);
    assert!(
        reply.starts_with("NO [UNMOUNTED] ") || reply.starts_with("NO [NOMESSAGE] "),
        "{reply}"
    );
    for report in fleet.assert_settled() {
        for (name, guids) in &report.guids {
            let old = report.states[name] == State::Old;
            assert!(
                old || guids.is_empty(),
                "{name} has messages that nobody could read"
            );
        }
    }
}

#[test]
fn an_unknown_mailbox() {
    let mut fleet = Fleet::of_239();
    fleet.start();
    let ended = fleet
        .controller("upgrade", &["user.nobody"])
        .expect_code(67);
    assert!(ended.stderr.contains("user.nobody"), "{}", ended.stderr);
    assert_eq!(fleet.assert_settled()[0].count(State::Old), 18);
}

#[test]
fn no_slotd_listening() {
    let fleet = Fleet::of_239();
    let ended = fleet.controller("upgrade", &[]).expect_code(69);
    ended.assert_one_sentence(&fleet.addr(0));
    assert_eq!(fleet.assert_settled()[0].count(State::Old), 18);
}

#[test]
fn no_slotd_on_the_replica_leaves_the_master_alone() {
    let mut fleet = Fleet::of_239();
    fleet.start();
    fleet.take_slotd(1).unwrap().kill();
    let ended = fleet.controller("upgrade", &[]).expect_code(69);
    ended.assert_one_sentence(&fleet.addr(1));
    assert_eq!(fleet.assert_settled()[0].count(State::Old), 18);
}

#[test]
fn usage_and_configuration() {
    for name in ["slotd", "controller", "precompute", "indexfile"] {
        let ended = run(&program(name), ["--no-such-option"]);
        assert_eq!(ended.code, Some(64), "{name}: {ended:?}");
        let ended = run(&program(name), ["--help"]);
        assert_eq!(ended.code, Some(0), "{name}: {ended:?}");
        assert!(ended.stdout.contains("Usage"), "{name}");
    }
    let dir = tempfile::tempdir().unwrap();
    let conf = dir.path().join("imapd.conf");
    fs::write(&conf, "configdirectory: /nowhere\n").unwrap();
    let socket = format!("unix:{}", dir.path().join("s").display());
    let state = dir.path().join("state");
    let args = [
        "serve",
        "--imapd-conf",
        conf.to_str().unwrap(),
        "--state",
        state.to_str().unwrap(),
        "--listen",
        &socket,
    ];
    run(&program("slotd"), args)
        .expect_code(78)
        .assert_one_sentence("partition");
}

/// Every write of slotd beyond a few KiB fails, as on a full disk (EFBIG instead of ENOSPC).
#[test]
fn a_write_that_fails_leaves_no_trace() {
    let dir = tempfile::tempdir().unwrap();
    let host = unpack_239(dir.path()).unwrap();
    let before = Before::remember(&host).unwrap();
    let unsignalled = ["sh", "-c", "trap '' XFSZ; exec \"$@\"", "sh"].map(String::from);
    let slotd = Slotd::start_under(&unsignalled, &program("slotd"), &host, &[]);
    // Only now: the intent log has taken its room.
    let pid = slotd.pid().to_string();
    let _ = run("prlimit", ["--pid", &pid, "--fsize=8192"]).expect_code(0);
    let mut wire = Wire::connect(&slotd.addr).unwrap();
    wire.must("LOCK user.alice.big"); // 300 records: 26 KiB at version 10
    let reply = wire.ask("UPGRADE");
    assert!(
        reply.starts_with("NO [IO] ") || reply.starts_with("NO [NOSPACE] "),
        "{reply}"
    );
    assert!(reply.contains("cyrus.index"), "{reply}");
    drop(wire);
    let mut wire = Wire::connect(&slotd.addr).unwrap();
    wire.must("LOCK user.bob"); // slotd lives on and smaller mailboxes work
    wire.must("UPGRADE");
    wire.must("ROLLBACK");
    drop(wire);
    assert_eq!(slotd.stop().code, Some(0));
    let report = before.check(When::Settled);
    report.assert_clean();
    assert_eq!(report.count(State::Old), 18);
}

/// A real full disk. Ignored in a plain run: mounting a small tmpfs needs root.
#[test]
#[ignore = "needs root: mounts a small tmpfs"]
fn no_space_left_on_the_device() {
    let dir = tempfile::tempdir().unwrap();
    let mount = |args: &[&str]| run(args[0], &args[1..]).expect_code(0);
    let at = dir.path().join("small");
    fs::create_dir(&at).unwrap();
    let path = at.to_str().unwrap();
    let _ = mount(&["mount", "-t", "tmpfs", "-o", "size=4m", "reguid-test", path]);
    let unmount = Unmount(path.to_owned());
    let host = unpack_239(&at.join("host")).unwrap();
    let before = Before::remember(&host).unwrap();
    let filler = at.join("filler");
    let _ = Guard::spawn(std::process::Command::new("dd").args([
        "if=/dev/zero",
        &format!("of={}", filler.display()),
        "bs=4k",
    ]))
    .finish();
    fs::File::options()
        .write(true)
        .open(&filler)
        .unwrap()
        .set_len(fs::metadata(&filler).unwrap().len() - 8192)
        .unwrap();
    let state = tempfile::tempdir().unwrap();
    let slotd = Slotd::start(
        &program("slotd"),
        &stores::Host {
            root: state.path().into(),
            ..host.clone()
        },
        &[],
    );
    let mut wire = Wire::connect(&slotd.addr).unwrap();
    wire.must("LOCK user.alice.big");
    let reply = wire.ask("UPGRADE");
    assert!(
        reply.starts_with("NO [NOSPACE] ") && reply.contains("cyrus.index"),
        "{reply}"
    );
    drop(wire);
    let _ = slotd.stop();
    let report = before.check(When::Settled);
    report.assert_clean();
    assert_eq!(report.count(State::Old), 18);
    drop(unmount);
}

struct Unmount(String);

impl Drop for Unmount {
    fn drop(&mut self) {
        let _ = run("umount", ["-l", &self.0]);
    }
}
