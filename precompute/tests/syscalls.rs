//! What the program asks of the kernel, as `strace` sees it (`.ci/run` installs it; without it
//! these tests fail, they are not skipped).

mod common;

use std::fs;
use std::process::Command;

use common::{PRECOMPUTE, Store};

/// Runs `precompute run` under strace and returns the lines of the calls.
fn traced(store: &Store, calls: &str) -> Vec<String> {
    traced_with(store, calls, &[])
}

fn traced_with(store: &Store, calls: &str, options: &[&str]) -> Vec<String> {
    let trace = store.spool().with_file_name("trace");
    let mut command = Command::new("strace");
    command
        .args(["-f", "-qq", "-e", &format!("trace={calls}"), "-o"])
        .arg(&trace);
    command
        .args([PRECOMPUTE, "run", "--quiet", "--imapd-conf"])
        .arg(store.conf())
        .args(options);
    let status = command
        .status()
        .expect("strace must be installed (apt-get install strace)");
    assert!(status.success(), "{status}");
    let text = fs::read_to_string(&trace).expect("trace");
    text.lines().map(str::to_owned).collect()
}

fn names_a_message(line: &str) -> bool {
    // openat(5, "123.", O_RDONLY|...
    let name = line.split('"').nth(1).unwrap_or_default();
    let uid = name.rsplit('/').next().and_then(|n| n.strip_suffix('.'));
    uid.is_some_and(|uid| !uid.is_empty() && uid.bytes().all(|b| b.is_ascii_digit()))
}

#[test]
fn a_second_run_opens_no_message() {
    let store = Store::new();
    store.make("user.joe", &(1..=600).collect::<Vec<_>>(), &[601, 700]);
    store.make("user.ann", &[1, 2, 3], &[]);
    let opened = |lines: &[String]| lines.iter().filter(|l| names_a_message(l)).count();
    let first = traced(&store, "open,openat,openat2");
    assert_eq!(opened(&first), 605, "the test can see opens");
    let second = traced(&store, "open,openat,openat2");
    assert_eq!(opened(&second), 0);
}

#[test]
fn a_second_run_looks_at_one_message_in_64() {
    let store = Store::new();
    store.make("user.joe", &(1..=600).collect::<Vec<_>>(), &[601, 700]);
    store.summary(0, &[]);
    let looks = |lines: &[String]| lines.iter().filter(|l| names_a_message(l)).count();
    let every = traced_with(&store, "%file,getdents64", &["--look-at-all"]);
    assert_eq!(looks(&every), 602, "the test can see looks");
    let few = traced(&store, "%file,getdents64");
    let few = looks(&few);
    assert!((602 / 64..=602 / 64 + 1).contains(&few), "{few}");
}

#[test]
fn messages_and_cyrus_files_are_opened_for_reading_only_and_never_locked() {
    let store = Store::new();
    store.make("user.joe", &(1..=50).collect::<Vec<_>>(), &[60]);
    let lines = traced(
        &store,
        "openat,openat2,open,creat,fcntl,flock,unlink,unlinkat,rename,renameat,renameat2,link,\
         linkat,chmod,fchmod,fchmodat,fchown,truncate,ftruncate,utimensat",
    );
    let spool = store.spool().display().to_string();
    let mut written = Vec::new();
    for line in &lines {
        let call = line.split_whitespace().nth(1).unwrap_or_default();
        let name = line.split('"').nth(1).unwrap_or_default();
        let of_store =
            name.starts_with("cyrus.") || name.starts_with(&spool) || names_a_message(line);
        if call.starts_with("fcntl") {
            assert!(!line.contains("SETLK"), "{line}");
        } else if call.starts_with("open") && of_store {
            if line.contains("O_WRONLY") || line.contains("O_RDWR") || line.contains("O_TRUNC") {
                written.push(name.to_owned());
            }
        } else if (call.starts_with("rename")
            || call.starts_with("unlink")
            || call.starts_with("link"))
            && of_store
        {
            assert!(
                line.matches("\"cyrus.sha1s").count() == line.matches("\"cyrus.").count(),
                "{line}"
            );
        }
    }
    assert_eq!(
        written,
        ["cyrus.sha1s.tmp"],
        "the only file ever opened for writing"
    );
    // flock is on our own temporary file, and it is the only lock.
    assert_eq!(lines.iter().filter(|l| l.contains(" flock(")).count(), 1);
    assert!(lines.iter().any(|l| l.contains("O_NOATIME")));
    assert!(
        lines
            .iter()
            .filter(|l| names_a_message(l))
            .all(|l| l.contains("O_NOFOLLOW"))
    );
}

