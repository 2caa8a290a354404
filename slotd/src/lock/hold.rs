//! Where the time goes while the locks are held: for `COMMIT`'s answer, the log and whoever wants
//! it shorter.

use std::time::{Duration, Instant};

/// A clock with named laps. A name that comes again adds to its lap.
#[derive(Debug)]
pub struct Hold {
    since: Instant,
    last: Instant,
    laps: Vec<(&'static str, Duration)>,
}

impl Hold {
    /// Begins now, when cyrus.index is locked.
    #[must_use]
    pub fn begin() -> Hold {
        let now = Instant::now();
        Hold {
            since: now,
            last: now,
            laps: Vec::new(),
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
        let lap = now.duration_since(self.last);
        self.last = now;
        match self.laps.iter_mut().find(|(known, _)| *known == name) {
            Some((_, time)) => *time += lap,
            None => self.laps.push((name, lap)),
        }
    }

    /// `name:microseconds,...` in the order of the first marks.
    #[must_use]
    pub fn to_text(&self) -> String {
        let laps: Vec<String> = self
            .laps
            .iter()
            .map(|(name, time)| format!("{name}:{}", time.as_micros()))
            .collect();
        laps.join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_laps_are_all_of_the_time_and_a_name_that_comes_again_adds_up() {
        let mut hold = Hold::begin();
        for name in ["wait", "compare", "wait"] {
            std::thread::sleep(Duration::from_millis(2));
            hold.mark(name);
        }
        let names: Vec<&str> = hold.laps.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["wait", "compare"]);
        assert!(hold.laps[0].1 >= Duration::from_millis(4));
        let sum: Duration = hold.laps.iter().map(|(_, time)| *time).sum();
        assert_eq!(sum, hold.last.duration_since(hold.since));
        assert!(sum <= hold.elapsed());
        assert!(hold.to_text().starts_with("wait:"));
    }
}
