//! A run over the backends of a Murder: what moves meanwhile is done where it is, and a pair that
//! is away is compared once it is back. The mupdate master is one in this process; `murder` has a
//! real one.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};
use serde_json::Value;
use tests::disagreements::Disagreements;
use tests::fleet::Fleet;
use tests::mupdate::{Mupdate, Table};
use tests::pairs::{EACH, Pairs};
use tests::process::Guard;

/// How long something may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(120);
const OWN: u64 = EACH as u64;

/// Two backends with a user each, `erin` on be1 and `frank` on be2, and their master.
fn murder() -> (Pairs, Mupdate<Table>) {
    let pairs = Pairs::of_other_users(&["be1", "be2"], 1);
    let mut table = std::collections::BTreeMap::new();
    for (server, pair) in &pairs.pairs {
        for name in pair.master.mailboxes().unwrap().into_keys() {
            table.insert(name, (format!("{server}!default"), false));
        }
    }
    assert_eq!(table.len(), 2 * EACH);
    (pairs, Mupdate::start(Table::new(table)))
}

fn says(master: &Mupdate<Table>, name: &str, location: &str) {
    let place = (location.to_owned(), false);
    master.names.lock().unwrap().insert(name.to_owned(), place);
}

/// A mailbox moves to another backend, as an administrator moves it.
fn moves(name: &str, from: &Fleet, to: &Fleet) {
    for (from, to) in [(&from.master, &to.master), (&from.replica, &to.replica)] {
        let (from, to) = (from.dirs(name).data, to.place(name).data);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::rename(from, to).unwrap();
    }
}

fn deletes(name: &str, pair: &Fleet) {
    for host in [&pair.master, &pair.replica] {
        fs::remove_dir_all(host.dirs(name).data).unwrap();
    }
}

fn counted(journal: &Path, sql: &str) -> u64 {
    let open = Connection::open_with_flags(journal, OpenFlags::SQLITE_OPEN_READ_ONLY);
    let count = open.and_then(|db| db.query_row(sql, [], |row| row.get::<_, i64>(0)));
    u64::try_from(count.unwrap_or(0)).unwrap()
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}: it does not come");
        thread::sleep(Duration::from_millis(10));
    }
}

