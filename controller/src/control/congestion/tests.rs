//! What it comes to at hosts whose rates and locks are known for each number at once.

use super::*;

/// Hosts: mailboxes a second and the 99th percentile of the locks (ms), each for a number at once.
struct Hosts {
    rate: fn(f64) -> f64,
    p99: fn(f64) -> f64,
    /// One standard deviation of what an epoch sees of them, as a share.
    noise: f64,
}

/// The figures of docs/benchmarks.md, and in between as powers.
fn measured(at: &[(f64, f64)], n: f64) -> f64 {
    let above = at.iter().position(|(x, _)| *x > n).unwrap_or(at.len() - 1);
    let ((x0, y0), (x1, y1)) = (at[above.max(1) - 1], at[above.max(1)]);
    y0 * ((n / x0).ln() / (x1 / x0).ln() * (y1 / y0).ln()).exp()
}

fn rate_here(n: f64) -> f64 {
    let at = [
        (1.0, 353.0),
        (4.0, 770.0),
        (16.0, 969.0),
        (64.0, 1028.0),
        (128.0, 902.0),
    ];
    measured(&at, n)
}

fn p99_here(n: f64) -> f64 {
    measured(
        &[
            (1.0, 3.3),
            (4.0, 6.4),
            (16.0, 22.0),
            (64.0, 81.0),
            (128.0, 169.0),
        ],
        n,
    )
}

/// A run on simulated hosts.
struct Run {
    it: Congestion,
    dice: fastrand::Rng,
    now: Duration,
    /// The number at once that each epoch had.
    levels: Vec<usize>,
    /// How long each number was in force, in seconds.
    times: std::collections::BTreeMap<usize, f64>,
    /// Most that can be under way for other reasons.
    room: usize,
}

fn steering(most: usize, target_ms: u64) -> Steering {
    let target = (target_ms > 0).then(|| Duration::from_millis(target_ms));
    Steering { most, target }
}

impl Run {
    fn new(steering: Steering, seed: u64) -> Self {
        Self {
            it: Congestion::new(steering, Duration::ZERO, 0),
            dice: fastrand::Rng::with_seed(seed),
            now: Duration::ZERO,
            levels: Vec::new(),
            times: std::collections::BTreeMap::new(),
            room: usize::MAX,
        }
    }

