//! What was counted on a pair since the controller began: for metrics, which want numbers that only
//! rise. How many mailboxes a run has, and what became of them, is the journal's to say.

use std::collections::BTreeMap;
use std::sync::Arc;

use prometheus_client::metrics::histogram::Histogram;

use super::Control;
use crate::journal::{Ended, Figures};
use crate::two_phase::{Failure, Side};

/// Upper bounds of the buckets into which the times of held locks are counted, seconds.
const HOLD_BUCKETS: [f64; 12] = [
    0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0,
];

/// What was counted.
#[derive(Clone, Debug)]
pub struct Counts {
    /// Attempts, by how they ended.
    pub attempts: BTreeMap<&'static str, u64>,
    /// Those that failed, by reason.
    pub failures: BTreeMap<&'static str, u64>,
    /// Messages of mailboxes that are over.
    pub messages: u64,
    /// Decisions that the journal has made durable.
    pub decisions: u64,
    /// For how long each committed mailbox was locked, by side, in seconds.
    pub holds: [Histogram; 2],
    /// Which hosts do not answer now, by side.
    pub away: [bool; 2],
    /// Runs under way: 1 or 0.
    running: usize,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            attempts: BTreeMap::new(),
            failures: BTreeMap::new(),
            messages: 0,
            decisions: 0,
            holds: [(); 2].map(|()| Histogram::new(HOLD_BUCKETS)),
            away: [false; 2],
            running: 0,
        }
    }
}

impl Counts {
    /// Whether a run works on the pair.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.running > 0
    }

    pub(super) fn finished(&mut self, ended: Ended, failure: Option<&Failure>, figures: &Figures) {
        *self.attempts.entry(ended.as_str()).or_default() += 1;
        if let Some(failure) = failure {
            *self.failures.entry(failure.reason.as_str()).or_default() += 1;
        }
        if !matches!(ended, Ended::Again | Ended::Waits) {
            self.messages += figures.messages;
        }
        for side in Side::ALL {
            if let Some(us) = figures.lock_us[side.index()] {
                let held = std::time::Duration::from_micros(us);
                self.holds[side.index()].observe(held.as_secs_f64());
            }
        }
    }
}

/// A run works on the pair until this is dropped.
#[derive(Debug)]
pub struct Running(Arc<Control>);

impl Drop for Running {
    fn drop(&mut self) {
        let mut counts = self.0.counts.lock();
        counts.running = counts.running.saturating_sub(1);
    }
}

impl Control {
    /// What was counted so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts.lock().clone()
    }

    /// A run works on the pair until what this gives is dropped.
    #[must_use]
    pub fn runs(self: &Arc<Self>) -> Running {
        self.counts.lock().running += 1;
        Running(Arc::clone(self))
    }

    /// The journal has made this number of decisions durable, beside earlier ones.
    pub fn decided(&self, decisions: u64) {
        self.counts.lock().decisions += decisions;
    }

    /// Which hosts do not answer.
    pub fn hosts_away(&self, away: [bool; 2]) {
        self.counts.lock().away = away;
    }

    /// Everything for which nothing new may begin, in a word each, and whether that is so now: an
    /// operator's pause, something in the run itself, the conditions of this machine, its hosts.
    #[must_use]
    pub fn reasons(&self) -> [(&'static str, bool); 4] {
        let state = self.state();
        let holds = self.tally().holds.is_some();
        [
            ("paused", state.paused),
            ("run", holds),
            ("conditions", state.waiting.is_some()),
            ("hosts", !state.busy.is_empty()),
        ]
    }
}
