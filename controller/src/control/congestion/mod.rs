//! How many mailboxes at once, found while a run works: a congestion control of one pair, for
//! `--parallel auto` and `--target-lock`.
//!
//! # What it promises
//!
//! * Never fewer than one, never more than the most.
//! * More while that makes the run faster, and the locks of both hosts are held at the 99th
//!   percentile for no longer than the target; fewer where it does not, or where they are longer. A
//!   number that was no good is tried again later and later.
//! * Half of them at once when one lock was held for more than five times the target, unless the
//!   mailbox is so large that this says nothing.
//! * Where half of them do not shorten the locks (large mailboxes, a slow disk) it does not go
//!   lower for that: then the locks may be a quarter longer than they were, and the median is kept
//!   under the target.
//! * What fails, waits or has nothing to do does not count as work, and while not all places are in
//!   use there are not more of them.
//!
//! Time is handed in; there is no clock, socket or file here. An epoch is some tenths of a second
//! and at least 32 mailboxes. What was under way when the number changed belongs to none.
//!
//! # What a crash leaves
//!
//! Nothing: the next start begins to measure anew.

mod epoch;
mod ladder;
mod why;

use std::time::Duration;

use epoch::{Epoch, Seen, size};
use ladder::{Rung, highest, ladder};
use why::{Why, ms};

pub(super) use epoch::Sample;

use super::parallel::{FIRST, Steering};

/// What all the work has to gain from more at once, as a share of how many more they are: a fifth
/// more at once must be a fiftieth faster.
const GAIN: f64 = 0.1;
/// Epochs before it is judged whether it is faster.
const JUDGE: u32 = 2;
/// A single epoch is believed if its locks were held for this many times the target.
const CLEARLY: f64 = 1.5;
/// One lock that was held for this many targets halves the number at once.
const FAR: f64 = 5.0;
/// Half as many at once that leave this share of the time did not help.
const NO_HELP: f64 = 0.8;
/// How much longer locks may be than fewer at once could make them.
const LONGER: f64 = 1.25;
/// How far below the number that would just do it goes.
const MARGIN: f64 = 0.9;
/// Good epochs before more are tried where the locks are expected to be too long.
const PATIENCE: u64 = 4;
/// Good epochs before a number counts as good.
const GOOD: u64 = 8;
/// Epochs before it is looked at whether fewer are as fast: at first, and at most.
const FEWER: u64 = 24;
const FEWER_MAX: u64 = 96;

/// For how long locks were held with a number at once, in microseconds.
#[derive(Clone, Copy, Debug)]
struct Held {
    at_once: usize,
    p99: f64,
    p50: f64,
}

/// A number that is compared with the one before; by its rung.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trial {
    More { than: usize },
    Fewer { than: usize },
}

/// The state of it.
#[derive(Debug)]
pub(super) struct Congestion {
    steering: Steering,
    rungs: Vec<Rung>,
    rung: usize,
    trial: Option<Trial>,
    /// Where it began to go lower because of the locks.
    descent: Option<Held>,
    /// For how long they are held however few there are.
    floor: Option<Held>,
    epoch: Epoch,
    epochs: u64,
    /// Fewer are tried in this epoch, and how long was waited for it.
    fewer: (u64, u64),
    under_way: usize,
    /// Since when.
    since: Duration,
    /// Attempts under way that began with another number.
    earlier: usize,
    p99: Option<f64>,
    why: Why,
}

impl Congestion {
    pub(super) fn new(steering: Steering, now: Duration, under_way: usize) -> Self {
        let rungs = ladder(steering.most);
        Self {
            rung: highest(&rungs, size(FIRST)),
            rungs,
            steering,
            trial: None,
            descent: None,
            floor: None,
            epoch: Epoch::at(now),
            epochs: 0,
            fewer: (FEWER, FEWER),
            under_way,
            since: now,
            earlier: under_way,
            p99: None,
            why: Why::Begins,
        }
    }

    /// From now on by this.
    pub(super) fn steer(&mut self, steering: Steering, now: Duration) {
        if self.steering == steering {
            return;
        }
        let at_once = self.at_once();
        let begun = Self::new(steering, now, self.under_way);
        let rung = highest(&begun.rungs, size(at_once));
        *self = Self { rung, ..begun };
    }

