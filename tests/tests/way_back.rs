//! After the upgrade: downgrade gives back the very bytes, retry takes up what was left, status and
//! report tell of the run.

use std::convert::Infallible;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use indexfile::{Decision, FileKind, IndexFile, StreamCopy};
use nix::sys::signal::Signal;

use tests::fleet::Fleet;
use tests::invariants::State;
use tests::process::Guard;
use tests::snapshot;
use tests::store::multiply;

#[test]
fn downgrade_gives_back_the_very_bytes_of_version_9() {
    let mut fleet = Fleet::of_239();
    fleet.start();
    let _ = fleet.controller("upgrade", &[]).expect_code(0);
    assert_eq!(fleet.assert_settled()[0].count(State::New), 18);
    let summary = fleet
        .controller("downgrade", &["--to", "9", "--json"])
        .expect_code(0)
        .json();
    assert_eq!(summary["mailboxes"], 18, "{summary}");
    for host in [&fleet.master, &fleet.replica] {
        let original = tests::store::unpack_239(&fleet.dir.path().join("again"));
        for (name, dirs) in host.mailboxes().unwrap() {
            let was = original.dirs(&name);
            for file in ["cyrus.index", "cyrus.expunge"] {
                let now = fs::read(dirs.meta.join(file)).ok();
                assert!(now == fs::read(was.meta.join(file)).ok(), "{name} {file}");
            }
        }
        fs::remove_dir_all(&original.root).unwrap();
    }
    // And up again: the same state as after the first time.
    let _ = fleet.controller("upgrade", &[]).expect_code(0);
    for report in fleet.check(tests::invariants::When::Cut) {
        assert_eq!((report.violations, report.states.len()), (Vec::new(), 18));
    }
}

#[test]
fn retry_takes_up_what_was_rolled_back() {
    let mut fleet = Fleet::of_239();
    let dirs = fleet.master.dirs("user.alice.mixed");
    let (there, away) = (dirs.data.join("3."), dirs.data.join("away"));
    fs::rename(&there, &away).unwrap();
    fleet.start();
    let _ = fleet.controller("upgrade", &[]).expect_code(75);
    fs::rename(&away, &there).unwrap();
    let summary = fleet.controller("retry", &["--json", "user.alice.mixed"]);
    let summary = summary.expect_code(0).json(); // of the whole run, resumed
    assert_eq!(
        (&summary["upgraded"], &summary["rolled_back"]),
        (&18.into(), &0.into())
    );
    for report in fleet.assert_settled() {
        assert_eq!(report.count(State::New), 18);
    }
}

#[test]
fn drop_old_leaves_none_behind() {
    let mut fleet = Fleet::of_239();
    fleet.start();
    let _ = fleet.controller("upgrade", &["--drop-old"]).expect_code(0);
    for report in fleet.assert_settled() {
        assert_eq!(report.count(State::New), 18);
    }
    for host in [&fleet.master, &fleet.replica] {
        let tree = snapshot::take(&host.meta).unwrap();
        assert!(!tree.keys().any(|p| p.to_string_lossy().ends_with(".OLD")));
    }
}

#[test]
fn status_and_report_tell_of_the_run() {
    let mut fleet = Fleet::of_239();
    fleet.start();
    let _ = fleet.controller("upgrade", &[]).expect_code(0);
    for verb in ["status", "report"] {
        let ended = fleet.controller(verb, &[]).expect_code(0);
        assert!(ended.stdout.contains("18"), "{ended:?}");
    }
}

/// Mailboxes whose index is at version 9, of all there are.
fn at_version_9(fleet: &Fleet) -> (usize, usize) {
    let boxes = fleet.master.mailboxes().unwrap();
    let minor = |dirs: &tests::store::Dirs| fs::read(dirs.meta.join("cyrus.index")).unwrap()[11];
    (
        boxes.values().filter(|d| minor(d) == 9).count(),
        boxes.len(),
    )
}

