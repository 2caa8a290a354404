//! What a run amounts to, for people, scripts and the exit code.

use std::collections::HashSet;
use std::time::Duration;

use indexfile::exit::Exit;
use indexfile::mailbox::MailboxName;
use serde::Serialize;

use super::warnings::Warnings;
use crate::journal::{
    Filter, Journal, JournalError, Row, RunId, Totals, for_each_open, for_each_row,
};
use crate::survey::{Excluded, Odd};

/// Percentiles of how long locks were held, in milliseconds, both hosts together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct LockMs {
    /// The median.
    pub p50: f64,
    /// The 99th percentile.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

/// A run's summary. The counts are of the whole run, also of what was done before it was
/// stopped and resumed; `seconds` is of this invocation.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    /// The run's number in the journal.
    pub run: i64,
    /// What the run amounts to; what is in doubt and what waits, of whatever run: what an earlier
    /// one left in doubt must not be forgotten by a later one.
    #[serde(flatten)]
    pub totals: Totals,
    /// In a rollback, mailboxes that the run undone changed and that were left as they are.
    pub left_alone: u64,
    /// Open transactions of an earlier run that were settled first.
    pub recovered: u64,
    /// Directories that may be mailboxes and that the master does not list; only where this
    /// invocation had it list them.
    pub odd: Odd,
    /// Entries of the list that are none.
    pub bad_entries: Odd,
    /// List entries that were skipped, by reason.
    pub skipped: std::collections::BTreeMap<&'static str, u64>,
    /// Wall clock of this invocation.
    pub seconds: f64,
    /// How long locks were held.
    pub lock_ms: LockMs,
    /// What an operator should know besides; of this invocation.
    pub warnings: Warnings,
    /// The host that was away for longer than the run waits, in words.
    pub away: Option<String>,
    /// Why it stopped by itself, if too much failed, in words.
    pub stopped: Option<String>,
    /// Why the fence that a change-over needs does not stand, if it fell, and on which host.
    pub fence: Option<String>,
    /// What a host said of another controller that has taken over, if one has, in words.
    pub taken_over: Option<String>,
}

/// The mailboxes with an open transaction, of whatever run.
pub(super) fn open_names(journal: &dyn Journal) -> Result<HashSet<MailboxName>, JournalError> {
    let mut names = HashSet::new();
    for_each_open(journal, |open| {
        names.insert(open.row.name);
        Ok::<_, JournalError>(())
    })?;
    Ok(names)
}

/// Open transactions of whatever run.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OpenCount {
    pub(super) in_doubt: u64,
    /// Until their partition is mounted.
    pub(super) waiting: u64,
}

pub(super) fn count_open(journal: &dyn Journal) -> Result<OpenCount, JournalError> {
    let mut count = OpenCount::default();
    for_each_open(journal, |open| {
        if open.row.waits() {
            count.waiting += 1;
        } else {
            count.in_doubt += 1;
        }
        Ok::<_, JournalError>(())
    })?;
    Ok(count)
}

impl Summary {
    pub(super) fn collect(
        journal: &dyn Journal,
        run: RunId,
        elapsed: Duration,
        excluded: Excluded,
        recovered: u64,
    ) -> Result<Self, JournalError> {
        journal.flush()?;
        Ok(Self {
            run: run.0,
            totals: with_open(journal.totals(run)?, journal)?,
            recovered,
            odd: excluded.odd,
            bad_entries: excluded.bad,
            skipped: excluded
                .skipped
                .iter()
                .map(|(why, n)| (why.as_str(), *n))
                .collect(),
            seconds: elapsed.as_secs_f64(),
            lock_ms: lock_times(journal, run)?.lock_ms(),
            ..Self::default()
        })
    }

    /// Where there was nothing to do and no run was begun.
    pub(super) fn collect_nothing(
        journal: &dyn Journal,
        elapsed: Duration,
    ) -> Result<Self, JournalError> {
        Ok(Self {
            totals: with_open(Totals::default(), journal)?,
            seconds: elapsed.as_secs_f64(),
            ..Self::default()
        })
    }

    /// The exit code of the contract: the worst that happened.
    #[must_use]
    pub fn exit(&self) -> Exit {
        if self.taken_over.is_some() {
            // What is in doubt is so for the other controller.
            Exit::RolledBack
        } else if self.in_doubt > 0 {
            Exit::InDoubt
        } else if self.away.is_some() || self.waiting > 0 {
            Exit::Unavailable
        } else if self.fence.is_some() {
            Exit::Config
        } else if self.stopped.is_some() {
            Exit::RolledBack
        } else if self.wrong_guid > 0 {
            Exit::Data
        } else if self.unknown > 0 {
            Exit::NoMailbox
        } else if self.rolled_back + self.pending + self.left_alone > 0 {
            Exit::RolledBack
        } else if self.bad_entries.count > 0 {
            Exit::Data
        } else {
            Exit::Ok
        }
    }
}

impl std::ops::Deref for Summary {
    type Target = Totals;

    fn deref(&self) -> &Totals {
        &self.totals
    }
}

/// The same, with the open transactions of whatever run.
fn with_open(totals: Totals, journal: &dyn Journal) -> Result<Totals, JournalError> {
    let OpenCount { in_doubt, waiting } = count_open(journal)?;
    Ok(Totals {
        in_doubt,
        waiting,
        ..totals
    })
}

