//! The numbers of mailboxes at once that are tried, and when.

use super::epoch::size;

/// Epochs before a number that was no better is tried again: at first, and at most.
const WAIT: u64 = 8;
const WAIT_MAX: u64 = 64;

/// From 1 to the most: twice as many up to 4, half as many again from there.
pub(super) fn ladder(most: usize) -> Vec<usize> {
    let next = |n: &usize| Some(if *n < 4 { n * 2 } else { n * 3 / 2 });
    let mut rungs: Vec<usize> = std::iter::successors(Some(1), next)
        .take_while(|n| *n < most)
        .collect();
    // The most itself is one, and so is none that is nearly the same.
    if rungs.last().is_some_and(|n| n * 5 / 4 >= most && *n > 4) {
        rungs.pop();
    }
    rungs.push(most.max(1));
    rungs
}

/// The highest rung with at most this number, the lowest if there is none.
pub(super) fn highest(rungs: &[usize], at_once: f64) -> usize {
    let fits = |rung: &usize| size(*rung) <= at_once;
    rungs.iter().rposition(fits).unwrap_or(0)
}

/// When more, or fewer, are tried again: each time that it was in vain it is longer until then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Again {
    at: u64,
    wait: u64,
}

impl Again {
    pub(super) const NOW: Self = Self { at: 0, wait: WAIT };

    pub(super) fn is_due(self, epoch: u64) -> bool {
        epoch >= self.at
    }

    pub(super) fn in_vain(&mut self, epoch: u64) {
        self.at = epoch + self.wait;
        self.wait = (self.wait * 2).min(WAIT_MAX);
    }
}
