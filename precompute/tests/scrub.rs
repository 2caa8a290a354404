//! `precompute scrub` as a person or a script runs it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fixtures/cyrus-3.6.1")
        .join(path)
}

/// The mailbox of Cyrus 3.6.1, messages and index in one directory.
fn mailbox() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("scratch");
    let copy = |from: &Path| {
        let name = from.file_name().expect("a name");
        std::fs::copy(from, dir.path().join(name)).expect("copy");
    };
    for entry in std::fs::read_dir(fixture("messages")).expect("fixture") {
        copy(&entry.expect("fixture").path());
    }
    copy(&fixture("v17/cyrus.index"));
    copy(&fixture("v17/cyrus.header"));
    dir
}

fn scrub(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_precompute"));
    command.arg("scrub").args(args);
    command.output().expect("runs")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text")
}

#[test]
fn a_sound_mailbox_exits_0_with_one_line() {
    let dir = mailbox();
    let spool = dir.path().to_str().expect("text");
    let output = scrub(&["--spool", spool]);
    assert_eq!(output.status.code(), Some(0));
    let line = text(&output.stdout);
    assert!(
        line.starts_with("1 mailboxes, 40 messages: 40 compared"),
        "{line}"
    );
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn damage_exits_65_as_text_and_as_json_lines() {
    let dir = mailbox();
    let spool = dir.path().to_str().expect("text");
    let file = dir.path().join("9.");
    let mut bytes = std::fs::read(&file).expect("read");
    bytes[100] ^= 0x10;
    std::fs::write(&file, bytes).expect("write");
    std::fs::remove_file(dir.path().join("10.")).expect("remove");

    let output = scrub(&["--spool", spool, "--settle", "1", "--quiet"]);
    assert_eq!(output.status.code(), Some(65));
    let mut lines: Vec<&str> = text(&output.stdout).lines().collect();
    lines.sort_unstable();
    assert_eq!(lines.len(), 2);
    assert!(
        lines[0].starts_with(&format!("bit-rot {spool} {spool}/9.: its SHA-1 is ")),
        "{}",
        lines[0]
    );
    assert!(
        lines[1].starts_with(&format!("missing {spool} {spool}/10.: ")),
        "{}",
        lines[1]
    );

    let output = scrub(&[
        "--spool",
        spool,
        "--settle",
        "1",
        "--json",
        "--max-rate",
        "1G",
        "--jobs",
        "3",
    ]);
    assert_eq!(output.status.code(), Some(65));
    let lines: Vec<Value> = text(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(lines.len(), 3);
    let rot = lines
        .iter()
        .find(|line| line["finding"]["code"] == "bit-rot")
        .expect("found");
    assert_eq!(rot["finding"]["uid"], 9);
    let hex = |key: &str| rot["finding"][key].as_str().map(str::len);
    assert_eq!((hex("record_guid"), hex("file_guid")), (Some(40), Some(40)));
    let summary = &lines[2]["summary"];
    assert_eq!(
        (&summary["findings"], &summary["by_code"]["missing"]),
        (&Value::from(2), &Value::from(1))
    );
    assert_eq!(summary["messages"], 40);
}

#[test]
fn usage_configuration_and_unknown_names_have_exit_codes_of_their_own() {
    assert_eq!(scrub(&[]).status.code(), Some(64));
    assert_eq!(
        scrub(&["--spool", "/x", "user.joe"]).status.code(),
        Some(64)
    );
    assert_eq!(
        scrub(&["--imapd-conf", "/nonexistent"]).status.code(),
        Some(78)
    );
    let dir = tempfile::tempdir().expect("scratch");
    let conf = dir.path().join("imapd.conf");
    std::fs::write(
        &conf,
        format!("partition-default: {}\n", dir.path().display()),
    )
    .expect("write");
    let output = scrub(&["--imapd-conf", conf.to_str().expect("text"), "user.nobody"]);
    assert_eq!(output.status.code(), Some(67));
    assert!(
        text(&output.stdout).starts_with("no-mailbox user.nobody"),
        "{}",
        text(&output.stdout)
    );
}

#[test]
fn a_list_on_standard_input_is_read() {
    let dir = tempfile::tempdir().expect("scratch");
    let at = dir.path().join("user/joe");
    std::fs::create_dir_all(dir.path().join("user")).expect("mkdir");
    let from = mailbox();
    std::fs::rename(from.path(), &at).expect("rename");
    let conf = dir.path().join("imapd.conf");
    std::fs::write(
        &conf,
        format!("partition-default: {}\n", dir.path().display()),
    )
    .expect("write");
    let list = dir.path().join("list");
    std::fs::write(&list, "user.joe\t0 default joe\tlrs\t\n").expect("write");
    let mut command = Command::new(env!("CARGO_BIN_EXE_precompute"));
    command
        .args(["scrub", "--imapd-conf"])
        .arg(&conf)
        .args(["--mailboxes", "-", "--json"]);
    command.stdin(std::fs::File::open(&list).expect("open"));
    let output = command.output().expect("runs");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let summary: Value = serde_json::from_str(text(&output.stdout)).expect("JSON");
    assert_eq!(
        (
            &summary["summary"]["mailboxes"],
            &summary["summary"]["compared"]
        ),
        (&Value::from(1), &Value::from(40))
    );
}
