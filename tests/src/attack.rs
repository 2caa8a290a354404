//! What tests that attack a slotd look at.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use stores::Host;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::process::{Ended, Slotd};

/// What slotd may come to, KiB.
pub const LIMIT_KIB: u64 = 64 << 10;
/// How long anything may take before it counts as stuck; what is promised is far less.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// How long a client that behaves may have to wait for an answer, whatever goes on.
pub const ANSWER: Duration = Duration::from_secs(1);

/// A client that behaves, which waits no longer than it is given, is answered within [`ANSWER`]:
/// once in three tries, as the machine may be busy with other things.
///
/// # Panics
/// It is not.
pub fn answered<E: std::fmt::Display>(ask: impl Fn(Duration) -> Result<(), E>) {
    let mut failed = Vec::new();
    while failed.len() < 3 {
        match ask(ANSWER) {
            Ok(()) => return,
            Err(error) => failed.push(error.to_string()),
        }
    }
    panic!("a good client is not answered within {ANSWER:?}: {failed:?}");
}

/// Gives a store a thousand mailboxes side by side, whose names are long, and longer in an answer.
///
/// # Panics
/// They cannot be made.
pub fn enlarge(host: &Host) {
    let like = host.dirs("user.alice").meta;
    for n in 0..1000 {
        let name = format!("user.alice.{n:04}{}", "+".repeat(180));
        let dirs = host.place(&name);
        for dir in [&dirs.meta, &dirs.data] {
            fs::create_dir_all(dir).unwrap();
        }
        for file in ["cyrus.header", "cyrus.index"] {
            fs::hard_link(like.join(file), dirs.meta.join(file)).unwrap();
        }
    }
}

/// Waits until that is so.
///
/// # Panics
/// It is not, for longer than [`PATIENCE`].
pub fn until(what: &str, done: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// How many files a process has open.
///
/// # Panics
/// There is no such process.
#[must_use]
pub fn files(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// The largest resident size that a process came to, KiB.
///
/// # Panics
/// There is no such process.
#[must_use]
pub fn peak(pid: u32) -> u64 {
    status(pid, "VmHWM:")
}

/// Pages of a release of slotd that are in memory, KiB; those of a build for tests are twice as
/// many, and are taken off.
const OF_A_RELEASE: u64 = 7 << 10;

/// A number of KiB that the system has of a process.
fn status(pid: u32, key: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find(|line| line.starts_with(key)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// What every slotd promises after an attack: no more files are open than before, its memory stayed
/// small, and it ends well when it is asked to. How it ended, with what it logged.
///
/// # Panics
/// One of these is not so.
#[must_use]
pub fn unharmed(slotd: Slotd, open_before: usize) -> Ended {
    let pid = slotd.pid();
    until("descriptors are not given back", || {
        files(pid) <= open_before
    });
    let (peak, of_its_file) = (peak(pid), status(pid, "RssFile:"));
    let peak = peak - of_its_file.saturating_sub(OF_A_RELEASE);
    eprintln!("largest resident size: {peak} KiB; of its own file: {of_its_file} KiB");
    assert!(peak < LIMIT_KIB, "{peak} KiB");
    let ended = slotd.stop();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    ended
}

/// This process may have as many files open as the system allows it.
///
/// # Panics
/// That is too few.
pub fn raise_files(wanted: u64) {
    let limits = getrlimit(Resource::Nofile);
    let most = limits.maximum.unwrap_or(u64::MAX);
    assert!(
        most >= wanted,
        "this test needs {wanted} open files (ulimit -Hn is {most})"
    );
    let raised = Rlimit {
        current: Some(most.min(1 << 20)),
        ..limits
    };
    setrlimit(Resource::Nofile, raised).unwrap();
}
