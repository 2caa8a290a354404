//! How long locks were held.

use serde::{Deserialize, Serialize};

use crate::journal::Row;

/// Percentiles of how long locks were held, in milliseconds, both hosts together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct LockMs {
    /// The median.
    pub p50: f64,
    /// The 99th percentile.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

/// Counts durations in buckets of at most 1/16 of their size, so that memory is flat.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: u64,
}

impl Histogram {
    const SUB: u32 = 4;

    pub(crate) fn new() -> Self {
        Self {
            counts: vec![0; 61 << Self::SUB],
            total: 0,
            max: 0,
        }
    }

    pub(crate) fn add(&mut self, us: u64) {
        if let Some(count) = self.counts.get_mut(Self::bucket(us)) {
            *count += 1;
            self.total += 1;
        }
        self.max = self.max.max(us);
    }

    /// Adds what another one has counted.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.total += other.total;
        self.max = self.max.max(other.max);
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.total
    }

    /// Adds how long both hosts' locks of a mailbox were held.
    pub(crate) fn add_row(&mut self, row: &Row) {
        row.figures
            .lock_us
            .iter()
            .flatten()
            .for_each(|us| self.add(*us));
    }

    /// Values below 16 have a bucket each; then sixteen buckets to each doubling.
    fn bucket(us: u64) -> usize {
        let bits = u64::BITS - us.leading_zeros();
        let shift = bits.saturating_sub(Self::SUB + 1);
        // At most 31, whatever the width of a pointer.
        let low = usize::try_from(us >> shift).unwrap_or(usize::MAX);
        ((shift << Self::SUB) as usize).saturating_add(low)
    }

    /// The largest value of a bucket.
    fn upper(bucket: usize) -> u64 {
        let row = bucket >> Self::SUB;
        if row < 2 {
            return bucket as u64;
        }
        let shift = row - 1;
        let low = ((bucket & ((1 << Self::SUB) - 1)) + (1 << Self::SUB)) as u64;
        ((low + 1) << shift) - 1
    }

    /// The value that a share of all values does not exceed, in microseconds.
    pub(crate) fn quantile(&self, percent: u64) -> u64 {
        let rank = (self.total * percent).div_ceil(100).max(1);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Self::upper(bucket).min(self.max);
            }
        }
        self.max
    }

    /// Buckets that are not empty: (largest value in microseconds, count).
    pub(crate) fn rows(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.counts
            .iter()
            .enumerate()
            .filter(|(_, n)| **n > 0)
            .map(|(b, n)| (Self::upper(b), *n))
    }

    pub(crate) fn lock_ms(&self) -> LockMs {
        LockMs {
            p50: ms(self.quantile(50)),
            p99: ms(self.quantile(99)),
            max: ms(self.max),
        }
    }
}

#[allow(clippy::cast_precision_loss)] // 2^53 microseconds are 285 years
fn ms(us: u64) -> f64 {
    us as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_never_wider_than_a_sixteenth_of_its_values() {
        for us in (0..100_000).chain([1 << 40, u64::MAX / 3]) {
            let upper = Histogram::upper(Histogram::bucket(us));
            assert!(
                upper >= us && upper - us <= us / 16,
                "{us} in a bucket up to {upper}"
            );
        }
    }

    #[test]
    fn percentiles_are_right_to_a_sixteenth_and_the_maximum_exactly() {
        let mut held = Histogram::new();
        (1..=1000).for_each(|n| held.add(n * 1000));
        let lock = held.lock_ms();
        assert!((500.0..=532.0).contains(&lock.p50), "{lock:?}");
        assert!((990.0..=1000.0).contains(&lock.p99), "{lock:?}");
        assert!((lock.max - 1000.0).abs() < 1e-9);
        assert_eq!(Histogram::new().lock_ms(), LockMs::default());
    }
}
