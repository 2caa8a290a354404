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
//! Limits are not kept: a run that is started again begins with its command line. A pause is kept
//! in the journal, before it is answered: such a run comes up paused.

mod conditions;
mod congestion;
mod counts;
mod flag;
mod limits;
mod pairs;
mod parallel;
mod quota;
mod server;
mod tally;
mod window;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::OnceLock;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;

pub(crate) use conditions::{load_average, local_clock};
pub use conditions::{unusable, watch_conditions};
pub use counts::{Counts, Running};
pub use flag::{Flag, Presence};
pub use limits::{LIMITS, Limit, Limits};
pub use pairs::{Controls, of_pair};
pub use parallel::{AUTO, OFF, Parallel, TargetLock};
use parking_lot::{Mutex, MutexGuard};
pub use quota::{Place, Places, Quota};
pub use server::{Ask, ServeError, Socket, ask, ask_pair, serve, socket_path};
use tally::Tally;
pub use window::{Window, WindowError};

use crate::clock::now_ms;
use crate::journal::{AtOnce, Ended, Figures, JournalError, Totals};
use crate::two_phase::{Failure, Side};

/// What a run may do now.
#[derive(Clone, Debug, PartialEq)]
pub struct ControlState {
    /// Begin nothing new.
    pub paused: bool,
    /// What an operator allows.
    pub limits: Limits,
    /// How many mailboxes at once the hosts and this process can serve; a larger limit is lowered
    /// to it, and no larger number is found.
    pub most: usize,
    /// Why it waits now; set by [`watch_conditions`].
    pub waiting: Option<String>,
    /// Which hosts are too busy now; set while a run works.
    pub busy: Vec<Busy>,
    /// Why it would wait for ever; set by [`watch_conditions`].
    pub unusable: Option<String>,
}

/// Keeps since when a run is paused (milliseconds since 1970), or that it no longer is.
pub type PauseKeeper = Box<dyn Fn(Option<i64>) -> Result<(), JournalError> + Send + Sync>;

/// A host that is too busy for a limit, or of which nobody knows that it is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Busy {
    /// Which; `None` before the first look.
    pub side: Option<Side>,
    /// The name of the limit.
    pub limit: &'static str,
    /// The host, what it has and what it may have, in words.
    pub text: String,
}

/// The controls of one run, shared by all that read or set them.
pub struct Control {
    state: watch::Sender<ControlState>,
    keeper: OnceLock<PauseKeeper>,
    tally: Mutex<Tally>,
    counts: Mutex<Counts>,
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Control");
        out.field("state", &*self.state.borrow());
        out.finish_non_exhaustive()
    }
}

/// What a run is doing right now.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
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
    /// Mailboxes at once that are allowed now.
    pub allowed: usize,
    /// Why it is this number, where it is found while the run works.
    pub steered: Option<Steered>,
    /// Every limit by its name; `off` where there is none.
    pub limits: BTreeMap<&'static str, String>,
    /// Each host over the last minute.
    pub hosts: Vec<HostLive>,
    /// The longest locks of this invocation: mailbox and milliseconds.
    pub slowest: Vec<(String, f64)>,
}

/// How many mailboxes at once there are now, of how many, and why.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Steered {
    /// What was found in this invocation.
    #[serde(flatten)]
    pub now: AtOnce,
    /// How long locks were held lately, at the 99th percentile; `None` before that was measured.
    pub lock_p99_ms: Option<f64>,
    /// How long they may be; `None` where that does not matter.
    pub target_lock_ms: Option<f64>,
}

impl Steered {
    /// What the journal keeps; `None` where nothing was measured, as in a short run.
    pub(crate) fn found(&self) -> Option<&AtOnce> {
        self.lock_p99_ms.map(|_| &self.now)
    }
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
    /// Controls with these limits. A run begins only once the conditions among them have been
    /// looked at.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let waiting = limits.has_conditions();
        let state = ControlState {
            paused: false,
            limits,
            most: usize::MAX,
            waiting: waiting.then(|| "looking at the conditions".to_owned()),
            busy: Vec::new(),
            unusable: None,
        };
        let mut tally = Tally::new();
        tally.steer(&state);
        Self {
            state: watch::Sender::new(state),
            keeper: OnceLock::new(),
            tally: Mutex::new(tally),
            counts: Mutex::default(),
        }
    }

    /// The state now.
    #[must_use]
    pub fn state(&self) -> ControlState {
        self.state.borrow().clone()
    }

    /// The limits now.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.state.borrow().limits.clone()
    }

    /// Tells when the state changes.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<ControlState> {
        self.state.subscribe()
    }

    /// Changes the state.
    pub fn update(&self, change: impl FnOnce(&mut ControlState)) {
        self.state.send_if_modified(|state| {
            let before = state.clone();
            change(state);
            if let Parallel::Fixed(number) = &mut state.limits.parallel {
                *number = (*number).clamp(1, state.most.max(1));
            }
            // The tally is locked after the state, here as everywhere.
            self.tally().steer(state);
            *state != before
        });
    }

    /// From now on a pause is kept by this; the first one that is given stays.
    pub fn keep_pause(&self, keeper: PauseKeeper) {
        drop(self.keeper.set(keeper));
    }

    /// Pauses it, or lets it go on: at once, and kept on return. May take as long as a disk sync.
    ///
    /// # Errors
    /// It is not kept; it is paused, or goes on, all the same.
    pub fn pause(&self, paused: bool) -> Result<(), JournalError> {
        self.update(|state| state.paused = paused);
        let since = paused.then(now_ms);
        self.keeper.get().map_or(Ok(()), |keep| keep(since))
    }

    /// How many more mailboxes may begin now.
    #[must_use]
    pub fn free(&self) -> usize {
        let state = self.state.borrow();
        if state.paused || state.waiting.is_some() || !state.busy.is_empty() {
            return 0;
        }
        let tally = self.tally();
        tally
            .allowed(&state)
            .saturating_sub(tally.under_way() + tally.resting)
    }

    /// Tells what a run has to do.
    pub fn begins(&self, run: i64, totals: &Totals) {
        self.tally().begins(run, totals);
    }

    /// A mailbox is being worked on.
    pub fn starts(&self) {
        self.tally().starts();
    }

    /// It no longer is.
    pub fn ends(&self) {
        self.tally().ends();
    }

    /// How many places rest.
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

    /// Some of the mailboxes to be done (`of`) were sampled beforehand.
    pub fn expects(&self, of: u64, sampled: Vec<Sampled>) {
        self.tally().expects(of, sampled);
    }

    /// Tells how an attempt ended that took this long. It still is under way.
    pub fn finished(
        &self,
        name: &str,
        ended: Ended,
        failure: Option<&Failure>,
        figures: &Figures,
        took: Duration,
    ) {
        self.counts.lock().finished(ended, failure, figures);
        self.tally().finished(name, ended, failure, figures, took);
    }

    /// What the run is doing right now.
    #[must_use]
    pub fn live(&self) -> Live {
        let state = self.state();
        self.tally().live(&state)
    }

    /// How many mailboxes at once are allowed now.
    #[must_use]
    pub fn allowed(&self) -> usize {
        let state = self.state();
        self.tally().allowed(&state)
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock()
    }
}

#[cfg(test)]
mod tests;
