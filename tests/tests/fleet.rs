//! Many pairs in one run: each has its own engine, its own state and its own part of the journal;
//! the operator has one number, one file and one command.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use serde_json::Value;
use stores::{StoreSpec, Variety};
use tests::fleet::{Fleet, program};
use tests::pairs::Pairs;
use tests::process::Guard;

const EACH: u64 = 30;

fn pairs(names: &[&str]) -> Pairs {
    Pairs::plain(names, usize::try_from(EACH).unwrap(), 2)
}

fn settled(pairs: &Pairs) {
    for (name, pair) in &pairs.pairs {
        let reports = pair.assert_settled();
        assert!(
            reports.iter().all(|report| !report.states.is_empty()),
            "{name}"
        );
    }
}

#[test]
fn the_pairs_of_a_fleet_are_migrated_in_one_run_with_one_number() {
    let pairs = pairs(&["be1", "be2", "be3"]);
    pairs.write("[limits]\nparallel = 5\n[defaults]\nparallel = 4\n");
    let done = pairs.json("upgrade", &["-q"], 0);
    assert_eq!(done["run"], 1);
    assert_eq!(done["upgraded"], 3 * EACH);
    for name in ["be1", "be2", "be3"] {
        assert_eq!(done["pairs"][name]["upgraded"], EACH, "{name}: {done}");
    }
    settled(&pairs);
    let status = pairs.json("status", &[], 0);
    assert_eq!(
        (&status["run"], &status["upgraded"]),
        (&1.into(), &(3 * EACH).into())
    );
    assert_eq!(status["pairs"]["be2"]["upgraded"], EACH);
    assert!(status["finished_at"].is_number(), "{status}");
    let text = pairs.controller("status", &[]).expect_code(0).stdout;
    assert!(
        text.contains("\nbe3: finished: 30 mailboxes: 30 upgraded"),
        "{text}"
    );
    let story = pairs.json("report", &[], 0);
    assert_eq!(story["pairs"]["be1"]["upgraded"], EACH);
    let verified = pairs.json("verify", &[], 0);
    assert_eq!(verified["pairs"].as_object().unwrap().len(), 3);
    // The way back knows its pairs as well.
    let undone = pairs.controller("rollback", &["last", "-q"]).expect_code(0);
    assert_eq!(
        undone.stdout.matches("30 restored").count(),
        3,
        "{}",
        undone.stdout
    );
    let plan = pairs.json("plan", &["--deep"], 0);
    for name in ["be1", "be2", "be3"] {
        let hosts = &plan["pairs"][name]["hosts"];
        assert_eq!(hosts["replica"]["versions"]["9"], EACH, "{name}: {plan}");
    }
}

#[test]
fn a_pair_whose_host_is_away_waits_alone_and_the_same_command_takes_it_up() {
    let mut pairs = pairs(&["be1", "be2", "be3"]);
    drop(pairs.pair("be2").take_slotd(1));
    let done = pairs.json("upgrade", &["-q", "--host-wait", "1"], 69);
    assert_eq!(done["upgraded"], 2 * EACH, "{done}");
    let why = done["not_begun"]["be2"].as_str().unwrap();
    assert!(why.starts_with("replica: "), "{why}");
    let status = pairs.json("status", &[], 0);
    assert_eq!(status["finished_at"], Value::Null);
    assert_eq!(status["pairs"]["be2"], Value::Null);
    pairs.pair("be2").start();
    let done = pairs.json("upgrade", &["-q"], 0);
    assert_eq!(
        (&done["run"], &done["upgraded"]),
        (&1.into(), &(3 * EACH).into())
    );
    settled(&pairs);
    let status = pairs.json("status", &[], 0);
    assert!(status["finished_at"].is_number(), "{status}");
}

