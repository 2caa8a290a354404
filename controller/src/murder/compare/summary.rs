//! What a comparison found, counted.

use std::collections::BTreeMap;

use serde::Serialize;

use super::code::{Action, Code};
use super::facts::Facts;
use super::finding::{Directory, Finding};
use crate::murder::location::Location;

/// How many findings of a kind are kept, and how many unknown servers.
const NAMED: usize = 20;
/// So few missing mailboxes are no sign of anything.
const FEW: u64 = 10;
/// A share of one in this number may be missing.
const ONE_IN: u64 = 20;

/// A backend, by the master's list and by its own slotd's. Reserved names are not counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Pair {
    /// How many mailboxes the master says it has.
    pub said: u64,
    /// How many its slotd found.
    pub found: u64,
    /// How many of those that the master says it has were not found.
    pub missing: u64,
    /// Its slotd gave its whole list.
    pub asked: bool,
}

impl Pair {
    /// Whether so much is missing that a spool which is not mounted is the likelier reason: more
    /// than ten mailboxes, and more than one in twenty. Nothing of it is worked on.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.missing > FEW && self.missing.saturating_mul(ONE_IN) > self.said
    }
}

/// All of it. Its size depends on the number of backends only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// How many findings there are of each kind; kinds without one are 0.
    pub counts: BTreeMap<Code, u64>,
    /// The first of each kind but `normal`.
    pub first: BTreeMap<Code, Vec<Finding>>,
    /// The backends, by `servername`.
    pub pairs: BTreeMap<String, Pair>,
    /// How many names are refused, on whichever server: a person has to decide about each.
    pub refused_names: u64,
    /// Servers that are none of the backends and are not left out by name, with how many mailboxes
    /// the master says they have; the first of them.
    pub unknown: BTreeMap<String, u64>,
}

impl Summary {
    pub(super) fn new<'a>(pairs: impl Iterator<Item = (&'a str, bool)>) -> Self {
        let pair = |asked| Pair {
            asked,
            ..Pair::default()
        };
        Self {
            counts: Code::ALL.map(|code| (code, 0)).into(),
            pairs: pairs
                .map(|(name, asked)| (name.to_owned(), pair(asked)))
                .collect(),
            ..Self::default()
        }
    }

    /// How many findings there are of that kind.
    #[must_use]
    pub fn count(&self, code: Code) -> u64 {
        self.counts.get(&code).copied().unwrap_or_default()
    }

    /// The backends of which nothing is worked on, with what is known of them.
    pub fn refused(&self) -> impl Iterator<Item = (&str, &Pair)> {
        let pairs = self.pairs.iter().filter(|(_, pair)| pair.is_refused());
        pairs.map(|(name, pair)| (name.as_str(), pair))
    }

    /// Adds a name and what it amounts to.
    pub(super) fn add(&mut self, facts: &Facts, findings: &[Finding], directory: &impl Directory) {
        let refused = findings.iter().any(|f| f.action == Action::Refuse);
        self.refused_names += u64::from(refused);
        for finding in findings {
            let code = finding.code;
            *self.counts.entry(code).or_default() += 1;
            if code != Code::Normal {
                let first = self.first.entry(code).or_default();
                if first.len() < NAMED {
                    first.push(finding.clone());
                }
            }
            let Some(server) = &finding.server else {
                continue;
            };
            if code == Code::UnknownServer
                && finding.action == Action::Refuse
                && (self.unknown.len() < NAMED || self.unknown.contains_key(server))
            {
                *self.unknown.entry(server.clone()).or_default() += 1;
            }
            if code == Code::Stale
                && let Some(pair) = self.pairs.get_mut(server)
            {
                pair.missing += 1;
            }
        }
        let mut backends: Vec<usize> = facts.found.iter().map(|place| place.backend).collect();
        backends.dedup();
        for backend in backends {
            if let Some(pair) = self.pairs.get_mut(directory.name(backend)) {
                pair.found += 1;
            }
        }
        let said = facts.said.as_ref().filter(|said| !said.reserved);
        if let Some(location) = said.and_then(|said| Location::from_bytes(&said.location))
            && let Some(pair) = self.pairs.get_mut(&location.server)
        {
            pair.said += 1;
        }
    }

    /// What a run does with it, now that all of it is known.
    pub(super) fn judge(&self, finding: &mut Finding) {
        let server = finding.server.as_deref().unwrap_or_default();
        if finding.action == Action::Migrate && self.pairs.get(server).is_some_and(Pair::is_refused)
        {
            finding.action = Action::Refuse;
        }
    }
}
