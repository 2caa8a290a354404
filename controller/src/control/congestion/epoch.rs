//! What is seen of a run between two decisions about how many mailboxes it works on at once.

use std::time::Duration;

use crate::run::Histogram;

/// Mailboxes of an epoch, at least, so that one long lock is not the 99th percentile; and for each
/// of those at once this many.
const MAILBOXES: usize = 100;
const MAILBOXES_EACH: usize = 2;
/// How long it is, at least.
const TIME: Duration = Duration::from_millis(250);
/// All places were in use for this share of it, else it says nothing about more or fewer of them.
const FULL: f64 = 0.6;
/// This number of messages is as much work as a mailbox without any.
const MESSAGES: f64 = 1000.0;

/// An attempt at a mailbox that is over.
#[derive(Clone, Copy, Debug)]
pub(in crate::control) struct Sample {
    /// How long its locks were held on each side, in microseconds.
    pub(in crate::control) held_us: [Option<u64>; 2],
    pub(in crate::control) messages: u64,
    /// How long it had its place.
    pub(in crate::control) took: Duration,
    /// Whether it was done, and there was something to do.
    pub(in crate::control) worked: bool,
}

impl Sample {
    pub(super) fn longest(&self) -> Option<u64> {
        self.held_us.iter().flatten().copied().max()
    }

    /// How much work it is, in mailboxes without messages.
    pub(super) fn work(&self) -> f64 {
        1.0 + float(self.messages) / MESSAGES
    }
}

/// An epoch that is not over.
#[derive(Debug)]
pub(super) struct Epoch {
    began: Duration,
    /// How long all places were in use.
    full: Duration,
    /// How long places were in use for what came to nothing, all of them together.
    others: Duration,
    work: f64,
    /// How long locks were held, of both sides.
    held: Histogram,
    locked: usize,
}

/// What an epoch came to. Times are microseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) p99: f64,
    pub(super) p50: f64,
    /// Work in a second.
    pub(super) rate: f64,
}

impl Epoch {
    pub(super) fn at(now: Duration) -> Self {
        Self {
            began: now,
            full: Duration::ZERO,
            others: Duration::ZERO,
            work: 0.0,
            held: Histogram::new(),
            locked: 0,
        }
    }

    /// Time went by with this many under way, where `at_once` are allowed.
    pub(super) fn passes(&mut self, time: Duration, under_way: usize, at_once: usize) {
        if under_way >= at_once {
            self.full += time;
        }
    }

    /// An attempt ended while all places were in use, or not.
    pub(super) fn add(&mut self, now: Duration, sample: &Sample, full: bool) {
        sample
            .held_us
            .iter()
            .flatten()
            .for_each(|us| self.held.add(*us));
        self.locked += usize::from(sample.longest().is_some());
        if !full {
            return;
        }
        if sample.worked {
            self.work += sample.work();
        } else {
            // A refusal is no work, and the time for which it queued for a lock is no slow disk.
            self.others += sample.took.min(now.saturating_sub(self.began));
        }
    }

    /// Where it is `short`, half of the mailboxes are enough.
    pub(super) fn is_over(&self, now: Duration, at_once: usize, short: bool) -> bool {
        let least = MAILBOXES / if short { 2 } else { 1 };
        self.locked >= least.max(MAILBOXES_EACH * at_once) && now.saturating_sub(self.began) >= TIME
    }

    /// How long locks were held at the 99th percentile, microseconds.
    pub(super) fn p99(&self) -> f64 {
        float(self.held.quantile(99))
    }

    /// `None` where not all places were in use for most of the time.
    pub(super) fn seen(&self, now: Duration, at_once: usize) -> Option<Seen> {
        let all = now.saturating_sub(self.began).as_secs_f64();
        let full = self.full.as_secs_f64();
        let spent = full - self.others.as_secs_f64() / size(at_once);
        // With too little left of it the rate would be made of chance.
        let counts = full >= FULL * all && spent >= 0.2 * full && self.work > 0.0;
        counts.then(|| Seen {
            p99: self.p99(),
            p50: float(self.held.quantile(50)),
            rate: self.work / spent,
        })
    }
}

#[allow(clippy::cast_precision_loss)] // times and counts
pub(super) fn float(n: u64) -> f64 {
    n as f64
}

#[allow(clippy::cast_precision_loss)] // at most 1024
pub(super) fn size(n: usize) -> f64 {
    n as f64
}
