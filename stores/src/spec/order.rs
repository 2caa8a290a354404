//! What is asked of a store of plain mailboxes: how many messages each has, and which of them.

use super::mix;
use super::shape::{Ids, Shape};

/// Most that a mailbox of a log-normal distribution gets.
const MOST: f64 = 20_000.0;
/// How wide that distribution is: a third of the mailboxes have less than a quarter of the median
/// or more than four times as many.
const SIGMA: f64 = 1.5;

/// How many messages mailboxes have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Counts {
    /// As many as the store is asked for, on average.
    Mean,
    /// From the first number to the second, each equally often.
    Between(u32, u32),
    /// Log-normal with this median: many small ones, few that are very large.
    LogNormal(u32),
}

/// Shares in percent, of plain mailboxes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Order {
    pub counts: Counts,
    pub expunged: u32,
    pub done: u32,
    pub linked: u32,
}

impl Default for Order {
    fn default() -> Self {
        Self {
            counts: Counts::Mean,
            expunged: 0,
            done: 0,
            linked: 0,
        }
    }
}

impl Order {
    /// The shape of the i-th mailbox; `first`: of its group, which links to no other.
    pub fn shape(&self, seed: u64, i: usize, first: bool) -> Shape {
        let mut shape = Shape::PLAIN;
        // A stream of its own for each question.
        if mix(seed ^ 0x646f_6e65, i as u64) % 100 < u64::from(self.done) {
            shape = shape.version(10).ids(Ids::Sha1);
        }
        if self.expunged > 0 {
            shape = shape.expunged(self.expunged);
        }
        if !first {
            shape.shared = self.linked;
        }
        shape
    }

    /// The messages of the i-th mailbox; `None`: what its shape says.
    pub fn count(&self, seed: u64, i: usize) -> Option<u32> {
        let mut rng = fastrand::Rng::with_seed(mix(seed ^ 0x636f_756e, i as u64));
        match self.counts {
            Counts::Mean => None,
            Counts::Between(least, most) => Some(rng.u32(least..=most.max(least))),
            Counts::LogNormal(median) => {
                let (a, b) = (1.0 - rng.f64(), rng.f64());
                let normal = (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos();
                let count = f64::from(median) * (SIGMA * normal).exp();
                // Between 0 and MOST.
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
                let count = count.round().clamp(0.0, MOST) as u32;
                Some(count)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(counts: Counts) -> Vec<u32> {
        let order = Order {
            counts,
            ..Order::default()
        };
        let mut all: Vec<u32> = (0..1001).filter_map(|i| order.count(7, i)).collect();
        all.sort_unstable();
        all
    }

    #[test]
    fn counts_are_distributed_as_asked() {
        assert!(counts(Counts::Mean).is_empty());
        let even = counts(Counts::Between(10, 20));
        assert_eq!((even[0], even[1000]), (10, 20));
        let skew = counts(Counts::LogNormal(100));
        assert!((80..125).contains(&skew[500]), "median {}", skew[500]);
        assert!(
            skew[1000] > 2000 && skew[0] < 10,
            "{} to {}",
            skew[0],
            skew[1000]
        );
        assert_eq!(
            skew,
            counts(Counts::LogNormal(100)),
            "the same seed, the same counts"
        );
    }

    #[test]
    fn shares_are_those_asked_for() {
        let order = Order {
            done: 30,
            expunged: 10,
            linked: 5,
            ..Order::default()
        };
        let done = (0..1000).filter(|i| order.shape(7, *i, false).version == 10);
        assert!((250..350).contains(&done.count()));
        let shape = order.shape(7, 0, true);
        assert_eq!((shape.gone, shape.shared), (10, 0));
        assert_eq!(order.shape(7, 1, false).shared, 5);
        assert_eq!(Order::default().shape(7, 1, false), Shape::PLAIN);
    }
}
