//! A running controller is steered: each verb is answered at once, and after `pause` nothing of
//! ours is on the hosts.

#[path = "control/hooks.rs"]
mod hooks;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use controller::control::{Ask, ask, socket_path};
use indexfile::mailbox::ImapdConf;
use nix::sys::signal::Signal;
use serde_json::Value;

use stores::judge::snapshot;
use stores::judge::{State, When};
use tests::fleet::Fleet;
use tests::process::Guard;

/// How long anything here may take before it counts as stuck.
const LIMIT: Duration = Duration::from_secs(60);

/// Asks until there is a controller that answers and says what is wanted of it.
fn wait_for(fleet: &Fleet, verb: &Ask, wanted: impl Fn(&Value) -> bool) -> Value {
    let end = Instant::now() + LIMIT;
    loop {
        match ask(&socket_path(&fleet.journal()), verb) {
            Ok(live) if wanted(&live) => return live,
            other => assert!(Instant::now() < end, "{other:?}"),
        }
        thread::sleep(Duration::from_millis(1));
    }
}

fn number(live: &Value, key: &str) -> u64 {
    live[key].as_u64().unwrap()
}

/// Files of the store on which the kernel knows a lock, of any process.
fn locked_below(root: &Path) -> Vec<String> {
    let tree = snapshot::take(root).unwrap();
    // `1: OFDLCK  ADVISORY  WRITE -1 08:01:131 0 EOF`
    let table = fs::read_to_string("/proc/locks").unwrap();
    let inodes: BTreeSet<u64> = table
        .lines()
        .filter_map(|line| {
            line.split_whitespace()
                .find(|w| w.matches(':').count() == 2)
        })
        .filter_map(|place| place.rsplit(':').next()?.parse().ok())
        .collect();
    let locked = |path: &&std::path::PathBuf| {
        let path = root.join(path);
        fs::metadata(path).is_ok_and(|m| inodes.contains(&m.ino()))
    };
    tree.keys()
        .filter(locked)
        .map(|p| p.display().to_string())
        .collect()
}

#[test]
fn after_pause_no_lock_and_no_staged_file_of_ours_is_left_and_resume_goes_on() {
    const MAILBOXES: u64 = 150;
    let mut fleet = Fleet::plain(usize::try_from(MAILBOXES).unwrap(), 2);
    fleet.start();
    let run =
        Guard::spawn(&mut fleet.command("upgrade", &["--parallel", "8", "--prepare", "--json"]));
    wait_for(&fleet, &Ask::Status, |live| number(live, "done") >= 20);
    let paused = wait_for(&fleet, &Ask::Pause, |_| true);
    assert_eq!(paused["paused"], true, "{paused}");
    // What was under way comes to its end, and then nothing happens any more.
    let still = wait_for(&fleet, &Ask::Status, |live| number(live, "under_way") == 0);
    assert_eq!(still["waiting"], "paused", "{still}");
    for host in [&fleet.master, &fleet.replica] {
        assert_eq!(locked_below(&host.data), Vec::<String>::new());
        let tree = snapshot::take(&host.data).unwrap();
        let ours = |p: &&std::path::PathBuf| {
            let name = p.to_string_lossy();
            name.contains(".NEW") || name.contains("reguid")
        };
        assert_eq!(
            tree.keys().filter(ours).collect::<Vec<_>>(),
            Vec::<&std::path::PathBuf>::new()
        );
    }
    let reports = fleet.check(When::Settled);
    for report in &reports {
        report.assert_clean(); // every mailbox is wholly old or wholly new, alike on both hosts
    }
    let done = number(&still, "done");
    assert!(done < MAILBOXES, "the pause came too late to show anything");
    assert_eq!(reports[0].count(State::New) as u64, done);
    let later = wait_for(&fleet, &Ask::Status, |_| true);
    assert_eq!(number(&later, "done"), done, "it went on while paused");

    wait_for(&fleet, &Ask::Resume, |_| true);
    let summary = run.finish().expect_code(0).json();
    assert_eq!(summary["upgraded"], MAILBOXES, "{summary}");
    let _ = fleet.assert_settled();
}

/// Starts a run over many mailboxes, and returns once some of them are done.
fn begun(fleet: &Fleet, options: &[&str]) -> Guard {
    let options = [&["--parallel", "2", "--json"], options].concat();
    let run = Guard::spawn(&mut fleet.command("upgrade", &options));
    wait_for(fleet, &Ask::Status, |live| number(live, "done") >= 5);
    run
}

