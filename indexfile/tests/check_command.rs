//! `check` and `diff` on the command line.

use indexfile::build::{BuildRecord, IndexBuilder};
use indexfile::exit::Exit;
use indexfile::mailbox::HEADER_MAGIC;
use indexfile::{FileKind, IndexFile, cli};
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

/// An index at version 10 with an expunge file at version 9.
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
fn an_expunge_file_older_than_an_index_of_any_version_is_repaired_to_that_version() {
    let dir = tempfile::tempdir().expect("tempdir");
    let (old, new) = (dir.path().join("cyrus.expunge"), dir.path().join("new"));
    for (index, expunge) in [(9, 8), (9, 6), (8, 7), (10, 8)] {
        let write = |path: &Path, minor, kind, uid| {
            let record = BuildRecord {
                uid,
                ..BuildRecord::default()
            };
            let builder = IndexBuilder::new(minor, kind).record(record);
            std::fs::write(path, builder.to_bytes().expect("sound")).expect("write");
        };
        write(&dir.path().join("cyrus.index"), index, FileKind::Index, 3);
        write(&old, expunge, FileKind::Expunge, 2);
        let path = dir.path().display().to_string();
        let (_, out, _) = run(&["check", &path]);
        let says = format!("it has version {expunge}, the index {index}: Cyrus reads it with");
        assert!(out.contains(&says), "{out}");
        let (exit, _, err) = run(&["check", &path, "--repair-to", &new.display().to_string()]);
        assert_eq!(exit, Exit::Ok, "{err}");
        let repaired = IndexFile::open(&new, FileKind::Expunge).expect("sound");
        assert_eq!(repaired.minor_version(), index);
        std::fs::remove_file(&new).expect("remove");
    }
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
    assert!(
        out.contains(
            "uid 1 guid: 01050046b0c0de00070000010000000000000000 -> \
         a6cbec439faba244c464da8622ea2be5e4bec2ba\n"
        ),
        "{out}"
    );
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
    let ignored = "generation_no,guid,cache_offset,cache_version,content_lines,sentdate,\
                   leaked_cache,pop3_last_login";
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

/// A store whose index lies in the metapartition and whose other files lie with the messages.
fn two_roots() -> (tempfile::TempDir, String) {
    let tmp = tempfile::tempdir().expect("tempdir");
    let at = tmp.path();
    let index = |minor, kind, uid| {
        let record = BuildRecord {
            uid,
            ..BuildRecord::default()
        };
        let builder = IndexBuilder::new(minor, kind).record(record);
        builder.to_bytes().expect("sound")
    };
    for name in ["joe", "ann"] {
        let (data, meta) = (
            at.join("data/user").join(name),
            at.join("meta/user").join(name),
        );
        std::fs::create_dir_all(&data).expect("mkdir");
        std::fs::create_dir_all(&meta).expect("mkdir");
        std::fs::write(meta.join("cyrus.index"), index(10, FileKind::Index, 3)).expect("write");
        std::fs::write(data.join("cyrus.cache"), [0; 4]).expect("write");
        let header = [HEADER_MAGIC, b"\tid\n\n\n"].concat();
        std::fs::write(data.join("cyrus.header"), header).expect("write");
    }
    let older = index(9, FileKind::Expunge, 2);
    std::fs::write(at.join("data/user/joe/cyrus.expunge"), older).expect("write");
    let conf = at.join("imapd.conf");
    let text = format!(
        "partition-default: {0}/data\nmetapartition-default: {0}/meta\n\
         metapartition_files: index\n",
        at.display()
    );
    std::fs::write(&conf, text).expect("write");
    let conf = conf.display().to_string();
    (tmp, conf)
}

fn codes_of(args: &[&str]) -> (Exit, Vec<(String, String)>, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let args = [&["indexfile", "check", "--json"], args].concat();
    let exit = indexfile::cli::run(args, &mut out, &mut err);
    let out = String::from_utf8(out).expect("text");
    let text = |v: &serde_json::Value| v.as_str().unwrap_or_default().to_owned();
    let found = serde_json::from_str::<serde_json::Value>(&out).map_or(Vec::new(), |json| {
        let list = json["findings"].as_array().cloned().unwrap_or_default();
        let list = list.iter().map(|f| (text(&f["code"]), text(&f["path"])));
        list.collect()
    });
    (exit, found, String::from_utf8(err).expect("text"))
}

#[test]
fn with_the_configuration_an_expunge_file_in_another_root_is_seen() {
    let (tmp, conf) = two_roots();
    let expunge = tmp.path().join("data/user/joe/cyrus.expunge");
    let older = ("expunge-older".to_owned(), expunge.display().to_string());
    for args in [
        &["--imapd-conf", &conf][..],
        &["--imapd-conf", &conf, "user.joe"],
    ] {
        let (exit, found, _) = codes_of(args);
        assert_eq!(exit, Exit::Data);
        assert!(found.contains(&older), "{args:?}: {found:?}");
    }
    let (_, found, _) = codes_of(&["--imapd-conf", &conf, "user.ann"]);
    assert!(
        !found.iter().any(|(code, _)| code.starts_with("expunge")),
        "{found:?}"
    );
    // The repair finds both files too.
    let out = tmp.path().join("repaired").display().to_string();
    let (mut text, mut err) = (Vec::new(), Vec::new());
    let args = [
        "indexfile",
        "check",
        "--imapd-conf",
        &conf,
        "user.joe",
        "--repair-to",
        &out,
    ];
    let exit = indexfile::cli::run(args, &mut text, &mut err);
    assert_eq!(exit, Exit::Ok, "{}", String::from_utf8_lossy(&err));
    assert!(std::path::Path::new(&out).exists());
}

#[test]
fn a_directory_that_the_configuration_names_and_that_is_not_there_is_a_finding() {
    let (tmp, conf) = two_roots();
    let dir = tmp.path().join("data/user/joe");
    std::fs::remove_dir_all(&dir).expect("remove");
    let missing = ("directory-missing".to_owned(), dir.display().to_string());
    let (exit, found, _) = codes_of(&["--imapd-conf", &conf]);
    assert_eq!(exit, Exit::Data);
    assert!(found.contains(&missing), "{found:?}");
    let (exit, found, err) = codes_of(&["--imapd-conf", &conf, "user.eve"]);
    assert_eq!((exit, found), (Exit::NoMailbox, Vec::new()));
    assert!(err.contains("no mailbox user.eve"), "{err}");
    // The whole root away, and an empty directory in its place.
    let data = tmp.path().join("data");
    std::fs::remove_dir_all(&data).expect("remove");
    let (exit, found, _) = codes_of(&["--imapd-conf", &conf, "user.ann"]);
    assert_eq!(exit, Exit::Data, "{found:?}");
}

#[test]
fn a_name_on_two_partitions_and_roots_within_each_other_are_findings() {
    let (tmp, conf) = two_roots();
    let at = tmp.path().display();
    let more = format!("partition-two: {at}/two\npartition-three: {at}/two/three\n");
    let text = std::fs::read_to_string(&conf).expect("read") + &more;
    std::fs::write(&conf, text).expect("write");
    let two = tmp.path().join("two/user/ann");
    std::fs::create_dir_all(&two).expect("mkdir");
    std::fs::create_dir_all(tmp.path().join("two/three")).expect("mkdir");
    std::fs::write(two.join("cyrus.header"), b"").expect("write");
    let (_, found, _) = codes_of(&["--imapd-conf", &conf, "user.ann"]);
    let count = |code: &str| found.iter().filter(|(c, _)| c == code).count();
    assert_eq!(
        (count("two-partitions"), count("shared-roots")),
        (2, 1),
        "{found:?}"
    );
}
