//! What an operator sees while a run works: `status --watch`, `set` as a question, and progress as
//! JSON for programs.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use controller::control::{Ask, LIMITS, ask, socket_path};
use serde_json::Value;
use tests::fleet::{Fleet, program};
use tests::pairs::Pairs;
use tests::process::Guard;

/// How long anything here may take before it counts as stuck.
const LIMIT: Duration = Duration::from_secs(60);

/// Waits until the controller of that journal waits for something.
fn until_it_waits(journal: &std::path::Path) -> Value {
    let end = Instant::now() + LIMIT;
    loop {
        match ask(&socket_path(journal), &Ask::Status) {
            Ok(live) if live["waiting"].is_string() && live["mailboxes"].as_u64() > Some(0) => {
                return live;
            }
            other => assert!(Instant::now() < end, "{other:?}"),
        }
        thread::sleep(Duration::from_millis(5));
    }
}

fn events(stderr: &str) -> Vec<Value> {
    let event = |line: &str| -> Value {
        let event: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        let time = event["time"].as_str().unwrap();
        assert!(time.len() > 19 && time.ends_with('Z'), "{time}");
        assert!(event["event"].is_string(), "{event}");
        event
    };
    stderr.lines().map(event).collect()
}

#[test]
fn progress_as_json_is_one_object_a_line_with_its_time_and_nothing_else() {
    const MAILBOXES: u64 = 40;
    let mut fleet = Fleet::plain(usize::try_from(MAILBOXES).unwrap(), 2);
    fleet.start();
    let options = ["--progress", "json", "--json", "-v"];
    let done = fleet.controller("upgrade", &options).expect_code(0);
    assert_eq!(done.json()["upgraded"], MAILBOXES);
    let noted = events(&done.stderr);
    let of = |kind: &str| {
        noted
            .iter()
            .filter(|e| e["event"] == kind)
            .collect::<Vec<_>>()
    };
    assert_eq!(of("mailbox").len() as u64, MAILBOXES, "{noted:?}");
    assert_eq!(of("mailbox")[0]["ended"], "upgraded");
    let last = of("progress").last().copied().cloned().unwrap();
    let all = Value::from(MAILBOXES);
    assert_eq!((&last["done"], &last["mailboxes"]), (&all, &all));
    // What goes wrong is an event as well, of whichever kind.
    let unknown = fleet.controller("upgrade", &["--progress", "json", "user.nobody"]);
    let noted = events(&unknown.expect_code(67).stderr);
    let text = |e: &&Value| {
        e["text"]
            .as_str()
            .is_some_and(|t| t.contains("user.nobody"))
    };
    assert!(noted.iter().any(|e| text(&e)), "{noted:?}");
    let none = fleet.controller("retry", &["--progress", "json", "user.never"]);
    let noted = events(&none.expect_code(67).stderr);
    assert!(noted.iter().any(|e| e["event"] == "error"), "{noted:?}");
}

#[test]
fn set_names_the_limits_and_reads_those_of_a_running_controller() {
    let pairs = Pairs::plain(&["be1", "be2"], 10, 2);
    let named = pairs.controller("set", &[]).expect_code(0).stdout;
    for limit in &LIMITS {
        assert!(named.contains(&format!("\n  {} ", limit.name)), "{named}");
    }
    let nobody = pairs.controller("set", &["parallel", "?"]);
    nobody
        .expect_code(69)
        .assert_one_sentence("no controller is running");
    let unknown = pairs.controller("set", &["parallels"]);
    unknown.expect_code(64).assert_one_sentence("\"parallels\"");

    let flag = pairs.journal().with_extension("flag");
    fs::write(&flag, "").unwrap();
    let flag_file = flag.to_str().unwrap();
    let run = Guard::spawn(&mut pairs.command(&["upgrade"], &["-q", "--flag-file", flag_file]));
    let _ = until_it_waits(&pairs.journal());
    let set = pairs.controller("set", &["--pair", "be2", "parallel", "7"]);
    let _ = set.expect_code(0);
    for question in [&["parallel", "?"] as &[&str], &["parallel"]] {
        let read = pairs.controller("set", question).expect_code(0);
        assert_eq!(read.stdout, "be1: parallel auto\nbe2: parallel 7\n");
    }
    let one = pairs.controller("set", &["--pair", "be2", "parallel"]);
    assert_eq!(one.expect_code(0).stdout, "be2: parallel 7\n");
    let json = pairs.json("set", &["parallel", "?"], 0);
    assert_eq!(json["pairs"]["be2"]["parallel"], "7", "{json}");
    fs::remove_file(&flag).unwrap();
    let _ = run.finish().expect_code(0);
}

#[test]
fn status_watch_has_a_line_a_pair_and_says_what_is_waited_for() {
    let pairs = Pairs::plain(&["be1", "be2"], 10, 2);
    let flag = pairs.journal().with_extension("flag");
    fs::write(&flag, "").unwrap();
    let flag_file = flag.to_str().unwrap();
    let run = Guard::spawn(&mut pairs.command(&["upgrade"], &["-q", "--flag-file", flag_file]));
    let _ = until_it_waits(&pairs.journal());
    let lines = Guard::spawn(&mut pairs.command(&["status"], &["--watch"]));
    // On a terminal of its own.
    let mut words = vec![
        program("controller"),
        "status".to_owned(),
        "--watch".to_owned(),
    ];
    words.push(format!("--state={}", pairs.journal().display()));
    let mut terminal = Command::new("script");
    terminal.args(["-qec", &words.join(" "), "/dev/null"]);
    let terminal = Guard::spawn(&mut terminal);
    thread::sleep(Duration::from_millis(2500));
    fs::remove_file(&flag).unwrap();
    let _ = run.finish().expect_code(0);

    let lines = lines.finish().expect_code(0).stdout;
    let waits = format!("0 under way, waiting: {flag_file} exists");
    for pair in ["be1", "be2"] {
        let of_it = lines
            .lines()
            .filter(|l| l.contains(&format!(" {pair}: 0 %, 0 of 10")));
        let of_it: Vec<&str> = of_it.collect();
        assert_eq!(of_it.len(), 1, "said once, while it stays so: {lines}");
        assert!(of_it[0].ends_with(&waits), "{lines}");
    }
    assert!(!lines.contains('\x1b'), "{lines:?}");
    assert!(
        lines.contains("be2: finished: 10 mailboxes: 10 upgraded"),
        "{lines}"
    );

    let seen = terminal.finish().expect_code(0).stdout;
    assert!(
        seen.contains("\x1b[H\x1b[2Jrun 1: upgrade to version 10, begun 20"),
        "{seen:?}"
    );
    let drawn = seen.matches("be1:   0 %, 0 of 10 mailboxes").count();
    assert!(drawn >= 2, "drawn again in its place: {seen:?}");
    assert!(seen.contains("waiting: be1: "), "{seen:?}");
    assert!(
        seen.contains("be2: finished: 10 mailboxes: 10 upgraded"),
        "{seen:?}"
    );
}
