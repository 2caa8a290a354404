//! What a run takes from the live server, seen from outside: pause, load, rate, priority; and
//! progress as lines.

mod common;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{PRECOMPUTE, Store};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// No machine is so slow that what is waited for takes longer.
const BOUND: Duration = Duration::from_secs(60);

fn store(mailboxes: u32) -> Store {
    let store = Store::new();
    for i in 0..mailboxes {
        store.make(
            &format!("user.u{i}"),
            &(1..=60).collect::<Vec<_>>(),
            &[70, 65],
        );
    }
    store
}

fn start(store: &Store, more: &[&str]) -> Child {
    let mut run = Command::new(PRECOMPUTE);
    run.args(["run", "--imapd-conf"])
        .arg(store.conf())
        .args(more);
    let run = run.stdout(Stdio::piped()).stderr(Stdio::piped());
    run.spawn().expect("start")
}

/// Sends lines of the program's standard error here, one by one.
fn errors(run: &mut Child) -> std::sync::mpsc::Receiver<String> {
    let stderr = run.stderr.take().expect("piped");
    let (to, lines) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
            let _ = to.send(String::from_utf8_lossy(&line).into_owned());
        }
    });
    lines
}

/// The next line that has `text` in it.
fn line(lines: &std::sync::mpsc::Receiver<String>, text: &str) -> String {
    let end = Instant::now() + BOUND;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let line = lines.recv_timeout(left);
        let line = line.unwrap_or_else(|_| panic!("no line with {text:?}"));
        if line.contains(text) {
            return line;
        }
    }
}

fn signal(run: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(run.id()).expect("pid"));
    kill(pid, signal).expect("signal");
}

fn end(mut run: Child) -> (i32, String) {
    let mut out = String::new();
    let mut stdout = run.stdout.take().expect("piped");
    stdout.read_to_string(&mut out).expect("text");
    (run.wait().expect("end").code().expect("no signal"), out)
}

#[test]
fn sigusr1_pauses_and_continues() {
    let store = store(12);
    // A limit, so that the run is not over before the signal.
    let mut run = start(&store, &["--json", "--max-rate", "1M"]);
    let lines = errors(&mut run);
    while store.caches().is_empty() {
        std::thread::sleep(Duration::from_millis(5));
        assert!(run.try_wait().expect("state").is_none());
    }
    signal(&run, Signal::SIGUSR1);
    line(&lines, "paused; SIGUSR1 again to go on");
    // A thread that waited for the limit reads at most what it waited for.
    std::thread::sleep(Duration::from_millis(700));
    let paused = store.caches();
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!(store.caches(), paused, "nothing is done while paused");
    assert!(paused.len() < 12);
    signal(&run, Signal::SIGUSR1);
    line(&lines, "going on");
    let (code, out) = end(run);
    let summary: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((code, &summary["errors"]), (0, &0.into()));
    assert_eq!(store.believed_and_right(), 12 * 62);
}

#[test]
fn a_paused_run_can_be_stopped() {
    let store = store(3);
    // The load is never below 0.
    let mut run = start(&store, &["--json", "--while-load-below", "0"]);
    let lines = errors(&mut run);
    line(&lines, "paused: the load is ");
    assert!(store.caches().is_empty());
    signal(&run, Signal::SIGTERM);
    let (code, out) = end(run);
    let summary: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((code, &summary["stopped"]), (75, &true.into()));
    // And the load is always below this.
    let (code, _) = end(start(&store, &["--quiet", "--while-load-below", "1e9"]));
    assert_eq!((code, store.caches().len()), (0, 3));
}

#[test]
fn a_rate_is_not_exceeded() {
    let store = store(4);
    let bytes = store.summary(0, &[])["bytes"].as_u64().expect("a number");
    store.forget();
    // A run that reads this in less than a second breaks the limit; a slow machine cannot.
    let rate = (bytes / 2).to_string();
    let before = Instant::now();
    let summary = store.summary(0, &["--max-rate", &rate]);
    assert!(
        before.elapsed() >= Duration::from_secs(1),
        "twice the limit"
    );
    assert_eq!(summary["bytes"], bytes);
}

#[test]
fn nice_is_the_lowest_priority_for_all_threads() {
    let store = store(1);
    let flag = store.spool().with_file_name("pause");
    fs::write(&flag, "").expect("flag");
    let pause = flag.display().to_string();
    let mut run = start(&store, &["--quiet", "--nice", "--pause-file", &pause]);
    let lines = errors(&mut run);
    line(&lines, "paused: ");
    let tasks = fs::read_dir(format!("/proc/{}/task", run.id())).expect("alive");
    let nice = tasks.filter_map(|task| {
        // A thread may end while we look.
        let stat = fs::read_to_string(task.ok()?.path().join("stat")).ok()?;
        let (_, rest) = stat.rsplit_once(')').expect("a name in parentheses");
        let nice = rest.split_whitespace().nth(16).expect("field 19");
        Some(nice.to_owned())
    });
    let nice: Vec<String> = nice.collect();
    assert!(
        !nice.is_empty() && nice.iter().all(|n| n == "19"),
        "{nice:?}"
    );
    fs::remove_file(&flag).expect("unflag");
    assert_eq!(end(run).0, 0);
}

#[test]
fn progress_that_no_terminal_shows_is_plain_lines() {
    let store = store(3);
    let flag = store.spool().with_file_name("pause");
    fs::write(&flag, "").expect("flag");
    let pause = flag.display().to_string();
    let mut run = start(&store, &["--line-every", "1", "--pause-file", &pause]);
    let lines = errors(&mut run);
    let shown = line(&lines, " messages, ");
    assert!(
        shown.contains("0 messages, 0 B of ") && shown.ends_with("0 findings"),
        "{shown}"
    );
    fs::remove_file(&flag).expect("unflag");
    let (code, out) = end(run);
    assert_eq!(code, 0);
    assert!(
        out.starts_with("3 mailboxes, 186 messages: 186 hashed"),
        "{out}"
    );
    let all: Vec<String> = lines.iter().chain([shown, out]).collect();
    let control = |c: char| c.is_control() && c != '\n';
    assert!(!all.iter().any(|line| line.contains(control)), "{all:?}");
}
