//! What a run over many pairs amounts to.

use std::collections::BTreeMap;

use indexfile::exit::Exit;
use serde::Serialize;

use crate::journal::Totals;
use crate::run::{LockMs, Summary};

/// What a run over many pairs amounts to: all of them together, and each.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct FleetSummary {
    /// The run's number in the journal.
    pub run: i64,
    /// All pairs together.
    #[serde(flatten)]
    pub totals: Totals,
    /// Wall clock of this invocation.
    pub seconds: f64,
    /// How long locks were held: of median and 99th percentile the worst pair's, and the longest of
    /// all.
    pub lock_ms: LockMs,
    /// Each pair that came to an end.
    pub pairs: BTreeMap<String, Summary>,
    /// Pairs on which nothing could be begun, or gone on with, and why.
    pub not_begun: BTreeMap<String, String>,
    #[serde(skip)]
    exits: Vec<Exit>,
}

impl FleetSummary {
    /// Adds a pair that came to an end.
    pub fn add(&mut self, name: &str, summary: Summary) {
        self.count(&summary);
        self.pairs.insert(name.to_owned(), summary);
    }

    /// Adds what a pair did to what all of them did, where that was one of several runs.
    pub fn count(&mut self, summary: &Summary) {
        self.exits.push(summary.exit());
        self.run = self.run.max(summary.run);
        self.totals += summary.totals;
        let longer = |a: &mut f64, b: f64| *a = a.max(b);
        longer(&mut self.seconds, summary.seconds);
        longer(&mut self.lock_ms.p50, summary.lock_ms.p50);
        longer(&mut self.lock_ms.p99, summary.lock_ms.p99);
        longer(&mut self.lock_ms.max, summary.lock_ms.max);
    }

    /// Adds a pair on which nothing could be begun.
    pub fn add_failed(&mut self, name: &str, exit: Exit, why: String) {
        self.exits.push(exit);
        self.not_begun.insert(name.to_owned(), why);
    }

    /// The exit code of the contract: the worst of all pairs.
    #[must_use]
    pub fn exit(&self) -> Exit {
        worst(self.exits.iter().copied())
    }
}

/// The exit code of several, by what a person has to look at first.
#[must_use]
pub fn worst(exits: impl IntoIterator<Item = Exit>) -> Exit {
    const ORDER: [Exit; 9] = [
        Exit::InDoubt,
        Exit::Unavailable,
        Exit::Io,
        Exit::Denied,
        Exit::Config,
        Exit::Usage,
        Exit::Data,
        Exit::NoMailbox,
        Exit::RolledBack,
    ];
    let exits: Vec<Exit> = exits.into_iter().collect();
    let found = ORDER.into_iter().find(|exit| exits.contains(exit));
    found.unwrap_or(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_add_up_and_the_worst_of_them_is_the_exit_code() {
        let of = |upgraded, rolled_back, max| Summary {
            run: 4,
            totals: Totals {
                mailboxes: upgraded + rolled_back,
                upgraded,
                rolled_back,
                ..Totals::default()
            },
            lock_ms: LockMs {
                max,
                ..LockMs::default()
            },
            ..Summary::default()
        };
        let mut fleet = FleetSummary::default();
        fleet.add("a", of(5, 0, 1.5));
        assert_eq!(fleet.exit(), Exit::Ok);
        fleet.add("b", of(7, 2, 9.0));
        assert_eq!(fleet.exit(), Exit::RolledBack);
        fleet.add_failed(
            "c",
            Exit::Unavailable,
            "the master does not answer".to_owned(),
        );
        assert_eq!(fleet.exit(), Exit::Unavailable);
        let json = serde_json::to_value(&fleet).unwrap();
        assert_eq!((&json["run"], &json["mailboxes"]), (&4.into(), &14.into()));
        assert_eq!(json["lock_ms"]["max"], 9.0);
        assert_eq!(json["pairs"]["b"]["rolled_back"], 2);
        assert_eq!(json["not_begun"]["c"], "the master does not answer");
    }

    #[test]
    fn every_exit_code_is_worse_than_none() {
        for code in [
            Exit::Usage,
            Exit::Data,
            Exit::NoMailbox,
            Exit::Unavailable,
            Exit::InDoubt,
            Exit::Io,
            Exit::RolledBack,
            Exit::Denied,
            Exit::Config,
        ] {
            assert_eq!(worst([Exit::Ok, code, Exit::Ok]), code);
        }
        assert_eq!(worst([]), Exit::Ok);
    }
}
