//! The story of a run, read from its journal: totals, rate over time, lock times, the slowest
//! mailboxes, failures by reason with what to do about each.
//!
//! Reads page by page, so memory does not grow with the run. Writes nothing, so a crash leaves
//! nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::journal::{Filter, Journal, JournalError, RunInfo, Totals, Verb, for_each_row};
use crate::run::{Histogram, LockMs};

/// Points of the curve of the rate over time.
const POINTS: u8 = 20;

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
        let mut teller = Collector::new(run, slowest);
        // Two passes: the curve needs to know when the run ended.
        let mut end = run.started_ms + 1;
        for_each_row(journal, run.id, Filter::All, |row| {
            end = end.max(row.finished_ms.unwrap_or(end));
        })?;
        for_each_row(journal, run.id, Filter::All, |row| teller.row(row, end))?;
        Ok(teller.story(run, totals, end))
    }

    /// One line a doubling.
    fn write_histogram(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut doublings: BTreeMap<u32, u64> = BTreeMap::new();
        for (upper, count) in &self.lock_histogram {
            *doublings
                .entry(u64::BITS - upper.leading_zeros())
                .or_default() += count;
        }
        let most = doublings.values().copied().max().unwrap_or(0).max(1);
        for (bits, count) in doublings {
            let bar = usize::try_from(count * 40 / most).unwrap_or(0);
            let upper = 2f64.powi(i32::try_from(bits).unwrap_or(0)) / 1000.0;
            writeln!(
                out,
                "  under {upper:>9.2} ms {count:>9} {}",
                "#".repeat(bar)
            )?;
        }
        Ok(())
    }
}

/// For a person.
impl fmt::Display for Story {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "Run {}: {}", self.run, self.task)?;
        let t = &self.totals;
        writeln!(out, "{}", t.sentence(self.verb))?;
        writeln!(
            out,
            "Messages: {}; GUIDs from cyrus.sha1s {}, computed {}; on one host only {}; attempts \
             {}",
            t.messages, t.cached, t.hashed, t.lag, self.attempts
        )?;
        let seconds = self.rate_slice_seconds * f64::from(POINTS);
        writeln!(
            out,
            "Begun {}; {}",
            utc(self.started_at),
            self.finished_at
                .map_or("not finished".to_owned(), |at| format!("ended {}", utc(at)))
        )?;
        writeln!(
            out,
            "Time from begin to the last mailbox: {seconds:.1} s, {:.0} mailboxes/s; finished in \
             each twentieth of it:",
            self.mailboxes_per_second
        )?;
        let most = self.rate.iter().copied().max().unwrap_or(0).max(1);
        for (i, count) in (1u8..).zip(&self.rate) {
            let bar = usize::try_from(count * 40 / most).unwrap_or(0);
            let at = self.rate_slice_seconds * f64::from(i);
            writeln!(out, "  up to {at:>9.1} s {count:>9} {}", "#".repeat(bar))?;
        }
        let lock = self.lock_ms;
        writeln!(
            out,
            "Locks held, both hosts: median {:.2} ms, p99 {:.2} ms, longest {:.2} ms",
            lock.p50, lock.p99, lock.max
        )?;
        self.write_histogram(out)?;
        if !self.slowest.is_empty() {
            writeln!(out, "Longest locks:")?;
        }
        for slow in &self.slowest {
            writeln!(
                out,
                "  {:>10.2} ms {:>8} messages  {}",
                slow.lock_ms, slow.messages, slow.mailbox
            )?;
        }
        for (reason, class) in &self.failures {
            writeln!(
                out,
                "Failed, {reason}: {} mailbox(es): {}",
                class.mailboxes, class.advice
            )?;
            writeln!(out, "  for example {}: {}", class.example, class.detail)?;
        }
        Ok(())
    }
}

/// Collects while rows stream by.
struct Collector {
    started_ms: i64,
    limit: usize,
    held: Histogram,
    attempts: u64,
    rate: Vec<u64>,
    slowest: Vec<Slow>,
    failures: BTreeMap<&'static str, FailureClass>,
}

impl Collector {
    fn new(run: &RunInfo, limit: usize) -> Self {
        Self {
            started_ms: run.started_ms,
            limit,
            held: Histogram::new(),
            attempts: 0,
            rate: vec![0; POINTS.into()],
            slowest: Vec::new(),
            failures: BTreeMap::new(),
        }
    }

