//! What is left when a run is killed or stopped, and what the next one makes of it.

mod common;

use std::fs;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use common::{PRECOMPUTE, Store, walk};
use indexfile::finding::Finding;
use indexfile::walk::Leaves;
use precompute::governor::Governor;
use precompute::pass::{self, Observer, Options};
use precompute::store::{Store as Tree, walk as walk_store};

fn store() -> Store {
    let store = Store::new();
    for i in 0..25 {
        store.make(
            &format!("user.u{i}"),
            &(1..=60).collect::<Vec<_>>(),
            &[70, 65],
        );
    }
    store.make("user.large", &(1..=1_500).collect::<Vec<_>>(), &[]);
    store
}

fn strays(store: &Store) -> usize {
    let stray = |path: &std::path::PathBuf| path.to_string_lossy().contains("sha1s.");
    walk(&store.spool())
        .iter()
        .filter(|path| stray(path))
        .count()
}

#[test]
fn killed_at_random_moments_and_run_again_gives_the_same_bytes() {
    let store = store();
    store.summary(0, &[]);
    let undisturbed = store.caches();
    assert_eq!(undisturbed.len(), 26);
    // A whole run takes some tens of milliseconds here; the moments are spread over all of it.
    let mut moment = 0x2545_f491_4f6c_dd1d_u64;
    for round in 0..40 {
        if round % 4 == 0 {
            store.forget();
        }
        moment ^= moment << 13;
        moment ^= moment >> 7;
        moment ^= moment << 17;
        let mut run = Command::new(PRECOMPUTE);
        run.args(["run", "--quiet", "--imapd-conf"])
            .arg(store.conf());
        let mut run = run.stdout(Stdio::null()).spawn().expect("start");
        std::thread::sleep(Duration::from_micros(moment % 60_000));
        run.kill().expect("SIGKILL");
        run.wait().expect("reap");
        // What is there is whole and right at every moment.
        store.believed_and_right();
        for (path, bytes) in store.caches() {
            assert_eq!(bytes, undisturbed[&path], "{}", path.display());
        }
        if round % 4 == 3 {
            store.summary(0, &[]);
            assert_eq!(store.caches(), undisturbed);
            assert_eq!(strays(&store), 0);
        }
    }
}

/// Stops the run after a number of messages.
struct StopAfter<'a> {
    governor: &'a Governor,
    messages: u64,
    read: AtomicU64,
}

impl Observer for StopAfter<'_> {
    fn finding(&self, finding: Finding) {
        panic!("{finding:?}");
    }

    fn progress(&self, _partition: &str, messages: u64, bytes: u64) {
        let more = if bytes > 0 { messages } else { 0 };
        if self.read.fetch_add(more, Ordering::Relaxed) + more >= self.messages {
            self.governor.stop();
        }
    }
}

fn run_until(store: &Store, messages: u64, checkpoint: Duration) -> pass::Summary {
    let governor = Governor::default();
    let observer = StopAfter {
        governor: &governor,
        messages,
        read: AtomicU64::new(0),
    };
    let options = Options {
        jobs: 3,
        checkpoint,
        ..Options::default()
    };
    let steps = walk_store(&Tree::plain(&store.spool(), None, None), Leaves::Skip);
    pass::run(steps, &options, &governor, &observer).expect("threads")
}

/// Panics at the first message.
struct Panics(AtomicBool);

impl Observer for Panics {
    fn finding(&self, finding: Finding) {
        panic!("{finding:?}");
    }

    fn progress(&self, _partition: &str, _messages: u64, _bytes: u64) {
        assert!(self.0.swap(true, Ordering::Relaxed), "on purpose");
    }
}

#[test]
fn a_thread_that_panics_ends_the_run_and_no_other_waits_for_it() {
    let store = store();
    let governor = Governor::default();
    let panics = Panics(AtomicBool::new(false));
    let run = std::panic::AssertUnwindSafe(|| {
        let steps = walk_store(&Tree::plain(&store.spool(), None, None), Leaves::Skip);
        pass::run(steps, &Options::default(), &governor, &panics)
    });
    assert!(std::panic::catch_unwind(run).is_err());
    assert!(governor.stopped());
    store.believed_and_right();
    store.summary(0, &[]);
    assert_eq!(strays(&store), 0);
}