    /// How many at once now.
    pub(super) fn at_once(&self) -> usize {
        self.rungs[self.rung].at_once
    }

    /// For how long locks were held in the last epoch, at the 99th percentile, microseconds.
    pub(super) fn p99(&self) -> Option<f64> {
        self.p99
    }

    /// Why it is this number, for a person.
    pub(super) fn why(&self) -> String {
        let Some(p99) = self.p99 else {
            return self.why.to_string();
        };
        match self.steering.target {
            Some(target) => format!(
                "locks p99 {} of {}, {}",
                ms(p99),
                ms(micros(target)),
                self.why
            ),
            None => format!("locks p99 {}, {}", ms(p99), self.why),
        }
    }

    /// From now on this many are under way.
    pub(super) fn working(&mut self, now: Duration, under_way: usize) {
        self.time_passes(now);
        self.under_way = under_way;
    }

    /// An attempt is over; it still counts as under way.
    pub(super) fn finished(&mut self, now: Duration, sample: &Sample) {
        self.time_passes(now);
        if self.earlier > 0 {
            self.earlier -= 1;
            if self.earlier == 0 {
                self.epoch = Epoch::at(now);
            }
            return;
        }
        self.epoch
            .add(now, sample, self.under_way >= self.at_once());
        if let Some(us) = self.much_too_long(sample) {
            self.rungs[self.rung].leave(self.epochs);
            self.trial = None;
            self.why = Why::OneLong { us };
            self.enter(highest(&self.rungs, size(self.at_once()) / 2.0), now);
        } else if self.epoch.is_over(now, self.at_once()) {
            let seen = self.epoch.seen(now, self.at_once());
            self.epoch = Epoch::at(now);
            self.decide(seen, now);
        }
    }

