//! After the upgrade: downgrade gives back the very bytes, retry takes up what was left, status and
//! report tell of the run.

use std::fs;

use tests::fleet::Fleet;
use tests::invariants::State;
use tests::snapshot;

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
