//! What a run amounts to, for people, scripts and the exit code.

use std::collections::HashSet;
use std::time::Duration;

use indexfile::exit::Exit;
use indexfile::mailbox::MailboxName;
use serde::Serialize;

use super::histogram::{Histogram, LockMs};
use super::warnings::Warnings;
use crate::control::Steered;
use crate::journal::{Filter, Journal, JournalError, RunId, Totals, for_each_open, for_each_row};
use crate::survey::{Excluded, LeftOut, Odd};

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
    /// Of them, those of other runs that were taken back.
    pub taken_back: u64,
    /// Directories that may be mailboxes and that the master does not list; only where this
    /// invocation had it list them.
    pub odd: Odd,
    /// Of these, those that may hold mailboxes.
    pub left_out: LeftOut,
    /// Entries of the list that are none.
    pub bad_entries: Odd,
    /// List entries that were skipped, by reason.
    pub skipped: std::collections::BTreeMap<&'static str, u64>,
    /// Wall clock of this invocation.
    pub seconds: f64,
    /// How long locks were held.
    pub lock_ms: LockMs,
    /// How many mailboxes at once there were, of this invocation, where that was found while it
    /// worked.
    pub steered: Option<Steered>,
    /// What an operator should know besides; of this invocation.
    pub warnings: Warnings,
    /// The host that was away for longer than the run waits, in words.
    pub away: Option<String>,
    /// The host that does not trust this controller any more, or is not trusted, in words.
    pub denied: Option<String>,
    /// Why it stopped by itself, if too much failed, in words.
    pub stopped: Option<String>,
    /// Why it was ended at once, if a panic was asked for: words that follow "because".
    pub panic: Option<String>,
    /// Why the fence that a change-over needs does not stand, if it fell, and on which host.
    pub fence: Option<String>,
    /// Which host is in failover, if one is, in words.
    pub failover: Option<String>,
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
        Ok(Self {
            run: run.0,
            totals: with_open(journal.totals(run)?, journal)?,
            recovered,
            odd: excluded.odd,
            left_out: excluded.left_out,
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
        } else if self.failover.is_some() {
            Exit::Config
        } else if self.denied.is_some() {
            Exit::Denied
        } else if self.away.is_some() || self.waiting > 0 {
            Exit::Unavailable
        } else if self.fence.is_some() {
            Exit::Config
        } else if self.stopped.is_some() || self.panic.is_some() {
            // Also where all was done by then: the run is open, and the same command ends it.
            Exit::RolledBack
        } else if self.wrong_guid > 0 {
            Exit::Data
        } else if self.unknown > 0 {
            Exit::NoMailbox
        } else if self.rolled_back + self.pending + self.left_alone + self.taken_back > 0 {
            Exit::RolledBack
        } else if self.bad_entries.count > 0 {
            self.left_out.exit().max(Exit::Data)
        } else {
            self.left_out.exit()
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

#[cfg(test)]
mod tests {
    use super::*;

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
        let ended = Summary {
            panic: Some("somebody asked".to_owned()),
            ..Summary::default()
        };
        assert_eq!(ended.exit(), Exit::RolledBack);
        summary.away = Some("the replica was away".to_owned());
        assert_eq!(summary.exit(), Exit::Unavailable);
        summary.away = None;
        summary.totals.waiting = 1;
        assert_eq!(summary.exit(), Exit::Unavailable);
        summary.denied = Some("our certificate is revoked".to_owned());
        assert_eq!(summary.exit(), Exit::Denied);
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
