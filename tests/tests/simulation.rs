//! Seeds through the simulation, of upgrades and of change-overs. See docs/testing.md.
//!
//! `SEED=n` repeats one seed and prints its story; `SEEDS=n` runs that many, however long it takes,
//! from `FROM` (0); `SIM_SECONDS=n` as many as n seconds allow; without any, 1,500, or as many as
//! 8 seconds allow, and at least a few hundred (of several controllers 100).

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use controller::journal::State;
use tests::sim::run::{Report, simulate, simulate_change_over, simulate_several};

/// A plain run takes the same seeds everywhere, however fast the machine is.
const AT_MOST: u64 = 1_500;
/// Of several controllers, whose seeds take longer.
const AT_MOST_OF_SEVERAL: u64 = 100;
/// How long a plain run takes for each kind.
const PLAIN_SECONDS: u64 = 8;
/// Fewer than this prove little; they are run even if the time is over.
const AT_LEAST: u64 = 200;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// What came of the seeds.
#[derive(Debug, Default)]
#[allow(dead_code)] // all of it is printed
struct Tally {
    seeds: u64,
    mailboxes: u64,
    upgraded: u64,
    rolled_back: u64,
    unchanged: u64,
    commands: u64,
    differ_seen: u64,
    crashes: u64,
    /// Fences that fell.
    fallen: u64,
    /// How often both stores were called complete.
    completed: u64,
    /// How often a controller was paused, the journal lost rows, and a host got a higher epoch.
    pauses: u64,
    failovers: u64,
    raised: u64,
}

impl Tally {
    fn add(&mut self, report: &Report) {
        self.seeds += 1;
        for end in &report.ends {
            self.mailboxes += 1;
            match end {
                State::Upgraded => self.upgraded += 1,
                State::RolledBack => self.rolled_back += 1,
                _ => self.unchanged += 1,
            }
        }
        self.commands += report.served;
        self.differ_seen += report.differ_seen;
        self.crashes += u64::from(report.crashes);
        self.fallen += u64::from(report.fallen);
        self.completed += u64::from(report.completed);
        self.pauses += u64::from(report.pauses);
        self.failovers += u64::from(report.failovers);
        self.raised += u64::from(report.raised);
    }
}

/// One of the two kinds of jobs.
struct Kind {
    test: &'static str,
    simulate: fn(u64) -> Report,
    /// How many seeds a plain run takes at most.
    at_most: u64,
}

impl Kind {
    fn repeat(&self, seed: u64) -> String {
        let test = self.test;
        format!("SEED={seed} cargo test -p tests --test simulation {test} -- --nocapture")
    }

    /// Runs the seeds that are asked for; `None` after a single one.
    fn run(&self) -> Option<Tally> {
        if let Some(seed) = number("SEED") {
            let report = (self.simulate)(seed);
            report.story.iter().for_each(|line| println!("{line}"));
            println!(
                "fingerprint {:016x}, ends {:?}",
                report.fingerprint, report.ends
            );
            assert_eq!(report.broken, None, "seed {seed}");
            return None;
        }
        let (count, seconds) = match number("SEEDS") {
            Some(count) => (count, u64::MAX),
            None => match number("SIM_SECONDS") {
                Some(seconds) => (u64::MAX, seconds),
                None => (self.at_most, PLAIN_SECONDS),
            },
        };
        let first = number("FROM").unwrap_or(0);
        let next = AtomicU64::new(0);
        let tally = Mutex::new(Tally::default());
        let broken = Mutex::new(Vec::new());
        let begun = Instant::now();
        let enough = |n: u64| {
            n >= count || (n >= AT_LEAST && begun.elapsed() > Duration::from_secs(seconds))
        };
        std::thread::scope(|scope| {
            for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
                scope.spawn(|| {
                    loop {
                        let n = next.fetch_add(1, Ordering::Relaxed);
                        if enough(n) || broken.lock().unwrap().len() >= 5 {
                            return;
                        }
                        let report = (self.simulate)(first + n);
                        if let Some(what) = &report.broken {
                            println!("{what}\n  {}", self.repeat(report.seed));
                            broken.lock().unwrap().push((report.seed, what.clone()));
                        }
                        let mut tally = tally.lock().unwrap();
                        tally.add(&report);
                        if tally.seeds.is_multiple_of(5_000) {
                            println!("{}: {} seeds, {:?}", self.test, n + 1, begun.elapsed());
                        }
                    }
                });
            }
        });
        let tally = tally.into_inner().unwrap();
        println!(
            "{} from {first}: {tally:?}, {:.0} s",
            self.test,
            begun.elapsed().as_secs_f64()
        );
        let broken = broken.into_inner().unwrap();
        assert!(broken.is_empty(), "repeat with:\n{}", {
            let lines: Vec<String> = broken
                .iter()
                .map(|(seed, what)| format!("{}   # {what}", self.repeat(*seed)))
                .collect();
            lines.join("\n")
        });
        Some(tally)
    }
}

#[test]
fn every_seed_ends_well() {
    let kind = Kind {
        test: "every_seed_ends_well",
        simulate,
        at_most: AT_MOST,
    };
    let Some(tally) = kind.run() else { return };
    assert!(
        tally.upgraded > 0
            && tally.rolled_back > 0
            && tally.crashes > 0
            && (tally.seeds < AT_LEAST || tally.differ_seen > 0),
        "nothing much happened"
    );
}

#[test]
fn every_change_over_ends_all_new_or_all_old_and_nothing_else_is_called_complete() {
    let kind = Kind {
        test: "every_change_over",
        simulate: simulate_change_over,
        at_most: AT_MOST,
    };
    let Some(tally) = kind.run() else { return };
    assert!(
        tally.upgraded > 0
            && tally.rolled_back > 0
            && tally.crashes > 0
            && tally.completed > 0
            && tally.fallen > 0,
        "nothing much happened"
    );
}

#[test]
fn three_controllers_that_pause_and_a_journal_that_loses_rows_leave_no_hosts_unlike() {
    let kind = Kind {
        test: "three_controllers",
        simulate: simulate_several,
        at_most: AT_MOST_OF_SEVERAL,
    };
    let Some(tally) = kind.run() else { return };
    assert!(
        tally.upgraded > 0
            && tally.rolled_back > 0
            && tally.crashes > 0
            && tally.pauses > 0
            && tally.failovers > 0
            && tally.raised > tally.seeds,
        "nothing much happened"
    );
}

#[test]
fn the_same_seed_has_the_same_story() {
    for simulate in [simulate, simulate_change_over, simulate_several] {
        for seed in 0..6 {
            let (one, other) = (simulate(seed), simulate(seed));
            assert_eq!(one.story, other.story, "seed {seed}");
            assert_eq!(one.fingerprint, other.fingerprint);
        }
    }
}