#[test]
fn the_way_back_is_open_on_pairs_that_began_while_another_one_is_away() {
    let mut pairs = pairs(&["be1", "be2"]);
    drop(pairs.pair("be2").take_slotd(1));
    let canaries = ["-q", "--canary", "5", "--host-wait", "0"];
    let done = pairs.json("upgrade", &canaries, 69);
    assert_eq!(done["upgraded"], 5, "{done}");
    let retried = pairs.controller("retry", &["-q"]).expect_code(75);
    let left_out = "be2: run 1 (upgrade to version 10) has not begun here";
    assert!(retried.stderr.contains(left_out), "{}", retried.stderr);
    let undone = pairs.json("rollback", &["last", "-q"], 0);
    let found = (&undone["run"], &undone["upgraded"]);
    assert_eq!(found, (&2.into(), &5.into()), "{undone}");
    let of_pair = &undone["pairs"]["be1"];
    assert_eq!(of_pair["upgraded"], 5, "{undone}");
    assert!(of_pair["hosts"]["replica"].is_object(), "{undone}");
    let why = undone["nothing_to_undo"]["be2"].as_str().unwrap();
    assert!(why.starts_with("run 1 did not begin here"), "{why}");
    // Neither the run that was undone nor the rollback hinders the next one.
    pairs.pair("be2").start();
    let done = pairs.json("upgrade", &["-q"], 0);
    let found = (&done["run"], &done["upgraded"]);
    assert_eq!(found, (&3.into(), &(2 * EACH).into()), "{done}");
    let _ = pairs.json("verify", &[], 0);
}

#[test]
fn a_start_that_asks_for_other_pairs_is_refused_until_the_run_is_given_up() {
    let mut pairs = pairs(&["be1", "be2"]);
    drop(pairs.pair("be2").take_slotd(0));
    let _ = pairs
        .controller("upgrade", &["-q", "--host-wait", "0"])
        .expect_code(69);
    let refused = pairs
        .controller("upgrade", &["-q", "--pairs", "be1"])
        .expect_code(78);
    for part in ["run 1 (upgrade to version 10", "--abandon-run 1", "--fleet"] {
        assert!(refused.stderr.contains(part), "{part}: {}", refused.stderr);
    }
    let other = ["-q", "--pairs", "be1", "--abandon-run", "1"];
    let done = pairs.json("upgrade", &other, 0);
    assert_eq!(
        (&done["run"], &done["unchanged"]),
        (&2.into(), &EACH.into())
    );
    let unknown = pairs
        .controller("upgrade", &["--pairs", "be1,be9"])
        .expect_code(64);
    assert!(unknown.stderr.contains("no pair \"be9\"; it has be1, be2"));
    // A file of a fleet is no file of one pair.
    let (_, pair) = &pairs.pairs[0];
    let mut alone = Command::new(program("controller"));
    alone.args([
        "upgrade",
        "--master",
        &pair.addr(0),
        "--replica",
        &pair.addr(1),
    ]);
    let alone = Guard::spawn(alone.arg("--state").arg(pairs.journal())).finish();
    alone.expect_code(78).assert_one_sentence("fleet");
}

#[test]
fn named_mailboxes_are_found_on_their_pair_and_nothing_is_guessed() {
    let spec = StoreSpec::new(5, 2).variety(Variety::Plain);
    let name = &spec.names().last().unwrap();
    let pairs = Pairs::of(vec![
        ("old".to_owned(), Fleet::of_239().unwatched()),
        ("plain".to_owned(), Fleet::plain(5, 2).unwatched()),
    ]);
    let unknown = pairs
        .controller("upgrade", &["user.nobody", name])
        .expect_code(67);
    unknown.assert_one_sentence("no pair has 1 of the mailboxes: user.nobody");
    let done = pairs.json("upgrade", &["-q", name], 0);
    assert_eq!(done["upgraded"], 1, "{done}");
    assert_eq!(done["pairs"]["old"], Value::Null, "{done}");
    // On two pairs, only a person knows which is the mail.
    let twice = Pairs::plain(&["be1", "be2"], 5, 2);
    let refused = twice.controller("upgrade", &[name]).expect_code(65);
    refused.assert_one_sentence(&format!("{name} (be1, be2)"));
    let done = twice.json("upgrade", &["-q", "--pairs", "be2", name], 0);
    assert_eq!(done["pairs"]["be2"]["upgraded"], 1, "{done}");
}

