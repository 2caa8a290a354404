//! By what factor one series of values is another one, and within what bounds noise leaves that.
//!
//! The bounds are those of Mann and Whitney: the values are noise around a middle, whatever the
//! shape of the noise, and the factor is the median of those of all pairs of values. That the
//! bounds leave out the factor 1 although nothing changed happens in at most [`BY_CHANCE`] of all
//! cases; with too few values it could happen more often, and then there are no bounds.

use serde::Serialize;

/// How often noise alone is taken for a change: at most in this share of all cases.
pub const BY_CHANCE: f64 = 0.01;
/// Beyond this number of pairs the bounds are those of the normal distribution.
const EXACT: usize = 2500;
/// The quantile of the normal distribution that leaves out half of [`BY_CHANCE`] above it.
const QUANTILE: f64 = 2.575_829_303_548_901;

/// A factor and its bounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    /// By what the later values are multiples of the earlier ones.
    pub ratio: f64,
    /// The least that it may be.
    pub low: f64,
    /// The most that it may be.
    pub high: f64,
}

/// Why there are no bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unknown {
    /// Too few values.
    TooFew,
    /// A value is not above zero, so there is no factor.
    NotAboveZero,
}

/// The factor from `a` to `b`.
///
/// # Errors
/// Why it cannot be said.
pub fn interval(a: &[f64], b: &[f64]) -> Result<Interval, Unknown> {
    let all = || a.iter().chain(b);
    if all().any(|value| !value.is_finite() || *value < 0.0) {
        return Err(Unknown::NotAboveZero);
    }
    let cut = outside(a.len(), b.len()).ok_or(Unknown::TooFew)?;
    if all().all(|value| *value == 0.0) {
        return Ok(Interval {
            ratio: 1.0,
            low: 1.0,
            high: 1.0,
        });
    }
    if all().any(|value| *value == 0.0) {
        return Err(Unknown::NotAboveZero);
    }
    let pairs = a.iter().flat_map(|a| b.iter().map(move |b| b / a));
    let mut ratios: Vec<f64> = pairs.collect();
    ratios.sort_by(f64::total_cmp);
    let last = ratios.len() - 1;
    Ok(Interval {
        ratio: ratios[last / 2].midpoint(ratios[last.div_ceil(2)]),
        low: ratios[cut],
        high: ratios[last - cut],
    })
}

/// How many of the ordered factors of all pairs lie outside of the bounds at either end; `None` if
/// bounds around all of them would still be too narrow.
fn outside(n: usize, m: usize) -> Option<usize> {
    if n == 0 || m == 0 {
        return None;
    }
    if n * m > EXACT {
        return Some(of_normal(n, m));
    }
    let counts = orders(n.min(m), n.max(m));
    let all: f64 = counts.iter().sum();
    let mut below = 0.0;
    let within = counts.iter().take_while(|count| {
        below += **count;
        below <= all * BY_CHANCE / 2.0
    });
    within.count().checked_sub(1)
}

#[allow(clippy::cast_precision_loss)] // a few thousand values at most
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // `as` stays within bounds
fn of_normal(n: usize, m: usize) -> usize {
    let (n, m) = (n as f64, m as f64);
    let deviation = (n * m * (n + m + 1.0) / 12.0).sqrt();
    (n * m / 2.0 - QUANTILE * deviation - 0.5).floor() as usize
}

/// In how many orders of `few` values among `many` others the statistic of Mann and Whitney is 0,
/// 1, 2 and so on: the coefficients of the Gaussian binomial.
fn orders(few: usize, many: usize) -> Vec<f64> {
    let mut counts = vec![0.0; few * many + 1];
    counts[0] = 1.0;
    for i in 1..=few {
        for at in (many + i..counts.len()).rev() {
            counts[at] -= counts[at - many - i];
        }
        for at in i..counts.len() {
            counts[at] += counts[at - i];
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_those_of_the_textbook() {
        let found: Vec<String> = orders(2, 3).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["1", "1", "2", "2", "2", "1", "1"]);
        // Five among ten can be chosen in 252 ways, and 20 among 40 in 137,846,528,820.
        let all = |n| orders(n, n).iter().sum::<f64>();
        assert!((all(5) - 252.0).abs() < 1e-6);
        assert!((all(20) - 137_846_528_820.0).abs() < 1.0);
    }

    #[test]
    fn bounds_are_those_of_the_tables() {
        // Critical values of U, two-sided, 1 %: as tables have them, and none below five values.
        for (n, m, least) in [(5, 5, 0), (6, 6, 2), (8, 8, 7), (10, 10, 16), (20, 20, 105)] {
            assert_eq!(outside(n, m), Some(least), "{n} {m}");
        }
        for (n, m) in [(0, 9), (1, 100), (3, 3), (4, 4), (4, 5), (3, 8)] {
            assert_eq!(outside(n, m), None, "{n} {m}");
        }
        assert_eq!(outside(4, 6), Some(0));
        // Where both are at hand the normal distribution says nearly the same.
        let (exact, near) = (outside(50, 50).unwrap(), of_normal(50, 50));
        assert!(exact.abs_diff(near) <= 3, "{exact} {near}");
    }

    #[test]
    fn a_factor_lies_between_its_bounds() {
        let a = [100.0, 102.0, 98.0, 101.0, 99.0];
        let b = a.map(|value| value * 0.8);
        let found = interval(&a, &b).unwrap();
        assert!((found.ratio - 0.8).abs() < 0.01, "{found:?}");
        assert!(
            found.low < 0.8 && found.high > 0.8 && found.high < 0.84,
            "{found:?}"
        );
        let same = interval(&[2.0; 5], &[2.0; 5]).unwrap();
        assert!(same.low >= 1.0 && same.high <= 1.0, "{same:?}");
        let none = interval(&[0.0; 5], &[0.0; 5]).unwrap();
        assert!(none.low >= 1.0 && none.high <= 1.0, "{none:?}");
    }

    #[test]
    fn what_cannot_be_said_is_not_said() {
        let five = [1.0, 2.0, 3.0, 4.0, 5.0];
        assert_eq!(interval(&five[..3], &five[..3]), Err(Unknown::TooFew));
        assert_eq!(interval(&[], &five), Err(Unknown::TooFew));
        for odd in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let mut other = five;
            other[2] = odd;
            assert_eq!(interval(&five, &other), Err(Unknown::NotAboveZero), "{odd}");
        }
    }
}