/// What a run amounts to on a pair that has nothing left to do in it.
///
/// # Errors
/// The journal cannot be read.
pub fn summary_of(journal: &dyn Journal, run: RunId) -> Result<Summary, JournalError> {
    Summary::collect(journal, run, Duration::ZERO, Excluded::default(), 0)
}

fn lock_times(journal: &dyn Journal, run: RunId) -> Result<Histogram, JournalError> {
    let mut held = Histogram::new();
    for_each_row(journal, run, Filter::All, |row| held.add_row(row))?;
    Ok(held)
}

/// Counts durations in buckets of at most 1/16 of their size, so that memory is flat.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: u64,
}

impl Histogram {
    const SUB: u32 = 4;

    pub(crate) fn new() -> Self {
        Self {
            counts: vec![0; 61 << Self::SUB],
            total: 0,
            max: 0,
        }
    }

    pub(crate) fn add(&mut self, us: u64) {
        if let Some(count) = self.counts.get_mut(Self::bucket(us)) {
            *count += 1;
            self.total += 1;
        }
        self.max = self.max.max(us);
    }

    /// Adds how long both hosts' locks of a mailbox were held.
    pub(crate) fn add_row(&mut self, row: &Row) {
        row.figures
            .lock_us
            .iter()
            .flatten()
            .for_each(|us| self.add(*us));
    }

    /// Values below 16 have a bucket each; then sixteen buckets to each doubling.
    fn bucket(us: u64) -> usize {
        let bits = u64::BITS - us.leading_zeros();
        let shift = bits.saturating_sub(Self::SUB + 1);
        // At most 31, whatever the width of a pointer.
        let low = usize::try_from(us >> shift).unwrap_or(usize::MAX);
        ((shift << Self::SUB) as usize).saturating_add(low)
    }

    /// The largest value of a bucket.
    fn upper(bucket: usize) -> u64 {
        let row = bucket >> Self::SUB;
        if row < 2 {
            return bucket as u64;
        }
        let shift = row - 1;
        let low = ((bucket & ((1 << Self::SUB) - 1)) + (1 << Self::SUB)) as u64;
        ((low + 1) << shift) - 1
    }

    /// The value that a share of all values does not exceed, in microseconds.
    pub(crate) fn quantile(&self, percent: u64) -> u64 {
        let rank = (self.total * percent).div_ceil(100).max(1);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Self::upper(bucket).min(self.max);
            }
        }
        self.max
    }

    /// Buckets that are not empty: (largest value in microseconds, count).
    pub(crate) fn rows(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.counts
            .iter()
            .enumerate()
            .filter(|(_, n)| **n > 0)
            .map(|(b, n)| (Self::upper(b), *n))
    }

    pub(crate) fn lock_ms(&self) -> LockMs {
        LockMs {
            p50: ms(self.quantile(50)),
            p99: ms(self.quantile(99)),
            max: ms(self.max),
        }
    }
}

#[allow(clippy::cast_precision_loss)] // 2^53 microseconds are 285 years
fn ms(us: u64) -> f64 {
    us as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_never_wider_than_a_sixteenth_of_its_values() {
        for us in (0..100_000).chain([1 << 40, u64::MAX / 3]) {
            let upper = Histogram::upper(Histogram::bucket(us));
            assert!(
                upper >= us && upper - us <= us / 16,
                "{us} in a bucket up to {upper}"
            );
        }
    }

    #[test]
    fn percentiles_are_right_to_a_sixteenth_and_the_maximum_exactly() {
        let mut held = Histogram::new();
        (1..=1000).for_each(|n| held.add(n * 1000));
        let lock = held.lock_ms();
        assert!((500.0..=532.0).contains(&lock.p50), "{lock:?}");
        assert!((990.0..=1000.0).contains(&lock.p99), "{lock:?}");
        assert!((lock.max - 1000.0).abs() < 1e-9);
        assert_eq!(Histogram::new().lock_ms(), LockMs::default());
    }

    #[test]
    fn the_exit_code_is_the_worst_that_happened() {
        let mut summary = Summary::default();
        summary.totals.upgraded = 9;
        assert_eq!(summary.exit(), Exit::Ok);
        summary.totals.pending = 1;
        assert_eq!(summary.exit(), Exit::RolledBack);
        summary.totals.rolled_back = 2;
        summary.totals.unknown = 1;
        assert_eq!(summary.exit(), Exit::NoMailbox);
        summary.totals.wrong_guid = 1;
        assert_eq!(summary.exit(), Exit::Data);
        summary.stopped = Some("too much failed".to_owned());
        assert_eq!(summary.exit(), Exit::RolledBack);
        summary.away = Some("the replica was away".to_owned());
        assert_eq!(summary.exit(), Exit::Unavailable);
        summary.away = None;
        summary.totals.waiting = 1;
        assert_eq!(summary.exit(), Exit::Unavailable);
        summary.totals.in_doubt = 1;
        assert_eq!(summary.exit(), Exit::InDoubt);
    }

    #[test]
    fn the_keys_of_the_contract_are_there() {
        let json = serde_json::to_value(Summary::default()).unwrap();
        for key in [
            "mailboxes",
            "upgraded",
            "unchanged",
            "rolled_back",
            "in_doubt",
            "messages",
            "hashed",
            "cached",
            "seconds",
        ] {
            assert!(json[key].is_number(), "{key}");
        }
        for key in ["p50", "p99", "max"] {
            assert!(json["lock_ms"][key].is_number(), "{key}");
        }
    }
}
