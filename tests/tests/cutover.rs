//! The change-over as an operator makes it: prepared while 2.3 serves, under the fence alone,
//! proven before anything is called complete, and taken back byte for byte.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use stores::Host;
use stores::cyrus23::session::Session;
use stores::genuine::{copy_mailboxes, unpack_239};
use tests::fleet::{Fleet, program};
use tests::process::{Ended, Guard, PATIENCE, run};
use tests::proxy::{Cut, Harm};
use tests::sweep::{Plan, run_controller};

/// Two hosts at version 10, their slotds running. The watch holds for an upgrade to 10: in a
/// change-over the index is newer than cyrus.expunge for a moment.
fn at_10() -> Fleet {
    let mut fleet = Fleet::of_239().unwatched();
    fleet.start();
    let _ = fleet.controller("upgrade", &[]).expect_code(0);
    fleet
}

fn shutdown(host: &Host) -> PathBuf {
    host.root.join("conf/msg/shutdown")
}

fn raise_fence(host: &Host) {
    let file = shutdown(host);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, "Back at 06:00\n").unwrap();
}

fn raise_both(fleet: &Fleet) {
    raise_fence(&fleet.master);
    raise_fence(&fleet.replica);
}

fn complete_file(host: &Host) -> PathBuf {
    host.root.join("conf/cutover-complete")
}

fn are_complete(fleet: &Fleet) -> [bool; 2] {
    [&fleet.master, &fleet.replica].map(|host| complete_file(host).exists())
}

/// Version of each index, and whether a cyrus.expunge is under its name.
fn states(host: &Host) -> BTreeMap<String, (u8, bool)> {
    let of = |dirs: &stores::Dirs| {
        let minor = fs::read(dirs.file("cyrus.index")).unwrap()[11];
        (minor, dirs.file("cyrus.expunge").exists())
    };
    let boxes = host.mailboxes().unwrap();
    boxes
        .iter()
        .map(|(name, dirs)| (name.clone(), of(dirs)))
        .collect()
}

/// The bytes of the files that a change-over replaces or moves away.
fn bytes(host: &Host) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut all = BTreeMap::new();
    for dirs in host.mailboxes().unwrap().values() {
        for file in ["cyrus.index", "cyrus.expunge"] {
            let path = dirs.file(file);
            all.insert(path.clone(), fs::read(path).ok());
        }
    }
    all
}

fn versions(host: &Host) -> BTreeSet<u8> {
    states(host).values().map(|(version, _)| *version).collect()
}

fn over(fleet: &Fleet, how: &[&str]) -> Ended {
    let mut words = vec!["--to", "16"];
    words.extend(how);
    fleet.controller("cutover", &words)
}

fn counts(json: &Value, keys: [&str; 4]) -> [u64; 4] {
    keys.map(|key| {
        json[key]
            .as_u64()
            .unwrap_or_else(|| panic!("{key}: {json}"))
    })
}