#[test]
fn a_stopped_run_keeps_what_it_did_and_the_next_one_goes_on_from_there() {
    let store = store();
    store.summary(0, &[]);
    let undisturbed = store.caches();
    store.forget();
    let mut before = 0;
    for messages in [100, 400, 900, 700] {
        let summary = run_until(&store, messages, Duration::from_secs(30));
        assert!(summary.stopped);
        assert!(summary.hashed >= messages, "{summary:?}");
        // Nothing that was hashed before is hashed again.
        assert_eq!(
            store.believed_and_right() as u64,
            before + summary.hashed,
            "{summary:?}"
        );
        before += summary.hashed;
        assert_eq!(strays(&store), 0);
    }
    let summary = store.summary(0, &[]);
    assert_eq!(
        summary["hashed"].as_u64(),
        Some(25 * 62 + 1_500 - before),
        "{summary}"
    );
    assert_eq!(store.caches(), undisturbed);
}

#[test]
fn checkpoints_change_nothing_in_the_end() {
    let store = store();
    store.summary(0, &[]);
    let undisturbed = store.caches();
    store.forget();
    let summary = run_until(&store, u64::MAX, Duration::from_millis(1));
    assert!(!summary.stopped);
    assert_eq!(store.caches(), undisturbed);
    assert_eq!(strays(&store), 0);
}

#[test]
fn a_giant_mailbox_loses_little_when_it_is_killed() {
    let store = Store::new();
    store.make("user.giant", &(1..=1_500).collect::<Vec<_>>(), &[]);
    // Slow enough to be caught in the middle; a checkpoint every 50 ms.
    let program = std::env::current_exe().expect("this test");
    let mut child = Command::new(program);
    child
        .args([
            "--exact",
            "the_slow_run_of_another_test",
            "--ignored",
            "--nocapture",
        ])
        .env("REGUID_TEST_SPOOL", store.spool())
        .stdout(Stdio::null());
    let mut child = child.spawn().expect("start");
    let cache = store.mailbox("user.giant").join("cyrus.sha1s");
    let appeared = (0..600).any(|_| {
        std::thread::sleep(Duration::from_millis(50));
        cache.exists()
    });
    child.kill().expect("SIGKILL");
    child.wait().expect("reap");
    assert!(appeared, "no checkpoint within half a minute");
    let kept = store.believed_and_right();
    assert!(kept > 0);
    let summary = store.summary(0, &[]);
    assert_eq!(summary["cached"], kept);
    assert_eq!(summary["hashed"], 1_500 - kept);
    assert_eq!(strays(&store), 0);
}

/// Started by the test above as a process of its own, to be killed.
#[test]
#[ignore = "the body of a child process of a_giant_mailbox_loses_little_when_it_is_killed"]
fn the_slow_run_of_another_test() {
    let Some(spool) = std::env::var_os("REGUID_TEST_SPOOL") else {
        panic!("started by hand");
    };
    let governor = Governor::new(Some(1 << 20));
    let observer = StopAfter {
        governor: &governor,
        messages: u64::MAX,
        read: AtomicU64::new(0),
    };
    let options = Options {
        jobs: 2,
        checkpoint: Duration::from_millis(50),
        ..Options::default()
    };
    let steps = walk_store(&Tree::plain(spool.as_ref(), None, None), Leaves::Skip);
    pass::run(steps, &options, &governor, &observer).expect("threads");
}

#[test]
fn sigterm_keeps_what_is_done_and_says_so() {
    let store = store();
    let mut run = Command::new(PRECOMPUTE);
    run.args(["run", "--json", "--max-rate", "1M", "--imapd-conf"])
        .arg(store.conf());
    let run = run
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("start");
    let some = (0..200).any(|_| {
        std::thread::sleep(Duration::from_millis(50));
        !store.caches().is_empty()
    });
    assert!(some, "no cache within ten seconds");
    let pid = nix::unistd::Pid::from_raw(i32::try_from(run.id()).expect("pid"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("SIGTERM");
    let output = run.wait_with_output().expect("end");
    assert_eq!(output.status.code(), Some(75));
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(summary["stopped"], true);
    let kept = store.believed_and_right();
    assert_eq!(summary["hashed"], kept, "{summary}");
    assert_eq!(strays(&store), 0);
}

#[test]
fn a_flag_file_pauses_until_it_is_removed() {
    let store = store();
    let flag = store.spool().with_file_name("pause");
    fs::write(&flag, "").expect("flag");
    let mut run = Command::new(PRECOMPUTE);
    run.args(["run", "--quiet", "--pause-file"]).arg(&flag);
    run.arg("--imapd-conf").arg(store.conf());
    let mut run = run.stderr(Stdio::null()).spawn().expect("start");
    std::thread::sleep(Duration::from_millis(1_500));
    assert!(store.caches().is_empty(), "it waits");
    assert!(run.try_wait().expect("state").is_none(), "and lives");
    fs::remove_file(&flag).expect("unflag");
    assert!(run.wait().expect("end").success());
    assert_eq!(store.caches().len(), 26);
}