    fn row(&mut self, row: &crate::journal::Row, end: i64) {
        use crate::journal::State;
        self.attempts += u64::from(row.attempts);
        self.held.add_row(row);
        if let (Some(at), false) = (row.finished_ms, row.state == State::Pending) {
            let span = (end - self.started_ms).max(1);
            let slice = (at - self.started_ms).clamp(0, span - 1) * i64::from(POINTS) / span;
            if let Some(count) = usize::try_from(slice)
                .ok()
                .and_then(|i| self.rate.get_mut(i))
            {
                *count += 1;
            }
        }
        if let Some(us) = row.figures.lock_us.iter().flatten().max() {
            let lock_ms = Duration::from_micros(*us).as_secs_f64() * 1000.0;
            let at = self.slowest.partition_point(|s| s.lock_ms >= lock_ms);
            if at < self.limit {
                let slow = Slow {
                    mailbox: row.name.to_string(),
                    messages: row.figures.messages,
                    lock_ms,
                };
                self.slowest.insert(at, slow);
                self.slowest.truncate(self.limit);
            }
        }
        let failed = matches!(row.state, State::Pending | State::RolledBack) || row.state.is_open();
        if let (Some(reason), true) = (row.reason, failed) {
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
            totals: Totals {
                in_doubt: totals.open - totals.waiting,
                ..totals
            },
            attempts: self.attempts,
            lock_ms: self.held.lock_ms(),
            lock_histogram: self.held.rows().collect(),
            mailboxes_per_second: per_second(self.rate.iter().sum(), seconds(end - run.started_ms)),
            rate: self.rate,
            rate_slice_seconds: seconds(end - run.started_ms) / f64::from(POINTS),
            slowest: self.slowest,
            failures: self.failures,
        }
    }
}

/// Milliseconds as seconds; none if negative.
fn seconds(ms: i64) -> f64 {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0)).as_secs_f64()
}

#[allow(clippy::cast_precision_loss)] // for a person to read
fn per_second(count: u64, seconds: f64) -> f64 {
    count as f64 / seconds.max(0.001)
}

/// Milliseconds since 1970 as date and time of day.
fn utc(ms: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(ms).unwrap_or_default();
    time.strftime("%F %T UTC").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use indexfile::mailbox::MailboxName;

    use crate::journal::memory::MemoryJournal;
    use crate::journal::{Attempt, Candidate, Change, Durability, Ended, Figures, RunSpec};
    use crate::two_phase::Reason;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (ms, text) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_400_000, "2000-02-29 00:00:00 UTC"),
            (1_795_320_000_999, "2026-11-22 04:00:00 UTC"),
            (4_107_542_399_000, "2100-02-28 23:59:59 UTC"),
            (4_107_542_400_000, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(utc(ms), text);
        }
    }

    #[test]
    fn a_story_has_totals_rates_locks_and_what_to_do_about_each_failure() {
        let journal = MemoryJournal::new();
        let spec = RunSpec {
            verb: Verb::Upgrade,
            to: 10,
            undoes: None,
            master: "unix:/m".to_owned(),
            replica: None,
            master_id: String::new(),
            replica_id: String::new(),
            selection: "all".to_owned(),
            words: String::new(),
            pairs: String::new(),
        };
        let run = journal.begin_run(&spec, 1000).unwrap();
        for n in 0..10 {
            let name = MailboxName::parse(&format!("user.u{n}")).unwrap();
            journal
                .add(run, &[Candidate::new(name.clone(), false)])
                .unwrap();
            let mailbox = journal.find(run, &name).unwrap().unwrap().id;
            let failed = n == 9;
            let attempt = Attempt {
                started_ms: 1000,
                finished_ms: 1000 + 200 * (n + 1),
                ended: if failed {
                    Ended::RolledBack
                } else {
                    Ended::Upgraded
                },
                reason: failed.then_some(Reason::Damaged),
                side: None,
                detail: "cyrus.index: short".to_owned(),
                figures: Figures {
                    messages: 3,
                    lock_us: [Some(1000 * u64::try_from(n + 1).unwrap()), None],
                    ..Figures::default()
                },
            };
            journal.submit(Change::Finish { mailbox, attempt }, Durability::Durable);
        }
        let info = journal.last_run().unwrap().unwrap();
        let story = Story::collect(&journal, &info, 2).unwrap();
        assert_eq!(
            (
                story.totals.upgraded,
                story.totals.rolled_back,
                story.totals.messages,
                story.attempts
            ),
            (9, 1, 30, 10)
        );
        assert_eq!(story.rate.iter().sum::<u64>(), 10);
        assert!((story.mailboxes_per_second - 5.0).abs() < 1e-9);
        assert_eq!(story.lock_histogram.iter().map(|(_, n)| n).sum::<u64>(), 10);
        let slowest: Vec<&str> = story.slowest.iter().map(|s| s.mailbox.as_str()).collect();
        assert_eq!(slowest, ["user.u9", "user.u8"]);
        let text = story.to_string();
        for part in [
            "Run 1: upgrade to version 10",
            "Begun 1970-01-01 00:00:01 UTC; not finished",
            "10 mailboxes: 9 upgraded, 0 unchanged, 1 rolled back",
            "Failed, damaged: 1 mailbox(es): run `indexfile check`",
            "for example user.u9: cyrus.index: short",
            "longest 10.00 ms",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
