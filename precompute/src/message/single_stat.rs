//! When one look at a message, after it was read, proves what otherwise takes two.
//!
//! The plain way looks (`fstat`) before the first byte is read and after the last: nothing changed
//! if both saw the same. For small mail the second look is a twentieth of all work. It can be
//! saved:
//!
//! Every change of a file's bytes sets its ctime, which cannot be set to a chosen time,
//! from the kernel's coarse clock. Let `before` be that very clock, read before the file was
//! opened. If a look after the last byte was read shows a ctime older than `before` by [`MARGIN`],
//! then no change was made between: a change made then would have carried `before` or later,
//! rounded down to what the file system keeps (at most [`ROUNDING`]).
//!
//! That needs three things, and where one is missing the plain way is taken:
//!
//! * Times come from this machine's clock: not on NFS, SMB, FUSE or a cluster's file system, so
//!   only file systems known to be local count ([`indexfile::message::local_times`]).
//! * The clock was not set back meanwhile. The wall clock is compared with the monotonic one, which
//!   cannot be set, before the first message of a batch and after the last; a batch over which they
//!   moved against each other by more than [`SLACK`] is read again in the plain way. A clock that
//!   is slewed, as NTP does, never goes back and moves both.
//! * The message is older than the margin. Mail that was just delivered is looked at twice.
//!
//! The margin has more in it than rounding and slack: the kernel sets the time before it copies the
//! bytes of a `write`, so a write that began before `before` may still be at it; the plain way
//! allows 20 ms for that ([`super::settle`]), this one half a second. What neither way sees is a
//! store through a writable memory mapping into a page that was changed through it shortly before.
//! No mail server writes messages so.

use rustix::time::{ClockId, clock_gettime};

/// How much older than the start of the reading a ctime must be.
const MARGIN: i64 = ROUNDING + SLACK + SECOND / 2;
/// Old ext4 inodes keep whole seconds.
const ROUNDING: i64 = SECOND;
/// A step of the clock that is smaller does no harm.
const SLACK: i64 = SECOND / 2;
const SECOND: i64 = 1_000_000_000;

/// What the clocks say; nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clocks {
    /// The clock that files get their times from (`CLOCK_REALTIME_COARSE`), since 1970.
    pub coarse: i64,
    /// The wall clock minus the monotonic one: at least,
    pub ahead_least: i64,
    /// and at most; both, as this thread may have slept between the readings.
    pub ahead_most: i64,
}

impl Clocks {
    /// Now.
    #[must_use]
    pub fn now() -> Self {
        let read = |clock| {
            let time = clock_gettime(clock);
            time.tv_sec
                .saturating_mul(SECOND)
                .saturating_add(time.tv_nsec)
        };
        let coarse = read(ClockId::RealtimeCoarse);
        let earlier = read(ClockId::Realtime);
        let monotonic = read(ClockId::Monotonic);
        let later = read(ClockId::Realtime);
        Self {
            coarse,
            ahead_least: earlier.saturating_sub(monotonic),
            ahead_most: later.saturating_sub(monotonic),
        }
    }

    /// Whether the clock may have been set back since `earlier`.
    fn set_back_since(&self, earlier: &Self) -> bool {
        earlier.ahead_most.saturating_sub(self.ahead_least) > SLACK
    }
}

/// Whether a file with this ctime, seen after it was read, is as it was at `before`.
pub(super) fn unchanged_since(before: i64, ctime_ns: i64) -> bool {
    ctime_ns < before.saturating_sub(MARGIN)
}

/// The clocks of one batch after the other.
#[derive(Debug, Default)]
pub(super) struct Batches {
    began: Option<Clocks>,
    set_back: bool,
}

impl Batches {
    /// A time before now, for a message that is about to be opened; `None` if the clock cannot be
    /// trusted.
    pub(super) fn before(&mut self, now: impl FnOnce() -> Clocks) -> Option<i64> {
        (!self.set_back).then(|| self.began.get_or_insert_with(now).coarse)
    }

    /// Ends a batch: whether all looks since it began were good. Once the answer is no, it stays
    /// so.
    pub(super) fn end(&mut self, now: Clocks) -> bool {
        if let Some(began) = &self.began {
            self.set_back |= now.set_back_since(began);
        }
        self.began = Some(now);
        !self.set_back
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clocks(wall: i64, monotonic: i64) -> Clocks {
        Clocks {
            coarse: wall - 4_000_000,
            ahead_least: wall - monotonic,
            ahead_most: wall - monotonic,
        }
    }

    #[test]
    fn no_change_after_the_start_is_ever_taken_for_an_old_one_however_coarse_the_times() {
        let before = 1_000 * SECOND + 123_456_789;
        for after in (0..30 * SECOND).step_by(7_654_321) {
            for grain in [1, 1_000, 1_000_000, 10_000_000, SECOND] {
                for step in [0, SLACK / 2, SLACK] {
                    let change = before + after - step;
                    let ctime = change - change % grain;
                    assert!(!unchanged_since(before, ctime), "{after} {grain} {step}");
                }
            }
        }
        assert!(unchanged_since(before, before - MARGIN - 1));
        assert!(!unchanged_since(i64::MIN, 0), "no clock at all");
        assert!(!unchanged_since(before, i64::MAX), "a ctime in the future");
    }

    #[test]
    fn a_clock_that_was_set_back_spoils_its_batch_and_those_after_it() {
        let mut batches = Batches::default();
        let start = clocks(1_000 * SECOND, 5 * SECOND);
        assert_eq!(batches.before(|| start), Some(start.coarse));
        assert!(batches.end(clocks(1_010 * SECOND, 15 * SECOND)));
        assert!(
            batches.end(clocks(4_000 * SECOND, 16 * SECOND)),
            "forward is fine"
        );
        assert!(!batches.end(clocks(3_990 * SECOND, 17 * SECOND)));
        assert!(!batches.end(clocks(3_991 * SECOND, 18 * SECOND)));
        assert_eq!(batches.before(|| start), None);
    }

    #[test]
    fn small_steps_back_are_judged_batch_by_batch() {
        // A message is opened and looked at within one batch.
        let mut batches = Batches::default();
        assert!(batches.end(clocks(1_000 * SECOND, 0)));
        assert!(batches.end(clocks(1_000 * SECOND + SECOND / 2 + 1, SECOND)));
        assert!(!batches.end(clocks(1_000 * SECOND + SECOND / 2, 2 * SECOND)));
    }

    #[test]
    fn a_thread_that_slept_between_the_readings_takes_the_plain_way_rather_than_a_wrong_one() {
        let mut batches = Batches::default();
        let mut start = clocks(1_000 * SECOND, 0);
        start.ahead_most += 10 * SECOND;
        assert!(batches.before(|| start).is_some());
        assert!(!batches.end(clocks(1_001 * SECOND, SECOND)));
        assert!(Batches::default().end(Clocks::now()));
    }

    #[test]
    fn the_clocks_agree_with_the_system() {
        let now = std::time::SystemTime::now();
        let now = now
            .duration_since(std::time::UNIX_EPOCH)
            .expect("after 1970");
        let clocks = Clocks::now();
        let off = i128::from(clocks.coarse) - i128::try_from(now.as_nanos()).expect("small");
        assert!(off.abs() < i128::from(60 * SECOND), "{off}");
        assert!(clocks.ahead_least <= clocks.ahead_most);
    }
}
