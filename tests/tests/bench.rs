//! `controller bench`: its figures are there, each measured as often as was asked for, and nothing
//! is left behind.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use controller::bench::document::{Document, FORMAT, Section};
use stores::judge::snapshot;
use tests::fleet::{Fleet, program};
use tests::process::{Ended, Guard};

/// Runs it with a directory for temporary files of its own, and gives what it printed as JSON.
fn bench(tmp: &Path, args: &[&str]) -> Document {
    let mut command = Command::new(program("controller"));
    command.arg("bench").args(["--quiet", "--json"]).args(args);
    let output = command.env("TMPDIR", tmp).output().unwrap();
    let ended = Ended::from(output).expect_code(0);
    serde_json::from_str(&ended.stdout).unwrap()
}

fn listing_of(dir: &Path) -> BTreeSet<OsString> {
    let entries = fs::read_dir(dir).unwrap();
    entries.map(|entry| entry.unwrap().file_name()).collect()
}

fn section<'a>(document: &'a Document, id: &str) -> &'a Section {
    let found = document.sections.iter().find(|section| section.id == id);
    found.unwrap_or_else(|| panic!("no section {id}"))
}

#[test]
fn a_rate_stands_beside_the_bare_way_of_the_same_rounds_and_nothing_is_left_behind() {
    let tmp = tempfile::tempdir().unwrap();
    let before = listing_of(tmp.path());
    let args = [
        "--mailboxes=6",
        "--messages=3",
        "--runs=2",
        "--parallel=1,4",
        "--only=fleet,precompute",
    ];
    let document = bench(tmp.path(), &args);
    assert_eq!(listing_of(tmp.path()), before);
    assert_eq!(document.format, FORMAT);
    assert_eq!(document.settings["parallel"], "1,4");
    let fleet = section(&document, "fleet");
    for n in [1, 4] {
        let floor = fleet.measure(&format!("floor-{n}")).unwrap();
        let rate = fleet.measure(&format!("rate-{n}")).unwrap();
        assert_eq!((floor.values.len(), rate.values.len()), (2, 2));
        assert_eq!(rate.beside.as_deref(), Some(&*floor.id));
        assert!(rate.ratio(floor).unwrap().median > 0.0);
        let lock = |word: &str| fleet.measure(&format!("lock_{word}-{n}")).unwrap().stats();
        assert!(lock("p50").median <= lock("max").median);
    }
    let hashing = section(&document, "precompute");
    let warm = hashing.measure("messages-warm").unwrap();
    assert_eq!(warm.values.len(), 2);
    let sha1sum = hashing.beside(warm).unwrap();
    assert_eq!(sha1sum.peer.as_deref(), Some("sha1sum"));
    assert!(warm.ratio(sha1sum).unwrap().median > 0.0);
    for peer in hashing.measures.iter().filter_map(|m| m.peer.as_ref()) {
        let named = document.peers.iter().find(|p| p.name == *peer).unwrap();
        assert!(!named.version.is_empty());
    }
    for section in &document.sections {
        let ids: BTreeSet<&str> = section.measures.iter().map(|m| &*m.id).collect();
        assert_eq!(ids.len(), section.measures.len(), "{}", section.id);
        for measure in &section.measures {
            let positive = measure.values.iter().all(|value| *value > 0.0);
            assert!(positive, "{}: {:?}", measure.id, measure.values);
        }
    }
}

#[test]
fn what_a_mailbox_costs_and_a_change_over_are_parts_of_it() {
    let tmp = tempfile::tempdir().unwrap();
    let args = [
        "--mailboxes=4",
        "--messages=2",
        "--runs=1",
        "--only=cost,change_over",
    ];
    let document = bench(tmp.path(), &args);
    let cost = section(&document, "cost");
    for id in ["memory_slotd", "memory_slotd-prepare", "memory_controller"] {
        let memory = cost.measure(id).unwrap().stats().median;
        assert!(memory > 1e6, "{id}: {memory} bytes");
    }
    let over = section(&document, "change_over");
    for id in ["prepare", "cutover", "verify"] {
        assert!(over.measure(id).unwrap().values[0] > 0.0, "{id}");
    }
    assert!(listing_of(tmp.path()).is_empty());
}

#[test]
fn conversion_is_measured_beside_a_copy_in_a_quick_run() {
    let tmp = tempfile::tempdir().unwrap();
    let document = bench(tmp.path(), &["--quick", "--runs=1", "--only=convert"]);
    assert_eq!(document.settings["quick"], "true");
    let convert = section(&document, "convert");
    let ours = convert.measure("convert-100000").unwrap();
    assert!(
        ours.ratio(convert.measure("copy-100000").unwrap())
            .is_some()
    );
    let cp = convert.measure("cp-100000").unwrap();
    assert_eq!(cp.peer.as_deref(), Some("cp and sync"));
    assert!(cp.values[0] > 0.0);
    assert!(listing_of(tmp.path()).is_empty());
}

