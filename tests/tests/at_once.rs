//! A measurement: mailboxes a second, and how long locks are held, with `--parallel auto` beside
//! fixed numbers, in turn on the same stores. It asserts nothing of them.
//!
//! `cargo test --release -p tests --test at_once -- --ignored --nocapture`

use tests::fleet::{Fleet, program};
use tests::process::run;

const MAILBOXES: usize = 3_000;
const MESSAGES: u32 = 25;

/// Upgrades all of them, says what that came to, and undoes it.
fn measure(fleet: &Fleet, ways: &[&str]) {
    let mut with = vec!["--json", "--quiet"];
    with.extend(ways);
    let summary = fleet.controller("upgrade", &with).expect_code(0).json();
    let number = |value: &serde_json::Value| value.as_f64().unwrap();
    let rate = number(&summary["upgraded"]) / number(&summary["seconds"]);
    let lock = &summary["lock_ms"];
    println!(
        "{}: {rate:.0}/s, locks p50 {:.1} ms, p99 {:.1} ms, longest {:.1} ms; {}",
        ways.join(" "),
        number(&lock["p50"]),
        number(&lock["p99"]),
        number(&lock["max"]),
        summary["steered"]
    );
    let back = ["--to", "9", "--quiet", "--parallel", "16"];
    let _ = fleet.controller("downgrade", &back).expect_code(0);
}

#[test]
#[ignore = "a measurement, for a release build"]
fn auto_beside_fixed_numbers_at_once() {
    let mut fleet = Fleet::plain(MAILBOXES, MESSAGES).unwatched();
    for host in [&fleet.master, &fleet.replica] {
        let conf = host.conf.display().to_string();
        let hashed = run(&program("precompute"), ["run", "--imapd-conf", &conf]);
        let _ = hashed.expect_code(0);
    }
    fleet.start();
    // The first one warms everything up. Each is as often before another one as after it.
    let mut ways = ["4", "auto", "16"];
    for round in 0..=6 {
        println!("round {round}");
        for parallel in ways {
            measure(&fleet, &["--parallel", parallel]);
        }
        ways.reverse();
    }
}