/// A run that was ended early: each mailbox is wholly old or wholly new, alike on both hosts, and
/// the same command goes on.
fn goes_on(fleet: &Fleet, mailboxes: u64) {
    for report in fleet.check(When::Settled) {
        report.assert_clean();
    }
    assert_eq!(fleet.open_transactions(), Vec::<String>::new());
    let status = fleet.controller("status", &[]).expect_code(0).stdout;
    let nobody = "no controller is running: the same command goes on";
    assert!(status.contains(nobody), "{status}");
    let summary = fleet.controller("upgrade", &["--json"]).expect_code(0);
    assert_eq!(summary.json()["upgraded"], mailboxes);
    let _ = fleet.assert_settled();
}

#[test]
fn a_panic_ends_a_run_at_once_by_the_verb_and_by_a_file() {
    const MAILBOXES: u64 = 400;
    let mut fleet = Fleet::plain(usize::try_from(MAILBOXES).unwrap(), 2);
    fleet.start();
    let run = begun(&fleet, &["--quiet"]);
    let _ = fleet.controller("panic", &[]).expect_code(0);
    let ended = run.finish().expect_code(75);
    let said: Vec<&str> = ended
        .stderr
        .lines()
        .filter(|l| l.contains("at once"))
        .collect();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[0]
            .starts_with("the run was ended at once because `panic` was asked for: what was not"),
        "{said:?}"
    );
    assert_eq!(ended.json()["panic"], "`panic` was asked for");

    let file = fleet.journal().with_extension("panic");
    let option = file.to_str().unwrap();
    let run = begun(
        &fleet,
        &["--panic-file", option, "--quiet", "--nice-ratio", "20"],
    );
    fs::write(&file, "").unwrap();
    let ended = run.finish().expect_code(75);
    let why = format!("{option} exists (--panic-file)");
    assert_eq!(ended.json()["panic"], why);
    assert!(
        ended.stderr.contains(&format!("because {why}: ")),
        "{}",
        ended.stderr
    );

    let refused = fleet.controller("upgrade", &["--panic-file", option]);
    let refused = refused.expect_code(78);
    refused.assert_one_sentence(&format!("{option} exists; nothing was begun"));
    let _ = fleet.controller("panic", &[]).expect_code(69);
    goes_on(&fleet, MAILBOXES);
}

#[test]
fn a_hangup_lets_what_is_under_way_end_unless_it_is_ignored() {
    const MAILBOXES: u64 = 200;
    let mut fleet = Fleet::plain(usize::try_from(MAILBOXES).unwrap(), 2);
    fleet.start();
    let run = begun(&fleet, &["--quiet"]);
    run.signal(Signal::SIGHUP);
    run.signal(Signal::SIGHUP);
    let summary = run.finish().expect_code(75).json();
    assert_eq!(summary["panic"], Value::Null, "{summary}");
    assert_eq!(
        summary["failures"],
        serde_json::json!({}),
        "nothing was rolled back"
    );
    // As by nohup.
    let command = fleet.command("upgrade", &["--parallel", "2", "--json", "--quiet"]);
    let mut words = vec!["-c", "trap '' HUP; exec \"$0\" \"$@\""];
    words.push(command.get_program().to_str().unwrap());
    words.extend(command.get_args().map(|word| word.to_str().unwrap()));
    let run = Guard::spawn(std::process::Command::new("sh").args(words));
    wait_for(&fleet, &Ask::Status, |live| number(live, "run") > 0);
    run.signal(Signal::SIGHUP);
    assert_eq!(run.finish().expect_code(0).json()["upgraded"], MAILBOXES);
    let _ = fleet.assert_settled();
}