#[test]
fn a_store_is_prepared_changed_over_proven_and_taken_back_byte_for_byte() {
    let fleet = at_10();
    let before = [&fleet.master, &fleet.replica].map(bytes);
    let keys = ["mailboxes", "prepared", "unchanged", "refused"];
    let prepared = over(&fleet, &["--prepare", "--json"]).expect_code(0).json();
    assert_eq!(counts(&prepared, keys), [18, 18, 0, 0], "{prepared}");
    let again = over(&fleet, &["--prepare", "--json"]).expect_code(0).json();
    assert_eq!(counts(&again, keys), [18, 0, 18, 0], "{again}");
    assert_eq!([&fleet.master, &fleet.replica].map(bytes), before);

    // One host alone is fenced.
    raise_fence(&fleet.master);
    let refused = over(&fleet, &[]).expect_code(78);
    assert!(refused.stderr.contains("on the replica: "), "{refused:?}");
    assert!(refused.stderr.contains("msg/shutdown"), "{refused:?}");
    let refused = over(&fleet, &["--verify"]).expect_code(78);
    assert!(refused.stderr.contains("msg/shutdown"), "{refused:?}");
    assert_eq!([&fleet.master, &fleet.replica].map(bytes), before);

    raise_fence(&fleet.replica);
    let done = over(&fleet, &["--json"]).expect_code(0);
    assert_eq!(done.json()["upgraded"], 18, "{done:?}");
    assert!(
        done.stderr.contains("Start no server, old or new"),
        "{done:?}"
    );
    for host in [&fleet.master, &fleet.replica] {
        let states: BTreeSet<_> = states(host).into_values().collect();
        assert_eq!(states, BTreeSet::from([(16, false)]));
    }
    assert_eq!(are_complete(&fleet), [false, false]);

    let part = over(&fleet, &["--verify", "user.bob"]).expect_code(65);
    assert!(part.stdout.contains("NOT COMPLETE"), "{part:?}");
    assert_eq!(are_complete(&fleet), [false, false]);
    let keys = ["mailboxes", "good", "bad", "unknown"];
    let proof = over(&fleet, &["--verify", "--json"]).expect_code(0).json();
    assert_eq!(counts(&proof, keys), [18, 18, 0, 0], "{proof}");
    assert_eq!(proof["complete"], true, "{proof}");
    assert_eq!(are_complete(&fleet), [true, true]);

    let back = fleet
        .controller("cutover", &["--undo", "--json"])
        .expect_code(0);
    assert_eq!(back.json()["upgraded"], 18, "{back:?}");
    assert!(
        back.stderr.contains("the old servers may start"),
        "{back:?}"
    );
    assert_eq!([&fleet.master, &fleet.replica].map(bytes), before);
    assert_eq!(are_complete(&fleet), [false, false]);
    // And what came before it can be taken back as ever.
    let _ = fleet.controller("rollback", &["1"]).expect_code(0);
    assert_eq!(
        [&fleet.master, &fleet.replica].map(versions),
        [9, 9].map(|version| BTreeSet::from([version]))
    );
}

#[test]
fn nothing_but_undo_takes_a_change_over_back_and_clean_asks() {
    let fleet = at_10();
    raise_both(&fleet);
    let _ = over(&fleet, &[]).expect_code(0);
    let _ = over(&fleet, &["--verify"]).expect_code(0);
    let after = [&fleet.master, &fleet.replica].map(bytes);
    let kept = |what: &str| {
        assert_eq!([&fleet.master, &fleet.replica].map(bytes), after, "{what}");
        assert_eq!(are_complete(&fleet), [true, true], "{what}");
    };
    let refused = fleet.controller("clean", &[]).expect_code(78);
    assert!(refused.stderr.contains("--no-way-back"), "{refused:?}");
    let refused = fleet.controller("rollback", &["last"]).expect_code(78);
    assert!(
        refused.stderr.contains("controller cutover --undo"),
        "{refused:?}"
    );
    kept("clean and rollback");
    let upgrade = fleet.controller("upgrade", &[]).expect_code(75);
    assert!(
        upgrade.stderr.contains("controller cutover --undo"),
        "{upgrade:?}"
    );
    kept("upgrade");
    let downgrade = fleet
        .controller("downgrade", &["--to", "9"])
        .expect_code(75);
    assert!(
        downgrade.stderr.contains("controller cutover --undo"),
        "{downgrade:?}"
    );
    kept("downgrade");
}

