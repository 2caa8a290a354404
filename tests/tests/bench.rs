//! `controller bench`: its figures are there, each measured as often as was asked for, and nothing
//! is left behind.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Command;

use controller::bench::document::{Document, FORMAT, Section};
use tests::fleet::program;
use tests::process::Ended;

/// Runs it with a directory for temporary files of its own, and gives what it printed as JSON.
fn bench(tmp: &Path, args: &[&str]) -> Document {
    let mut command = Command::new(program("controller"));
    command.arg("bench").args(["--quiet", "--json"]).args(args);
    let output = command.env("TMPDIR", tmp).output().unwrap();
    let ended = Ended::from(output).expect_code(0);
    serde_json::from_str(&ended.stdout).unwrap()
}

fn listing(dir: &Path) -> BTreeSet<OsString> {
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
    let before = listing(tmp.path());
    let args = [
        "--mailboxes=6",
        "--messages=3",
        "--runs=2",
        "--parallel=1,4",
        "--only=fleet,precompute",
    ];
    let document = bench(tmp.path(), &args);
    assert_eq!(listing(tmp.path()), before);
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
    assert_eq!(hashing.measure("messages-warm").unwrap().values.len(), 2);
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
    assert!(listing(tmp.path()).is_empty());
}
