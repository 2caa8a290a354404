//! `check` and `diff` on the command line.

use indexfile::cli;
use indexfile::exit::Exit;
use std::path::{Path, PathBuf};

fn fixture(path: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fixtures")
        .join(path)
        .display()
        .to_string()
}

fn run(args: &[&str]) -> (Exit, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let exit = cli::run([&["indexfile"], args].concat(), &mut out, &mut err);
    (
        exit,
        String::from_utf8(out).expect("text"),
        String::from_utf8(err).expect("text"),
    )
}

/// An index at version 10 beside an expunge file at version 9.
fn half_upgraded() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("tempdir");
    for (from, file) in [
        ("b-v10-after-auto-upgrade", "cyrus.index"),
        ("a-v9-before", "cyrus.expunge"),
        ("a-v9-before", "cyrus.cache"),
        ("a-v9-before", "cyrus.header"),
    ] {
        let from = PathBuf::from(fixture("cyrus-2.3.16")).join(from).join(file);
        std::fs::copy(from, dir.path().join(file)).expect("copy");
    }
    dir
}

#[test]
fn notes_alone_are_fine_and_errors_exit_65_with_a_remedy() {
    let clean = fixture("cyrus-2.3.16/a-v9-before");
    let (exit, out, _) = run(&["check", &clean]);
    assert_eq!(exit, Exit::Ok);
    assert!(
        out.contains("note    [old-style-guids]")
            && out.ends_with("2 files checked, 0 errors, 0 warnings\n"),
        "{out}"
    );
    let dir = half_upgraded();
    let path = dir.path().display().to_string();
    let (exit, out, _) = run(&["check", "--quiet", &path]);
    assert_eq!(exit, Exit::Data);
    assert!(
        out.starts_with("error   [expunge-older]")
            && out.contains("--repair-to")
            && !out.contains("note"),
        "{out}"
    );
    let (exit, out, _) = run(&["check", "--json", &path]);
    assert_eq!(exit, Exit::Data);
    let report: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    let codes: Vec<_> = report["findings"]
        .as_array()
        .expect("list")
        .iter()
        .map(|f| &f["code"])
        .collect();
    assert!(codes.contains(&&"expunge-older".into()), "{out}");
    assert_eq!(run(&["check", "/nonexistent"]).0, Exit::Io);
    assert_eq!(run(&["check"]).0, Exit::Usage);
}

#[test]
fn a_repair_is_written_elsewhere_and_only_if_it_is_one() {
    let dir = half_upgraded();
    let (path, new) = (
        dir.path().display().to_string(),
        dir.path().join("repaired").display().to_string(),
    );
    let before = std::fs::read(dir.path().join("cyrus.expunge")).expect("read");
    let (exit, _, err) = run(&["check", &path, "--repair-to", &new]);
    assert_eq!(exit, Exit::Ok, "{err}");
    let golden = std::fs::read(fixture(
        "cyrus-2.3.16/b-v10-after-auto-upgrade/cyrus.expunge",
    ))
    .expect("read");
    assert_eq!(std::fs::read(&new).expect("read"), golden);
    assert_eq!(
        std::fs::read(dir.path().join("cyrus.expunge")).expect("read"),
        before
    );
    let clean = fixture("cyrus-2.3.16/a-v9-before");
    let other = dir.path().join("other");
    let (exit, _, err) = run(&["check", &clean, "--repair-to", &other.display().to_string()]);
    assert_eq!(exit, Exit::Data);
    assert!(
        err.contains("is not the state that this repairs") && !other.exists(),
        "{err}"
    );
}

#[test]
fn diff_tells_fields_by_name_and_records_by_uid() {
    let (a, b) = (
        fixture("cyrus-2.3.16/b-v10-after-auto-upgrade"),
        fixture("cyrus-2.3.16/c-v10-after-reconstruct-k-G"),
    );
    let file = |dir: &str, name: &str| format!("{dir}/{name}");
    let same = run(&["diff", &file(&a, "cyrus.index"), &file(&a, "cyrus.index")]);
    assert_eq!((same.0, same.1.as_str()), (Exit::Ok, ""));
    let (exit, out, _) = run(&["diff", &file(&a, "cyrus.index"), &file(&b, "cyrus.index")]);
    assert_eq!(exit, Exit::Data);
    assert!(out.contains("header generation_no: 1 -> 2\n"), "{out}");
    assert!(out.contains("uid 1 guid: 01050046b0c0de00070000010000000000000000 -> a6cbec439faba244c464da8622ea2be5e4bec2ba\n"), "{out}");
    // The same six expunged messages, sorted by the reconstruct.
    let expunge = [
        "diff",
        &file(&a, "cyrus.expunge"),
        &file(&b, "cyrus.expunge"),
    ];
    let (_, out, _) = run(&expunge);
    assert!(
        out.contains("the records are in another order") && !out.contains("only in"),
        "{out}"
    );
    let ignored = "generation_no,guid,cache_offset,cache_version,content_lines,sentdate,leaked_cache,pop3_last_login";
    let (_, out, _) = run(&[&expunge[..], &["--ignore", ignored]].concat());
    assert_eq!(out, "the records are in another order\n");
    let (exit, _, err) = run(&[&expunge[..], &["--ignore", "colour"]].concat());
    assert_eq!(exit, Exit::Usage, "{err}");
    // Different sets of records.
    let (exit, out, _) = run(&[
        "diff",
        "--json",
        &file(&a, "cyrus.index"),
        &fixture("cyrus-3.6.1/v10/cyrus.index"),
        "--ignore",
        "guid",
    ]);
    assert_eq!(exit, Exit::Data);
    let only: Vec<serde_json::Value> = out
        .lines()
        .map(|l| serde_json::from_str(l).expect("JSON"))
        .collect();
    let only: Vec<_> = only
        .iter()
        .filter(|d| d["only"] == "b")
        .map(|d| d["uid"].as_u64())
        .collect();
    assert_eq!(only, [5, 12, 14, 24, 33, 36].map(Some));
}
