//! What has become of a mailbox that failed, and the command that takes it up.

use crate::journal::{Row, State, Verb};
use crate::two_phase::Reason;

/// How a mailbox that failed stands now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Open, and it could not be settled: a human must look.
    InDoubt,
    /// Decided, and its partition is not mounted.
    Waits,
    /// As before, and `retry` takes it up.
    Failed,
    /// As before, and its GUIDs are wrong.
    WrongGuid,
    /// As before, and the run has not ended with it.
    NotDone,
}

impl Standing {
    /// That of a mailbox, and why; `None` if it did not fail.
    #[must_use]
    pub fn of(row: &Row) -> Option<(Self, Reason)> {
        let reason = row.reason?;
        let standing = match row.state {
            _ if row.waits() => Self::Waits,
            State::Decided | State::Reversing => Self::InDoubt,
            State::Pending => Self::NotDone,
            State::RolledBack if reason == Reason::WrongGuid => Self::WrongGuid,
            State::RolledBack => Self::Failed,
            State::Upgraded | State::Unchanged | State::Rehearsed | State::Gone => return None,
        };
        Some((standing, reason))
    }

    /// For a person.
    #[must_use]
    pub const fn words(self, verb: Verb) -> &'static str {
        match self {
            Self::InDoubt => "IN DOUBT",
            Self::Waits => "decided, and waits for its partition",
            Self::Failed => verb.failed(),
            Self::WrongGuid => "wrong GUIDs",
            Self::NotDone => "not done",
        }
    }

    /// The command that takes it up. `options`: the hosts and the state file; `go_on`: the command
    /// that goes on with the run.
    #[must_use]
    pub fn command(self, reason: Reason, options: &str, go_on: &str) -> String {
        match self {
            Self::InDoubt | Self::Waits => format!("controller recover {options}"),
            Self::Failed if reason.may_pass() => retry(options, &[]),
            Self::Failed => retry(options, &[reason]),
            Self::WrongGuid => format!("controller upgrade --rehash=fix {options}"),
            Self::NotDone => go_on.to_owned(),
        }
    }
}

/// The `retry` of what failed for these reasons; without any, of what may have passed by itself.
#[must_use]
pub fn retry(options: &str, reasons: &[Reason]) -> String {
    let words: Vec<&str> = reasons.iter().map(|reason| reason.as_str()).collect();
    match words.as_slice() {
        [] => format!("controller retry {options}"),
        words => format!("controller retry {options} --reason {}", words.join(",")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_has_the_command_that_takes_it_up() {
        let command = |standing: Standing, reason| standing.command(reason, "--state x", "again");
        for (standing, reason, expected) in [
            (
                Standing::Failed,
                Reason::Locked,
                "controller retry --state x",
            ),
            (
                Standing::Failed,
                Reason::Damaged,
                "controller retry --state x --reason damaged",
            ),
            (
                Standing::InDoubt,
                Reason::Damaged,
                "controller recover --state x",
            ),
            (
                Standing::Waits,
                Reason::Unmounted,
                "controller recover --state x",
            ),
            (Standing::NotDone, Reason::HostAway, "again"),
            (
                Standing::WrongGuid,
                Reason::WrongGuid,
                "controller upgrade --rehash=fix --state x",
            ),
        ] {
            assert_eq!(command(standing, reason), expected);
        }
    }
}