/// The arguments of a command of that Murder.
fn with<'a>(options: &'a [String], more: &[&'a str]) -> Vec<&'a str> {
    options
        .iter()
        .map(String::as_str)
        .chain(more.iter().copied())
        .collect()
}

#[test]
fn each_disagreement_with_a_murders_list_is_named_and_only_what_is_sure_is_migrated() {
    let all = Disagreements::new();
    let table = all.entries().into_iter().map(|entry| {
        let location = entry.location.to_owned();
        (entry.name, (location, entry.reserved))
    });
    let master = Mupdate::start(Table::new(table.collect()));
    all.assert_each_is_named_and_the_good_ones_migrated(&master.options());
}

#[test]
fn a_list_that_has_nothing_of_what_is_there_begins_nothing() {
    let (pairs, master) = murder();
    master.names.lock().unwrap().clear();
    let options = master.options();
    let refused = pairs
        .controller("upgrade", &with(&options, &["-q"]))
        .expect_code(69);
    refused.assert_one_sentence("none of the 16 mailboxes that the slotds found");
}

#[test]
fn what_moves_during_a_run_is_found_once_and_done_there_and_what_moves_on_is_named() {
    let (pairs, master) = murder();
    let (be1, be2) = (&pairs.pairs[0].1, &pairs.pairs[1].1);
    let go = be1.dir.path().join("go");
    let (options, wait) = (master.options(), format!("test -e {}", go.display()));
    let arguments = with(&options, &["--wait-command", &wait, "--json"]);
    let mut run = Guard::spawn(&mut pairs.command(&["upgrade"], &arguments));
    let listed = "SELECT count(*) FROM run_pair WHERE listed = 1";
    wait_until("the list", || {
        assert!(run.0.try_wait().unwrap().is_none(), "it has ended");
        counted(&pairs.journal(), listed) == 2
    });
    moves("user.erin.Work", be1, be2);
    says(&master, "user.erin.Work", "be2!default");
    // These are not where the master has them by the time they are looked for.
    for (name, location) in [
        ("user.erin.Trash", "be2!default"),
        ("user.erin.Drafts", "be9!default"),
        ("user.erin.Sent", "be1!default"),
    ] {
        deletes(name, be1);
        says(&master, name, location);
    }
    deletes("user.frank.Work", be2);
    master.names.lock().unwrap().remove("user.frank.Work");
    fs::write(&go, "").unwrap();
    let ended = run.finish().expect_code(75);
    for line in [
        "user.erin.Work moved from be1 to be2 during the run, and is done there",
        "user.erin.Trash moved from be1 to be2 and away again: give the same command again",
        "user.erin.Drafts is on be9 now, which is no pair: give the same command again",
        "user.erin.Sent: stale: be1 has it no longer",
    ] {
        assert!(ended.stderr.contains(line), "{line}\n{}", ended.stderr);
    }
    assert!(
        !ended.stderr.contains("user.frank.Work"),
        "{}",
        ended.stderr
    );
    let mut asked = master.asked_about();
    asked.sort();
    let gone = [
        "erin.Drafts",
        "erin.Sent",
        "erin.Trash",
        "erin.Work",
        "frank.Work",
    ];
    assert_eq!(asked, gone.map(|name| format!("user.{name}")), "each once");
    let done: Value = serde_json::from_str(ended.stdout.trim()).unwrap();
    let of = |pair: &str| {
        let pair = &done["pairs"][pair];
        [&pair["upgraded"], &pair["gone"]].map(|n| n.as_u64().unwrap())
    };
    // The one that moved away again is gone there too.
    assert_eq!((of("be1"), of("be2")), ([OWN - 4, 4], [OWN, 2]), "{done}");
    let status = pairs.json("status", &[], 0);
    assert!(status["finished_at"].is_number(), "{status}");
    let _ = pairs.json("verify", &["user.erin.Work"], 0);
}

#[test]
fn a_backend_that_is_away_waits_alone_and_is_compared_when_it_is_back() {
    let (mut pairs, master) = murder();
    // On be1, and by the master on be2, which cannot say whether it has it too.
    says(&master, "user.erin.Work", "be2!default");
    let options = master.options();
    drop(pairs.pair("be2").take_slotd(0));
    let plan = pairs.json("plan", &with(&options, &[]), 69);
    assert_eq!(plan["pairs"]["be1"]["mailboxes"], OWN - 1, "{plan}");
    assert!(plan["murder"]["outstanding"]["be2"].is_string(), "{plan}");
    assert_eq!(plan["murder"]["counts"]["not-asked"], OWN + 1, "{plan}");
    assert_eq!(plan["murder"]["refused_names"], 1, "{plan}");
    let waits = with(&options, &["-q", "--host-wait", "0"]);
    let done = pairs.json("upgrade", &waits, 69);
    let summary = &done["pairs"]["be1"];
    assert_eq!(
        (&done["run"], &summary["upgraded"]),
        (&1.into(), &(OWN - 1).into())
    );
    let why = done["not_begun"]["be2"].as_str().unwrap();
    assert!(why.starts_with("master: "), "{why}");
    // It comes back while its pair waits.
    let arguments = with(&options, &["--host-wait", "120"]);
    let mut run = Guard::spawn(&mut pairs.command(&["upgrade"], &arguments));
    thread::sleep(Duration::from_secs(1));
    assert!(run.0.try_wait().unwrap().is_none(), "it has ended");
    pairs.pair("be2").start();
    let ended = run.finish().expect_code(75);
    let found = format!("be2: it is compared with the Murder's list now, which leaves it {OWN}");
    for part in [
        "be2: the master says 9, the comparison with its slotd's list is outstanding: master: ",
        &found,
        "1 mailbox(es) of the Murder are left out",
    ] {
        assert!(ended.stderr.contains(part), "{part}\n{}", ended.stderr);
    }
    let status = pairs.json("status", &[], 0);
    assert_eq!(
        (&status["run"], &status["upgraded"]),
        (&1.into(), &(2 * OWN - 1).into())
    );
    assert!(status["finished_at"].is_number(), "{status}");
    // Now be2 has said that it has no such mailbox.
    let rest = pairs.json("upgrade", &with(&options, &["-q"]), 0);
    assert_eq!((&rest["run"], &rest["upgraded"]), (&2.into(), &1.into()));
}