#[test]
fn a_pause_survives_the_controller_and_resume_needs_none() {
    const MAILBOXES: u64 = 200;
    let mut fleet = Fleet::plain(usize::try_from(MAILBOXES).unwrap(), 2);
    fleet.start();
    let run = begun(&fleet, &["--quiet"]);
    let _ = fleet.controller("pause", &[]).expect_code(0);
    run.signal(Signal::SIGKILL);
    drop(run);
    let status = fleet.controller("status", &[]).expect_code(0).stdout;
    assert!(status.contains("paused since "), "{status}");
    let begin = || Guard::spawn(&mut fleet.command("upgrade", &["--json", "--quiet"]));
    // It comes up paused, and a controller that runs is resumed.
    let run = begin();
    let up = wait_for(&fleet, &Ask::Status, |live| {
        number(live, "mailboxes") == MAILBOXES
    });
    assert_eq!(
        (&up["waiting"], number(&up, "under_way")),
        (&"paused".into(), 0)
    );
    wait_for(&fleet, &Ask::Resume, |_| true);
    wait_for(&fleet, &Ask::Status, |live| {
        number(live, "done") > number(&up, "done")
    });
    let _ = fleet.controller("pause", &[]).expect_code(0);
    let _ = fleet.controller("stop", &[]).expect_code(0);
    let ended = run.finish().expect_code(75);
    assert!(ended.stderr.contains("paused since "), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("controller resume --state "),
        "{}",
        ended.stderr
    );
    // None runs.
    let resumed = fleet.controller("resume", &[]).expect_code(0).stdout;
    assert!(resumed.starts_with("no longer paused"), "{resumed}");
    let again = fleet.controller("resume", &[]).expect_code(69);
    again.assert_one_sentence("its journal has nothing that is paused");
    let summary = begin().finish().expect_code(0).json();
    assert_eq!(summary["upgraded"], MAILBOXES);
    let _ = fleet.assert_settled();
}

#[test]
fn nothing_is_committed_while_the_hold_commit_file_is_there() {
    const MAILBOXES: u64 = 60;
    let mut fleet = Fleet::plain(usize::try_from(MAILBOXES).unwrap(), 2);
    fleet.start();
    let file = fleet.journal().with_extension("hold");
    fs::write(&file, "").unwrap();
    let options = [
        "--json",
        "--quiet",
        "--hold-commit-file",
        file.to_str().unwrap(),
    ];
    let run = Guard::spawn(&mut fleet.command("upgrade", &options));
    let is_postponed = |live: &Value| {
        let why = live["waiting"].as_str().unwrap_or_default();
        why.starts_with("postponed since ") && number(live, "mailboxes") == MAILBOXES
    };
    wait_for(&fleet, &Ask::Status, is_postponed);
    let status = fleet.controller("status", &[]).expect_code(0).stdout;
    let why = format!("{} exists (hold-commit-file)", file.display());
    assert!(status.contains(&why), "{status}");
    for host in [&fleet.master, &fleet.replica] {
        assert_eq!(locked_below(&host.data), Vec::<String>::new());
    }
    for report in fleet.check(When::Settled) {
        report.assert_clean();
        assert_eq!(report.count(State::New), 0);
    }
    fs::remove_file(&file).unwrap();
    assert_eq!(run.finish().expect_code(0).json()["upgraded"], MAILBOXES);
    let _ = fleet.assert_settled();
}

#[test]
fn a_run_waits_while_a_sync_log_of_a_host_is_too_old_and_goes_on_once_it_is_worked_off() {
    let mut fleet = Fleet::plain(3, 2);
    fleet.start();
    let conf = ImapdConf::load(&fleet.replica.conf).unwrap();
    let sync = conf.config_directory().unwrap().join("sync");
    fs::create_dir_all(&sync).unwrap();
    let log = sync.join("log");
    let then = SystemTime::now() - Duration::from_secs(731);
    fs::File::create(&log).unwrap().set_modified(then).unwrap();

    let run = Guard::spawn(&mut fleet.command("upgrade", &["--max-lag", "600", "--json"]));
    let waiting = wait_for(&fleet, &Ask::Status, |live| {
        let why = live["waiting"].as_str().unwrap_or_default();
        let waits = why.starts_with("replica ") && why.contains("over 600 s");
        waits && number(live, "mailboxes") == 3
    });
    let why = waiting["waiting"].as_str().unwrap();
    assert!(why.contains(log.to_str().unwrap()), "{why}");
    assert_eq!(
        (number(&waiting, "done"), number(&waiting, "under_way")),
        (0, 0)
    );
    let status = fleet.controller("status", &[]).expect_code(0);
    assert!(
        status.stdout.contains("waiting: replica "),
        "{}",
        status.stdout
    );
    assert_eq!(locked_below(&fleet.replica.data), Vec::<String>::new());

    // As a sync_client does it.
    let work = sync.join("log-run");
    fs::rename(&log, &work).unwrap();
    fs::remove_file(&work).unwrap();
    let summary = run.finish().expect_code(0).json();
    assert_eq!(summary["upgraded"], 3, "{summary}");
    let _ = fleet.assert_settled();
}

/// p50, p99 and maximum, in milliseconds.
fn spread(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1000.0;
    format!(
        "p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms ({} times)",
        at(50),
        at(99),
        at(100),
        times.len()
    )
}