    fn time_passes(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.since);
        let at_once = self.at_once();
        self.epoch.passes(passed, self.under_way, at_once);
        self.since = now;
    }

    /// What began with another number does not count for this one.
    fn enter(&mut self, rung: usize, now: Duration) {
        self.rung = rung;
        self.rungs[rung].enter();
        self.earlier = self.under_way.saturating_sub(1);
        self.epoch = Epoch::at(now);
    }

    /// For how long locks may be held at the 99th percentile, and half of them.
    fn limits(&self) -> Option<(f64, f64)> {
        let target = micros(self.steering.target?);
        Some(self.floor.map_or((target, f64::INFINITY), |floor| {
            let longer = |than: f64| target.max(than * LONGER);
            (longer(floor.p99), longer(floor.p50))
        }))
    }

    /// A lock that was held for so long that the number at once is halved at once.
    fn much_too_long(&self, sample: &Sample) -> Option<f64> {
        let us = epoch::float(sample.longest()?);
        let (limit, _) = self.limits()?;
        (us > FAR * limit * sample.work() && self.rung > 0).then_some(us)
    }

    /// At the end of an epoch.
    fn decide(&mut self, seen: Seen, now: Duration) {
        self.epochs += 1;
        self.p99 = Some(seen.p99);
        let here = &mut self.rungs[self.rung];
        here.p99.add(seen.p99);
        here.p50.add(seen.p50);
        here.stayed += 1;
        if let Some(rate) = seen.rate {
            here.rate.add(rate);
        }
        let excess = self.excess(&seen);
        if excess > 1.0 {
            self.too_long(&seen, excess, now);
            return;
        }
        let target = self.steering.target.map_or(f64::INFINITY, micros);
        let shorter = |floor: Held| self.rungs[self.rung].p99.value < floor.p99 / 2.0;
        if seen.p99 <= target || self.floor.is_some_and(shorter) {
            (self.descent, self.floor) = (None, None);
        }
        if self.rungs[self.rung].stayed >= GOOD {
            self.rungs[self.rung].is_good();
        }
        if seen.rate.is_none() {
            self.why = Why::Unused;
            return;
        }
        if let Some(trial) = self.trial
            && !self.judge(trial, now)
        {
            return;
        }
        self.go_on(now);
    }

    /// By how much locks are held for too long; at most 1 if they are not.
    fn excess(&self, seen: &Seen) -> f64 {
        let Some((p99, p50)) = self.limits() else {
            return 0.0;
        };
        let here = &self.rungs[self.rung];
        let longer = (here.p99.value / p99).max(here.p50.value / p50);
        let clearly = seen.p99 / p99;
        if clearly > CLEARLY {
            longer.max(clearly)
        } else {
            longer
        }
    }

    /// Fewer at once, if that can help.
    fn too_long(&mut self, seen: &Seen, excess: f64, now: Duration) {
        self.trial = None;
        let at_once = self.at_once();
        let held = Held {
            at_once: at_once.min(seen.peak.max(1)),
            p99: seen.p99,
            p50: seen.p50,
        };
        let origin = *self.descent.get_or_insert(held);
        let helped = seen.p99 <= NO_HELP * origin.p99;
        if self.rung == 0 || (origin.at_once >= 2 * at_once && !helped) {
            (self.floor, self.descent) = (Some(held), None);
            self.why = Why::NotOurs;
            return;
        }
        self.rungs[self.rung].avoid(self.epochs);
        self.why = Why::Long {
            at_once,
            us: seen.p99,
        };
        let used = size(held.at_once);
        let fewer = (used * MARGIN / excess).max(used / 4.0);
        let fits = highest(&self.rungs, fewer);
        self.enter(fits.min(self.rung - 1), now);
    }

    /// Whether the trial is over, and it stays here.
    fn judge(&mut self, trial: Trial, now: Duration) -> bool {
        let here = self.rungs[self.rung];
        if here.rate.of < JUDGE {
            return false;
        }
        self.trial = None;
        match trial {
            Trial::More { than } => {
                let before = self.rungs[than];
                if pays(&before, &here) {
                    return true;
                }
                self.rungs[self.rung].avoid(self.epochs);
                self.why = Why::NoFaster {
                    at_once: here.at_once,
                };
                self.enter(than, now);
            }
            Trial::Fewer { than } => {
                let before = self.rungs[than];
                let (_, waited) = self.fewer;
                let wait = if pays(&here, &before) {
                    self.why = Why::Rises;
                    self.enter(than, now);
                    (waited * 2).min(FEWER_MAX)
                } else {
                    self.rungs[than].avoid(self.epochs);
                    self.why = Why::NoFaster {
                        at_once: before.at_once,
                    };
                    FEWER
                };
                self.fewer = (self.epochs + wait, wait);
            }
        }
        false
    }

    /// Tries more, or fewer, if it is time for that.
    fn go_on(&mut self, now: Duration) {
        let (here, next) = (self.rungs[self.rung], self.rung + 1);
        if let Some(more) = self.rungs.get(next) {
            let near = self
                .limits()
                .is_some_and(|(p99, _)| self.expected(next) > p99);
            if self.epochs >= more.retry {
                if !near || here.stayed >= PATIENCE {
                    self.trial = Some(Trial::More { than: self.rung });
                    self.why = Why::Tries { than: here.at_once };
                    self.enter(next, now);
                    return;
                }
                self.why = Why::Near;
            }
        } else {
            self.why = Why::Most;
        }
        if self.epochs >= self.fewer.0 && self.rung > 0 && here.stayed >= PATIENCE {
            self.trial = Some(Trial::Fewer { than: self.rung });
            self.why = Why::Tries { than: here.at_once };
            self.enter(self.rung - 1, now);
        }
    }

    /// For how long locks are expected to be held at a higher rung: by how they grew up to here, in
    /// proportion to the number at once where that is not known.
    fn expected(&self, next: usize) -> f64 {
        let here = &self.rungs[self.rung];
        let more = |from: &Rung, to: &Rung| (size(to.at_once) / size(from.at_once)).ln();
        let below = self.rung.checked_sub(1).map(|below| &self.rungs[below]);
        let grew = below.filter(|below| below.p99.of > 0 && below.p99.value > 0.0);
        let power = grew.map_or(1.0, |below| {
            (here.p99.value / below.p99.value).ln() / more(below, here)
        });
        let power = power.clamp(0.0, 1.0);
        here.p99.value * (power * more(here, &self.rungs[next])).exp()
    }
}

/// Whether more at once are worth it.
fn pays(fewer: &Rung, more: &Rung) -> bool {
    let gain = more.rate.value / fewer.rate.value - 1.0;
    gain >= GAIN * (size(more.at_once) / size(fewer.at_once) - 1.0)
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

#[cfg(test)]
mod tests;
