//! A run on hosts whose rates and locks are known for each number at once, in a weather that
//! depends on the time and not on the number.

use super::super::*;
use crate::run::Histogram;

/// Hosts: mailboxes a second and the 99th percentile of the locks (ms), each for a number at once.
#[derive(Clone, Copy)]
pub(super) struct Hosts {
    pub(super) rate: fn(f64) -> f64,
    pub(super) p99: fn(f64) -> f64,
    pub(super) weather: Weather,
}

/// What happens to a disk however many there are at once.
#[derive(Clone, Copy, Default)]
pub(super) struct Weather {
    /// One standard deviation of the speed of a second, as a share.
    pub(super) noise: f64,
    /// The share of the locks that is held 5 to 10 times as long, all of them in half of the
    /// seconds.
    pub(super) tail: f64,
    /// Seconds from one stall to the next, on average; everything stands for two seconds then.
    pub(super) stalls: Option<f64>,
}

pub(super) const CALM: Weather = Weather {
    noise: 0.0,
    tail: 0.0,
    stalls: None,
};
pub(super) const ROUGH: Weather = Weather { noise: 0.3, ..CALM };
pub(super) const TAIL: Weather = Weather {
    noise: 0.05,
    tail: 0.02,
    stalls: None,
};
pub(super) const STALLS: Weather = Weather {
    noise: 0.05,
    tail: 0.0,
    stalls: Some(8.0),
};
pub(super) const STORM: Weather = Weather {
    noise: 0.3,
    tail: 0.02,
    stalls: Some(8.0),
};

/// The figures of docs/benchmarks.md, and in between as powers.
fn measured(at: &[(f64, f64)], n: f64) -> f64 {
    let above = at.iter().position(|(x, _)| *x > n).unwrap_or(at.len() - 1);
    let ((x0, y0), (x1, y1)) = (at[above.max(1) - 1], at[above.max(1)]);
    y0 * ((n / x0).ln() / (x1 / x0).ln() * (y1 / y0).ln()).exp()
}

pub(super) fn rate_here(n: f64) -> f64 {
    let at = [
        (1.0, 353.0),
        (4.0, 770.0),
        (16.0, 969.0),
        (64.0, 1028.0),
        (128.0, 902.0),
    ];
    measured(&at, n)
}

pub(super) fn p99_here(n: f64) -> f64 {
    let at = [
        (1.0, 3.3),
        (4.0, 6.4),
        (16.0, 22.0),
        (64.0, 81.0),
        (128.0, 169.0),
    ];
    measured(&at, n)
}

pub(super) fn here(weather: Weather) -> Hosts {
    Hosts {
        rate: rate_here,
        p99: p99_here,
        weather,
    }
}

pub(super) fn steering(most: usize, target_ms: u64) -> Steering {
    let target = (target_ms > 0).then(|| Duration::from_millis(target_ms));
    Steering {
        most,
        target,
        strict: false,
    }
}

/// A run.
pub(super) struct Run {
    pub(super) it: Congestion,
    /// This number all the time, and nothing is found.
    pub(super) fixed: Option<usize>,
    seed: u64,
    /// What is known of a second.
    weather_of: Option<(u64, (f64, bool))>,
    dice: fastrand::Rng,
    pub(super) now: Duration,
    /// When the next stall is, by dice of its own: at the same time in each run of a seed.
    stalls_at: f64,
    stalls: fastrand::Rng,
    /// Locks that a stall made longer and that have not ended.
    stalled: usize,
    /// How long each number was in force, in seconds.
    pub(super) times: std::collections::BTreeMap<usize, f64>,
    pub(super) changes: usize,
    pub(super) held: Histogram,
    /// Most that can be under way for other reasons.
    pub(super) room: usize,
}

impl Run {
    pub(super) fn new(steering: Steering, seed: u64) -> Self {
        Self {
            it: Congestion::new(steering, Duration::ZERO, 0),
            fixed: None,
            seed,
            weather_of: None,
            dice: fastrand::Rng::with_seed(seed),
            now: Duration::ZERO,
            stalls_at: 0.0,
            stalls: fastrand::Rng::with_seed(!seed),
            stalled: 0,
            times: std::collections::BTreeMap::new(),
            changes: 0,
            held: Histogram::new(),
            room: usize::MAX,
        }
    }

    /// How fast the second is, and whether it has a burst of long locks. One weather a run.
    fn second(&mut self, weather: &Weather) -> (f64, bool) {
        let now = self.now.as_secs();
        match self.weather_of {
            Some((second, known)) if second == now => known,
            _ => {
                let found = self.look_out(weather);
                self.weather_of = Some((now, found));
                found
            }
        }
    }

    fn look_out(&self, weather: &Weather) -> (f64, bool) {
        let mut dice = fastrand::Rng::with_seed(self.seed << 32 | self.now.as_secs());
        // So that seeds next to each other are not alike.
        let _ = (dice.u64(..), dice.u64(..));
        let factor = (weather.noise * normal(&mut dice)).exp();
        (factor, dice.bool())
    }

    pub(super) fn sample(&mut self, p99: f64) -> Sample {
        // As wide as what was measured: the median is half of the 99th percentile.
        let held = [(); 2].map(|()| Some(micros_of(p99 * 500.0 * spread(&mut self.dice))));
        Sample {
            held_us: held,
            messages: 0,
            took: Duration::from_millis(1),
            worked: true,
        }
    }

