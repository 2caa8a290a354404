//! `controller demo` from the outside: what a newcomer sees, and what is left afterwards.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// The command, with its temporary files in `dir` and without a home.
fn demo(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_controller"));
    command
        .arg("demo")
        .args(["--mailboxes", "40", "--messages", "4"]);
    command
        .env("TMPDIR", dir)
        .env_remove("HOME")
        .stdin(Stdio::null());
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What lies in a directory.
fn entries(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .expect("a directory")
        .map(|e| {
            e.expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    names
}

/// Command lines of the slotds that serve a host below `dir`.
fn slotds(dir: &Path) -> usize {
    let needle = dir.display().to_string();
    let processes = std::fs::read_dir("/proc").expect("/proc");
    let lines = processes
        .flatten()
        .filter_map(|p| std::fs::read(p.path().join("cmdline")).ok());
    lines
        .map(|l| text(&l))
        .filter(|l| l.contains("demo-slotd") && l.contains(&needle))
        .count()
}

fn expect_code(output: &Output, code: i32) {
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(
        output.status.code(),
        Some(code),
        "stdout: {out}\nstderr: {err}"
    );
}

#[test]
fn the_demo_migrates_everything_says_so_and_leaves_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let output = demo(dir.path()).output().expect("it runs");
    expect_code(&output, 0);
    let story = text(&output.stdout);
    assert!(story.contains("0 rolled back, 0 in doubt"), "{story}");
    assert!(
        story.contains("GUIDs equal the SHA-1 of their message file"),
        "{story}"
    );
    assert!(
        story.lines().count() <= 18,
        "a story of about ten lines:\n{story}"
    );
    assert_eq!(entries(dir.path()), Vec::<String>::new());
    assert_eq!(slotds(dir.path()), 0);
}

#[test]
fn json_is_alone_on_stdout_and_a_kept_store_can_be_looked_at() {
    let dir = tempfile::tempdir().expect("a directory");
    let keep = dir.path().join("kept");
    let output = demo(dir.path())
        .arg("--json")
        .arg("--keep")
        .arg(&keep)
        .output()
        .expect("it runs");
    expect_code(&output, 0);
    let report: Value = serde_json::from_slice(&output.stdout).expect("nothing but JSON");
    assert_eq!(report["run"]["mailboxes"], 40);
    assert_eq!(report["run"]["in_doubt"], 0);
    assert_eq!(report["verify"]["wrong"], 0);
    let guids = report["verify"]["guids"].as_u64().expect("a number");
    let messages = |key: &str| report["store"][key].as_u64().expect("a number");
    assert_eq!(guids, 2 * (messages("messages") + messages("expunged")));
    assert_eq!(entries(dir.path()), ["kept"]);
    let index = keep.join("master/spool/a/user/alice/cyrus.index");
    let index = indexfile::IndexFile::open(&index, indexfile::FileKind::Index).expect("an index");
    assert_eq!(index.minor_version(), 10);
    let again = demo(dir.path())
        .arg("--keep")
        .arg(&keep)
        .output()
        .expect("it runs");
    expect_code(&again, 64);
    assert!(
        text(&again.stderr).contains("is not empty"),
        "{}",
        text(&again.stderr)
    );
}

#[test]
fn an_interrupt_at_any_time_leaves_neither_children_nor_directories() {
    for after in [0, 150, 400, 700, 1000] {
        let dir = tempfile::tempdir().expect("a directory");
        let child = demo(dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it runs");
        std::thread::sleep(Duration::from_millis(after));
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid")).expect("a pid");
        kill_process(pid, Signal::INT).expect("it is there until it is waited for");
        let output = child.wait_with_output().expect("it ends");
        // Before it listens the signal ends it, with nothing made; at the end it may be done
        // already.
        let code = output.status.code();
        assert!(
            matches!(code, None | Some(0 | 75)),
            "{code:?} {}",
            text(&output.stderr)
        );
        assert_eq!(
            entries(dir.path()),
            Vec::<String>::new(),
            "after {after} ms"
        );
        assert_eq!(slotds(dir.path()), 0);
    }
}

#[test]
fn a_killed_demo_takes_its_children_along() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut command = demo(dir.path());
    command
        .args(["--mailboxes", "400"])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut child = command.spawn().expect("it runs");
    for _ in 0..600 {
        if slotds(dir.path()) == 2 {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    child.kill().expect("killed");
    child.wait().expect("it ends");
    for _ in 0..400 {
        if slotds(dir.path()) == 0 {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("its slotds live on");
}

#[test]
fn a_bench_measures_each_way_and_leaves_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut command = Command::new(env!("CARGO_BIN_EXE_controller"));
    command.args([
        "bench",
        "--mailboxes",
        "16",
        "--messages",
        "2",
        "--runs",
        "2",
        "--json",
    ]);
    let output = command.env("TMPDIR", dir.path()).output().expect("it runs");
    expect_code(&output, 0);
    let figures: Value = serde_json::from_slice(&output.stdout).expect("nothing but JSON");
    let ways = figures["ways"].as_array().expect("an array");
    assert_eq!(ways[0]["name"], "--prepare never");
    for way in ways {
        assert_eq!(way["rate"]["runs"], 2);
        assert!(way["rate"]["mean"].as_f64().expect("a number") > 0.0);
        assert!(way["lock_p99"]["mean"].as_f64().expect("a number") > 0.0);
    }
    assert_eq!(entries(dir.path()), Vec::<String>::new());
    assert_eq!(slotds(dir.path()), 0);
}