#[test]
fn names_are_taken_as_the_servers_administrators_write_them() {
    let spec = StoreSpec::new(5, 2).variety(Variety::Plain);
    let name = spec.names().last().unwrap();
    let slashes = name.replace('.', "/");
    assert!(slashes.starts_with("user/"), "{slashes}");
    let pair = || {
        let pair = Fleet::plain(5, 2).unwatched();
        for host in [&pair.master, &pair.replica] {
            let conf = fs::read_to_string(&host.conf).unwrap();
            fs::write(&host.conf, format!("{conf}unixhierarchysep: yes\n")).unwrap();
        }
        pair
    };
    let pairs = Pairs::of(vec![("be1".to_owned(), pair())]);
    let done = pairs.json("upgrade", &["-q", &slashes], 0);
    assert_eq!(done["upgraded"], 1, "{done}");
    let (_, pair) = &pairs.pairs[0];
    let alone = pair
        .controller("plan", &["--deep", "--json", &slashes])
        .expect_code(0);
    assert_eq!(alone.json()["hosts"]["master"]["versions"]["10"], 1);
    // Without that setting a slash is in no name.
    let dots = Pairs::plain(&["be1"], 5, 2);
    let refused = dots
        .controller("upgrade", &["-q", &slashes])
        .expect_code(67);
    refused.assert_one_sentence(&slashes);
}

#[test]
fn canaries_are_a_run_of_their_own_and_verified() {
    let pairs = pairs(&["be1", "be2"]);
    let run = pairs
        .controller("upgrade", &["--canary", "3"])
        .expect_code(0);
    assert!(
        run.stdout.contains("all 2 pairs: 6 mailboxes: 6 upgraded"),
        "{}",
        run.stdout
    );
    for name in ["be1", "be2"] {
        let line = format!("{name}: the canaries are verified");
        assert!(run.stderr.contains(&line), "{}", run.stderr);
    }
    let rest = pairs.json("upgrade", &["-q"], 0);
    assert_eq!((&rest["run"], &rest["unchanged"]), (&2.into(), &6.into()));
    assert_eq!(rest["upgraded"], 2 * EACH - 6);
    let none = pairs
        .controller("upgrade", &["--user", "nobody"])
        .expect_code(65);
    assert!(
        none.stderr.contains("no pair has a mailbox that is meant"),
        "{}",
        none.stderr
    );
    // And it left nothing unfinished.
    let _ = pairs.json("upgrade", &["-q"], 0);
}

#[test]
fn lines_that_are_crossed_are_found_before_anything_is_done() {
    let pairs = pairs(&["be1", "be2"]);
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let host = host.trim();
    // Both servers are called as this machine is.
    let look = pairs.json("fleet check", &[], 78);
    let crossed = look["crossed"].as_array().unwrap();
    assert_eq!(crossed.len(), 2, "{look}");
    assert_eq!(look["pairs"]["be1"]["mailboxes"], EACH);
    assert!(
        look["pairs"]["be1"]["hosts"]["master"]["clock_ms"].is_number(),
        "{look}"
    );
    // The same socket by another path, and a replica of another master.
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (&pairs.pairs[0].1, &pairs.pairs[1].1);
    let other = dir.path().join("socket");
    symlink(first.addr(1).strip_prefix("unix:").unwrap(), &other).unwrap();
    let file = format!(
        "[pairs.be1]\nservername = {host:?}\nmaster = {:?}\nreplica = {:?}\n\
         [pairs.be2]\nmaster = {:?}\nreplica = \"unix:{}\"\n",
        first.addr(0),
        first.addr(1),
        second.addr(0),
        other.display()
    );
    fs::write(pairs.file(), file).unwrap();
    let text = pairs.controller("fleet check", &[]).expect_code(78).stdout;
    assert!(
        text.contains("CROSSED: the replica of be2 is the same store as the replica of be1"),
        "{text}"
    );
    assert!(!text.contains("the master of be1 is called"), "{text}");
}
