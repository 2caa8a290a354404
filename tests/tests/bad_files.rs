//! `indexfile` on damaged files: one sentence that names the file and the damage, exit code 65, and
//! no output file left behind.

use std::fs;
use std::path::Path;

use stores::Dirs;
use stores::genuine::unpack_239;
use tests::damage;
use tests::fleet::program;
use tests::process::run;

/// Spoils one file of a mailbox and demands that `dump` and `convert` refuse it.
fn refused(file: &str, spoil: impl FnOnce(&Path), about: &str) {
    let dir = tempfile::tempdir().unwrap();
    let dirs: Dirs = unpack_239(dir.path()).unwrap().dirs("user.alice.expunged");
    let path = dirs.meta.join(file);
    spoil(&path);
    let (path, out) = (path.to_str().unwrap(), dirs.meta.join("converted"));
    let convert = [
        "convert",
        path,
        out.to_str().unwrap(),
        "--to",
        "10",
        "--keep-guids",
    ];
    for args in [&convert[..], &["dump", path]] {
        let ended = run(&program("indexfile"), args).expect_code(65);
        ended.assert_one_sentence(file);
        ended.assert_one_sentence(about);
        assert!(!out.exists(), "a file was left behind");
    }
}

#[test]
fn not_an_index_file() {
    refused("cyrus.index", damage::write_nonsense, "index");
}

#[test]
fn an_unknown_version() {
    refused("cyrus.index", |p| damage::set_minor(p, 77), "77");
}

#[test]
fn a_truncated_index_tells_how_many_records_it_should_have() {
    refused("cyrus.index", damage::truncate, "31");
}

#[test]
fn a_zero_length_expunge() {
    refused("cyrus.expunge", damage::empty, "empty");
}

#[test]
fn minor_version_9_with_records_of_88_bytes() {
    refused("cyrus.index", damage::make_hybrid, "88");
}

#[test]
fn index_at_version_10_beside_expunge_at_version_9_is_a_finding_of_check() {
    let dir = tempfile::tempdir().unwrap();
    let dirs = unpack_239(dir.path()).unwrap().dirs("user.alice.expunged");
    let meta = dirs.meta.to_str().unwrap();
    let sound = run(&program("indexfile"), ["check", meta]).expect_code(0);
    damage::make_v10(&dirs.meta.join("cyrus.index"));
    let ended = run(&program("indexfile"), ["check", meta]).expect_code(65);
    assert!(
        ended.stdout.contains("expunge"),
        "{ended:?}, but sound: {sound:?}"
    );
}

#[test]
fn a_message_file_that_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let dirs = unpack_239(dir.path()).unwrap().dirs("user.alice.expunged");
    fs::remove_file(dirs.data.join("2.")).unwrap();
    let (index, out) = (dirs.meta.join("cyrus.index"), dirs.meta.join("out"));
    let args = [
        "convert",
        index.to_str().unwrap(),
        out.to_str().unwrap(),
        "--to",
        "10",
    ];
    let messages = ["--messages", dirs.data.to_str().unwrap()];
    let ended = run(&program("indexfile"), args.iter().chain(&messages)).expect_code(65);
    ended.assert_one_sentence("2.");
    assert!(!out.exists());
}

#[test]
fn an_output_that_is_there_already_is_not_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let dirs = unpack_239(dir.path()).unwrap().dirs("user.alice.expunged");
    let (index, out) = (dirs.meta.join("cyrus.index"), dirs.meta.join("out"));
    fs::write(&out, "mine").unwrap();
    let args = [
        "convert",
        index.to_str().unwrap(),
        out.to_str().unwrap(),
        "--to",
        "10",
        "--keep-guids",
    ];
    let ended = run(&program("indexfile"), args);
    assert_ne!(ended.code, Some(0));
    ended.assert_one_sentence("out");
    assert_eq!(fs::read(&out).unwrap(), b"mine");
}

#[test]
fn a_file_that_is_not_there() {
    run(&program("indexfile"), ["dump", "/no/such/cyrus.index"])
        .expect_code(74)
        .assert_one_sentence("/no/such/cyrus.index");
}
