//! Seeds through the simulation. See docs/testing.md.
//!
//! `SEED=n` repeats one seed and prints its story; `SEEDS=n` runs so many, however long it takes,
//! from `FROM` (0); `SIM_SECONDS=n` as many as n seconds allow; without any, 1,500, or as many as
//! 30 seconds allow, and at least a few hundred.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use controller::journal::State;
use tests::sim::run::{Report, simulate};

/// A plain run takes the same seeds everywhere, however fast the machine is.
const AT_MOST: u64 = 1_500;
/// Fewer than this prove little; they are run even if the time is over.
const AT_LEAST: u64 = 200;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[derive(Default)]
struct Tally {
    mailboxes: u64,
    upgraded: u64,
    rolled_back: u64,
    unchanged: u64,
    commands: u64,
    differ_seen: u64,
    crashes: u64,
}

impl Tally {
    fn add(&mut self, report: &Report) {
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
    }
}

fn repeat(seed: u64) -> String {
    format!("SEED={seed} cargo test -p tests --test simulation every_seed -- --nocapture")
}

#[test]
fn every_seed_ends_well() {
    if let Some(seed) = number("SEED") {
        let report = simulate(seed);
        report.story.iter().for_each(|line| println!("{line}"));
        println!(
            "fingerprint {:016x}, ends {:?}",
            report.fingerprint, report.ends
        );
        assert_eq!(report.broken, None, "seed {seed}");
        return;
    }
    let (count, seconds) = match number("SEEDS") {
        Some(count) => (count, u64::MAX),
        None => match number("SIM_SECONDS") {
            Some(seconds) => (u64::MAX, seconds),
            None => (AT_MOST, 30),
        },
    };
    let first = number("FROM").unwrap_or(0);
    let next = AtomicU64::new(0);
    let tally = Mutex::new(Tally::default());
    let broken = Mutex::new(Vec::new());
    let begun = Instant::now();
    let enough =
        |n: u64| n >= count || (n >= AT_LEAST && begun.elapsed() > Duration::from_secs(seconds));
    let done = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if enough(n) || broken.lock().unwrap().len() >= 5 {
                        return;
                    }
                    let report = simulate(first + n);
                    if let Some(what) = &report.broken {
                        println!("{what}\n  {}", repeat(report.seed));
                        broken.lock().unwrap().push((report.seed, what.clone()));
                    }
                    tally.lock().unwrap().add(&report);
                    if done.fetch_add(1, Ordering::Relaxed) % 5_000 == 4_999 {
                        println!("simulation: {} seeds, {:?}", n + 1, begun.elapsed());
                    }
                }
            });
        }
    });
    let tally = tally.into_inner().unwrap();
    println!(
        "simulation: {} seeds from {first}: {} mailboxes ({} upgraded, {} rolled back, \
         {} done before), {} commands, {} said to differ before any lock, {} crashes, {:.0} s",
        done.into_inner(),
        tally.mailboxes,
        tally.upgraded,
        tally.rolled_back,
        tally.unchanged,
        tally.commands,
        tally.differ_seen,
        tally.crashes,
        begun.elapsed().as_secs_f64()
    );
    let broken = broken.into_inner().unwrap();
    assert!(broken.is_empty(), "repeat with:\n{}", {
        let lines: Vec<String> = broken
            .iter()
            .map(|(seed, what)| format!("{}   # {what}", repeat(*seed)))
            .collect();
        lines.join("\n")
    });
    assert!(
        tally.upgraded > 0
            && tally.rolled_back > 0
            && tally.crashes > 0
            && (count < AT_LEAST || tally.differ_seen > 0),
        "nothing much happened"
    );
}

#[test]
fn the_same_seed_has_the_same_story() {
    for seed in 0..6 {
        let (one, other) = (simulate(seed), simulate(seed));
        assert_eq!(one.story, other.story, "seed {seed}");
        assert_eq!(one.fingerprint, other.fingerprint);
    }
}
