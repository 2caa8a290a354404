//! What is asked of a store of plain mailboxes: how many messages each has, and which of them.

use super::mix;
use super::shape::{Ids, Shape};

/// Most that a mailbox of a log-normal distribution gets.
const MOST: f64 = 20_000.0;
/// How wide that distribution is: a third of the mailboxes have less than a quarter of the median
/// or more than four times as many.
const SIGMA: f64 = 1.5;

/// The shares of mailboxes, in percent, at which [`Counts::Percentiles`] says how many messages a
/// mailbox has that no more than that share is smaller than.
pub const POINTS: [f64; 16] = [
    0.0, 1.0, 5.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 95.0, 99.0, 99.9, 100.0,
];

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
    /// As many as at each of [`POINTS`], and on a straight line between two of them.
    Percentiles([u32; POINTS.len()]),
}

impl Counts {
    /// Percentiles of these, which are sorted; all zero if there is none.
    #[must_use]
    pub fn percentiles(counts: &mut [u32]) -> [u32; POINTS.len()] {
        counts.sort_unstable();
        let last = counts.len().saturating_sub(1);
        POINTS.map(|percent| {
            // The nearest of them; far fewer than 2^52.
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_precision_loss,
                clippy::cast_sign_loss
            )]
            let at = (percent / 100.0 * last as f64).round() as usize;
            counts.get(at).copied().unwrap_or_default()
        })
    }
}

/// What lies at that percentage between 0 and 100.
fn at(percentiles: &[u32; POINTS.len()], percent: f64) -> u32 {
    let next = POINTS.partition_point(|point| *point <= percent);
    let (Some(above), Some(below)) = (percentiles.get(next), next.checked_sub(1)) else {
        return percentiles[POINTS.len() - 1];
    };
    let part = (percent - POINTS[below]) / (POINTS[next] - POINTS[below]);
    let (low, high) = (f64::from(percentiles[below]), f64::from(*above));
    // Between two of them.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let count = (low + part * (high - low)).round() as u32;
    count
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
            Counts::Percentiles(percentiles) => Some(at(&percentiles, rng.f64() * 100.0)),
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
    fn percentiles_of_a_store_make_one_that_has_about_the_same() {
        let mut live = counts(Counts::LogNormal(40));
        let asked = Counts::percentiles(&mut live);
        assert_eq!(
            (asked[0], asked[7], asked[15]),
            (live[0], live[500], live[1000])
        );
        let made = Counts::percentiles(&mut counts(Counts::Percentiles(asked)));
        for (asked, made) in asked.into_iter().zip(made).skip(2).take(11) {
            assert!(made.abs_diff(asked) <= 2 + asked / 5, "{made} for {asked}");
        }
        assert!(made[15] <= asked[15]);
        assert_eq!(Counts::percentiles(&mut []), [0; POINTS.len()]);
        let same = Counts::Percentiles(Counts::percentiles(&mut [7]));
        assert_eq!(counts(same), [7; 1001]);
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