    /// About normal, with a mean of 0 and a deviation of 1.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.dice.f64()).sum::<f64>() - 6.0
    }

    fn sample(&mut self, p99: f64, messages: u64) -> Sample {
        // As wide as what was measured: the median is half of the 99th percentile.
        let mut held = || {
            let us = p99 * 500.0 * (0.298 * self.normal()).exp();
            Some(micros_of(us))
        };
        Sample {
            held_us: [held(), held()],
            messages,
            took: Duration::from_millis(1),
            worked: true,
        }
    }

    /// Works for some epochs.
    fn epochs(&mut self, hosts: &Hosts, epochs: u64) -> &mut Self {
        let end = self.it.epochs + epochs;
        let mut factors = (1.0, 1.0);
        let mut known = u64::MAX;
        for _ in 0..10_000_000 {
            if self.it.epochs >= end {
                return self;
            }
            if known != self.it.epochs {
                known = self.it.epochs;
                self.levels.push(self.it.at_once());
                let [a, b] = [(); 2].map(|()| 1.0 + hosts.noise * self.normal());
                factors = (a.max(0.1), b.max(0.1));
            }
            let n = self.it.at_once().min(self.room);
            self.it.working(self.now, n);
            let rate = (hosts.rate)(size(n)) * factors.0;
            let passed = Duration::from_secs_f64(1.0 / rate * (1.0 + 0.3 * self.normal()).max(0.1));
            self.now += passed;
            *self.times.entry(self.it.at_once()).or_default() += passed.as_secs_f64();
            let sample = self.sample((hosts.p99)(size(n)) * factors.1, 0);
            self.it.finished(self.now, &sample);
            let at_once = self.it.at_once();
            assert!((1..=self.it.steering.most).contains(&at_once), "{at_once}");
        }
        panic!("epochs do not end: {:?}", self.it.why);
    }

    fn forget(&mut self) {
        self.levels.clear();
        self.times.clear();
    }

    /// The share of the time with a number in these bounds.
    fn share(&self, least: usize, most: usize) -> f64 {
        let all: f64 = self.times.values().sum();
        let within: f64 = self.times.range(least..=most).map(|(_, time)| time).sum();
        within / all
    }

    /// How often the number changed.
    fn changes(&self) -> usize {
        self.levels
            .windows(2)
            .filter(|two| two[0] != two[1])
            .count()
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // some milliseconds
fn micros_of(us: f64) -> u64 {
    us.max(1.0) as u64
}

fn here(noise: f64) -> Hosts {
    Hosts {
        rate: rate_here,
        p99: p99_here,
        noise,
    }
}

/// The share of time in bounds, of many seeds the least; and the most changes in those epochs.
fn settled(
    hosts: &Hosts,
    by: Steering,
    (before, epochs): (u64, u64),
    (least, most): (usize, usize),
) -> (f64, usize) {
    let mut worst = (1.0, 0);
    for seed in 0..8 {
        let mut run = Run::new(by, seed);
        run.epochs(hosts, before).forget();
        run.epochs(hosts, epochs);
        let (share, changes) = (run.share(least, most), run.changes());
        if share < 0.9 {
            println!(
                "seed {seed}: {share:.2}, {changes} changes, {:?}",
                run.times
            );
        }
        worst = (f64::min(worst.0, share), usize::max(worst.1, changes));
    }
    println!(
        "at the worst {:.2} of the time, {} changes",
        worst.0, worst.1
    );
    worst
}

#[test]
fn the_ladder_goes_from_one_to_the_most() {
    let of = |most| -> Vec<usize> { ladder(most).iter().map(|rung| rung.at_once).collect() };
    assert_eq!(of(64), [1, 2, 3, 4, 6, 9, 13, 19, 28, 42, 64]);
    assert_eq!(of(1), [1]);
    assert_eq!(of(2), [1, 2]);
    assert_eq!(of(5), [1, 2, 3, 4, 5]);
    assert_eq!(of(0), [1]);
    for most in 1..=1024 {
        let rungs = of(most);
        assert!(rungs.windows(2).all(|two| two[0] < two[1]), "{rungs:?}");
        assert_eq!((rungs[0], *rungs.last().unwrap()), (1, most));
    }
}

#[test]
fn here_it_finds_the_most_whose_locks_are_short_enough() {
    // 6 at once hold locks for 9.1 ms, 9 for 12.8 ms.
    for (noise, least_share) in [(0.0, 0.95), (0.05, 0.85)] {
        let (share, changes) = settled(&here(noise), steering(64, 10), (12, 200), (4, 6));
        assert!(
            share >= least_share && changes <= 40,
            "{noise}: {share} {changes}"
        );
    }
    // And with 50 ms it stops where more bring nothing, not where the locks would end it.
    let (share, _) = settled(&here(0.02), steering(64, 50), (30, 200), (9, 28));
    assert!(share >= 0.9, "{share}");
    // Without a target it is the rate alone.
    let (share, _) = settled(&here(0.02), steering(64, 0), (30, 200), (9, 28));
    assert!(share >= 0.9, "{share}");
}

#[test]
fn where_more_are_always_faster_and_never_longer_it_is_the_most() {
    let hosts = Hosts {
        rate: |n| 25.0 * n,
        p99: |_| 4.0,
        noise: 0.05,
    };
    let (share, changes) = settled(&hosts, steering(64, 10), (40, 200), (42, 64));
    assert!(share >= 0.9 && changes <= 40, "{share} {changes}");
    let (share, _) = settled(&hosts, steering(20, 10), (40, 200), (19, 20));
    assert!(share >= 0.85, "{share}");
}

#[test]
fn where_more_are_never_faster_few_are_enough() {
    let hosts = Hosts {
        rate: |_| 300.0,
        p99: |_| 2.0,
        noise: 0.02,
    };
    let (share, _) = settled(&hosts, steering(64, 10), (80, 200), (1, 4));
    assert!(share >= 0.85, "{share}");
}

#[test]
fn one_disk_with_a_head_gets_one_at_once() {
    // Each waits for all before it: 15 ms for one, and 60 a second whatever is done.
    let hosts = Hosts {
        rate: |n| 60.0 + 3.0 * n.min(4.0),
        p99: |n| 15.0 * n,
        noise: 0.05,
    };
    let (share, changes) = settled(&hosts, steering(64, 10), (12, 200), (1, 1));
    assert!(share >= 0.85 && changes <= 40, "{share} {changes}");
}

#[test]
fn locks_that_are_long_with_one_at_once_too_do_not_cost_the_speed_of_many() {
    // A slow network storage: 25 ms for each, no matter how many up to 8.
    let hosts = Hosts {
        rate: |n| 40.0 * n.min(8.0),
        p99: |n| 25.0 * (n / 8.0).max(1.0),
        noise: 0.05,
    };
    let (share, _) = settled(&hosts, steering(64, 10), (80, 300), (6, 9));
    assert!(share >= 0.7, "{share}");
}

#[test]
fn a_host_that_gets_slower_or_faster_in_mid_run_is_followed() {
    let slow = Hosts {
        rate: |n| rate_here(n) / 4.0,
        p99: |n| p99_here(n) * 2.2,
        noise: 0.03,
    };
    for seed in 0..8 {
        let mut run = Run::new(steering(64, 10), seed);
        run.epochs(&here(0.03), 100).forget();
        // 2 at once hold locks for 10.1 ms then, one for 7.3 ms.
        run.epochs(&slow, 10).forget();
        run.epochs(&slow, 100);
        assert!(run.share(1, 3) >= 0.85, "{seed}: {:?}", run.times);
        run.epochs(&here(0.03), 100).forget();
        run.epochs(&here(0.03), 100);
        assert!(run.share(4, 9) >= 0.8, "{seed}: {:?}", run.times);
    }
}

#[test]
fn one_lock_that_is_much_too_long_halves_at_once_unless_the_mailbox_is_large() {
    let mut run = Run::new(steering(64, 10), 1);
    run.epochs(&here(0.0), 20);
    let before = run.it.at_once();
    let mut long = run.sample(1.0, 0);
    long.held_us[1] = Some(60_000);
    let of_large = Sample {
        messages: 200_000,
        ..long
    };
    run.it.earlier = 0;
    run.it.finished(run.now, &of_large);
    assert_eq!(run.it.at_once(), before);
    run.it.finished(run.now, &long);
    let after = run.it.at_once();
    assert!(after <= before / 2, "{before} {after}");
    assert!(
        run.it.why().contains("one was held for 60.0 ms"),
        "{}",
        run.it.why()
    );
    // What had begun by then ends as long, and that is the same event.
    run.it.finished(run.now, &long);
    assert_eq!(run.it.at_once(), after);
    run.epochs(&here(0.0), 16);
    assert!(run.it.at_once() >= 4, "{:?}", run.it);
}

#[test]
fn what_fails_waits_or_finds_nothing_to_do_does_not_drive_it_up() {
    let hosts = Hosts {
        rate: |n| 200.0 * n,
        p99: |_| 4.0,
        noise: 0.0,
    };
    // Other pairs have the places, or partitions that are not mounted.
    let mut run = Run::new(steering(64, 10), 1);
    run.room = 2;
    run.epochs(&hosts, 50);
    assert_eq!(run.it.at_once(), 4);
    assert!(
        run.it.why().ends_with("not all of them in use"),
        "{}",
        run.it.why()
    );
    // Refusals without a lock, however fast they come.
    let mut run = Run::new(steering(64, 10), 1);
    let refused = Sample {
        held_us: [None; 2],
        messages: 0,
        took: Duration::from_micros(200),
        worked: false,
    };
    for _ in 0..100_000 {
        run.it.working(run.now, 4);
        run.now += Duration::from_micros(50);
        run.it.finished(run.now, &refused);
    }
    assert_eq!((run.it.at_once(), run.it.p99()), (4, None));
    // Nor does one that queued for five seconds for a client's lock look like a slow disk.
    let mut run = Run::new(steering(64, 10), 1);
    for _ in 0..8 {
        run.epochs(&here(0.0), 5);
        let at_once = run.it.at_once();
        let queued = Sample {
            took: Duration::from_secs(5),
            ..refused
        };
        run.it.finished(run.now, &queued);
        assert_eq!(run.it.at_once(), at_once);
    }
    assert!(run.it.at_once() >= 4);
}

#[test]
fn whatever_happens_it_is_between_one_and_the_most() {
    for seed in 0..50 {
        let mut dice = fastrand::Rng::with_seed(seed);
        let by = |dice: &mut fastrand::Rng| steering(dice.usize(1..200), dice.u64(0..30));
        let mut it = Congestion::new(by(&mut dice), Duration::ZERO, 0);
        let mut now = Duration::ZERO;
        for _ in 0..2000 {
            now += Duration::from_micros(dice.u64(0..200_000));
            it.working(now, dice.usize(0..=it.at_once() + 1));
            let us = |dice: &mut fastrand::Rng| {
                let width = dice.u32(0..40);
                dice.bool().then(|| dice.u64(0..=1 << width))
            };
            let sample = Sample {
                held_us: [us(&mut dice), us(&mut dice)],
                messages: [0, 30, 200_000, u64::MAX][dice.usize(0..4)],
                took: Duration::from_micros(dice.u64(0..u64::MAX >> 20)),
                worked: dice.bool(),
            };
            it.finished(now, &sample);
            assert!((1..=it.steering.most).contains(&it.at_once()), "{it:?}");
            if dice.u32(0..100) == 0 {
                it.steer(by(&mut dice), now);
                assert!((1..=it.steering.most).contains(&it.at_once()), "{it:?}");
            }
        }
        assert!(!it.why().is_empty());
    }
}
