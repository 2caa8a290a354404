//! What a part of a run came to: a pair's mailboxes, or a partition's.

use crate::journal::{Row, Totals};
use crate::run::Histogram;
use crate::two_phase::Side;

/// A part of a run.
#[derive(Clone, Debug)]
pub(super) struct Part {
    /// Counts of its mailboxes.
    pub(super) totals: Totals,
    /// Finished attempts.
    pub(super) attempts: u64,
    /// How long locks were held, on each side.
    pub(super) locks: [Histogram; 2],
}

impl Part {
    pub(super) fn new() -> Self {
        Self {
            totals: Totals::default(),
            attempts: 0,
            locks: [Histogram::new(), Histogram::new()],
        }
    }

    pub(super) fn add(&mut self, row: &Row) {
        self.totals.add_row(row);
        self.attempts += u64::from(row.attempts);
        for (held, us) in self.locks.iter_mut().zip(row.figures.lock_us) {
            if let Some(us) = us {
                held.add(us);
            }
        }
    }

    /// Adds what another part came to.
    pub(super) fn merge(&mut self, other: &Self) {
        self.totals += other.totals;
        self.attempts += other.attempts;
        for (held, more) in self.locks.iter_mut().zip(&other.locks) {
            held.merge(more);
        }
    }

    /// How long locks were held, both sides together.
    pub(super) fn both(&self) -> Histogram {
        let [mut both, replica] = self.locks.clone();
        both.merge(&replica);
        both
    }

    /// The sides on which a lock was held.
    pub(super) fn sides(&self) -> Vec<(Side, &Histogram)> {
        let sides = Side::ALL.into_iter().zip(&self.locks);
        sides.filter(|(_, held)| held.count() > 0).collect()
    }
}