#[test]
fn rollback_undoes_a_run_and_leaves_what_a_later_run_changed_again() {
    let mut fleet = Fleet::of_239();
    fleet.start();
    let _ = fleet.controller("upgrade", &[]).expect_code(0); // run 1
    let _ = fleet
        .controller("downgrade", &["--to", "9", "user.bob"])
        .expect_code(0); // run 2
    let _ = fleet.controller("upgrade", &["user.bob"]).expect_code(0); // run 3
    let unknown = fleet.controller("rollback", &["1", "user.nobody"]);
    assert!(unknown.expect_code(67).stderr.contains("user.nobody"));
    let _ = fleet.controller("rollback", &["9"]).expect_code(78);
    let _ = fleet.controller("rollback", &["first"]).expect_code(64);

    let ended = fleet
        .controller("rollback", &["1", "--json"])
        .expect_code(0); // run 4
    let summary = ended.json();
    assert_eq!(
        (&summary["upgraded"], &summary["left_alone"]),
        (&17.into(), &1.into()),
        "{summary}"
    );
    let said = &ended.stderr;
    let danger = said
        .find("Before you start a server of 2.3.0 to 2.3.9")
        .unwrap();
    let left = said.find("user.bob: left as it is: run 3").unwrap();
    assert!(danger < left, "{said}");
    assert_eq!(at_version_9(&fleet), (17, 18));
    let status = fleet.controller("status", &[]).expect_code(0).stdout;
    assert!(status.contains("run 4: rollback of run 1"), "{status}");

    let last = fleet
        .controller("rollback", &["last", "--json"])
        .expect_code(0); // of run 3
    assert_eq!(last.json()["upgraded"], 1, "{last:?}");
    for report in fleet.check(tests::invariants::When::Settled) {
        assert_eq!(report.count(State::Old), 18, "{report:?}");
    }
}

#[test]
fn rollback_of_a_rewrite_at_version_10_gives_the_padded_uuids_back() {
    // As a Cyrus of 2.3.10 or later upgrades it when it opens it: version 10, and no SHA-1 in it.
    let mut fleet = Fleet::of(|master| {
        let meta = master.dirs("user.bob").meta;
        for kind in [FileKind::Index, FileKind::Expunge] {
            let path = meta.join(kind.file_name());
            if !path.exists() {
                continue;
            }
            let file = IndexFile::open(&path, kind).unwrap();
            let mut padded = Vec::new();
            StreamCopy::new(&file)
                .to_version(10)
                .write(&mut padded, |_| Ok::<_, Infallible>(Decision::Keep))
                .unwrap();
            fs::write(&path, padded).unwrap();
        }
    });
    fleet.start();
    let live = |fleet: &Fleet| {
        [&fleet.master, &fleet.replica]
            .map(|host| fs::read(host.dirs("user.bob").meta.join("cyrus.index")).unwrap())
    };
    let before = live(&fleet);
    assert_eq!(before[0][11], 10);
    let _ = fleet.controller("upgrade", &["user.bob"]).expect_code(0);
    let rewritten = live(&fleet);
    assert!(rewritten[0] != before[0] && rewritten[1] != before[1]);
    let ended = fleet
        .controller("rollback", &["last", "--json"])
        .expect_code(0);
    assert_eq!(ended.json()["upgraded"], 1, "{ended:?}");
    assert!(live(&fleet) == before);
}

#[test]
fn rollback_takes_only_the_names_given_and_goes_on_after_a_kill() {
    const USERS: usize = 4;
    let mut fleet = Fleet::of(|host| multiply(host, "alice", USERS));
    fleet.start();
    let _ = fleet.controller("upgrade", &[]).expect_code(0);
    let names = ["last", "user.bob", "user.alice.big"];
    let _ = fleet.controller("rollback", &names).expect_code(0);
    assert_eq!(at_version_9(&fleet).0, 2);

    let arguments = ["1", "--parallel", "1"];
    let mut kills = 0;
    for more in [4, 12, 24] {
        let run = Guard::spawn(&mut fleet.command("rollback", &arguments));
        let deadline = Instant::now() + Duration::from_secs(60);
        while at_version_9(&fleet).0 < more {
            assert!(Instant::now() < deadline, "it does not go on");
            thread::sleep(Duration::from_millis(1));
        }
        run.signal(Signal::SIGKILL);
        kills += usize::from(run.finish().code.is_none());
    }
    assert!(kills > 0, "none of them was cut");
    let summary = fleet
        .controller("rollback", &["1", "--json"])
        .expect_code(0)
        .json();
    assert_eq!(summary["in_doubt"], 0, "{summary}");
    assert!(fleet.open_transactions().is_empty());
    for report in fleet.check(tests::invariants::When::Settled) {
        assert_eq!(report.count(State::Old), 18 + 14 * USERS);
    }
}