#[test]
fn what_2_3_did_since_it_was_prepared_is_changed_over_and_is_there_on_both_hosts() {
    let fleet = at_10();
    let _ = over(&fleet, &["--prepare"]).expect_code(0);
    // The same on both hosts, as replication leaves it.
    for host in [&fleet.master, &fleet.replica] {
        flag(host, "user.bob");
    }
    raise_both(&fleet);
    let again = over(&fleet, &["--prepare", "--json"]).expect_code(0).json();
    assert_eq!(
        (&again["prepared"], &again["unchanged"]),
        (&1.into(), &17.into()),
        "{again}"
    );
    let _ = over(&fleet, &[]).expect_code(0);
    for host in [&fleet.master, &fleet.replica] {
        let index = host.dirs("user.bob").file("cyrus.index");
        let dump = run(
            &program("indexfile"),
            ["dump", "--json", index.to_str().unwrap()],
        );
        let line = dump
            .stdout
            .lines()
            .find(|l| l.contains("\"uid\":1,"))
            .unwrap()
            .to_owned();
        let record: Value = serde_json::from_str(&line).unwrap();
        let flags = record["record"]["system_flags"].as_u64().unwrap();
        assert_eq!(flags & 4, 4, "{line}");
    }
}

#[test]
fn a_fence_that_falls_in_the_middle_stops_the_run_and_the_same_command_goes_on() {
    let fleet = at_10();
    raise_both(&fleet);
    // Slowly, so that there is a middle.
    let slowly = [
        "--to",
        "16",
        "--parallel",
        "1",
        "--nice-ratio",
        "30",
        "--json",
    ];
    let running = Guard::spawn(&mut fleet.command("cutover", &slowly));
    let deadline = Instant::now() + PATIENCE;
    while !versions(&fleet.master).contains(&16) {
        assert!(Instant::now() < deadline, "nothing is changed over");
        std::thread::sleep(Duration::from_millis(2));
    }
    fs::remove_file(shutdown(&fleet.replica)).unwrap();
    let stopped = running.finish().expect_code(78);
    let says = "the run stopped because the fence does not stand on the replica: ";
    assert!(stopped.stderr.contains(says), "{stopped:?}");
    assert!(
        stopped.stderr.contains("Start no server, old or new"),
        "{stopped:?}"
    );
    let summary = stopped.json();
    assert!(summary["pending"].as_u64().unwrap() > 0, "{summary}");
    assert_eq!(
        (&summary["rolled_back"], &summary["in_doubt"]),
        (&0.into(), &0.into())
    );
    assert_eq!(states(&fleet.master), states(&fleet.replica));
    let _ = over(&fleet, &[]).expect_code(78);
    raise_both(&fleet);
    let done = over(&fleet, &["--json"]).expect_code(0).json();
    assert_eq!(
        (&done["run"], &done["upgraded"]),
        (&summary["run"], &18.into()),
        "{done}"
    );
    let _ = over(&fleet, &["--verify"]).expect_code(0);
}

#[test]
fn a_master_that_cannot_be_called_complete_leaves_the_replica_so_too() {
    let fleet = at_10();
    raise_both(&fleet);
    let _ = over(&fleet, &[]).expect_code(0);
    // It finds all of its store changed over, and cannot write that down.
    let in_the_way = fleet.master.root.join("conf/cutover-complete.tmp");
    fs::create_dir(&in_the_way).unwrap();
    let refused = over(&fleet, &["--verify", "--json"]).expect_code(65);
    let proof = refused.json();
    assert_eq!(
        (&proof["bad"], &proof["complete"]),
        (&0.into(), &false.into()),
        "{proof}"
    );
    let why = proof["why"].as_str().unwrap();
    assert!(
        why.contains("the master's slotd does not call its store complete: [IO]")
            && why.contains("cutover-complete, made on the replica, was removed again"),
        "{why}"
    );
    assert_eq!(are_complete(&fleet), [false, false]);
    fs::remove_dir(&in_the_way).unwrap();
    let _ = over(&fleet, &["--verify"]).expect_code(0);
    assert_eq!(are_complete(&fleet), [true, true]);
}

/// A flag as a server of 2.3 sets it, or as its master has it do: at a time of its own.
fn flag(host: &Host, mailbox: &str) {
    let log = host.root.join("log");
    let mut session = Session::open(&host.dirs(mailbox), &log, false).unwrap();
    assert!(session.store(1, 4, None).unwrap());
}

