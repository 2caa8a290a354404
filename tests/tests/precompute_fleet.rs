//! `precompute`, by the controller: the messages of all hosts are hashed by their slotds, watched
//! from one place.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use stores::Host;
use tests::fleet::{Fleet, program};
use tests::pairs::Pairs;
use tests::process::Guard;
use tests::wire::Wire;

fn caches(host: &Host) -> Vec<PathBuf> {
    let all = host.mailboxes().unwrap();
    let caches = all.values().map(|dirs| dirs.file("cyrus.sha1s"));
    caches.filter(|path| path.exists()).collect()
}

#[test]
fn the_hosts_of_a_fleet_hash_their_messages_and_a_run_finds_all_of_them() {
    let pairs = Pairs::plain(&["be1", "be2"], 12, 3);
    let done = pairs.json("fleet precompute", &["-q", "--jobs", "4"], 0);
    for (name, pair) in &pairs.pairs {
        for side in ["master", "replica"] {
            let host = &done["pairs"][name]["hosts"][side];
            let got = (&host["state"], &host["mailboxes"], &host["hashed"]);
            assert_eq!(
                got,
                (&"done".into(), &12.into(), &36.into()),
                "{name} {side}: {done}"
            );
        }
        for host in [&pair.master, &pair.replica] {
            assert_eq!(caches(host).len(), 12, "{name}");
        }
    }
    // The same command without the word; nothing is left to do.
    let again = pairs.json("precompute", &["-q"], 0);
    assert_eq!(
        again["pairs"]["be2"]["hosts"]["replica"]["hashed"], 0,
        "{again}"
    );
    let run = pairs.json("upgrade", &["-q"], 0);
    assert_eq!(
        (&run["upgraded"], &run["hashed"]),
        (&24.into(), &0.into()),
        "{run}"
    );
    let mut alone = Command::new(program("controller"));
    alone.args(["fleet", "precompute", "--master", "unix:/nowhere"]);
    let alone = Guard::spawn(&mut alone).finish();
    assert!(alone.expect_code(64).stderr.contains("give --fleet FILE"));
}

/// What a host says of its pass.
fn asked(fleet: &Fleet, side: usize) -> String {
    Wire::connect(&fleet.addr(side)).unwrap().ask("PRECOMPUTE")
}

/// Waits until each host says this of itself.
fn until(fleet: &Fleet, state: &str) {
    let begun = Instant::now();
    for side in [0, 1] {
        while !asked(fleet, side).contains(state) {
            let said = asked(fleet, side);
            assert!(begun.elapsed() < Duration::from_secs(60), "{state}: {said}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn a_controller_that_is_killed_leaves_the_hosts_at_work_and_end_ends_them() {
    let mut fleet = Fleet::of_239();
    fleet.start();
    let mut slow = fleet.command("precompute", &["--max-rate", "1", "--progress", "json"]);
    let killed = Guard::spawn(&mut slow);
    until(&fleet, "state=running");
    killed.signal(nix::sys::signal::Signal::SIGKILL);
    let _ = killed.finish();
    until(&fleet, "state=running");
    // Who begins again watches those that are at work.
    let ended = fleet.controller("precompute", &["--end", "--json"]);
    let ended = ended.expect_code(0).json();
    for side in ["master", "replica"] {
        assert_eq!(ended["hosts"][side]["state"], "stopped", "{ended}");
    }
    let done = fleet
        .controller("precompute", &["--json"])
        .expect_code(0)
        .json();
    let of = |side: &str, key: &str| -> Value { done["hosts"][side][key].clone() };
    assert_eq!(
        (of("master", "state"), of("master", "errors")),
        ("done".into(), 0.into())
    );
    assert_eq!(caches(&fleet.replica).len(), caches(&fleet.master).len());
}

#[test]
fn a_signal_ends_the_passes_and_the_command_says_that_not_all_is_done() {
    let mut fleet = Fleet::of_239();
    fleet.start();
    let mut slow = fleet.command("precompute", &["--max-rate", "1", "--json"]);
    let watching = Guard::spawn(&mut slow);
    until(&fleet, "state=running");
    watching.signal(nix::sys::signal::Signal::SIGINT);
    let ended = watching.finish().expect_code(75).json();
    assert_eq!(ended["hosts"]["replica"]["state"], "stopped", "{ended}");
}

#[test]
fn a_host_with_errors_is_named_and_one_that_does_not_answer_as_well() {
    let mut fleet = Fleet::of(|host| {
        let dirs = host.dirs("user.alice.big");
        fs::write(dirs.meta.join("cyrus.index"), b"no index").unwrap();
    });
    fleet.start();
    let found = fleet.controller("precompute", &[]).expect_code(65);
    let errors = found.stdout.matches("user.alice.big: ").count();
    assert_eq!(errors, 2, "{}", found.stdout);
    drop(fleet.take_slotd(1));
    let away = fleet
        .controller("precompute", &["--host-wait", "0"])
        .expect_code(69);
    assert!(away.stderr.contains("replica"), "{}", away.stderr);
}
