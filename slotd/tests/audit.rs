//! The audit in slotd's log: a line for each command that locks or changes something, one for each
//! transaction that slotd ended itself, one for each lock held for more than a second; who, what,
//! which mailbox, how long, and what came of it.

mod common;

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::Store;
use slotd::protocol::{Command as Order, CommandKind};
use strum::IntoEnumIterator as _;

const MAILBOX: &str = "user.alice.expunged";

struct Running {
    child: Child,
    socket: std::path::PathBuf,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serve(store: &Store, flags: &[&str]) -> Running {
    let socket = store.tmp.path().join("s");
    let mut child = Command::new(env!("CARGO_BIN_EXE_slotd"))
        .env("REGUID_SLOTD_ALLOW_ROOT", "yes")
        .env("REGUID_SLOTD_CONFIG", "none")
        .env_remove("REGUID_LOG")
        .args(["serve", "--max-lock", "2", "--imapd-conf"])
        .arg(store.root().join("imapd.conf"))
        .arg("--state")
        .arg(store.state())
        .arg("--listen")
        .arg(format!("unix:{}", socket.display()))
        .args(flags)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut line).unwrap();
    assert!(line.starts_with("slotd: listening on "), "{line}");
    Running { child, socket }
}

impl Running {
    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.socket).unwrap();
        let limit = Some(Duration::from_secs(60));
        stream.set_read_timeout(limit).unwrap();
        stream
    }

    /// Stops it, and gives what it logged.
    fn log(mut self) -> String {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let mut log = String::new();
        let mut stderr = self.child.stderr.take().unwrap();
        stderr.read_to_string(&mut log).unwrap();
        log
    }
}

fn ask(mut stream: &UnixStream, command: &str) -> String {
    stream.write_all(format!("{command}\n").as_bytes()).unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    line
}

/// The lines of that kind: their words.
fn lines<'a>(log: &'a str, kind: &str) -> Vec<HashMap<&'a str, &'a str>> {
    let words = |line: &'a str| {
        let (_, rest) = line.split_once(&format!(" {kind} who="))?;
        let rest = &line[line.len() - rest.len() - "who=".len()..];
        let pair = |word: &'a str| word.split_once('=').unwrap_or_else(|| panic!("{line}"));
        Some(rest.split(' ').map(pair).collect())
    };
    log.lines().filter_map(words).collect()
}

#[test]
fn each_order_has_a_line_with_who_what_how_long_and_the_result() {
    let store = Store::cyrus_2_3_9();
    let slotd = serve(&store, &[]);
    let stream = slotd.connect();
    ask(&stream, "HELLO");
    ask(&stream, "REGISTER journal=j-1");
    ask(&stream, &format!("LOCK {MAILBOX}"));
    ask(&stream, "UPGRADE 10 run=7");
    ask(&stream, "CONFIRM");
    ask(&stream, "COMMIT");
    ask(&stream, "LOCK user.nobody%0Aaudit");
    ask(&stream, "LOCK user.nobody");
    ask(&stream, "COMMIT");
    ask(&stream, &format!("LOCK {MAILBOX} wait_ms=9"));
    drop(stream);
    let log = slotd.log();
    let audit = lines(&log, "audit");
    let who = format!("uid:{}", rustix::process::getuid().as_raw());
    let pid = std::process::id().to_string();
    let is_us = |line: &HashMap<&str, &str>| line["who"] == who && line["pid"] == pid;
    assert!(audit.iter().all(is_us), "{log}");
    let seen: Vec<_> = audit
        .iter()
        .map(|line| (line["what"], line.get("mailbox").copied(), line["result"]))
        .collect();
    let alice = Some(MAILBOX);
    let expected = [
        ("REGISTER", None, "OK"),
        ("LOCK", alice, "OK"),
        ("UPGRADE", alice, "OK"),
        ("COMMIT", alice, "OK"),
        ("LOCK", Some("user.nobody"), "NO:NOMAILBOX"),
        ("COMMIT", None, "NO:STATE"),
        ("LOCK", alice, "OK"),
        ("ROLLBACK", alice, "OK"),
    ];
    assert_eq!(seen, expected, "{log}");
    assert_eq!(audit[2]["args"], "10%20run%3D7");
    assert!(audit[1..].iter().all(|line| line["journal"] == "j-1"));
    // Only what gave locks back has them.
    let held: Vec<bool> = audit.iter().map(|l| l.contains_key("held_us")).collect();
    let gave = [false, false, false, true, false, false, false, true];
    assert_eq!(held, gave, "{log}");
    assert_eq!(audit[7]["by"], "closed");
    assert!(
        audit[..7]
            .iter()
            .all(|l| l["took_us"].parse::<u64>().is_ok())
    );
    assert!(lines(&log, "longlock").is_empty(), "{log}");
}

