//! After the upgrade: downgrade gives back the very bytes, retry takes up what was left, status and
//! report tell of the run.

use std::convert::Infallible;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use indexfile::{Decision, FileKind, IndexFile, StreamCopy};
use nix::sys::signal::Signal;

use stores::Host;
use stores::cyrus23::session::{GuidMode, Session};
use stores::genuine::multiply;
use stores::judge::State;
use stores::judge::image::Image;
use stores::judge::snapshot;
use tests::fleet::Fleet;
use tests::process::{Ended, Guard};

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
        let original = stores::genuine::unpack_239(&fleet.dir.path().join("again")).unwrap();
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
    for report in fleet.check(stores::judge::When::Cut) {
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
    let minor = |dirs: &stores::Dirs| fs::read(dirs.meta.join("cyrus.index")).unwrap()[11];
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
        .expect_code(75); // run 4
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
    for report in fleet.check(stores::judge::When::Settled) {
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
    let mut fleet = Fleet::of(|host| multiply(host, "alice", USERS).unwrap());
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
    for report in fleet.check(stores::judge::When::Settled) {
        assert_eq!(report.count(State::Old), 18 + 14 * USERS);
    }
}

/// A 2.3.16 delivers a message; gives its UID.
fn append(host: &Host, name: &str, text: &str, guid_mode: GuidMode) -> u32 {
    let log = host.root.join("cyrus23.log");
    let mut session = Session::open(&host.dirs(name), &log, false).unwrap();
    session.guid_mode = guid_mode;
    let message = format!("Subject: {text}\r\n\r\n{text}\r\n");
    session.append(message.as_bytes(), None).unwrap()
}

/// UID and identifier of each record of index and expunge file.
fn identifiers(host: &Host, name: &str) -> Vec<(u32, Vec<u8>)> {
    let mut all = Vec::new();
    for file in ["cyrus.index", "cyrus.expunge"] {
        if let Ok(bytes) = fs::read(host.dirs(name).meta.join(file)) {
            let image = Image::parse(bytes).unwrap();
            all.extend(
                image
                    .records()
                    .map(|r| (Image::uid(r), Image::guid(r).to_vec())),
            );
        }
    }
    all.sort();
    all
}

/// What [`identifiers`] gives of an older host that had no more than these at the end.
fn and_null(mut before: Vec<(u32, Vec<u8>)>, uids: &[u32]) -> Vec<(u32, Vec<u8>)> {
    before.extend(uids.iter().map(|uid| (*uid, vec![0; 12])));
    before.sort();
    before
}

#[test]
fn new_messages_without_guids_do_not_stop_the_way_back_on_both_hosts_or_on_one() {
    let mut fleet = Fleet::of_239();
    let before = identifiers(&fleet.master, "user.bob");
    fleet.start();
    let _ = fleet.controller("upgrade", &["user.bob"]).expect_code(0);
    let both =
        [&fleet.master, &fleet.replica].map(|host| append(host, "user.bob", "both", GuidMode::Off));
    assert_eq!(both[0], both[1]);
    let alone = append(&fleet.master, "user.bob", "master", GuidMode::Off);
    let ended = fleet.controller("rollback", &["last", "--json"]);
    assert_eq!(ended.expect_code(0).json()["upgraded"], 1);
    for (host, uids) in [
        (&fleet.master, &[both[0], alone][..]),
        (&fleet.replica, &[both[0]][..]),
    ] {
        assert_eq!(
            identifiers(host, "user.bob"),
            and_null(before.clone(), uids)
        );
    }
}

#[test]
fn the_last_of_two_rewrites_is_taken_back_at_version_10_and_then_the_first() {
    let mut fleet = Fleet::of_239();
    let before = identifiers(&fleet.master, "user.bob");
    fleet.start();
    let append = |fleet: &Fleet, text: &str| {
        let both = [&fleet.master, &fleet.replica]
            .map(|host| append(host, "user.bob", text, GuidMode::Off));
        assert_eq!(both[0], both[1]);
        both[0]
    };
    let _ = fleet.controller("upgrade", &["user.bob"]).expect_code(0); // run 1
    let first = append(&fleet, "first");
    let _ = fleet.controller("upgrade", &["user.bob"]).expect_code(0); // run 2
    let second = append(&fleet, "second");
    let is_null = |fleet: &Fleet, uid: u32| {
        let all = identifiers(&fleet.replica, "user.bob");
        all.contains(&(uid, vec![0; 20]))
    };
    assert!(!is_null(&fleet, first) && is_null(&fleet, second));
    let _ = fleet.controller("rollback", &["last"]).expect_code(0); // of run 2
    assert!(is_null(&fleet, first) && is_null(&fleet, second));
    let ended = fleet
        .controller("rollback", &["1", "--json"])
        .expect_code(0);
    assert_eq!(ended.json()["left_alone"], 0, "{ended:?}");
    for host in [&fleet.master, &fleet.replica] {
        let now = identifiers(host, "user.bob");
        assert_eq!(now, and_null(before.clone(), &[first, second]));
    }
}

#[test]
fn one_mailbox_first_then_all_then_back_leaves_nothing_at_version_10_unsaid() {
    let mut fleet = Fleet::of_239();
    fleet.start();
    let _ = fleet.controller("upgrade", &["user.bob"]).expect_code(0);
    let _ = fleet.controller("upgrade", &[]).expect_code(0);
    let ended = fleet.controller("rollback", &["last", "-q"]).expect_code(0);
    assert_eq!(at_version_9(&fleet), (17, 18));
    for side in ["master", "replica"] {
        let line = format!("{side}, mailboxes by index version: 17 of version 9, 1 of version 10");
        assert!(ended.stdout.contains(&line), "{ended:?}");
    }
    assert!(
        ended
            .stderr
            .contains("1 earlier run(s) stand: controller rollback --all")
    );
    // Nobody may start an old server without a warning.
    assert!(
        ended
            .stderr
            .contains("Before you start a server of 2.3.0 to 2.3.9")
    );
    let ended = fleet
        .controller("rollback", &["--all", "--json"])
        .expect_code(0);
    let summary = ended.json();
    for side in ["master", "replica"] {
        assert_eq!(summary["hosts"][side]["versions"]["9"], 18, "{summary}");
    }
    for report in fleet.check(stores::judge::When::Settled) {
        assert_eq!(report.count(State::Old), 18, "{report:?}");
    }
    let again = fleet.controller("rollback", &["--all"]).expect_code(0);
    assert!(
        again.stderr.contains("nothing is left to bring back"),
        "{again:?}"
    );
}

#[test]
fn rollback_since_a_date_takes_back_what_began_then_or_later_the_last_run_first() {
    let mut fleet = Fleet::of_239();
    fleet.start();
    let _ = fleet.controller("upgrade", &["user.bob"]).expect_code(0);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let now = std::process::Command::new("date").arg("+%F %T").output();
    let now = String::from_utf8(now.unwrap().stdout).unwrap();
    let now = ["--since", now.trim_end()];
    let ended = fleet.controller("rollback", &now).expect_code(78);
    assert!(ended.stderr.contains("no run began"), "{ended:?}");
    for names in [["user.alice", "user.bob"], ["user.alice.big", "user.bob"]] {
        let _ = fleet.controller("upgrade", &names).expect_code(0);
    }
    assert_eq!(at_version_9(&fleet), (15, 18));
    let ended = fleet.controller("rollback", &[&now[..], &["-q"]].concat());
    let ended = ended.expect_code(0);
    assert_eq!(at_version_9(&fleet), (17, 18), "the first run stands");
    assert!(ended.stderr.contains("1 earlier run(s) stand"), "{ended:?}");
    let one = ["--since", "2007-11-01", "user.bob"];
    let _ = fleet.controller("rollback", &one).expect_code(0);
    assert_eq!(at_version_9(&fleet), (18, 18));
    let unknown = ["--since", "2007-11-01", "user.nobody"];
    let _ = fleet.controller("rollback", &unknown).expect_code(67);
    for wrong in ["yesterday", "2999-01-01", "2026-13-01"] {
        let since = ["--since", wrong];
        let _ = fleet.controller("rollback", &since).expect_code(64);
    }
}

#[test]
fn a_host_that_has_no_old_files_comes_back_with_the_other_and_cut_makes_both_alike() {
    for uuids in ["back", "cut"] {
        let mut fleet = Fleet::of_239();
        let before = identifiers(&fleet.master, "user.bob");
        fleet.start();
        let _ = fleet.controller("upgrade", &["user.bob"]).expect_code(0);
        let meta = fleet.replica.dirs("user.bob").meta;
        for file in ["cyrus.index.OLD", "cyrus.expunge.OLD"] {
            let _ = fs::remove_file(meta.join(file));
        }
        let ended = fleet.controller("rollback", &["last", "--uuids", uuids]);
        let ended = ended.expect_code(0);
        assert_eq!(at_version_9(&fleet), (18, 18));
        let [master, replica] =
            [&fleet.master, &fleet.replica].map(|host| identifiers(host, "user.bob"));
        assert_eq!(master == replica, uuids == "cut");
        assert_eq!(master == before, uuids == "back");
        let told = ended.stdout.contains("other UUIDs on the two hosts");
        assert_eq!(told, uuids == "back", "{ended:?}");
    }
}

#[test]
fn what_an_open_session_copied_after_the_run_is_found_by_verify_and_finished() {
    let mut fleet = Fleet::of_239();
    let uuid = identifiers(&fleet.master, "user.bob")[0].1.clone();
    fleet.start();
    let _ = fleet.controller("upgrade", &[]).expect_code(0);
    let _ = fleet.controller("verify", &[]).expect_code(0);
    let mut padded = [0; 20];
    padded[..12].copy_from_slice(&uuid);
    for host in [&fleet.master, &fleet.replica] {
        append(host, "user.bob", "copied", GuidMode::Copied(padded));
    }
    let found = fleet.controller("verify", &[]).expect_code(65);
    let command = found.stderr.split("finish them with ").nth(1);
    let command = command.unwrap_or_else(|| panic!("{found:?}"));
    assert!(command.starts_with("controller upgrade"), "{command}");
    assert!(command.trim_end().ends_with("user.bob"), "{command}");
    let _ = fleet.controller("upgrade", &["user.bob"]).expect_code(0);
    let _ = fleet.controller("verify", &[]).expect_code(0);
}

#[test]
fn a_way_down_below_version_10_is_not_begun_beside_servers_that_may_run() {
    let mut fleet = Fleet::of_239();
    fleet.start();
    let _ = fleet.controller("upgrade", &["user.bob"]).expect_code(0);
    let ask = |verb: &[&str], more: &[&str]| {
        let mut command = fleet.command("status", &[]);
        let program = command.get_program().to_owned();
        command = std::process::Command::new(program);
        command.args(verb);
        command.args(["--master", &fleet.addr(0), "--replica", &fleet.addr(1)]);
        command.arg("--state").arg(fleet.journal());
        command.arg("user.bob").args(more);
        Guard::spawn(&mut command).finish()
    };
    let down = ["downgrade", "--to", "9"];
    let refused = ask(&down, &[]).expect_code(78);
    assert!(refused.stderr.contains("--servers-stopped"), "{refused:?}");
    assert_eq!(at_version_9(&fleet), (17, 18));
    let _ = ask(&down, &["--servers-stopped", "--force-live"]).expect_code(64);
    // The word is compared with what is seen: here a process has a mailbox open on the replica.
    let index = fleet.replica.mailboxes().unwrap()["user.bob"]
        .meta
        .join("cyrus.index");
    let open = std::fs::File::open(index).unwrap();
    let refused = ask(&down, &["--servers-stopped"]).expect_code(78);
    drop(open);
    assert!(
        refused.stderr.contains("on the replica way_back"),
        "{refused:?}"
    );
    assert_eq!(at_version_9(&fleet), (17, 18));
    // A child that another test has just forked holds, until its exec, what was open here.
    let forked = |done: &Ended| done.code == Some(78) && done.stderr.contains("way_back");
    let mut asked = (0..20).map(|_| ask(&down, &["--servers-stopped"]));
    let _ = asked.find(|done| !forked(done)).unwrap().expect_code(0);
    assert_eq!(at_version_9(&fleet), (18, 18));
    // What is retried asks for the same word.
    let refused = ask(&["retry"], &[]).expect_code(78);
    assert!(refused.stderr.contains("--servers-stopped"), "{refused:?}");
    // Journals of earlier releases have upgrades to a version below 10: these ask for it too.
    let journal = rusqlite::Connection::open(fleet.journal()).unwrap();
    let renamed = journal.execute(
        "UPDATE run SET command = 'upgrade' WHERE command = 'downgrade'",
        [],
    );
    assert!(renamed.unwrap() > 0);
    drop(journal);
    let refused = ask(&["retry"], &[]).expect_code(78);
    assert!(refused.stderr.contains("--servers-stopped"), "{refused:?}");
}
