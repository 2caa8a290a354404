//! `controller bench live`: users' STOREs are measured with a run and without one, and each flag
//! that was stored meanwhile is there at the end, or the bench fails.

use std::path::Path;

use indexfile::exit::Exit;
use tests::fleet::program;
use tests::process::{Ended, run};

fn bench(dir: &Path, more: &[&str]) -> Ended {
    let mut args = vec![
        "bench",
        "live",
        "--dir",
        dir.to_str().unwrap(),
        "--quiet",
        "--json",
    ];
    args.extend([
        "--clients",
        "2",
        "--messages",
        "12,1500",
        "--mailboxes",
        "2",
    ]);
    args.extend(["--seconds", "1", "--rounds", "1"]);
    args.extend(more);
    run(&program("controller"), args)
}

/// The values of a measure of the only section.
fn values(document: &serde_json::Value, id: &str) -> Vec<f64> {
    let measures = document["sections"][0]["measures"].as_array().unwrap();
    let measure = measures.iter().find(|measure| measure["id"] == *id);
    let measure = measure.unwrap_or_else(|| panic!("no {id}: {document:#}"));
    let values = measure["values"].as_array().unwrap().iter();
    values.map(|value| value.as_f64().unwrap()).collect()
}

#[test]
fn stores_are_measured_with_a_run_and_without_and_nothing_is_left_behind() {
    are_measured(&[]);
}

#[test]
fn stores_are_measured_with_a_run_that_prepares_nothing_and_nothing_is_left_behind() {
    are_measured(&["--no-prepare", "--target-lock", "5"]);
}

fn are_measured(more: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let document = bench(&dir.path().join("work"), more).expect_code(0).json();
    assert_eq!(document["sections"][0]["id"], "live");
    for size in [12, 1500] {
        for (id, most) in [("p50", "p99"), ("p99", "max")] {
            for way in ["", "_without"] {
                let value = |word: &str| {
                    let of = values(&document, &format!("store_{word}{way}-{size}"));
                    assert_eq!(of.len(), 1);
                    of[0]
                };
                assert!(value(id) > 0.0 && value(id) <= value(most), "{document:#}");
            }
        }
        // Mailboxes were locked meanwhile.
        assert!(values(&document, &format!("lock_max-{size}"))[0] > 0.0);
    }
    let notes = document["sections"][0]["notes"].to_string();
    assert!(notes.contains("each there at the end"), "{notes}");
    assert!(!notes.contains("upgraded 0 times"), "{notes}");
    // No client and no slotd outlives it: each has a path below the directory on its command line.
    let inside = dir.path().to_str().unwrap();
    for process in std::fs::read_dir("/proc").unwrap() {
        let line = std::fs::read(process.unwrap().path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        assert!(!line.contains(inside), "still running: {line}");
    }
}

#[test]
fn a_limit_that_is_none_and_a_directory_in_use_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("mail"), "precious").unwrap();
    let _ = bench(dir.path(), &[]).expect_code(i32::from(Exit::Usage.code()));
    let work = dir.path().join("new");
    let ended = bench(&work, &["--target-lock", "soon"]);
    let ended = ended.expect_code(i32::from(Exit::Usage.code()));
    ended.assert_one_sentence("target-lock");
    assert!(!work.exists());
}