/// Every command, and whether it has a line: what locks, changes or gives back something has one,
/// refused or not.
const ALL: &[(&str, bool)] = &[
    ("HELLO", false),
    ("PREFLIGHT", false),
    ("HOST", false),
    ("LIST", false),
    ("FIND uniqueid=x", false),
    ("STATUS", false),
    ("STATUS user.alice", false),
    ("VERIFY user.alice", false),
    ("SHA1S user.alice", false),
    ("REGISTER journal=j-1", true),
    ("PRECOMPUTE", false),
    ("PRECOMPUTE start", true),
    ("PRECOMPUTE stop", true),
    ("PREPARE user.alice", true),
    ("LOCK user.alice", true),
    ("UPGRADE 10", true),
    ("CONFIRM", false),
    ("GUIDS", false),
    ("DIGESTS from=0 to=9 parts=2", false),
    ("COMMIT hold", true),
    ("RELEASE", true),
    ("ROLLBACK", true),
    ("CLEAN user.alice dry_run=1", true),
    ("CLEAN user.alice", true),
    ("COMPLETE 16 mailboxes=1", true),
    ("REVOKE", true),
    ("DRAIN by=a-test", true),
    ("KICK", true),
    ("UNDRAIN", true),
    ("LEAVE", true),
    ("QUIT", false),
];

#[test]
fn every_command_that_locks_or_changes_something_has_one_line_and_no_other_has() {
    let parse = |line: &str| Order::parse(line.as_bytes()).unwrap();
    let kinds: HashSet<_> = ALL
        .iter()
        .map(|(line, _)| CommandKind::from(parse(line)))
        .collect();
    for kind in CommandKind::iter() {
        assert!(kinds.contains(&kind), "{kind:?} is not in the table");
    }
    let store = Store::small(&["user.alice"]);
    let slotd = serve(&store, &[]);
    let stream = slotd.connect();
    let mut expected = Vec::new();
    for (line, has_line) in ALL {
        let answer = ask(&stream, line);
        let result = match answer.split_once(' ').unwrap_or((answer.trim_end(), "")) {
            ("NO", rest) => {
                let code = rest.strip_prefix('[').unwrap().split_once(']').unwrap().0;
                format!("NO:{code}")
            }
            (first, _) => first.to_owned(),
        };
        if *has_line {
            expected.push((parse(line).name(), result));
        }
    }
    drop(stream);
    let log = slotd.log();
    let audit = lines(&log, "audit");
    let seen: Vec<_> = audit
        .iter()
        .map(|line| (line["what"], line["result"].to_owned()))
        .collect();
    assert_eq!(seen, expected, "{log}");
    let drain = audit.iter().find(|line| line["what"] == "DRAIN").unwrap();
    assert_eq!(drain["args"], "by%3Da-test", "{log}");
}

#[test]
fn a_lock_held_for_more_than_a_second_is_a_line_of_its_own() {
    let store = Store::cyrus_2_3_9();
    let slotd = serve(&store, &[]);
    let stream = slotd.connect();
    ask(&stream, &format!("LOCK {MAILBOX}"));
    // Until the clock of --max-lock has ended it.
    let mut answer = String::new();
    for _ in 0..200 {
        std::thread::sleep(Duration::from_millis(100));
        let other = slotd.connect();
        answer = ask(&other, &format!("LOCK {MAILBOX} wait_ms=10"));
        if answer.starts_with("OK") {
            break;
        }
    }
    assert!(answer.starts_with("OK"), "{answer}");
    let log = slotd.log();
    let long = lines(&log, "longlock");
    assert_eq!(long.len(), 1, "{log}");
    assert_eq!(long[0]["mailbox"], MAILBOX);
    assert!(long[0]["held_us"].parse::<u64>().unwrap() > 1_000_000);
    assert!(long[0]["hold"].contains("client"), "{log}");
    let ended = lines(&log, "audit")
        .into_iter()
        .find(|line| line.get("by") == Some(&"expired"));
    assert_eq!(ended.unwrap()["what"], "ROLLBACK", "{log}");
}

#[test]
fn who_asks_for_errors_alone_has_no_audit() {
    let store = Store::small(&["user.alice"]);
    let slotd = serve(&store, &["-q"]);
    let stream = slotd.connect();
    assert!(ask(&stream, "LOCK user.alice").starts_with("OK"));
    drop(stream);
    assert_eq!(slotd.log(), "");
}