#[test]
fn a_corpus_is_measured_on_a_copy_and_one_without_mailboxes_is_refused() {
    let tmp = tempfile::tempdir().unwrap();
    let corpus = tempfile::tempdir().unwrap();
    let host = stores::Host::lay_out(corpus.path(), stores::Layout::HASHED).unwrap();
    stores::StoreSpec::new(3, 2)
        .variety(stores::Variety::Plain)
        .build(&[&host])
        .unwrap();
    let before = snapshot::take(corpus.path()).unwrap();
    let dir = corpus.path().to_str().unwrap();
    let args = ["--runs=1", "--parallel=2", "--only=fleet", "--corpus", dir];
    let document = bench(tmp.path(), &args);
    assert!(document.settings["corpus"].contains(dir));
    assert!(section(&document, "fleet").measure("rate-2").is_some());
    assert_eq!(snapshot::take(corpus.path()).unwrap(), before);
    assert!(listing_of(tmp.path()).is_empty());

    let mut command = Command::new(program("controller"));
    command.args(["bench", "-q", "--only=fleet", "--corpus"]);
    let output = command.arg(tmp.path()).env("TMPDIR", tmp.path()).output();
    Ended::from(output.unwrap())
        .expect_code(65)
        .assert_one_sentence("no mailbox");
}

#[test]
fn a_live_store_is_listed_without_a_change_and_one_that_is_made_like_it_is_measured() {
    let mut fleet = Fleet::of_239();
    fleet.start();
    let store = |host: &stores::Host| [&host.data, &host.meta].map(|d| snapshot::take(d).unwrap());
    let before = store(&fleet.master);
    let listed = |extra: &[&str]| {
        let mut command = Command::new(program("controller"));
        command.args(["bench", "listing", "--master", &fleet.addr(0)]);
        Guard::spawn(command.args(extra)).finish()
    };
    let json = listed(&["--json"]).expect_code(0);
    let text = listed(&[]).expect_code(0).stdout;
    assert_eq!(before, store(&fleet.master));
    let listing = json.json();
    assert_eq!(listing["mailboxes"], 18);
    assert!(text.starts_with("18 mailboxes"), "{text}");
    // What it says can leave the house: no user's name is in it.
    assert!(!json.stdout.contains("alice"), "{json:?}");

    let tmp = tempfile::tempdir().unwrap();
    let path = fleet.dir.path().join("listing.json");
    fs::write(&path, &json.stdout).unwrap();
    let path = path.to_str().unwrap();
    let args = ["--runs=1", "--parallel=2", "--only=fleet", "--mailboxes=12"];
    let document = bench(tmp.path(), &[&args[..], &["--listing", path]].concat());
    assert!(document.settings["corpus"].starts_with("12 mailboxes, messages by percentiles"));
    assert!(
        section(&document, "fleet")
            .measure("rate-2")
            .unwrap()
            .values[0]
            > 0.0
    );
    assert!(listing_of(tmp.path()).is_empty());
    let mut command = Command::new(program("controller"));
    command.args(["bench", "-q", "--listing", path, "--messages", "5"]);
    let _ = Guard::spawn(&mut command).finish().expect_code(64);
    fs::write(path, "user.alice 5").unwrap();
    let mut command = Command::new(program("controller"));
    let refused = Guard::spawn(command.args(["bench", "-q", "--listing", path])).finish();
    refused.expect_code(65).assert_one_sentence("bench listing");
}

#[test]
fn a_store_to_order_may_be_done_in_part_and_what_is_left_is_measured() {
    let tmp = tempfile::tempdir().unwrap();
    let args = [
        "--runs=1",
        "--parallel=2",
        "--only=fleet",
        "--mailboxes=20",
        "--messages=0-5",
        "--expunged=20",
        "--done=40",
        "--links=30",
    ];
    let document = bench(tmp.path(), &args);
    let fleet = section(&document, "fleet");
    assert!(fleet.measure("rate-2").unwrap().values[0] > 0.0);
    assert!(listing_of(tmp.path()).is_empty());
}

