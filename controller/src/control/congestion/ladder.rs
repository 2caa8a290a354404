//! The numbers of mailboxes at once that are tried, and what is known of each.

/// What a new value of a mean weighs, at least.
const WEIGHS: f64 = 0.3;
/// Epochs before a rung that was no good is tried again: at first, and at most.
const WAIT: u64 = 4;
const WAIT_MAX: u64 = 64;

/// A mean in which what is new weighs more.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mean {
    pub(super) value: f64,
    pub(super) of: u32,
}

impl Mean {
    pub(super) fn add(&mut self, value: f64) {
        self.of = self.of.saturating_add(1);
        self.value += (value - self.value) * (1.0 / f64::from(self.of)).max(WEIGHS);
    }
}

/// One of the numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rung {
    pub(super) at_once: usize,
    /// Since it was entered last: work in a second, and percentiles of the locks.
    pub(super) rate: Mean,
    pub(super) p99: Mean,
    pub(super) p50: Mean,
    /// Epochs since then.
    pub(super) stayed: u64,
    /// Not before this epoch is it tried again.
    pub(super) retry: u64,
    wait: u64,
}

impl Rung {
    fn of(at_once: usize) -> Self {
        Self {
            at_once,
            rate: Mean::default(),
            p99: Mean::default(),
            p50: Mean::default(),
            stayed: 0,
            retry: 0,
            wait: WAIT,
        }
    }

    /// What was known of it may no longer be so.
    pub(super) fn enter(&mut self) {
        *self = Self {
            retry: self.retry,
            wait: self.wait,
            ..Self::of(self.at_once)
        };
    }

    /// It was no good: each time it is left alone for longer.
    pub(super) fn avoid(&mut self, epoch: u64) {
        self.retry = epoch + self.wait;
        self.wait = (self.wait * 2).min(WAIT_MAX);
    }

    /// It was left for a reason that may not come again.
    pub(super) fn leave(&mut self, epoch: u64) {
        self.retry = epoch + WAIT;
    }

    pub(super) fn is_good(&mut self) {
        self.wait = WAIT;
    }
}

/// From 1 to the most, half as many again each time.
pub(super) fn ladder(most: usize) -> Vec<Rung> {
    let next = |n: &usize| Some((n + 1).max(n * 3 / 2));
    let mut rungs: Vec<usize> = std::iter::successors(Some(1), next)
        .take_while(|n| *n < most)
        .collect();
    // The most itself is one, and so is none that is nearly the same.
    if rungs.last().is_some_and(|n| n * 5 / 4 >= most && *n > 4) {
        rungs.pop();
    }
    rungs.push(most.max(1));
    rungs.into_iter().map(Rung::of).collect()
}

/// The highest rung with at most this number, the lowest if there is none.
pub(super) fn highest(rungs: &[Rung], at_once: f64) -> usize {
    let fits = |rung: &Rung| super::epoch::size(rung.at_once) <= at_once;
    rungs.iter().rposition(fits).unwrap_or(0)
}
