//! Steering a run while it works: pause, limits, and what it is doing right now.
//!
//! # What it promises
//!
//! Everything here acts between mailboxes: a paused or waiting run holds no lock and no staged
//! file, and may stay so for ever. Whenever a run waits, [`Live::waiting`] names the reason. Each
//! verb is answered at once, from memory.
//!
//! # What a crash leaves
//!
//! The socket file, which the next run with the same state file removes (it owns the state).
//! Pause and limits are not kept: a run that is started again begins with its command line.

mod conditions;
mod server;
mod tally;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;

pub(crate) use conditions::local_clock;
pub use conditions::{Conditions, Window, WindowError, unusable, watch_conditions};
pub use server::{Ask, ServeError, Socket, ask, serve, socket_path};
use tally::Tally;

use crate::journal::{Ended, Figures, Totals};
use crate::two_phase::Failure;

/// What can be changed while a run works.
#[derive(Clone, Debug, PartialEq)]
pub struct Knobs {
    /// Begin nothing new.
    pub paused: bool,
    /// Mailboxes at once, at most; each is on both hosts, so it is also the most at once on each of
    /// them.
    pub parallel: usize,
    /// For how many at once there is room on the hosts and in this process.
    pub most: usize,
    /// Mailboxes at once on each partition, at most.
    pub parallel_partition: Option<usize>,
    /// After a mailbox, its place rests for so many times as long as it took; 0 is not at all.
    pub nice_ratio: f64,
    /// How long `LOCK` may queue.
    pub lock_wait: Duration,
    /// How long a host that is away, or a partition that is not mounted, is waited for.
    pub host_wait: Duration,
    /// Work on fewer at once while locks are held for longer than this.
    pub target_lock: Option<Duration>,
    /// When to wait.
    pub conditions: Conditions,
    /// Why it waits now; set by [`watch_conditions`].
    pub waiting: Option<String>,
    /// Why it would wait for ever; set by [`watch_conditions`].
    pub unusable: Option<String>,
}

/// The controls of one run, shared by everybody who looks or turns.
#[derive(Debug)]
pub struct Control {
    knobs: watch::Sender<Knobs>,
    tally: Mutex<Tally>,
}

/// What a run is doing right now.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Live {
    /// The run's number, once it has one.
    pub run: i64,
    /// Mailboxes of the run.
    pub mailboxes: u64,
    /// Of them, those that are done, one way or the other.
    pub done: u64,
    /// Of them, those that failed in this invocation.
    pub failed: u64,
    /// Mailboxes being worked on.
    pub under_way: usize,
    /// Messages in this invocation.
    pub messages: u64,
    /// Mailboxes a second over the last minute.
    pub rate: f64,
    /// Messages a second over the last minute.
    pub messages_rate: f64,
    /// Seconds until the end at that rate of mailboxes; `None` if nothing moves.
    pub eta_seconds: Option<u64>,
    /// The same by messages, and by bytes of messages: from a sample of what was to be done, once
    /// there is one.
    pub eta_messages_seconds: Option<u64>,
    /// See above.
    pub eta_bytes_seconds: Option<u64>,
    /// Whether it is paused.
    pub paused: bool,
    /// Why nothing new begins, if so.
    pub waiting: Option<String>,
    /// Partitions that are not mounted; their mailboxes wait while the others go on.
    pub parked: Vec<String>,
    /// Mailboxes at once, at most.
    pub parallel: usize,
    /// Mailboxes at once that the lock times allow now.
    pub allowed: usize,
    /// Each host over the last minute.
    pub hosts: Vec<HostLive>,
    /// The longest locks of this invocation: mailbox and milliseconds.
    pub slowest: Vec<(String, f64)>,
}

/// What one host did over the last minute.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HostLive {
    /// `master` or `replica`.
    pub side: &'static str,
    /// Mailboxes committed a second.
    pub rate: f64,
    /// How long its locks were held on average.
    pub mean_lock_ms: f64,
    /// The longest of them.
    pub longest_lock_ms: f64,
}

/// How large a mailbox is that is still to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sampled {
    /// Its name.
    pub name: String,
    /// Records of its index.
    pub messages: u64,
    /// Their size.
    pub bytes: u64,
}

impl Control {
    /// Controls that begin like this.
    #[must_use]
    pub fn new(parallel: usize) -> Self {
        let knobs = Knobs {
            paused: false,
            parallel: parallel.max(1),
            most: usize::MAX,
            parallel_partition: None,
            nice_ratio: 0.0,
            lock_wait: Duration::ZERO,
            host_wait: Duration::ZERO,
            target_lock: None,
            conditions: Conditions::default(),
            waiting: None,
            unusable: None,
        };
        Self {
            knobs: watch::Sender::new(knobs),
            tally: Mutex::new(Tally::new(parallel.max(1))),
        }
    }

    /// As they are now.
    #[must_use]
    pub fn knobs(&self) -> Knobs {
        self.knobs.borrow().clone()
    }

    /// Tells when they change.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Knobs> {
        self.knobs.subscribe()
    }

    /// Changes them.
    pub fn turn(&self, change: impl FnOnce(&mut Knobs)) {
        self.knobs.send_if_modified(|knobs| {
            let before = knobs.clone();
            change(knobs);
            knobs.parallel = knobs.parallel.clamp(1, knobs.most.max(1));
            *knobs != before
        });
    }

    /// How many more mailboxes may begin now.
    #[must_use]
    pub fn room(&self) -> usize {
        let knobs = self.knobs.borrow();
        if knobs.paused || knobs.waiting.is_some() {
            return 0;
        }
        let tally = self.tally();
        // What the lock times allow counts only while there is a target for them.
        let limit = match knobs.target_lock {
            Some(_) => tally.allowed.min(knobs.parallel),
            None => knobs.parallel,
        };
        limit.saturating_sub(tally.under_way + tally.resting)
    }

    /// Tells what a run has to do.
    pub fn begins(&self, run: i64, totals: &Totals) {
        self.tally().begins(run, totals);
    }

    /// A mailbox is being worked on.
    pub fn starts(&self) {
        self.tally().under_way += 1;
    }

    /// It no longer is.
    pub fn ends(&self) {
        let mut tally = self.tally();
        tally.under_way = tally.under_way.saturating_sub(1);
    }

    /// So many places rest.
    pub fn rests(&self, places: usize) {
        self.tally().resting = places;
    }

    /// Why the run itself begins nothing new, if so.
    pub fn holds(&self, why: Option<String>) {
        self.tally().holds = why;
    }

    /// Which partitions wait while the others go on.
    pub fn parks(&self, partitions: Vec<String>) {
        self.tally().parked = partitions;
    }

    /// Some of so many mailboxes that are to be done were looked at beforehand.
    pub fn expects(&self, of: u64, sampled: Vec<Sampled>) {
        self.tally().expects(of, sampled);
    }

    /// Tells how an attempt ended.
    pub fn finished(&self, name: &str, ended: Ended, failure: Option<&Failure>, figures: &Figures) {
        let (parallel, target) = {
            let knobs = self.knobs.borrow();
            (knobs.parallel, knobs.target_lock)
        };
        self.tally()
            .finished(name, ended, failure, figures, parallel, target);
    }

    /// What the run is doing right now.
    #[must_use]
    pub fn live(&self) -> Live {
        let knobs = self.knobs();
        self.tally().live(&knobs)
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
