//! Stops a run in which too much fails, a host goes into failover, or the fence falls: what is
//! wrong then is not the mailboxes.
//!
//! # What it promises
//!
//! * Counted are attempts of this invocation. What only has to wait (a lock, a host, a mount,
//!   replication) is no failure; a mailbox that is gone counts as one here, because many of them
//!   are a store that is not there.
//! * Once it has tripped nothing new begins; what is under way comes to its end.
//!
//! # What a crash leaves
//!
//! Nothing: the counts begin anew, and the run goes on from its journal.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::journal::Ended;
use crate::two_phase::{Failure, Reason};

use parking_lot::{Mutex, MutexGuard};
/// A percentage counts from this many failures on.
const AT_LEAST: u64 = 20;

/// How many failures a run goes on with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MaxFailures {
    /// At most this many.
    Number(u64),
    /// This percentage of the attempts, and in any case fewer than twenty.
    Percent(f64),
}

impl Default for MaxFailures {
    fn default() -> Self {
        Self::Percent(5.0)
    }
}

impl FromStr for MaxFailures {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || "a number, or a percentage such as 5%".to_owned();
        match text.strip_suffix('%') {
            Some(share) => match share.parse::<f64>() {
                Ok(share) if (0.0..=100.0).contains(&share) => Ok(Self::Percent(share)),
                _ => Err(expected()),
            },
            None => text.parse().map(Self::Number).map_err(|_| expected()),
        }
    }
}

impl fmt::Display for MaxFailures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Percent(share) => write!(f, "{share}%"),
        }
    }
}

impl MaxFailures {
    fn allows(self, failed: u64, attempts: u64) -> bool {
        match self {
            Self::Number(number) => failed <= number,
            #[allow(clippy::cast_precision_loss)] // a share, not a count
            Self::Percent(share) => {
                failed < AT_LEAST || failed as f64 * 100.0 <= share * attempts as f64
            }
        }
    }
}

#[derive(Debug, Default)]
struct Counts {
    attempts: u64,
    failed: BTreeMap<&'static str, u64>,
    tripped: Option<String>,
    fence: Option<String>,
    failover: Option<String>,
    taken_over: Option<String>,
}

/// Counts what fails.
#[derive(Debug)]
pub(super) struct Breaker {
    limit: MaxFailures,
    counts: Mutex<Counts>,
}

impl Breaker {
    pub(super) fn new(limit: MaxFailures) -> Self {
        Self {
            limit,
            counts: Mutex::default(),
        }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock()
    }

    /// An attempt is over.
    pub(super) fn note(&self, ended: Ended, failure: Option<&Failure>) {
        let mut counts = self.counts();
        counts.attempts += 1;
        // Every mailbox that follows would be refused alike.
        if let Some(failure) = failure.filter(|f| f.reason == Reason::Unfenced) {
            let side = failure.side.map_or("", |side| side.as_str());
            let text = || format!("the fence does not stand on the {side}: {}", failure.text);
            counts.fence.get_or_insert_with(text);
        }
        if let Some(failure) = failure.filter(|f| f.reason == Reason::Failover) {
            counts.failover.get_or_insert_with(|| failure.text.clone());
        }
        let what = match (ended, failure) {
            (Ended::Gone, _) => "gone",
            // What was asked for is no failure of asking.
            (_, Some(failure)) if failure.reason == Reason::WrongGuid => return,
            (_, Some(failure)) if !failure.reason.only_waits() => failure.reason.as_str(),
            _ => return,
        };
        *counts.failed.entry(what).or_default() += 1;
        let failed: u64 = counts.failed.values().sum();
        if counts.tripped.is_none() && !self.limit.allows(failed, counts.attempts) {
            let each = counts.failed.iter().map(|(why, n)| format!("{n} {why}"));
            let each: Vec<String> = each.collect();
            counts.tripped = Some(format!(
                "{failed} of {} attempts failed ({}), which is more than --max-failures {} allows",
                counts.attempts,
                each.join(", "),
                self.limit
            ));
        }
    }

    /// A side, or the journal, said that another controller has the pair.
    pub(super) fn taken_over(&self, failure: &Failure) {
        let side = failure.side.map_or("journal", |side| side.as_str());
        let text = || format!("the {side} says {}", failure.text);
        self.counts().taken_over.get_or_insert_with(text);
    }

    /// What it said, if one did.
    pub(super) fn is_taken_over(&self) -> Option<String> {
        self.counts().taken_over.clone()
    }

    /// Whether nothing new may begin any more.
    pub(super) fn is_tripped(&self) -> bool {
        let counts = self.counts();
        counts.tripped.is_some()
            || counts.fence.is_some()
            || counts.failover.is_some()
            || counts.taken_over.is_some()
    }

    /// A host is in failover, in these words.
    pub(super) fn fails_over(&self, text: String) {
        self.counts().failover.get_or_insert(text);
    }

    /// Which host is in failover, if one is.
    pub(super) fn failover(&self) -> Option<String> {
        self.counts().failover.clone()
    }

    /// Why the fence does not stand, if it fell, and on which host.
    pub(super) fn fence(&self) -> Option<String> {
        self.counts().fence.clone()
    }

    /// That too much failed, if so, and what.
    pub(super) fn tripped(&self) -> Option<String> {
        self.counts().tripped.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::two_phase::Side;

    fn failure(reason: Reason) -> Failure {
        Failure {
            side: Some(Side::Master),
            reason,
            text: String::new(),
        }
    }

    #[test]
    fn a_share_counts_from_twenty_failures_on_and_a_number_at_once() {
        let share = MaxFailures::default();
        assert!(share.allows(19, 19) && !share.allows(20, 20));
        assert!(share.allows(20, 400) && !share.allows(21, 400));
        let number = MaxFailures::Number(3);
        assert!(number.allows(3, 3) && !number.allows(4, 1_000_000));
        assert!(MaxFailures::Percent(100.0).allows(9999, 9999));
    }

    #[test]
    fn what_only_waits_is_no_failure_and_the_reasons_are_told() {
        let breaker = Breaker::new(MaxFailures::Number(2));
        for reason in [Reason::Locked, Reason::HostAway, Reason::Unmounted] {
            breaker.note(Ended::Again, Some(&failure(reason)));
        }
        breaker.note(Ended::Gone, Some(&failure(Reason::NoMailbox)));
        breaker.note(Ended::Again, Some(&failure(Reason::NoSpace)));
        assert_eq!(breaker.tripped(), None);
        breaker.note(Ended::RolledBack, Some(&failure(Reason::NoSpace)));
        breaker.note(Ended::RolledBack, Some(&failure(Reason::NoSpace)));
        assert_eq!(
            breaker.tripped().unwrap(),
            "3 of 6 attempts failed (1 gone, 2 no_space), which is more than --max-failures 2 \
             allows"
        );
    }

    #[test]
    fn limits_are_read_and_shown() {
        for (text, limit) in [
            ("7", MaxFailures::Number(7)),
            ("0", MaxFailures::Number(0)),
            ("2.5%", MaxFailures::Percent(2.5)),
        ] {
            assert_eq!(text.parse(), Ok(limit));
            assert_eq!(limit.to_string(), text);
        }
        for bad in ["", "%", "-1", "101%", "x"] {
            assert!(bad.parse::<MaxFailures>().is_err(), "{bad}");
        }
    }
}
