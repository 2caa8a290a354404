//! The order of locks, syncs and renames, as the kernel saw it, is the one that docs/recovery.md
//! promises.
//!
//! Needs strace and the right to trace; where that is missing the test says so and is skipped by
//! `REGUID_NO_STRACE=1` only.

mod common;

use std::io::BufRead;
use std::path::Path;
use std::process::{Command, Stdio};

use common::{Store, lock};
use slotd::client::{Addr, Client, Timeouts};
use slotd::protocol::{Commit, Upgrade};

const MAILBOX: &str = "user.alice.expunged";

/// The system calls of one transaction, in short: `lock cyrus.index`, `sync cyrus.index.NEW`,
/// `rename cyrus.index.NEW`. A call that strace prints in two halves, because another thread made
/// one meanwhile, counts when it ended.
fn steps(trace: &str, store: &Store) -> Vec<String> {
    let meta = store.meta(MAILBOX);
    let mut steps = Vec::new();
    let mut halves = std::collections::HashMap::new();
    for line in trace.lines() {
        let Some((thread, call)) = line.split_once(' ') else {
            continue;
        };
        let call = call.trim_start();
        if let Some(half) = call.strip_suffix("<unfinished ...>") {
            halves.insert(thread, half.to_owned());
            continue;
        }
        let call = match call.split_once("resumed>") {
            Some((_, rest)) => halves.remove(thread).unwrap_or_default() + rest,
            None => call.to_owned(),
        };
        if call.contains("= -1 ") {
            continue;
        }
        // strace -y prints descriptors with their paths: 9</dir/cyrus.index>
        let paths: Vec<&str> = call
            .split('<')
            .skip(1)
            .filter_map(|p| p.split('>').next())
            .collect();
        let Some(first) = paths.first().map(Path::new) else {
            continue;
        };
        let name = first
            .file_name()
            .map(|n| n.to_string_lossy().into_owned())
            .unwrap_or_default();
        // The kernel calls it `#` and its inode number.
        let name = if name.starts_with('#') {
            "(no name yet)".to_owned()
        } else {
            name
        };
        let quoted: Vec<&str> = call.split('"').skip(1).step_by(2).collect();
        let in_meta = first.starts_with(&meta);
        let step = if call.starts_with("fcntl(") && call.contains("F_OFD_SETLK") && in_meta {
            let verb = if call.contains("F_UNLCK") {
                "unlock"
            } else {
                "lock"
            };
            format!("{verb} {name}")
        } else if (call.starts_with("fsync(") || call.starts_with("fdatasync("))
            && (in_meta || name == "intents.log")
        {
            if first == meta {
                "sync directory".to_owned()
            } else {
                format!("sync {name}")
            }
        } else if call.starts_with("rename") && in_meta {
            format!("rename {}", quoted.first().unwrap_or(&""))
        } else if call.starts_with("link") && paths.iter().any(|p| Path::new(p) == meta) {
            format!("link {}", quoted.last().unwrap_or(&""))
        } else {
            continue;
        };
        steps.push(step);
    }
    steps
}

async fn transaction(version: u32, addr: &Addr) {
    let mut client = Client::connect(addr, Timeouts::default()).await.unwrap();
    client.lock(lock(MAILBOX)).await.unwrap();
    client
        .upgrade(Upgrade {
            version,
            ..Upgrade::default()
        })
        .await
        .unwrap();
    client
        .commit(Commit {
            hold: false,
            drop_old: true,
        })
        .await
        .unwrap();
}

