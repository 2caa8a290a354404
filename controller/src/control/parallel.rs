//! How many mailboxes at once, as an operator says it: a number, or `auto`; and for how long locks
//! may be held.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// What takes a limit away.
pub const OFF: &str = "off";
/// What leaves it to the run.
pub const AUTO: &str = "auto";
/// Most that `--parallel` can be.
pub const MOST: usize = 1024;
/// The most of `auto`. On every disk that was measured 64 at once were hardly faster than 16, and
/// 128 slower than 64.
const MOST_OF_AUTO: usize = 64;
/// With this number a run that is steered begins, and work that holds no locks has it at once.
pub(super) const FIRST: usize = 4;
/// How long locks may be held with `auto`, if nothing else is said.
const TARGET: Duration = Duration::from_millis(10);
/// Most that a target can be.
const LONGEST: Duration = Duration::from_secs(86_400);

/// Mailboxes at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parallel {
    /// As many as make the run faster and keep the locks short.
    Auto,
    /// This number; where there is a target for the locks, at most this number.
    Fixed(usize),
}

/// How long locks may be held, at the 99th percentile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetLock {
    /// 10 ms where the number of mailboxes at once is left to the run, else no matter how long.
    Auto,
    /// No matter how long.
    Off,
    /// This long.
    Of(Duration),
}

/// By what the number of mailboxes at once is found while a run works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Steering {
    /// The most.
    pub(super) most: usize,
    /// How long locks may be held.
    pub(super) target: Option<Duration>,
    /// It was given, and so comes before the work that is done; else it is a guide.
    pub(super) strict: bool,
}

impl Parallel {
    /// The most that it can come to.
    #[must_use]
    pub fn most(self) -> usize {
        match self {
            Self::Auto => MOST_OF_AUTO,
            Self::Fixed(number) => number.max(1),
        }
    }

    /// The number at once for work that holds no locks, where there is nothing to steer by.
    #[must_use]
    pub fn without_locks(self) -> usize {
        match self {
            Self::Auto => FIRST,
            Self::Fixed(number) => number.max(1),
        }
    }

    /// By what it is found, where `most` can be served; `None`: it is the number that was given.
    pub(super) fn steering(self, target: TargetLock, most: usize) -> Option<Steering> {
        let (target, strict) = match (self, target) {
            (Self::Auto, TargetLock::Auto) => (Some(TARGET), false),
            (Self::Auto, TargetLock::Off) => (None, false),
            (_, TargetLock::Of(time)) => (Some(time), true),
            (Self::Fixed(_), TargetLock::Auto | TargetLock::Off) => return None,
        };
        let most = self.most().min(most).max(1);
        Some(Steering {
            most,
            target,
            strict,
        })
    }
}

impl From<usize> for Parallel {
    fn from(number: usize) -> Self {
        Self::Fixed(number)
    }
}

impl FromStr for Parallel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == AUTO {
            return Ok(Self::Auto);
        }
        match text.parse() {
            Ok(number @ 1..=MOST) => Ok(Self::Fixed(number)),
            _ => Err(format!("a number from 1 to {MOST}, or {AUTO}, is expected")),
        }
    }
}

impl fmt::Display for Parallel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str(AUTO),
            Self::Fixed(number) => number.fmt(f),
        }
    }
}

impl FromStr for TargetLock {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == AUTO {
            return Ok(Self::Auto);
        }
        if text == OFF {
            return Ok(Self::Off);
        }
        // A number alone is in milliseconds, as it was before it could have a unit.
        let time = if let Ok(ms) = text.parse::<f64>() {
            Duration::try_from_secs_f64(ms / 1000.0).ok()
        } else {
            let time = text.parse::<jiff::SignedDuration>().ok();
            time.and_then(|time| Duration::try_from(time).ok())
        };
        time.filter(|time| (Duration::from_micros(1)..=LONGEST).contains(time))
            .map(Self::Of)
            .ok_or_else(|| {
                format!("a time up to a day, as 10ms or 0.5s, or {AUTO}, or {OFF}, is expected")
            })
    }
}

impl fmt::Display for TargetLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str(AUTO),
            Self::Off => f.write_str(OFF),
            Self::Of(time) => write!(f, "{}ms", time.as_secs_f64() * 1000.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_has_a_unit_or_is_in_milliseconds_and_is_shown_as_it_is_taken() {
        for (text, ms) in [
            ("10", 10.0),
            ("10ms", 10.0),
            ("0.5s", 500.0),
            ("0.25", 0.25),
            ("2s", 2000.0),
            ("1m", 60_000.0),
        ] {
            let target: TargetLock = text.parse().unwrap();
            let time = Duration::from_secs_f64(ms / 1000.0);
            assert_eq!(target, TargetLock::Of(time), "{text}");
            assert_eq!(target.to_string().parse(), Ok(target), "{text}");
        }
        for wrong in ["", "x", "nan", "-1", "0", "-3ms", "25h", "inf", "1 1"] {
            let error = wrong.parse::<TargetLock>().unwrap_err();
            assert!(error.contains("10ms or 0.5s"), "{wrong}: {error}");
        }
    }

    #[test]
    fn auto_has_a_target_and_a_most_and_a_number_is_the_most_where_there_is_a_target() {
        let ms = Duration::from_millis;
        let of = |parallel: &str, target: &str, most| {
            let (parallel, target): (Parallel, TargetLock) =
                (parallel.parse().unwrap(), target.parse().unwrap());
            let steering = parallel.steering(target, most);
            steering.map(|it| (it.most, it.target, it.strict))
        };
        assert_eq!(of("auto", "auto", 500), Some((64, Some(ms(10)), false)));
        assert_eq!(of("auto", "20ms", 39), Some((39, Some(ms(20)), true)));
        assert_eq!(of("auto", "off", 500), Some((64, None, false)));
        assert_eq!(of("100", "20ms", 500), Some((100, Some(ms(20)), true)));
        assert_eq!(of("100", "auto", 500), None);
        assert_eq!(of("100", "off", 500), None);
        for wrong in ["0", "1025", "off", "1.5", "AUTO", ""] {
            assert!(wrong.parse::<Parallel>().is_err(), "{wrong}");
        }
    }
}
