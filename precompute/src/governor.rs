//! What keeps a run from disturbing the live server: stop, pause, and a limit on bytes a second.
//!
//! One [`Governor`] is shared by all threads of a run. Signals, a flag file and the load average
//! set its switches ([`crate::cli`]). A thread that it delays still notices a stop within a tenth
//! of a second.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The longest sleep without looking whether to stop.
const SLICE: Duration = Duration::from_millis(100);
/// How far a burst may exceed the limit.
const BURST: Duration = Duration::from_millis(250);

/// The switches and the limit of one run.
#[derive(Debug, Default)]
pub struct Governor {
    stop: AtomicBool,
    by_signal: AtomicBool,
    by_watch: AtomicBool,
    limit: Option<Limit>,
}

#[derive(Debug)]
struct Limit {
    bytes_a_second: u64,
    /// When the bytes admitted so far will have been read at the limit.
    paid: Mutex<Instant>,
}

impl Governor {
    /// No limit unless `bytes_a_second` is given (0 counts as 1).
    #[must_use]
    pub fn new(bytes_a_second: Option<u64>) -> Self {
        Self {
            limit: bytes_a_second.map(|n| Limit {
                bytes_a_second: n.max(1),
                paid: Mutex::new(Instant::now()),
            }),
            ..Self::default()
        }
    }

    /// Asks all threads to stop at the next message; for good.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    /// Whether [`Governor::stop`] was called.
    #[must_use]
    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Turns the pause by signal on or off; returns what it is now.
    pub fn toggle_pause(&self) -> bool {
        !self.by_signal.fetch_xor(true, Ordering::AcqRel)
    }

    /// Sets the pause by flag file or load.
    pub fn set_pause(&self, on: bool) {
        self.by_watch.store(on, Ordering::Release);
    }

    /// Whether work is paused now.
    #[must_use]
    pub fn paused(&self) -> bool {
        self.by_signal.load(Ordering::Acquire) || self.by_watch.load(Ordering::Acquire)
    }

    /// Waits while paused; `false` means stop.
    pub fn go_on(&self) -> bool {
        while self.paused() && !self.stopped() {
            std::thread::sleep(SLICE);
        }
        !self.stopped()
    }

    /// Whether there is a limit on bytes a second.
    #[must_use]
    pub fn limited(&self) -> bool {
        self.limit.is_some()
    }

    /// Waits until `bytes` may be read; `false` means stop.
    pub fn admit(&self, bytes: u64) -> bool {
        let Some(limit) = &self.limit else {
            return !self.stopped();
        };
        self.sleep(limit.wait(bytes, Instant::now()));
        !self.stopped()
    }

    /// Sleeps, but not on after a stop.
    pub fn sleep(&self, mut time: Duration) {
        while !time.is_zero() && !self.stopped() {
            let nap = time.min(SLICE);
            std::thread::sleep(nap);
            time = time.saturating_sub(nap);
        }
    }
}

impl Limit {
    /// Books `bytes` and says how long to wait before reading them.
    fn wait(&self, bytes: u64, now: Instant) -> Duration {
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_a_second);
        let cost = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let mut paid = self.paid.lock();
        // Time in which nothing was read is not saved up beyond the burst.
        let floor = now.checked_sub(BURST).unwrap_or(now);
        let from = (*paid).max(floor);
        *paid = from.checked_add(cost).unwrap_or(from);
        from.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_holds_over_any_stretch_longer_than_the_burst() {
        let governor = Governor::new(Some(1_000_000));
        let limit = governor.limit.as_ref().map(|l| (l.bytes_a_second, l));
        let Some((_, limit)) = limit else {
            panic!("a limit was given");
        };
        // A simulated clock: each read waits as required, and takes no time itself.
        let start = Instant::now();
        let mut now = start;
        let mut bytes = 0.0;
        for i in 0..1_000u32 {
            let n = 1 + (i * 7_919) % 20_000;
            now += limit.wait(u64::from(n), now);
            bytes += f64::from(n);
            let elapsed = (now - start).as_secs_f64() + BURST.as_secs_f64() + 0.021;
            assert!(bytes <= elapsed * 1_000_000.0, "{bytes} after {elapsed}");
        }
        let elapsed = (now - start).as_secs_f64();
        assert!(elapsed < bytes / 1_000_000.0 + 0.1, "and it is used up");
    }

    #[test]
    fn a_stop_ends_a_pause_and_a_wait() {
        let governor = Governor::new(Some(1));
        assert!(governor.toggle_pause());
        governor.stop();
        assert!(!governor.go_on());
        assert!(!governor.admit(u64::MAX));
    }

    #[test]
    fn pause_by_signal_and_by_watch_add_up() {
        let governor = Governor::default();
        assert!(governor.toggle_pause());
        governor.set_pause(true);
        assert!(!governor.toggle_pause());
        assert!(governor.paused(), "the flag file still says pause");
        governor.set_pause(false);
        assert!(governor.go_on());
    }
}
