//! Where the time goes while the locks are held: for `COMMIT`'s answer, the log and benchmarks.

use std::time::{Duration, Instant};

/// A clock with named timings. A name that comes again adds to its lap.
#[derive(Debug)]
pub struct HoldTimer {
    since: Instant,
    last: Instant,
    timings: Vec<(&'static str, Duration)>,
}

impl HoldTimer {
    /// Begins now, when cyrus.index is locked.
    #[must_use]
    pub fn begin() -> HoldTimer {
        let now = Instant::now();
        HoldTimer {
            since: now,
            last: now,
            timings: Vec::new(),
        }
    }

    /// Since the begin.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.since.elapsed()
    }

    /// What was done since the last mark had this name.
    pub fn mark(&mut self, name: &'static str) {
        let now = Instant::now();
        let timing = now.duration_since(self.last);
        self.last = now;
        match self.timings.iter_mut().find(|(known, _)| *known == name) {
            Some((_, time)) => *time += timing,
            None => self.timings.push((name, timing)),
        }
    }

    /// `name:microseconds,...` in the order of the first marks.
    #[must_use]
    pub fn to_text(&self) -> String {
        let timings: Vec<String> = self
            .timings
            .iter()
            .map(|(name, time)| format!("{name}:{}", time.as_micros()))
            .collect();
        timings.join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timings_are_all_of_the_time_and_a_name_that_comes_again_adds_up() {
        let mut hold = HoldTimer::begin();
        for name in ["wait", "compare", "wait"] {
            std::thread::sleep(Duration::from_millis(2));
            hold.mark(name);
        }
        let names: Vec<&str> = hold.timings.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["wait", "compare"]);
        assert!(hold.timings[0].1 >= Duration::from_millis(4));
        let sum: Duration = hold.timings.iter().map(|(_, time)| *time).sum();
        assert_eq!(sum, hold.last.duration_since(hold.since));
        assert!(sum <= hold.elapsed());
        assert!(hold.to_text().starts_with("wait:"));
    }
}
