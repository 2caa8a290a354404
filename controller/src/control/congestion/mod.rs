//! How many mailboxes at once, found while a run works: a congestion control of one pair, for
//! `--parallel auto` and `--target-lock`.
//!
//! # What it promises
//!
//! * Never fewer than one, never more than the most. It begins with [`FIRST`].
//! * Another number is taken only once it was better than this one was before and after it, so that
//!   nothing changes for what happens to the disk at any number: a stall, some long locks, other
//!   work. In vain is tried more and more rarely; so a run is hardly slower than one that has the
//!   same number all the time.
//! * More are better if they are faster, and hold locks at the 99th percentile within the target.
//! * Fewer are tried where locks are held for longer than the target, by a quarter, twice in a row;
//!   they are better if the median of the locks is shorter, by more than the work is less; by
//!   clearly more, where they are fewer than it began with. A target that was given comes before
//!   the work: then it is enough that they are shorter.
//! * Where fewer are not better and locks stay too long (large mailboxes, a slow disk), more are if
//!   they are faster by more than locks are longer; with a target that was given, if locks are
//!   hardly longer.
//! * What fails, waits or has nothing to do does not count as work, and while not all places are in
//!   use there are not more of them.
//!
//! Time is handed in; there is no clock, socket or file here. An epoch is a quarter of a second and
//! 100 mailboxes, at least. What was under way when the number changed belongs to none.
//!
//! # What a crash leaves
//!
//! Nothing: the next start begins to measure anew.

mod epoch;
mod ladder;
mod why;

use std::time::Duration;

use epoch::{Epoch, Seen, size};
use ladder::{Again, highest, ladder};
use why::{Why, ms};

pub(super) use epoch::Sample;

use super::parallel::{FIRST, Steering};

/// What all the work has to gain from more at once, as a share of how many more they are: half as
/// many again must be a twentieth faster.
const GAIN: f64 = 0.1;
/// How much longer than the target locks are before fewer are tried: between the two it stays.
const LONGER: f64 = 1.25;
/// Where fewer than it began with are compared with more, their locks have to be shorter by this
/// much more than the work is less; so chance keeps none of them.
const CLEARLY: f64 = 0.75;
/// Fewer that leave this share of the time did not help.
const NO_HELP: f64 = 0.85;

/// A number that is compared: an epoch of this one, one of that, and one of this again.
#[derive(Clone, Copy, Debug)]
struct Trial {
    rung: usize,
    before: Seen,
    /// What it came to, once that epoch is over.
    tried: Option<Seen>,
    /// Whether it was better once.
    won: bool,
}

