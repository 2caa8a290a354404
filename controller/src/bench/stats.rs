//! What a series of measurements amounts to.

use serde::Serialize;

/// A measured value is an outlier if its modified Z-score is beyond this (the bound that hyperfine
/// uses too; Iglewicz and Hoaglin suggest 3.5, times 1.4826 for the median absolute deviation).
const OUTLIER: f64 = 14.826;

/// Of fewer values none is called an outlier: of three, two are often close to one another by
/// chance.
const ENOUGH: usize = 5;

/// Figures of a series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Stats {
    /// How many measurements.
    pub runs: usize,
    /// Their mean.
    pub mean: f64,
    /// Standard deviation of the sample; 0 of a single one.
    pub stddev: f64,
    /// The median.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
    /// How many are far from the others.
    pub outliers: usize,
}

impl Stats {
    /// Of these measurements; all zero if there are none.
    #[must_use]
    pub fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (Some(&min), Some(&max)) = (sorted.first(), sorted.last()) else {
            return Self::default();
        };
        // Numbers of runs are small.
        #[allow(clippy::cast_precision_loss)]
        let (n, less_one) = (sorted.len() as f64, (sorted.len().max(2) - 1) as f64);
        let mean = sorted.iter().sum::<f64>() / n;
        let variance = sorted.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / less_one;
        let median = middle(&sorted);
        let mut deviations: Vec<f64> = sorted.iter().map(|v| (v - median).abs()).collect();
        deviations.sort_by(f64::total_cmp);
        let mad = middle(&deviations);
        // If most are equal, any other one is far.
        let far = |v: &&f64| (**v - median).abs() > OUTLIER * mad.max(f64::EPSILON * median.abs());
        let outliers = if sorted.len() < ENOUGH {
            0
        } else {
            sorted.iter().filter(far).count()
        };
        Self {
            runs: sorted.len(),
            mean,
            stddev: variance.sqrt(),
            median,
            min,
            max,
            outliers,
        }
    }

    /// The ratio of two means, and its uncertainty by the propagation of both deviations.
    #[must_use]
    pub fn ratio(&self, to: &Self) -> (f64, f64) {
        let ratio = self.mean / to.mean;
        let part = |s: &Self| (s.stddev / s.mean).powi(2);
        (ratio, ratio.abs() * (part(self) + part(to)).sqrt())
    }
}

fn middle(sorted: &[f64]) -> f64 {
    let n = sorted.len();
    match (sorted.get(n / 2), sorted.get((n / 2).wrapping_sub(1))) {
        (Some(&upper), Some(&lower)) if n.is_multiple_of(2) => f64::midpoint(lower, upper),
        (Some(&upper), _) => upper,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    #[test]
    fn the_figures_are_those_of_the_textbook() {
        let stats = Stats::of(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]);
        assert!(near(stats.mean, 5.0) && near(stats.median, 4.5));
        assert!(near(stats.stddev, (32.0_f64 / 7.0).sqrt()));
        assert!(near(stats.min, 2.0) && near(stats.max, 9.0));
        assert_eq!(stats.outliers, 0);
    }

    #[test]
    fn a_value_far_away_is_an_outlier_and_few_values_have_none() {
        assert_eq!(Stats::of(&[1.0, 1.1, 0.9, 1.05, 20.0]).outliers, 1);
        assert_eq!(Stats::of(&[1.0, 20.0]).outliers, 0);
        assert_eq!(Stats::of(&[1.0, 1.01, 20.0]).outliers, 0);
        assert_eq!(Stats::of(&[1.0]).stddev.to_bits(), 0);
        assert_eq!(Stats::of(&[]), Stats::default());
    }

    #[test]
    fn a_ratio_carries_the_uncertainty_of_both() {
        let (a, b) = (Stats::of(&[9.0, 11.0]), Stats::of(&[5.0, 5.0]));
        let (ratio, error) = a.ratio(&b);
        assert!(near(ratio, 2.0) && near(error, 2.0 * a.stddev / 10.0));
    }
}