#[test]
#[ignore = "a measurement: prints how soon each verb is answered during a busy run"]
fn how_soon_each_verb_is_answered_during_a_busy_run() {
    let mailboxes = std::env::var("REGUID_CONTROL_MAILBOXES");
    let mailboxes = mailboxes
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(10_000);
    let mut fleet = Fleet::plain(mailboxes, 2);
    fleet.start();
    let run = Guard::spawn(&mut fleet.command("upgrade", &["--parallel", "16", "--quiet"]));
    wait_for(&fleet, &Ask::Status, |live| number(live, "done") > 0);
    let set = |value: &str| Ask::Set {
        key: "parallel".to_owned(),
        value: value.to_owned(),
    };
    let verbs = [
        ("status", Ask::Status),
        ("set", set("15")),
        ("pause", Ask::Pause),
        ("resume", Ask::Resume),
    ];
    let mut times = vec![Vec::new(); verbs.len() + 1];
    let socket = socket_path(&fleet.journal());
    'busy: while let Ok(live) = ask(&socket, &Ask::Status) {
        if number(&live, "done") * 10 > number(&live, "mailboxes") * 9 {
            break;
        }
        for ((_, verb), times) in verbs.iter().zip(&mut times) {
            let begun = Instant::now();
            if ask(&socket, verb).is_err() {
                break 'busy;
            }
            times.push(begun.elapsed());
        }
        // The command as a person gives it: a process of its own, and a look into the journal.
        let begun = Instant::now();
        let _ = fleet.controller("status", &[]).expect_code(0);
        if let Some(times) = times.last_mut() {
            times.push(begun.elapsed());
        }
        thread::sleep(Duration::from_millis(20));
    }
    let _ = run.finish().expect_code(0);
    let names = verbs
        .iter()
        .map(|(name, _)| *name)
        .chain(["controller status"]);
    for (name, times) in names.zip(times) {
        println!("{name}: {}", spread(times));
    }
}

#[test]
fn status_says_how_many_at_once_auto_has_and_why() {
    const MAILBOXES: u64 = 400;
    let mut fleet = Fleet::plain(usize::try_from(MAILBOXES).unwrap(), 2);
    fleet.start();
    // The default.
    let run = Guard::spawn(&mut fleet.command("upgrade", &["--json", "--quiet"]));
    let set = |key: &str, value: &str| Ask::Set {
        key: key.to_owned(),
        value: value.to_owned(),
    };
    wait_for(&fleet, &Ask::Status, |live| number(live, "done") > 0);
    wait_for(&fleet, &Ask::Pause, |_| true);
    // What is under way when it pauses may still change the number.
    let live = wait_for(&fleet, &Ask::Status, |live| number(live, "under_way") == 0);
    assert_eq!(live["limits"]["parallel"], "auto", "{live}");
    assert_eq!(live["steered"]["at_once"], live["allowed"], "{live}");
    assert_eq!(live["steered"]["target_lock_ms"], 10.0, "{live}");
    let text = fleet.controller("status", &[]).expect_code(0).stdout;
    let why = live["steered"]["why"].as_str().unwrap();
    let allowed = number(&live, "allowed");
    assert!(
        text.contains(&format!("at most {allowed} of auto")) && text.contains(why),
        "{text} {why}"
    );

    let live = wait_for(&fleet, &set("parallel", "7"), |_| true);
    assert_eq!(
        (number(&live, "allowed"), &live["steered"]),
        (7, &Value::Null),
        "{live}"
    );
    let live = wait_for(&fleet, &set("target-lock", "20ms"), |_| true);
    assert_eq!(live["steered"]["of"], "7", "{live}");
    let live = wait_for(&fleet, &set("parallel", "auto"), |_| true);
    assert_eq!(live["steered"]["target_lock_ms"], 20.0, "{live}");
    let text = fleet.controller("status", &[]).expect_code(0).stdout;
    assert!(text.contains(", target-lock 20ms\n"), "{text}");
    let read = fleet.controller("set", &["parallel", "?"]).expect_code(0);
    assert_eq!(read.stdout, "parallel auto\n");
    let odd = fleet.controller("set", &["parallel", "many"]);
    odd.expect_code(64)
        .assert_one_sentence("or auto, is expected");
    wait_for(&fleet, &Ask::Resume, |_| true);
    let summary = run.finish().expect_code(0).json();
    assert_eq!(summary["upgraded"], MAILBOXES, "{summary}");
    let [least, most] = ["least", "most"].map(|key| number(&summary["steered"], key));
    assert!(1 <= least && least <= most && most <= 64, "{summary}");
    let _ = fleet.assert_settled();
}
