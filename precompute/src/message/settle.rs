//! Files that changed so recently that their stamp could not show the next change.
//!
//! The kernel takes the time of a change from a clock that ticks every few milliseconds. A file
//! that changed in the current tick can change again, after we have read it, and carry the same
//! stamp. So such a file is read only after the tick has passed: a later change is then sure to
//! show.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Stamp;

/// The longest tick of Linux (`CONFIG_HZ=100`), twice.
const TICK: Duration = Duration::from_millis(20);
/// Some file systems keep whole seconds only.
const COARSE: Duration = Duration::from_millis(1_020);

/// Knows how long to wait before a file may be read.
#[derive(Debug, Default)]
pub(super) struct Settle {
    /// A time that has passed. Mail is old, so it seldom needs to be asked for again.
    past: Duration,
}

impl Settle {
    /// How long to wait before the file may be read.
    pub(super) fn wait(&mut self, stamp: &Stamp) -> Option<Duration> {
        if let Some(changed) = changed(stamp)
            && self.past > changed + COARSE
        {
            return None;
        }
        self.past = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
        wait_at(stamp, self.past)
    }
}

fn changed(stamp: &Stamp) -> Option<Duration> {
    Some(Duration::from_nanos(u64::try_from(stamp.ctime_ns).ok()?))
}

fn wait_at(stamp: &Stamp, now: Duration) -> Option<Duration> {
    let changed = changed(stamp)?;
    let tick = if stamp.ctime_ns % 1_000_000_000 == 0 {
        COARSE
    } else {
        TICK
    };
    // A change "in the future" (a clock set back) cannot be waited out; the next change will get
    // another time than that one.
    let age = now.checked_sub(changed)?;
    tick.checked_sub(age).filter(|rest| !rest.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(ctime_ns: i64) -> Stamp {
        Stamp {
            mtime_ns: 0,
            ctime_ns,
            inode: 1,
        }
    }

    #[test]
    fn a_file_is_read_only_when_its_tick_has_passed() {
        let now = Duration::new(1_000, 500_000_000);
        let ms = |n: i64| 1_000_500_000_000 - n * 1_000_000;
        assert_eq!(wait_at(&stamp(ms(5)), now), Some(Duration::from_millis(15)));
        assert_eq!(wait_at(&stamp(ms(20)), now), None);
        assert_eq!(wait_at(&stamp(ms(3_600_000)), now), None);
        assert_eq!(
            wait_at(&stamp(ms(-1)), now),
            None,
            "the future is not waited for"
        );
        let coarse = wait_at(&stamp(1_000_000_000_000), now);
        assert_eq!(coarse, Some(Duration::from_millis(520)), "whole seconds");
        assert_eq!(wait_at(&stamp(-5), now), None, "before 1970");
    }
}
