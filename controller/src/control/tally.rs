//! Counts what a run does: rates, the slowest locks, and how many mailboxes at once they allow.

use std::time::{Duration, Instant};

use super::{Knobs, Live};
use crate::journal::{Ended, Figures};
use crate::two_phase::Failure;

/// Seconds that the rate looks back.
const WINDOW: usize = 60;
/// How many of the slowest are kept.
const SLOWEST: usize = 5;
/// Good ones in a row before one more at once is allowed.
const GROW_AFTER: u32 = 20;

#[derive(Debug)]
pub(super) struct Tally {
    pub(super) under_way: usize,
    /// At once, as the lock times allow.
    pub(super) allowed: usize,
    good: u32,
    run: i64,
    mailboxes: u64,
    done: u64,
    failed: u64,
    messages: u64,
    begun: Instant,
    /// Finished in each of the last seconds; `latest` is the second that the newest counts.
    seconds: [u64; WINDOW],
    latest: u64,
    slowest: Vec<(String, u64)>,
}

impl Tally {
    pub(super) fn new(parallel: usize) -> Self {
        Self {
            under_way: 0,
            allowed: parallel,
            good: 0,
            run: 0,
            mailboxes: 0,
            done: 0,
            failed: 0,
            messages: 0,
            begun: Instant::now(),
            seconds: [0; WINDOW],
            latest: 0,
            slowest: Vec::new(),
        }
    }

    pub(super) fn begins(&mut self, run: i64, mailboxes: u64, done: u64) {
        self.run = run;
        self.mailboxes = mailboxes;
        self.done = done;
        self.begun = Instant::now();
        self.seconds = [0; WINDOW];
        self.latest = 0;
    }

    pub(super) fn finished(
        &mut self,
        name: &str,
        ended: Ended,
        failure: Option<&Failure>,
        figures: &Figures,
        parallel: usize,
        target: Option<Duration>,
    ) {
        if let Some(us) = figures.lock_us.iter().flatten().copied().max() {
            self.adapt(us, parallel, target);
            let at = self.slowest.partition_point(|(_, held)| *held >= us);
            if at < SLOWEST {
                self.slowest.insert(at, (name.to_owned(), us));
                self.slowest.truncate(SLOWEST);
            }
        }
        if ended == Ended::Again {
            return;
        }
        self.done += 1;
        self.messages += figures.messages;
        self.failed += u64::from(failure.is_some() && ended != Ended::Gone);
        let second = self.advance();
        if let Some(count) = self.seconds.get_mut(second) {
            *count += 1;
        }
    }

    /// Halves at once when a lock was held too long, grows by one after a row of good ones.
    fn adapt(&mut self, us: u64, parallel: usize, target: Option<Duration>) {
        let Some(target) = target else {
            self.allowed = parallel;
            return;
        };
        if Duration::from_micros(us) > target {
            self.allowed = (self.allowed.min(parallel) / 2).max(1);
            self.good = 0;
        } else {
            self.good += 1;
            if self.good >= GROW_AFTER {
                self.good = 0;
                self.allowed = (self.allowed + 1).min(parallel);
            }
        }
    }

    /// Moves the ring on to now; the slot of this second.
    fn advance(&mut self) -> usize {
        let now = self.begun.elapsed().as_secs();
        let window = WINDOW as u64;
        for second in (self.latest + 1).max(now.saturating_sub(window - 1))..=now {
            self.seconds[usize::try_from(second % window).unwrap_or(0)] = 0;
        }
        self.latest = self.latest.max(now);
        usize::try_from(self.latest % window).unwrap_or(0)
    }

    #[allow(clippy::cast_precision_loss)] // for a person to read
    pub(super) fn live(&mut self, knobs: &Knobs, waiting: Option<String>) -> Live {
        self.advance();
        let looked_back = self.begun.elapsed().as_secs_f64().clamp(1.0, WINDOW as f64);
        let rate = self.seconds.iter().sum::<u64>() as f64 / looked_back;
        let left = self.mailboxes.saturating_sub(self.done);
        let eta = Duration::try_from_secs_f64(left as f64 / rate)
            .ok()
            .map(|d| d.as_secs());
        Live {
            run: self.run,
            mailboxes: self.mailboxes,
            done: self.done,
            failed: self.failed,
            under_way: self.under_way,
            messages: self.messages,
            rate,
            eta_seconds: eta,
            paused: knobs.paused,
            waiting,
            parallel: knobs.parallel,
            allowed: if knobs.target_lock.is_some() {
                self.allowed.min(knobs.parallel)
            } else {
                knobs.parallel
            },
            slowest: self
                .slowest
                .iter()
                .map(|(name, us)| (name.clone(), *us as f64 / 1000.0))
                .collect(),
        }
    }
}