#[test]
fn threads_that_cannot_be_started_while_it_runs_are_done_without() {
    let store = Store::new();
    for n in 0..40 {
        store.make(&format!("user.u{n}"), &(1..=100).collect::<Vec<_>>(), &[]);
    }
    let run = |inject: &str| {
        store.forget();
        let trace = store.spool().with_file_name("trace");
        let mut command = Command::new("timeout");
        command.args([
            "-k",
            "1",
            "60",
            "strace",
            "-f",
            "-qq",
            "-e",
            "trace=all",
            "-e",
            inject,
        ]);
        command.arg("-o").arg(&trace);
        command.args([PRECOMPUTE, "run", "--quiet", "--imapd-conf"]);
        let status = command.arg(store.conf()).status().expect("strace");
        assert!(status.success(), "{inject}: {status}");
        assert_eq!(store.caches().len(), 40, "{inject}");
        let trace = fs::read_to_string(&trace).expect("trace");
        let asked = trace.matches(" clone3(").count();
        // strace may tell of a call in two lines.
        let refused = |line: &&str| line.contains("clone3") && line.contains("EAGAIN");
        (asked, trace.lines().filter(refused).count())
    };
    // Being traced, its threads hardly use a processor, so more and more of them are wanted.
    let (asked, refused) = run("inject=clone3:error=EAGAIN:when=9999");
    assert_eq!(refused, 0);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    // Counted in each thread: all that the first one starts are granted (those that begin, and what
    // shows progress and waits for signals), and some of those that are wanted later are not.
    let begin = cores + 6;
    assert!(asked > begin, "{asked} threads");
    let (_, refused) = run(&format!("inject=clone3:error=EAGAIN:when={begin}+"));
    assert!(refused > 0);
}

#[test]
fn a_failed_fsync_or_a_full_disk_leaves_the_old_cache_and_says_74() {
    // One mailbox is synced for itself, several are together where not much else waits to be
    // written.
    one_fault_after_the_other(
        &["user.joe"],
        &[
            "fsync:error=EIO",
            "fsync:error=ENOSPC",
            "rename,renameat,renameat2:error=EIO",
        ],
    );
    one_fault_after_the_other(
        &["user.joe", "user.ann", "user.bob"],
        &[
            "fsync:error=EIO",
            "fsync:error=ENOSPC",
            "rename,renameat,renameat2:error=EIO",
        ],
    );
}

fn one_fault_after_the_other(mailboxes: &[&str], faults: &[&str]) {
    let store = Store::new();
    for name in mailboxes {
        store.make(name, &(1..=50).collect::<Vec<_>>(), &[]);
    }
    store.summary(0, &[]);
    let old = store.caches();
    assert_eq!(old.len(), mailboxes.len());
    for name in mailboxes {
        let dir = store.mailbox(name);
        fs::write(dir.join("new"), "changed").expect("write");
        fs::rename(dir.join("new"), dir.join("7.")).expect("replace");
    }
    for fault in faults {
        let mut command = Command::new("strace");
        command.args([
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            &format!("inject={fault}"),
        ]);
        command
            .args([PRECOMPUTE, "run", "--quiet", "--imapd-conf"])
            .arg(store.conf());
        let output = command.output().expect("strace must be installed");
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(74), "{fault}: {errors}");
        assert_eq!(store.caches(), old, "{fault}");
        for name in mailboxes {
            let temporary = store.mailbox(name).join("cyrus.sha1s.tmp");
            assert!(
                errors.contains(&*temporary.to_string_lossy()),
                "{fault}: {errors}"
            );
            assert!(!temporary.exists(), "{fault}");
        }
    }
}