/// The state of it.
#[derive(Debug)]
pub(super) struct Congestion {
    steering: Steering,
    rungs: Vec<usize>,
    /// The number that it stays with.
    rung: usize,
    trial: Option<Trial>,
    /// The epoch before, if it had the same number and no trial.
    before: Option<Seen>,
    more: Again,
    fewer: Again,
    epoch: Epoch,
    epochs: u64,
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
            before: None,
            more: Again::NOW,
            fewer: Again::NOW,
            epoch: Epoch::at(now),
            epochs: 0,
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
        let at_once = self.rungs[self.rung];
        let begun = Self::new(steering, now, self.under_way);
        let rung = highest(&begun.rungs, size(at_once));
        *self = Self { rung, ..begun };
    }

    /// How many at once now.
    pub(super) fn at_once(&self) -> usize {
        let tried = self.trial.filter(|trial| trial.tried.is_none());
        self.rungs[tried.map_or(self.rung, |trial| trial.rung)]
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
        let at_once = self.at_once();
        self.epoch.add(now, sample, self.under_way >= at_once);
        let tries_fewer = at_once < self.rungs[self.rung];
        if !self.epoch.is_over(now, at_once, tries_fewer) {
            return;
        }
        self.epochs += 1;
        self.p99 = Some(self.epoch.p99());
        if let Some(seen) = self.epoch.seen(now, at_once) {
            self.decide(seen);
        } else {
            // Neither more nor fewer of them would change anything.
            (self.trial, self.before) = (None, None);
            self.why = Why::Unused;
        }
        self.epoch = Epoch::at(now);
        if self.at_once() != at_once {
            // What began with another number does not count for this one.
            self.earlier = self.under_way.saturating_sub(1);
        }
    }

    fn time_passes(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.since);
        let at_once = self.at_once();
        self.epoch.passes(passed, self.under_way, at_once);
        self.since = now;
    }

    /// At the end of an epoch.
    fn decide(&mut self, seen: Seen) {
        match self.trial.take() {
            None => self.stays(seen),
            Some(trial @ Trial { tried: None, .. }) => {
                self.why = Why::Tries {
                    than: self.rungs[trial.rung],
                };
                self.trial = Some(Trial {
                    tried: Some(seen),
                    ..trial
                });
            }
            Some(Trial {
                rung,
                before,
                tried: Some(tried),
                won,
            }) => {
                let better = self.is_better(rung, &tried, [&before, &seen]);
                if better && !won {
                    self.trial = Some(Trial {
                        rung,
                        before: seen,
                        tried: None,
                        won: true,
                    });
                } else if better {
                    // At once further in the same direction.
                    (self.rung, self.before) = (rung, None);
                    self.stays(tried);
                } else {
                    self.before = Some(before);
                    self.stays(seen);
                }
            }
        }
    }

    /// An epoch of the number that it stays with: tries another, if it is time for that.
    fn stays(&mut self, seen: Seen) {
        let before = self.before.replace(seen);
        let target = self.target();
        let clearly = |seen: Seen| seen.p99 > LONGER * target;
        let long = clearly(seen) && before.is_some_and(clearly);
        let try_fewer = self.rung > 0 && self.fewer.is_due(self.epochs);
        if long && try_fewer {
            let p99 = before.map_or(seen.p99, |before| before.p99.min(seen.p99));
            self.tries(self.fewer_for(p99 / target), seen);
        } else if self.rung + 1 == self.rungs.len() {
            self.why = Why::Most;
        } else if self.more.is_due(self.epochs) && !(clearly(seen) && try_fewer) {
            self.tries(self.rung + 1, seen);
        }
    }

    fn tries(&mut self, rung: usize, before: Seen) {
        self.trial = Some(Trial {
            rung,
            before,
            tried: None,
            won: false,
        });
        self.before = None;
        self.why = Why::Tries {
            than: self.rungs[self.rung],
        };
    }

    /// The rung that is tried where locks are too long by this factor: from many it is not far
    /// below what it began with.
    fn fewer_for(&self, excess: f64) -> usize {
        let at_once = size(self.rungs[self.rung]);
        let fits = (at_once / excess).max(at_once / 4.0).max(size(FIRST));
        highest(&self.rungs, fits).min(self.rung - 1)
    }

    /// Whether what was tried is better than this number was before and after.
    fn is_better(&mut self, rung: usize, tried: &Seen, around: [&Seen; 2]) -> bool {
        let [at_once, here] = [rung, self.rung].map(|rung| self.rungs[rung]);
        let target = self.target();
        // This number at its best.
        let best = |of: fn(&Seen) -> f64, which: fn(f64, f64) -> f64| {
            around.into_iter().map(of).reduce(which).unwrap_or_default()
        };
        let work = tried.rate / best(|seen| seen.rate, f64::max);
        let held = tried.p50 / best(|seen| seen.p50, f64::min);
        let least = best(|seen| seen.p99, f64::min);
        let strict = self.steering.strict;
        let up = rung > self.rung;
        let few = !strict && at_once.min(here) < FIRST;
        let favour = if few { CLEARLY } else { 1.0 };
        let better = if up {
            let pays = work >= 1.0 + GAIN * (size(at_once) / size(here) - 1.0);
            self.why = if pays {
                Why::Long {
                    at_once,
                    us: tried.p99,
                }
            } else {
                Why::NoFaster { at_once }
            };
            let longer = if strict { 1.0 / NO_HELP } else { work / favour };
            pays && (tried.p99 <= target || (few || least > target) && held <= longer)
        } else {
            self.why = Why::NotOurs;
            held <= NO_HELP && (strict || held <= favour * work)
        };
        if better {
            self.why = Why::Better { than: here };
        }
        match (up, better) {
            (true, true) => {}
            // Where fewer are better, this number was not: more wait, too.
            (true, false) | (false, true) => self.more.in_vain(self.epochs),
            (false, false) => self.fewer.in_vain(self.epochs),
        }
        better
    }

    /// For how long locks may be held, in microseconds.
    fn target(&self) -> f64 {
        self.steering.target.map_or(f64::INFINITY, micros)
    }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

#[cfg(test)]
mod tests;
