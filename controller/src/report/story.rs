//! What a run came to on one pair: totals, rate over time, lock times, the slowest mailboxes,
//! failures by reason.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::journal::{
    AtOnce, Filter, Journal, JournalError, Row, RunInfo, Totals, Verb, for_each_row,
};
use crate::longest::Longest;
use crate::run::{Histogram, LockMs};

use super::standing::Standing;
use super::time::{last_ended, per_second, seconds};

/// Points of the curve of the rate over time.
pub(super) const POINTS: u8 = 20;

/// A mailbox with long locks.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Slow {
    /// Its name.
    pub mailbox: String,
    /// Records of index and expunge file.
    pub messages: u64,
    /// The longer of the two hosts, in milliseconds.
    pub lock_ms: f64,
}

/// Failures of one class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FailureClass {
    /// How many mailboxes.
    pub mailboxes: u64,
    /// One of them.
    pub example: String,
    /// What it said.
    pub detail: String,
    /// What to do about it.
    pub advice: &'static str,
}

/// A run's story.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Story {
    /// The run's number.
    pub run: i64,
    /// `upgrade`, `downgrade` or `rollback`.
    pub command: &'static str,
    /// The same.
    #[serde(skip)]
    pub verb: Verb,
    /// The index version wanted; 0 in a rollback.
    pub to: u8,
    /// The run that a rollback undoes.
    pub undoes: Option<i64>,
    /// The same in words.
    pub task: String,
    /// Milliseconds since 1970.
    pub started_at: i64,
    /// Milliseconds since 1970; `None`: not finished.
    pub finished_at: Option<i64>,
    /// What it amounts to; in doubt is all that is open and does not wait.
    #[serde(flatten)]
    pub totals: Totals,
    /// Finished attempts.
    pub attempts: u64,
    /// Percentiles of lock times.
    pub lock_ms: LockMs,
    /// Lock times: (upper bound in microseconds, how often).
    pub lock_histogram: Vec<(u64, u64)>,
    /// Mailboxes finished in each of the equal slices of the run's time.
    pub rate: Vec<u64>,
    /// Mailboxes finished a second, from the begin to the last one, pauses included.
    pub mailboxes_per_second: f64,
    /// Seconds of each slice.
    pub rate_slice_seconds: f64,
    /// How many mailboxes at once its last start had, where that was found while it worked.
    pub steered: Option<AtOnce>,
    /// Mailboxes with the longest locks.
    pub slowest: Vec<Slow>,
    /// What failed, by class.
    pub failures: BTreeMap<&'static str, FailureClass>,
}

impl Story {
    /// Reads it from the journal.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn collect(
        journal: &dyn Journal,
        run: &RunInfo,
        slowest: usize,
    ) -> Result<Self, JournalError> {
        let totals = journal.totals(run.id)?;
        let mut collector = Collector::new(run, slowest);
        // Two passes: the curve needs to know when the run ended.
        let last = last_ended(journal, run.id)?;
        let end = last.unwrap_or_default().max(run.started_ms + 1);
        for_each_row(journal, run.id, Filter::All, |row| collector.row(row, end))?;
        let steered = journal.at_once(run.id)?;
        Ok(Self {
            steered,
            ..collector.story(run, totals, end)
        })
    }
}

/// Collects while rows stream by.
struct Collector {
    started_ms: i64,
    held: Histogram,
    attempts: u64,
    rate: Vec<u64>,
    slowest: Longest<Slow>,
    failures: BTreeMap<&'static str, FailureClass>,
}

impl Collector {
    fn new(run: &RunInfo, limit: usize) -> Self {
        Self {
            started_ms: run.started_ms,
            held: Histogram::new(),
            attempts: 0,
            rate: vec![0; POINTS.into()],
            slowest: Longest::new(limit),
            failures: BTreeMap::new(),
        }
    }

    fn row(&mut self, row: &Row, end: i64) {
        self.attempts += u64::from(row.attempts);
        self.held.add_row(row);
        if let Some(at) = row.ended_ms() {
            let span = (end - self.started_ms).max(1);
            let slice = (at - self.started_ms).clamp(0, span - 1) * i64::from(POINTS) / span;
            if let Some(count) = usize::try_from(slice)
                .ok()
                .and_then(|i| self.rate.get_mut(i))
            {
                *count += 1;
            }
        }
        if let Some(us) = row.figures.longest_lock_us() {
            self.slowest.offer(us, || Slow {
                mailbox: row.name.to_string(),
                messages: row.figures.messages,
                lock_ms: Duration::from_micros(us).as_secs_f64() * 1000.0,
            });
        }
        if let Some((_, reason)) = Standing::of(row) {
            self.failures
                .entry(reason.as_str())
                .and_modify(|class| class.mailboxes += 1)
                .or_insert_with(|| FailureClass {
                    mailboxes: 1,
                    example: row.name.to_string(),
                    detail: row.detail.clone(),
                    advice: reason.advice(),
                });
        }
    }

    fn story(self, run: &RunInfo, totals: Totals, end: i64) -> Story {
        Story {
            run: run.id.0,
            command: run.spec.verb.as_str(),
            verb: run.spec.verb,
            to: run.spec.to,
            undoes: run.spec.undoes.map(|run| run.0),
            task: run.spec.task(),
            started_at: run.started_ms,
            finished_at: run.finished_ms,
            totals: totals.once_over(),
            attempts: self.attempts,
            lock_ms: self.held.lock_ms(),
            lock_histogram: self.held.rows().collect(),
            mailboxes_per_second: per_second(self.rate.iter().sum(), seconds(end - run.started_ms)),
            rate: self.rate,
            rate_slice_seconds: seconds(end - run.started_ms) / f64::from(POINTS),
            steered: None,
            slowest: self.slowest.into_list(),
            failures: self.failures,
        }
    }
}
