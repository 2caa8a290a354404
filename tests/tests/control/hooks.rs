//! Programs of the operator's are run at their events.

use std::fs;
use std::path::Path;

use serde_json::Value;
use stores::judge::{State, When};
use tests::fleet::Fleet;

/// A program of the operator's. Another process writes it: no fork of another test may have it
/// open for writing when it is executed.
fn hook(directory: &Path, name: &str, script: &str) {
    let mut install = std::process::Command::new("install")
        .args(["-D", "-m", "700", "/dev/stdin"])
        .arg(directory.join(name))
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let text = format!("#!/bin/sh\n{script}\n");
    let mut pipe = install.stdin.take().unwrap();
    std::io::Write::write_all(&mut pipe, text.as_bytes()).unwrap();
    drop(pipe);
    assert!(install.wait().unwrap().success());
}

#[test]
fn hooks_are_told_what_happens_and_the_first_two_can_refuse() {
    const MAILBOXES: u64 = 40;
    let mut fleet = Fleet::plain(usize::try_from(MAILBOXES).unwrap(), 2);
    fleet.start();
    let hooks = fleet.journal().with_extension("hooks");
    let log = hooks.with_extension("log");
    let run = |code: i32| {
        let options = [
            "--json",
            "--hooks",
            hooks.to_str().unwrap(),
            "--hook-limit",
            "5",
        ];
        fleet.controller("upgrade", &options).expect_code(code)
    };
    let tell = format!("cat >>'{}'", log.display());
    for name in ["after-pair", "after-run"] {
        hook(&hooks, name, &tell);
    }
    hook(&hooks, "before-run", "exit 3");
    let text = "the hook before-run ended with exit status: 3; nothing was begun";
    run(75).assert_one_sentence(text);
    assert!(!log.exists(), "nothing was begun, so nothing has ended");
    hook(&hooks, "before-run", &tell);
    hook(&hooks, "before-pair", "exit 4");
    let refused = run(75);
    let text = "the hook before-pair ended with exit status: 4; nothing was begun";
    assert!(refused.stderr.contains(text), "{}", refused.stderr);
    for report in fleet.check(When::Settled) {
        assert_eq!(report.count(State::New), 0);
    }
    let _ = fs::remove_file(&log);
    hook(&hooks, "before-pair", &tell);
    // One that hangs costs its limit, and nothing else.
    hook(&hooks, "after-pair", &format!("{tell}; sleep 300"));
    let done = run(0);
    assert_eq!(done.json()["upgraded"], MAILBOXES);
    let text = "WARNING: the hook after-pair did not end within 5s and was killed (said once)";
    assert!(done.stderr.contains(text), "{}", done.stderr);
    let noted = fs::read_to_string(&log).unwrap();
    let noted: Vec<Value> = noted
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    let of = |event: &str| noted.iter().find(|t| t["event"] == event).unwrap().clone();
    assert_eq!(noted.len(), 4, "{noted:?}");
    assert_eq!(noted[0]["event"], "before-run");
    assert_eq!(
        (&of("before-pair")["command"], &of("before-pair")["to"]),
        (&"upgrade".into(), &10.into())
    );
    assert_eq!(of("after-pair")["summary"]["upgraded"], MAILBOXES);
    assert_eq!(of("after-run")["exit"], 0);
    let _ = fleet.assert_settled();
    hook(&hooks, "after_run", ":");
    run(78).assert_one_sentence("after_run: no event has that name");
}
