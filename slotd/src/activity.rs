//! What one slotd has done since it started and what it is doing, in numbers: for `STATUS` and for
//! metrics.
//!
//! Counted where it happens, read at any time; nothing here waits, and nothing depends on it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use prometheus_client::metrics::histogram::Histogram;

use crate::transaction::Outcome;

/// How far back a wait counts as recent.
const RECENT: Duration = Duration::from_secs(300);
/// The most recent waits that are kept.
const KEPT: usize = 4096;

/// Upper bounds of the buckets into which waits are counted, seconds.
const WAIT_BUCKETS: [f64; 11] = [
    0.0001, 0.001, 0.005, 0.02, 0.1, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0,
];

/// The numbers of one slotd.
#[derive(Debug)]
pub struct Activity {
    connections: AtomicU64,
    refused: AtomicU64,
    committed: AtomicU64,
    rolled_back: AtomicU64,
    unsettled: AtomicU64,
    /// When each mailbox that is locked now was, by a number of its own.
    holds: Mutex<(u64, BTreeMap<u64, Instant>)>,
    waits: Mutex<VecDeque<(Instant, Duration)>>,
    /// Since the start, in seconds.
    all_waits: Histogram,
}

impl Default for Activity {
    fn default() -> Activity {
        Activity {
            connections: AtomicU64::default(),
            refused: AtomicU64::default(),
            committed: AtomicU64::default(),
            rolled_back: AtomicU64::default(),
            unsettled: AtomicU64::default(),
            holds: Mutex::default(),
            waits: Mutex::default(),
            all_waits: Histogram::new(WAIT_BUCKETS),
        }
    }
}

/// Recent waits for locks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecentWaits {
    /// How many.
    pub count: u64,
    /// The 99th percentile; zero if there were none.
    pub p99: Duration,
    /// The longest.
    pub max: Duration,
}

impl Activity {
    /// Somebody has waited for the locks of a mailbox for so long, in vain or not.
    pub fn waited(&self, waited: Duration) {
        self.waited_at(Instant::now(), waited);
    }

    /// All waits since the start, in seconds.
    #[must_use]
    pub fn waits(&self) -> &Histogram {
        &self.all_waits
    }

    fn waited_at(&self, now: Instant, waited: Duration) {
        self.all_waits.observe(waited.as_secs_f64());
        let mut waits = self.waits.lock();
        if waits.len() >= KEPT {
            waits.pop_front();
        }
        waits.push_back((now, waited));
    }

    /// The waits of the last five minutes, at most 4096 of them.
    #[must_use]
    pub fn recent_waits(&self) -> RecentWaits {
        self.recent_waits_at(Instant::now())
    }

    fn recent_waits_at(&self, now: Instant) -> RecentWaits {
        let mut times: Vec<Duration> = {
            let mut waits = self.waits.lock();
            let is_old = |at: &Instant| now.saturating_duration_since(*at) > RECENT;
            while waits.front().is_some_and(|(at, _)| is_old(at)) {
                waits.pop_front();
            }
            waits.iter().map(|(_, waited)| *waited).collect()
        };
        times.sort_unstable();
        // The smallest that 99 of 100 do not exceed.
        let rank = (times.len() * 99).div_ceil(100);
        RecentWaits {
            count: times.len() as u64,
            p99: times
                .get(rank.saturating_sub(1))
                .copied()
                .unwrap_or_default(),
            max: times.last().copied().unwrap_or_default(),
        }
    }

    /// A mailbox is locked until what this gives is dropped.
    #[must_use]
    pub fn hold(self: &Arc<Activity>) -> Hold {
        let mut holds = self.holds.lock();
        let id = holds.0;
        holds.0 += 1;
        holds.1.insert(id, Instant::now());
        drop(holds);
        Hold {
            activity: Arc::clone(self),
            id,
        }
    }

    /// How many mailboxes are locked, and for how long the first of them has been.
    #[must_use]
    pub fn holds(&self) -> (usize, Duration) {
        let holds = self.holds.lock();
        // In the order in which they were begun.
        let longest = holds.1.values().next().map(Instant::elapsed);
        (holds.1.len(), longest.unwrap_or_default())
    }

    /// A connection is served until what this gives is dropped.
    #[must_use]
    pub fn connection(self: &Arc<Activity>) -> Connection {
        self.connections.fetch_add(1, Ordering::Relaxed);
        Connection(Arc::clone(self))
    }

    /// How many connections are served.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// A connection was refused for want of a place.
    pub fn refuses(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// How many were.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// A mailbox is unlocked, and its transaction came to this.
    pub fn ended(&self, outcome: Outcome) {
        let counter = match outcome {
            Outcome::Committed => &self.committed,
            Outcome::Nothing | Outcome::RolledBack | Outcome::Expired => &self.rolled_back,
            Outcome::Unsettled => &self.unsettled,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// How many transactions ended with the new files.
    #[must_use]
    pub fn committed(&self) -> u64 {
        self.committed.load(Ordering::Relaxed)
    }

    /// How many ended with the old ones.
    #[must_use]
    pub fn rolled_back(&self) -> u64 {
        self.rolled_back.load(Ordering::Relaxed)
    }

    /// How many were left to recovery.
    #[must_use]
    pub fn unsettled(&self) -> u64 {
        self.unsettled.load(Ordering::Relaxed)
    }
}

/// A mailbox that is locked.
#[derive(Debug)]
pub struct Hold {
    activity: Arc<Activity>,
    id: u64,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.activity.holds.lock().1.remove(&self.id);
    }
}

/// A connection that is served.
#[derive(Debug)]
pub struct Connection(Arc<Activity>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_of_five_minutes_count_and_one_of_a_hundred_may_be_long() {
        let activity = Activity::default();
        assert_eq!(activity.recent_waits(), RecentWaits::default());
        let begun = Instant::now();
        let ms = Duration::from_millis;
        activity.waited_at(begun, ms(9000));
        let later = begun + RECENT;
        (1..=199).for_each(|n| activity.waited_at(later, ms(n)));
        let all = activity.recent_waits_at(later);
        assert_eq!((all.count, all.p99, all.max), (200, ms(198), ms(9000)));
        let recent = activity.recent_waits_at(later + ms(1));
        assert_eq!(
            (recent.count, recent.p99, recent.max),
            (199, ms(198), ms(199))
        );
        (0..2 * KEPT).for_each(|_| activity.waited_at(later, ms(5)));
        let busy = activity.recent_waits_at(later);
        assert_eq!((busy.count, busy.max), (KEPT as u64, ms(5)));
    }

    #[test]
    fn a_mailbox_is_held_until_its_locks_are_given_back() {
        let activity = Arc::new(Activity::default());
        let first = activity.hold();
        let second = activity.hold();
        std::thread::sleep(Duration::from_millis(2));
        drop(second);
        let (held, longest) = activity.holds();
        assert_eq!(held, 1);
        assert!(longest >= Duration::from_millis(2));
        drop(first);
        assert_eq!(activity.holds(), (0, Duration::ZERO));
    }
}
