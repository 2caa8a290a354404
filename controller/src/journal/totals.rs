//! What a run amounts to.

use serde::Serialize;

use super::model::{Figures, Row, State};
use super::runs::Verb;
use crate::two_phase::{Reason, Side};

/// What a run amounts to: the one count that its summary, its report and its status show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// All mailboxes.
    pub mailboxes: u64,
    /// Changed on every side ([`State::Upgraded`]).
    pub upgraded: u64,
    /// As wanted already ([`State::Unchanged`]).
    pub unchanged: u64,
    /// In a rehearsal: would be changed on every side, and are as before ([`State::Rehearsed`]).
    pub rehearsed: u64,
    /// As before, for a reason that is in the journal ([`State::RolledBack`]).
    pub rolled_back: u64,
    /// With `--rehash=report`, as before, and not among those rolled back: GUIDs are not the SHA-1s
    /// of their messages.
    pub wrong_guid: u64,
    /// Of those rolled back, the ones the master does not know.
    pub unknown: u64,
    /// Open transactions (decided or reversing).
    #[serde(skip)]
    pub open: u64,
    /// Of them, those that could not be settled: a human must look.
    pub in_doubt: u64,
    /// Of them, those that wait until their partition is mounted, see [`Row::waits`].
    pub waiting: u64,
    /// Not done yet ([`State::Pending`]).
    pub pending: u64,
    /// Deleted by their owners before their turn came ([`State::Gone`]).
    pub gone: u64,
    /// Records of index and expunge files.
    pub messages: u64,
    /// GUIDs taken from cyrus.sha1s, both hosts.
    pub cached: u64,
    /// GUIDs computed, both hosts.
    pub hashed: u64,
    /// UIDs found on one side only.
    pub lag: u64,
}

/// Those of several pairs.
impl std::ops::AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        for (sum, more) in [
            (&mut self.mailboxes, other.mailboxes),
            (&mut self.upgraded, other.upgraded),
            (&mut self.unchanged, other.unchanged),
            (&mut self.rehearsed, other.rehearsed),
            (&mut self.rolled_back, other.rolled_back),
            (&mut self.wrong_guid, other.wrong_guid),
            (&mut self.unknown, other.unknown),
            (&mut self.open, other.open),
            (&mut self.in_doubt, other.in_doubt),
            (&mut self.waiting, other.waiting),
            (&mut self.pending, other.pending),
            (&mut self.gone, other.gone),
            (&mut self.messages, other.messages),
            (&mut self.cached, other.cached),
            (&mut self.hashed, other.hashed),
            (&mut self.lag, other.lag),
        ] {
            *sum = sum.saturating_add(more);
        }
    }
}

impl Totals {
    /// Counts a mailbox, as the journal itself does: `queries::totals`.
    pub fn add_row(&mut self, row: &Row) {
        let Figures {
            messages,
            cached,
            hashed,
            lag,
            ..
        } = row.figures;
        let wrong = row.reason == Some(Reason::WrongGuid);
        let unknown = row.reason == Some(Reason::NoMailbox) && row.side == Some(Side::Master);
        let failed = row.state == State::RolledBack;
        let one = |of: bool| u64::from(of);
        *self += Self {
            mailboxes: 1,
            upgraded: one(row.state == State::Upgraded),
            unchanged: one(row.state == State::Unchanged),
            rehearsed: one(row.state == State::Rehearsed),
            rolled_back: one(failed && !wrong),
            wrong_guid: one(failed && wrong),
            unknown: one(failed && unknown),
            open: one(row.state.is_open()),
            in_doubt: one(row.state.is_open() && row.in_doubt),
            waiting: one(row.waits()),
            pending: one(row.state == State::Pending),
            gone: one(row.state == State::Gone),
            messages,
            cached,
            hashed,
            lag,
        };
    }

    /// As a report has them, whose run does not go on: what is open and does not wait for a
    /// partition is in doubt.
    #[must_use]
    pub fn once_over(self) -> Self {
        Self {
            in_doubt: self.open.saturating_sub(self.waiting),
            ..self
        }
    }

    /// Mailboxes that are not to be begun any more.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.mailboxes.saturating_sub(self.pending)
    }

    /// Mailboxes for which all was done that the run was to do: changed, or rehearsed.
    #[must_use]
    pub fn changed(&self) -> u64 {
        self.upgraded.saturating_add(self.rehearsed)
    }

    /// For a person, in one line; what there is none of is left out where it is unusual.
    #[must_use]
    pub fn sentence(&self, verb: Verb) -> String {
        // Words of several parts have semicolons between them.
        let comma = if verb.takes_back() { "; " } else { ", " };
        let always = [
            (self.changed(), verb.done()),
            (self.unchanged, verb.nothing_to_do()),
            (self.rolled_back, verb.failed()),
            (self.in_doubt, "in doubt"),
        ];
        let unusual = [
            (self.wrong_guid, "with wrong GUIDs"),
            (self.waiting, "decided and waiting for a partition"),
            (self.pending, "not done"),
            (self.gone, "gone"),
        ];
        let unusual = unusual.into_iter().filter(|(count, _)| *count > 0);
        let parts = always.into_iter().chain(unusual);
        let parts: Vec<String> = parts
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        format!("{} mailboxes: {}", self.mailboxes, parts.join(comma))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rollback_speaks_of_what_was_restored_and_of_failures_that_changed_nothing() {
        let totals = Totals {
            mailboxes: 9,
            upgraded: 5,
            rolled_back: 4,
            gone: 1,
            ..Totals::default()
        };
        assert_eq!(
            totals.sentence(Verb::Rollback),
            "9 mailboxes: 5 restored; 0 needed no change; 4 failed, unchanged; 0 in doubt; 1 gone"
        );
        for verb in Verb::ALL {
            let sentence = totals.sentence(verb);
            let restores = sentence.contains("failed, unchanged");
            assert_eq!(restores, verb.takes_back(), "{sentence}");
            let fails = sentence.contains("4 would fail");
            assert_eq!(fails, verb.rehearses(), "{sentence}");
            assert_ne!(
                restores || fails,
                sentence.contains("rolled back"),
                "{sentence}"
            );
        }
    }
}