#[test]
fn a_replica_as_2_3_leaves_it_is_proven_and_a_flag_on_one_host_alone_is_not() {
    let fleet = at_10();
    flag(&fleet.master, "user.bob");
    std::thread::sleep(Duration::from_millis(1100));
    flag(&fleet.replica, "user.bob");
    // Its cyr_expire has been here already.
    let expunge = fleet
        .replica
        .dirs("user.alice.expunged")
        .file("cyrus.expunge");
    fs::remove_file(expunge).unwrap();
    raise_both(&fleet);
    let _ = over(&fleet, &[]).expect_code(0);
    let proof = over(&fleet, &["--verify", "--json"]).expect_code(0).json();
    assert_eq!(proof["complete"], true, "{proof}");
    assert_eq!(proof["unlike_sync_crc"]["example"], "user.bob", "{proof}");
    assert_eq!(
        proof["unlike_expunged"]["example"], "user.alice.expunged",
        "{proof}"
    );

    let _ = fleet.controller("cutover", &["--undo"]).expect_code(0);
    flag(&fleet.master, "user.alice.mixed");
    let _ = over(&fleet, &[]).expect_code(0);
    let proof = over(&fleet, &["--verify"]).expect_code(65);
    let says = "user.alice.mixed: the hosts have other messages, GUIDs, flags";
    assert!(proof.stderr.contains(says), "{proof:?}");
    assert_eq!(are_complete(&fleet), [false, false]);
}

#[test]
fn what_cannot_be_changed_over_is_named_before_and_refused_in_the_night() {
    let mut fleet = Fleet::of_239().unwatched();
    fleet.start();
    let early = over(&fleet, &["--prepare"]).expect_code(75);
    assert!(
        early.stderr.contains("`controller upgrade` it to 10 first"),
        "{early:?}"
    );
    let _ = fleet.controller("upgrade", &[]).expect_code(0);
    let _ = fleet
        .controller("downgrade", &["--to", "9", "user.bob"])
        .expect_code(0);
    raise_both(&fleet);
    let night = over(&fleet, &["--json"]).expect_code(75);
    assert_eq!(night.json()["rolled_back"], 1, "{night:?}");
    assert!(
        night
            .stderr
            .contains("Start no server, old or new: 1 of 18"),
        "{night:?}"
    );
    let proof = over(&fleet, &["--verify"]).expect_code(65);
    assert!(
        proof
            .stderr
            .contains("user.bob: master: it has version 9, not 16"),
        "{proof:?}"
    );
    assert_eq!(are_complete(&fleet), [false, false]);
    // What was changed over is taken back, and what was not is left as it is.
    let back = fleet
        .controller("cutover", &["--undo", "--json"])
        .expect_code(0)
        .json();
    assert_eq!(
        (&back["upgraded"], &back["unchanged"]),
        (&17.into(), &1.into()),
        "{back}"
    );
    assert_eq!(states(&fleet.master)["user.bob"].0, 9);
}

#[test]
fn what_does_not_go_with_a_change_over_is_refused_with_the_reason() {
    let mut fleet = Fleet::of_239().unwatched();
    fleet.start();
    for (words, says) in [
        (&["--to", "16", "--drop-old"][..], "--drop-old"),
        (&["--to", "16", "--uuids", "cut"], "--uuids"),
        (&["--to", "11"], "12..=19"),
        (&["--to", "20"], "12..=19"),
        (&[], "--to"),
        (
            &["--to", "16", "--prepare", "--undo"],
            "cannot be used with",
        ),
    ] {
        let refused = fleet.controller("cutover", words).expect_code(64);
        assert!(refused.stderr.contains(says), "{words:?}: {refused:?}");
    }
    let list = fleet.dir.path().join("list");
    fs::write(&list, "").unwrap();
    raise_both(&fleet);
    for how in [&[][..], &["--prepare"]] {
        let mut words = how.to_vec();
        words.extend(["--mailboxes", list.to_str().unwrap()]);
        let empty = over(&fleet, &words).expect_code(65);
        assert!(empty.stderr.contains("has no mailbox"), "{empty:?}");
    }
    let untried = fleet.controller("cutover", &["--to", "18", "--prepare"]);
    assert!(
        untried.stderr.contains("version 18 is untried"),
        "{untried:?}"
    );
}

