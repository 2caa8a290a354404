//! A rehearsal: the whole course on real mailboxes, and both stores are as they were.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use stores::Host;
use stores::judge::snapshot;
use tests::damage;
use tests::fleet::{Fleet, program};
use tests::pairs::Pairs;
use tests::process::Guard;

/// Names and values.
type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// All that a rehearsal may not change.
struct Kept {
    trees: Vec<snapshot::Tree>,
    xattrs: BTreeMap<PathBuf, Xattrs>,
}

/// Names and values of the extended attributes of a file.
fn xattrs(path: &Path) -> Xattrs {
    let mut names = vec![0; 4096];
    let len = rustix::fs::llistxattr(path, &mut names[..]).unwrap();
    let named = names[..len]
        .split(|byte| *byte == 0)
        .filter(|n| !n.is_empty());
    let one = |name: &[u8]| {
        let mut value = vec![0; 4096];
        let len = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
        (name.to_vec(), value[..len].to_vec())
    };
    named.map(one).collect()
}

impl Kept {
    fn of(hosts: [&Host; 2]) -> Self {
        let roots = hosts.iter().flat_map(|host| [&host.meta, &host.data]);
        let mut kept = Self {
            trees: Vec::new(),
            xattrs: BTreeMap::new(),
        };
        for root in roots {
            let tree = snapshot::take(root).unwrap();
            for name in tree.keys() {
                let path = root.join(name);
                kept.xattrs.insert(path.clone(), xattrs(&path));
            }
            kept.trees.push(tree);
        }
        kept
    }

    /// Says what is not as it was; caches of hashes are what `precompute` leaves too.
    fn assert_same(&self, now: &Self) {
        let cache = |path: &Path| path.file_name().is_some_and(|name| name == "cyrus.sha1s");
        for (old, new) in self.trees.iter().zip(&now.trees) {
            let without = |tree: &snapshot::Tree| {
                let mut tree = tree.clone();
                tree.retain(|path, _| !cache(path));
                tree
            };
            let (old, new) = (without(old), without(new));
            assert_eq!(snapshot::differences(&old, &new), Vec::<String>::new());
        }
        for (path, old) in &self.xattrs {
            assert_eq!(now.xattrs.get(path), Some(old), "{}", path.display());
        }
    }
}

/// Gives the index files of a host an attribute, so that there is one that could be lost.
fn mark(host: &Host) {
    for dirs in host.mailboxes().unwrap().values() {
        let index = dirs.file("cyrus.index");
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(&index, "user.kept", b"as it was", flags).unwrap();
    }
}

#[test]
fn both_stores_are_as_they_were_and_the_locks_are_measured() {
    let mut fleet = Fleet::of(mark);
    mark(&fleet.replica);
    fleet.remember();
    let kept = Kept::of([&fleet.master, &fleet.replica]);
    fleet.start();
    let all = ["--json", "--prepare=always"];
    let done = fleet.controller("rehearse", &all).expect_code(0).json();
    assert_eq!(
        (&done["mailboxes"], &done["rehearsed"]),
        (&18.into(), &18.into()),
        "{done}"
    );
    assert_eq!(
        (&done["upgraded"], &done["rolled_back"]),
        (&0.into(), &0.into())
    );
    assert!(done["lock_ms"]["p50"].as_f64().unwrap() > 0.0, "{done}");
    kept.assert_same(&Kept::of([&fleet.master, &fleet.replica]));
    // Every mailbox was locked and staged on both hosts, and nothing was ever decided.
    let report = fleet
        .controller("report", &["--json"])
        .expect_code(0)
        .json();
    assert_eq!(report["command"], "rehearse");
    let counts = report["lock_histogram"].as_array().unwrap().iter();
    let locks: u64 = counts.map(|row| row[1].as_u64().unwrap()).sum();
    assert_eq!(locks, 2 * 18, "{report}");
    assert!(!report["slowest"].as_array().unwrap().is_empty());
    let sql = "SELECT count(*) FROM mailbox WHERE before_master IS NOT NULL \
               OR uniqueid_master IS NOT NULL OR forward_replica <> 0";
    assert_eq!(query(&fleet.journal(), sql), 0);
    // What was rehearsed is done by the run, which is another one.
    let done = fleet
        .controller("upgrade", &["--json"])
        .expect_code(0)
        .json();
    assert_eq!((&done["run"], &done["upgraded"]), (&2.into(), &18.into()));
    // And so is the way back.
    let way_back = ["--json", "--to", "9"];
    let done = fleet
        .controller("rehearse", &way_back)
        .expect_code(0)
        .json();
    assert_eq!(done["rehearsed"], 18, "{done}");
    let undone = fleet.controller("rollback", &["last", "--json"]);
    assert_eq!(undone.expect_code(0).json()["upgraded"], 18);
    let kept = Kept::of([&fleet.master, &fleet.replica]);
    let number = fleet.controller("rollback", &["3"]).expect_code(78);
    assert!(
        number.stderr.contains("run 3 was a rehearsal"),
        "{}",
        number.stderr
    );
    kept.assert_same(&Kept::of([&fleet.master, &fleet.replica]));
}

/// What a state file says.
fn query(journal: &Path, sql: &str) -> i64 {
    let journal = rusqlite::Connection::open(journal).unwrap();
    journal.query_row(sql, [], |row| row.get(0)).unwrap()
}