#[test]
fn the_whole_job_stands_beside_the_seeds_way() {
    let tmp = tempfile::tempdir().unwrap();
    let args = [
        "--quick",
        "--runs=1",
        "--only=whole_job",
        "--whole=1",
        "--as-seed",
    ];
    let document = bench(tmp.path(), &args);
    let whole = section(&document, "whole_job");
    let (ours, seed) = (
        whole.measure("ours").unwrap(),
        whole.measure("as_seed").unwrap(),
    );
    assert_eq!(ours.beside.as_deref(), Some("as_seed"));
    for (id, measure) in [("ours", ours), ("as_seed", seed)] {
        let part = |suffix: &str| whole.measure(&format!("{id}{suffix}")).unwrap().values[0];
        let sum = part("_hashing") + part("_migration");
        assert!(part("_hashing") > 0.0 && part("_migration") > 0.0);
        assert!((measure.values[0] - sum).abs() < 1e-9, "{id}");
    }
    assert!(listing_of(tmp.path()).is_empty());
}

#[test]
#[ignore = "needs a real Cyrus 3.6.1, its user and root"]
fn the_whole_job_stands_beside_cyruss_own_reconstruct_on_a_store_of_its_own() {
    let tmp = tempfile::tempdir().unwrap();
    let args = ["--quick", "--runs=1", "--only=whole_job", "--whole=2"];
    let mode = |mode| fs::set_permissions(tmp.path(), fs::Permissions::from_mode(mode)).unwrap();
    // Cyrus's user cannot reach a store in a directory that is ours alone.
    mode(0o700);
    let document = bench(tmp.path(), &args);
    let mut why = document.not_measured.iter();
    assert!(why.any(|why| why.contains("cannot read")), "{document:?}");
    mode(0o711);
    let document = bench(tmp.path(), &args);
    assert_eq!(document.not_measured, Vec::<String>::new());
    let whole = section(&document, "whole_job");
    for id in ["reconstruct_v10", "reconstruct_g"] {
        let measure = whole.measure(id).unwrap();
        assert!(measure.values[0] > 0.0);
        assert_eq!(whole.beside(measure).unwrap().id, "ours");
        let peer = measure.peer.as_ref().unwrap();
        let named = document.peers.iter().find(|p| p.name == *peer).unwrap();
        assert!(named.version.contains("3.6.1"), "{named:?}");
    }
    assert!(listing_of(tmp.path()).is_empty());
}

#[test]
fn a_run_that_is_killed_in_the_middle_is_done_again_and_the_time_stands_beside_an_undisturbed_one()
{
    let tmp = tempfile::tempdir().unwrap();
    let args = ["--runs=1", "--only=recovery", "--mailboxes=40"];
    let document = bench(tmp.path(), &args);
    let recovery = section(&document, "recovery");
    let killed = ["controller", "master", "replica", "all"];
    for id in killed {
        let measure = recovery.measure(id).unwrap();
        let first = recovery.measure(&format!("{id}_first")).unwrap();
        assert!(first.values[0] > 0.0 && first.values[0] <= measure.values[0]);
        assert_eq!(recovery.beside(measure).unwrap().id, "nothing");
    }
    assert!(recovery.measure("nothing").unwrap().values[0] > 0.0);
    assert!(listing_of(tmp.path()).is_empty());
}

#[test]
#[ignore = "takes minutes in a debug build"]
fn limits_are_measured_growth_has_an_exponent_and_locks_are_by_size() {
    let tmp = tempfile::tempdir().unwrap();
    let args = ["--quick", "--runs=1", "--only=limits,locks,growth"];
    let document = bench(tmp.path(), &args);
    let limits = section(&document, "limits");
    for id in [
        "read",
        "hash_core",
        "sync-1",
        "sync-16",
        "syncfs-16",
        "hello",
    ] {
        assert!(limits.measure(id).unwrap().values[0] > 0.0, "{id}");
    }
    let growth = section(&document, "growth");
    for (what, sizes) in [("records", [1000, 100_000]), ("mailboxes", [1, 1000])] {
        let exponent = growth.measure(&format!("exponent-{what}")).unwrap();
        assert!(exponent.values[0].is_finite());
        assert!(growth.measure("exponent-mailboxes-whole").is_some());
        for size in sizes {
            let time = growth.measure(&format!("{what}-{size}")).unwrap();
            assert!(time.values[0] > 0.0 && time.at == Some(f64::from(size)));
        }
    }
    let locks = section(&document, "locks");
    for size in [100, 2000] {
        let lock = |word: &str| locks.measure(&format!("{word}-{size}")).unwrap().values[0];
        assert!(lock("p50") > 0.0 && lock("p50") <= lock("max"));
    }
    assert!(listing_of(tmp.path()).is_empty());
}