/// Two mailboxes at version 10, one of them with a cyrus.expunge.
fn small(dir: &std::path::Path) -> Host {
    let all = unpack_239(&dir.join("all")).unwrap();
    let mailboxes = ["user.alice.expunged", "user.bob"];
    let mut fleet = Fleet::between(
        tempfile::tempdir_in(dir).unwrap(),
        copy_mailboxes(&all, &dir.join("master"), &mailboxes).unwrap(),
        copy_mailboxes(&all, &dir.join("replica"), &mailboxes).unwrap(),
    )
    .unwatched();
    fleet.start();
    let _ = fleet.controller("upgrade", &[]).expect_code(0);
    fleet.master.clone()
}

/// A change-over whose conversation is cut, then healed by the same command, proven, taken back.
fn cut(template: &Host, harm: Harm, at: usize) -> Option<Cut> {
    let mut fleet = Fleet::copies_of(template, &std::env::temp_dir()).unwatched();
    raise_both(&fleet);
    let before = [&fleet.master, &fleet.replica].map(bytes);
    fleet.start();
    let cut = Cut::new(harm, at);
    let plan = Plan {
        cut: Some(cut.clone()),
        ..Plan::default()
    };
    let first = run_controller(&fleet, &["cutover", "--to", "16"], &plan);
    for which in [0, 1] {
        fleet.take_slotd(which).unwrap().kill();
    }
    let what = format!("{harm:?} at line {at}: {first:?}");
    for host in [&fleet.master, &fleet.replica] {
        // Version 10 without its cyrus.expunge would bring expunged messages back to life.
        let (version, expunge) = states(host)["user.alice.expunged"];
        assert!(
            version == 16 || (version == 10 && expunge),
            "{version}, {expunge}; {what}"
        );
    }
    assert_eq!(are_complete(&fleet), [false, false], "{what}");
    fleet.start();
    let again = over(&fleet, &[]);
    assert_eq!(again.code, Some(0), "{again:?}\nafter {what}");
    let proof = over(&fleet, &["--verify"]);
    assert_eq!(proof.code, Some(0), "{proof:?}\nafter {what}");
    assert_eq!(fleet.open_transactions(), Vec::<String>::new(), "{what}");
    let back = fleet.controller("cutover", &["--undo"]);
    assert_eq!(back.code, Some(0), "{back:?}\nafter {what}");
    assert_eq!([&fleet.master, &fleet.replica].map(bytes), before, "{what}");
    (harm == Harm::None).then_some(cut)
}

#[test]
fn a_controller_killed_or_cut_off_at_any_line_of_a_change_over_leaves_what_the_same_command_heals()
{
    let dir = tempfile::tempdir().unwrap();
    let template = small(dir.path());
    let lines = cut(&template, Harm::None, 0).unwrap().lines().len();
    assert!(lines > 10, "{lines} lines");
    let every = std::env::var("REGUID_SWEEP_EVERY").ok();
    let every = every.and_then(|n| n.parse().ok()).unwrap_or(12);
    let harms = [
        Harm::KillBefore,
        Harm::KillAfter,
        Harm::LoseAndBreak,
        Harm::PassAndBreak,
    ];
    let cuts = harms.into_iter().enumerate();
    let cuts = cuts.flat_map(|(n, harm)| (1 + n..=lines).step_by(every).map(move |at| (harm, at)));
    let cuts: Vec<_> = cuts.collect();
    // Some at a time: each waits for its programs. What fails in one fails the test.
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some((harm, at)) = cuts.get(next.fetch_add(1, Ordering::SeqCst)) {
                    cut(&template, *harm, *at);
                }
            });
        }
    });
    assert!(next.into_inner() >= cuts.len());
}
