//! The power of both hosts and the controller is cut at every failpoint of a run: after the journal
//! of ext4 was replayed no set is torn, and running again ends with everything new on both hosts.
//! The same of a change-over and its way back.
//!
//! Ignored in a plain run: needs root and loop devices. `REGUID_SWEEP_EVERY=N` takes every N-th
//! point only.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use stores::Host;
use stores::judge::{State, When};
use tests::fleet::{Fleet, program};
use tests::over::{Template, Way};
use tests::power::Ext4;
use tests::process::{Guard, Slotd};
use tests::sweep::{MAILBOXES, template};

/// Starts the slotd of one side; it writes a line to `trace` at each failpoint and sleeps at the
/// k-th.
fn start(fleet: &mut Fleet, side: usize, trace: &Path, k: usize) {
    let host = [&fleet.master, &fleet.replica][side].clone();
    let env = [
        "env".to_owned(),
        format!("REGUID_FAILPOINTS_TRACE={}", trace.display()),
        format!("REGUID_FAILPOINTS=*={k}:sleep-4000"),
    ];
    fleet.put_slotd(
        side,
        Slotd::start_under(&env, &program("slotd"), &host, &[]),
    );
}

/// Cuts the power at the k-th failpoint of one side, while a controller works; none if the run has
/// no such point. Gives the point's name.
fn cut_at(
    ext4: &Ext4,
    fleet: &mut Fleet,
    (side, k): (usize, usize),
    words: &[&str],
) -> Option<String> {
    let outside = tempfile::tempdir().unwrap();
    let trace = outside.path().join("trace");
    nix::unistd::sync(); // the mail itself was there long ago
    start(fleet, side, &trace, k);
    fleet.start();
    let mut run = Guard::spawn(&mut fleet.command(words[0], &words[1..]));
    let hits = || {
        fs::read_to_string(&trace)
            .unwrap_or_default()
            .lines()
            .count()
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    while hits() < k {
        assert!(Instant::now() < deadline, "stuck");
        if run.0.try_wait().unwrap().is_some() && hits() < k {
            let ended = run.finish();
            assert_eq!(
                ended.code,
                Some(0),
                "side {side}, before hit {k}: {ended:?}"
            );
            return None;
        }
        thread::sleep(Duration::from_micros(200));
    }
    ext4.cut();
    drop(run);
    for side in [0, 1] {
        fleet.take_slotd(side).unwrap().kill();
    }
    ext4.unmount();
    ext4.mount();
    let hits = fs::read_to_string(&trace).unwrap();
    let point = hits.lines().nth(k - 1).unwrap();
    Some(format!("side {side}, hit {k} ({point})"))
}

/// An upgrade, cut so, then healed.
fn upgrade_cut_at(store: &Host, options: &str, side: usize, k: usize) -> bool {
    let ext4 = Ext4::make(options);
    let mut fleet = Fleet::copies_of(store, &ext4.path()).unwatched();
    let Some(point) = cut_at(&ext4, &mut fleet, (side, k), &["upgrade"]) else {
        return false;
    };
    let what = format!("{options}, {point}");
    let torn: Vec<_> = fleet
        .check(When::Cut)
        .into_iter()
        .flat_map(|r| r.violations)
        .collect();
    assert!(
        torn.is_empty(),
        "{what}: right after the cut:\n{}",
        torn.join("\n")
    );
    fleet.start();
    let again = fleet.controller("upgrade", &[]);
    assert_eq!(again.code, Some(0), "{what}: {again:?}");
    for report in fleet.check(When::Settled) {
        assert!(
            report.violations.is_empty(),
            "{what}:\n{}",
            report.violations.join("\n")
        );
        assert_eq!(report.count(State::New), MAILBOXES.len(), "{what}");
    }
    drop(fleet);
    true
}

/// A change-over or its way back, cut so, then healed by the one or the other.
fn over_cut_at(template: &Template, (options, way): (&str, Way), side: usize, k: usize) -> bool {
    let ext4 = Ext4::make(options);
    let mut fleet = template.fleet(way, &ext4.path());
    let words: &[&str] = match way {
        Way::Over => &["cutover", "--to", "16"],
        Way::Back => &["cutover", "--undo"],
    };
    let Some(point) = cut_at(&ext4, &mut fleet, (side, k), words) else {
        return false;
    };
    let heal = [Way::Over, Way::Back][(side + k) % 2];
    let what = format!("{options}, {way:?}, {point}, healed {heal:?}");
    template.assert_whole(&fleet, &what);
    template.heal(&mut fleet, heal, &what);
    drop(fleet);
    true
}

/// Every point of either side, or every `REGUID_SWEEP_EVERY`-th.
fn every_point(what: &str, cut: impl Fn(usize, usize) -> bool) {
    let every = std::env::var("REGUID_SWEEP_EVERY")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(1);
    for side in [0, 1] {
        let points = (1..).step_by(every).take_while(|k| cut(side, *k)).count();
        println!("{what}: power cut at {points} points of side {side}, all healed");
        assert!(points > 5 / every, "only {points} points; is the trace on?");
    }
}

fn sweep(options: &str) {
    let dir = tempfile::tempdir().unwrap();
    let store = template(dir.path());
    every_point(options, |side, k| upgrade_cut_at(&store, options, side, k));
}

fn sweep_over(options: &str) {
    let dir = tempfile::tempdir().unwrap();
    let template = Template::make(dir.path());
    for way in [Way::Over, Way::Back] {
        let what = format!("{options}, {way:?}");
        every_point(&what, |side, k| {
            over_cut_at(&template, (options, way), side, k)
        });
    }
}

#[test]
#[ignore = "needs root and loop devices"]
fn data_ordered() {
    sweep("data=ordered");
}

#[test]
#[ignore = "needs root and loop devices"]
fn data_writeback() {
    sweep("data=writeback");
}

#[test]
#[ignore = "needs root and loop devices"]
fn a_change_over_data_ordered() {
    sweep_over("data=ordered");
}

#[test]
#[ignore = "needs root and loop devices"]
fn a_change_over_data_writeback() {
    sweep_over("data=writeback");
}