#[test]
fn what_would_fail_is_named_with_its_reason_and_retry_has_nothing_to_do() {
    let victim = "user.alice.big";
    let mut fleet = Fleet::of(|host| {
        damage::truncate(&host.dirs(victim).meta.join("cyrus.index"));
    });
    let kept = Kept::of([&fleet.master, &fleet.replica]);
    fleet.start();
    let ended = fleet.controller("rehearse", &["--json"]).expect_code(75);
    let done = ended.json();
    assert_eq!(
        (&done["rehearsed"], &done["rolled_back"]),
        (&17.into(), &1.into()),
        "{done}"
    );
    assert_eq!(done["failures"]["damaged"], 1, "{done}");
    let named = format!("{victim}: would fail: ");
    assert!(ended.stderr.contains(&named), "{}", ended.stderr);
    assert!(
        !ended.stderr.contains("controller retry"),
        "{}",
        ended.stderr
    );
    let retry = fleet.controller("retry", &["--all"]).expect_code(78);
    assert!(retry.stderr.contains("no run to retry"), "{}", retry.stderr);
    let report = fleet
        .controller("report", &["--json"])
        .expect_code(0)
        .json();
    assert_eq!(report["failures"]["damaged"]["example"], victim, "{report}");
    let page = fleet.journal().with_file_name("page.html");
    let html = ["--html", page.to_str().unwrap()];
    let _ = fleet.controller("report", &html).expect_code(0);
    let page = fs::read_to_string(page).unwrap();
    assert!(page.contains("would fail") && !page.contains("controller retry"));
    kept.assert_same(&Kept::of([&fleet.master, &fleet.replica]));
}

#[test]
fn a_fleet_is_rehearsed_like_any_other_run_over_it() {
    let pairs = Pairs::plain(&["be1", "be2"], 6, 2);
    let kept = |pairs: &Pairs| {
        let hosts = pairs.pairs.iter();
        let kept = hosts.map(|(_, pair)| Kept::of([&pair.master, &pair.replica]));
        kept.collect::<Vec<_>>()
    };
    let before = kept(&pairs);
    let all = pairs.json("fleet rehearse", &["-q", "--canary", "4"], 0);
    assert_eq!(
        (&all["run"], &all["rehearsed"]),
        (&1.into(), &8.into()),
        "{all}"
    );
    assert_eq!(all["pairs"]["be2"]["rehearsed"], 4, "{all}");
    // The same command without the word.
    let again = pairs.json("rehearse", &["-q", "--canary", "4"], 0);
    assert_eq!(
        (&again["run"], &again["rehearsed"]),
        (&2.into(), &8.into()),
        "{again}"
    );
    for (before, now) in before.iter().zip(&kept(&pairs)) {
        before.assert_same(now);
    }
    let mut alone = Command::new(program("controller"));
    alone.args(["fleet", "rehearse", "--master", "unix:/nowhere"]);
    let alone = Guard::spawn(&mut alone).finish();
    assert!(alone.expect_code(64).stderr.contains("give --fleet FILE"));
}

#[test]
fn a_plan_expects_what_a_rehearsal_measured_and_without_one_says_how_to_measure() {
    let mut fleet = Fleet::of_239();
    fleet.start();
    let unknown = fleet.controller("plan", &[]).expect_code(0).stdout;
    let asked = unknown.lines().find(|line| line.contains("not known"));
    assert!(
        asked.unwrap().starts_with("expected time and locks"),
        "{unknown}"
    );
    assert!(
        unknown.contains("controller rehearse --master"),
        "{unknown}"
    );
    let plan = fleet.controller("plan", &["--json"]).expect_code(0).json();
    let expected = &plan["expected"];
    assert!(
        expected["seconds"].is_null() && expected["unknown"].is_string(),
        "{plan}"
    );
    assert!(!fleet.journal().exists());
    let _ = fleet.controller("rehearse", &["-q"]).expect_code(0);
    let plan = fleet
        .controller("plan", &["--json", "--deep"])
        .expect_code(0)
        .json();
    let expected = &plan["expected"];
    assert_eq!(expected["measured"]["command"], "rehearse", "{plan}");
    assert_eq!(expected["measured"]["mailboxes"], 18, "{plan}");
    for key in ["seconds", "seconds_by_messages"] {
        assert!(expected[key].as_u64().unwrap() > 0, "{key}: {plan}");
    }
    assert!(
        expected["measured"]["lock_ms"]["p99"].as_f64().unwrap() > 0.0,
        "{plan}"
    );
    for side in ["master", "replica"] {
        let room = &plan["hosts"][side]["partitions"]["default"];
        assert_eq!(room["mailboxes"], 18, "{plan}");
        let of = |key: &str| room[key].as_u64().unwrap();
        assert!(
            of("new_bytes") > of("old_bytes") && of("free") > 0,
            "{plan}"
        );
        assert!(of("largest") < of("new_bytes"), "{plan}");
    }
    let needed = plan["hosts"]["master"]["partitions"]["default"]["new_bytes"].as_u64();
    let _ = fleet.controller("upgrade", &["-q"]).expect_code(0);
    let files = fleet.master.mailboxes().unwrap();
    let sizes = files.values().flat_map(|dirs| {
        let of = |name| fs::metadata(dirs.file(name)).map_or(0, |meta| meta.len());
        [of("cyrus.index"), of("cyrus.expunge")]
    });
    assert_eq!(
        needed,
        Some(sizes.sum()),
        "what was planned is what was written"
    );
    let text = fleet.controller("plan", &["--deep"]).expect_code(0).stdout;
    assert!(text.contains("as run 2 (upgrade) measured"), "{text}");
}