fn traced(store: &Store, versions: &[u32]) -> Vec<String> {
    let log = store.tmp.path().join("trace");
    let addr = Addr::Unix(store.tmp.path().join("s"));
    let calls = "trace=fcntl,fsync,fdatasync,rename,renameat,renameat2,link,linkat";
    let mut child = Command::new("strace")
        .env("REGUID_SLOTD_ALLOW_ROOT", "yes")
        .args(["-f", "-y", "-s", "256", "-e", calls, "-o"])
        .arg(&log)
        .arg(env!("CARGO_BIN_EXE_slotd"))
        .arg("serve")
        .arg("--imapd-conf")
        .arg(store.root().join("imapd.conf"))
        .arg("--state")
        .arg(store.state())
        .arg("--listen")
        .arg(addr.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .expect("strace is needed for this test; REGUID_NO_STRACE=1 leaves it out");
    let mut line = String::new();
    std::io::BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert!(line.starts_with("slotd: listening on "), "{line:?}");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    for version in versions {
        runtime.block_on(transaction(*version, &addr));
    }
    // strace passes SIGTERM's place on: kill the traced program, which is its child.
    let children = format!("/proc/{0}/task/{0}/children", child.id());
    let pid: i32 = std::fs::read_to_string(children)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(pid),
        nix::sys::signal::Signal::SIGTERM,
    )
    .unwrap();
    child.wait().unwrap();
    let steps = steps(&std::fs::read_to_string(log).unwrap(), store);
    let start = steps.iter().position(|s| s == "lock cyrus.header").unwrap();
    steps[start..].to_vec()
}

fn expected(down: bool) -> Vec<String> {
    let kinds = if down {
        ["index", "expunge"]
    } else {
        ["expunge", "index"]
    };
    let mut steps: Vec<String> = ["header", "index", "expunge"]
        .map(|f| format!("lock cyrus.{f}"))
        .into();
    for verb in ["lock", "sync"] {
        steps.extend([1, 2].map(|_| format!("{verb} (no name yet)")));
    }
    steps.push("sync intents.log".to_owned());
    steps.extend(["index", "expunge"].map(|f| format!("link cyrus.{f}.NEW")));
    steps.extend(kinds.map(|f| format!("link cyrus.{f}.OLD")));
    for file in kinds {
        steps.extend([
            format!("rename cyrus.{file}.NEW"),
            "sync directory".to_owned(),
        ]);
    }
    steps
}

/// The same with syncs that are under way at once, of which any may end first, in one order.
fn sorted(mut steps: Vec<String>) -> Vec<String> {
    let syncs = |s: &String| s.starts_with("sync ") && s != "sync directory";
    for run in steps.chunk_by_mut(|a, b| syncs(a) && syncs(b)) {
        run.sort();
    }
    steps
}

/// Order of unlocks: a new file is unlocked with the old one.
const NEW_OLD: [&str; 5] = ["new", "expunge", "new", "index", "header"];

#[test]
fn locks_syncs_and_renames_come_in_the_promised_order() {
    if std::env::var_os("REGUID_NO_STRACE").is_some() {
        eprintln!("REGUID_NO_STRACE is set: not tested");
        return;
    }
    let store = Store::small(&[MAILBOX]);
    let steps = sorted(traced(&store, &[10, 9]));
    let up = expected(false);
    assert_eq!(steps[..up.len()], up, "all: {steps:#?}");
    // New and old files are unlocked together: expunge, index, header.
    let unlocks = |steps: &[String]| -> Vec<String> {
        let order = steps.iter().take_while(|s| s.starts_with("unlock"));
        let name = |s: &String| match s.strip_prefix("unlock cyrus.") {
            Some(old) => old.split([' ', '.']).next().unwrap_or("").to_owned(),
            None => "new".to_owned(),
        };
        order.map(name).collect()
    };
    let rest = &steps[up.len()..];
    assert_eq!(unlocks(rest), NEW_OLD, "{rest:#?}");
    let down = expected(true);
    let start = rest.iter().position(|s| s == "lock cyrus.header").unwrap();
    let rest = &rest[start..];
    assert_eq!(rest[..down.len()], down, "all: {rest:#?}");
    assert_eq!(unlocks(&rest[down.len()..]), NEW_OLD);
}