    /// Does one mailbox.
    fn one(&mut self, hosts: &Hosts) {
        let at_once = self.fixed.unwrap_or(self.it.at_once());
        let n = at_once.min(self.room);
        self.it.working(self.now, n);
        let weather = hosts.weather;
        let (speed, burst) = self.second(&weather);
        let rate = (hosts.rate)(size(n)) * speed;
        let mut passed = 1.0 / rate * (1.0 + 0.3 * normal(&mut self.dice)).max(0.1);
        let mut sample = self.sample((hosts.p99)(size(n)) / speed);
        if let Some(each) = weather.stalls {
            let end = self.now.as_secs_f64() + passed;
            if self.stalls_at <= end {
                // The first is none: then the time until the next is known.
                if self.stalls_at > 0.0 {
                    passed += 2.0;
                    self.stalled = n;
                }
                self.stalls_at += 2.0 + each * (0.5 + self.stalls.f64());
            }
        }
        for held in sample.held_us.iter_mut().flatten() {
            if burst && self.dice.f64() < 2.0 * weather.tail {
                *held = micros_of(epoch::float(*held) * (5.0 + 5.0 * self.dice.f64()));
            }
            // Not all of a mailbox's time is locked.
            if self.stalled > 0 && self.dice.bool() {
                *held += 2_000_000;
            }
            self.held.add(*held);
        }
        self.stalled = self.stalled.saturating_sub(1);
        let passed = Duration::from_secs_f64(passed);
        self.now += passed;
        *self.times.entry(at_once).or_default() += passed.as_secs_f64();
        self.it.finished(self.now, &sample);
        let now = self.it.at_once();
        assert!((1..=self.it.steering.most).contains(&now), "{now}");
        self.changes += usize::from(now != at_once);
    }

    /// Works for some seconds.
    pub(super) fn seconds(&mut self, hosts: &Hosts, seconds: u64) -> &mut Self {
        let end = self.now + Duration::from_secs(seconds);
        while self.now < end {
            self.one(hosts);
        }
        self
    }

    /// Does some mailboxes.
    pub(super) fn mailboxes(&mut self, hosts: &Hosts, mailboxes: usize) -> &mut Self {
        (0..mailboxes).for_each(|_| self.one(hosts));
        self
    }

    pub(super) fn forget(&mut self) {
        self.times.clear();
        self.changes = 0;
    }

    /// The share of the time with a number in these bounds.
    pub(super) fn share(&self, least: usize, most: usize) -> f64 {
        let all: f64 = self.times.values().sum();
        let within: f64 = self.times.range(least..=most).map(|(_, time)| time).sum();
        within / all
    }
}

/// A whole run of this many mailboxes beside one that has four at once, in the same weather: how
/// much more work it does in a second, and how much longer its locks are at the 99th percentile and
/// in the middle; means of many.
pub(super) fn beside_four(hosts: &Hosts, by: Steering, mailboxes: usize) -> [f64; 3] {
    // The more of the short ones, as chance is more in them.
    let runs = 80_000 / mailboxes.max(2_500) as u64;
    let logs = (0..runs).map(|seed| {
        let [four, found] = [Some(4), None].map(|fixed| {
            let mut run = Run::new(by, seed);
            run.fixed = fixed;
            run.mailboxes(hosts, mailboxes);
            run
        });
        let locks =
            |at| epoch::float(found.held.quantile(at)) / epoch::float(four.held.quantile(at));
        [
            (four.now.as_secs_f64() / found.now.as_secs_f64()).ln(),
            locks(99).ln(),
            locks(50).ln(),
        ]
    });
    let sums = logs.fold([0.0; 3], |sums: [f64; 3], one| {
        [0, 1, 2].map(|i| sums[i] + one[i] / epoch::float(runs))
    });
    sums.map(f64::exp)
}

/// The share of time in bounds after it has begun, of many seeds the least; and the most changes of
/// the number.
pub(super) fn settled(
    hosts: &Hosts,
    by: Steering,
    (before, seconds): (u64, u64),
    (least, most): (usize, usize),
) -> (f64, usize) {
    let mut worst = (1.0, 0);
    for seed in 0..8 {
        let mut run = Run::new(by, seed);
        run.seconds(hosts, before).forget();
        run.seconds(hosts, seconds);
        let share = run.share(least, most);
        if share < 0.9 {
            println!(
                "seed {seed}: {share:.2}, {} changes, {:?}",
                run.changes, run.times
            );
        }
        worst = (f64::min(worst.0, share), usize::max(worst.1, run.changes));
    }
    println!(
        "at the worst {:.2} of the time, {} changes",
        worst.0, worst.1
    );
    worst
}

/// About normal, with a mean of 0 and a deviation of 1.
fn normal(dice: &mut fastrand::Rng) -> f64 {
    (0..12).map(|_| dice.f64()).sum::<f64>() - 6.0
}

fn spread(dice: &mut fastrand::Rng) -> f64 {
    (0.298 * normal(dice)).exp()
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // some milliseconds
fn micros_of(us: f64) -> u64 {
    us.max(1.0) as u64
}
