//! What `plan`, `verify` and `clean` have in common: the answers of two hosts about many mailboxes,
//! counted by kind with an example each, so that memory is flat.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use slotd::protocol::{FieldError, Fields};

use super::ask::Answered;
use super::damage::code_of;
use crate::two_phase::{Reason, Side};

/// A kind of trouble: how often, and where for example.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// Mailboxes.
    pub mailboxes: u64,
    /// One of them.
    pub example: String,
    /// What it said, where it said something.
    pub detail: String,
}

impl Count {
    /// Counts a mailbox; the first one is the example.
    pub(crate) fn note(&mut self, name: &str, detail: &str) {
        self.mailboxes += 1;
        if self.mailboxes == 1 {
            name.clone_into(&mut self.example);
            detail.clone_into(&mut self.detail);
        }
    }

    /// A line about it, if there is anything to tell.
    pub(crate) fn line(&self, out: &mut impl fmt::Write, what: &str) -> fmt::Result {
        if self.mailboxes == 0 {
            return Ok(());
        }
        writeln!(
            out,
            "{what}: {} mailboxes, for example {}: {}",
            self.mailboxes, self.example, self.detail
        )
    }
}

/// What is said of mailboxes whose unique ids differ.
pub(crate) const UNLIKE_UNIQUEID: &str =
    "WARNING, another unique id on the replica (unlike_uniqueid)";

/// Mailboxes that a host refused, by reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Refused(BTreeMap<&'static str, Count>);

impl Refused {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those of one reason, by its word.
    #[must_use]
    pub fn of(&self, reason: Reason) -> Option<&Count> {
        self.0.get(reason.as_str())
    }

    pub(crate) fn note(&mut self, name: &str, (reason, text): &(Reason, String)) {
        self.0.entry(reason.as_str()).or_default().note(name, text);
    }

    /// A line for each reason, `what` before it.
    pub(crate) fn lines(&self, out: &mut impl fmt::Write, what: &str) -> fmt::Result {
        for (reason, count) in &self.0 {
            count.line(out, &format!("  {what}, {reason}"))?;
        }
        Ok(())
    }
}

/// Adds what each host said to what is known of it, and gives the answers that could be understood,
/// for a comparison.
pub(crate) fn each_host<H: Default, T>(
    answered: &Answered,
    hosts: &mut BTreeMap<&'static str, H>,
    read: impl Fn(&Fields) -> Result<T, FieldError>,
    mut add: impl FnMut(&mut H, &str, &T),
    refused: impl Fn(&mut H) -> &mut Refused,
) -> [Option<T>; 2] {
    let name = answered.of.name.as_str();
    let mut both = [None, None];
    for (side, reply) in replies(answered, read) {
        let host = hosts.entry(side.as_str()).or_default();
        match reply {
            Ok(answer) => {
                add(host, name, &answer);
                both[side.index()] = Some(answer);
            }
            Err(refusal) => refused(host).note(name, &refusal),
        }
    }
    both
}

/// Two hosts side by side: each with its index version and its number of records.
pub(crate) fn side_by_side(master: (u32, u64), replica: (u32, u64)) -> String {
    format!(
        "master: version {}, {} records; replica: version {}, {} records",
        master.0, master.1, replica.0, replica.1
    )
}

/// What each host that was asked said, understood; an answer that cannot be understood is a
/// refusal.
fn replies<T>(
    answered: &Answered,
    read: impl Fn(&Fields) -> Result<T, FieldError>,
) -> impl Iterator<Item = (Side, Result<T, (Reason, String)>)> {
    Side::ALL.into_iter().filter_map(move |side| {
        let reply = match answered.said[side.index()].as_ref()? {
            Ok(fields) => read(fields).map_err(|e| (Reason::Protocol, e.to_string())),
            Err(refusal) => Err(refusal.clone()),
        };
        Some((side, reply))
    })
}

/// Whether a name that was given is one that the master does not know.
pub(crate) fn is_unknown(answered: &Answered) -> bool {
    let refused =
        |reason| matches!(&answered.said[Side::Master.index()], Some(Err((r, _))) if *r == reason);
    answered.of.named && refused(Reason::NoMailbox)
}

/// Adds each of `FILE:CODE` to the counts by code.
pub(crate) fn note_findings(counts: &mut BTreeMap<String, Count>, name: &str, findings: &[String]) {
    for finding in findings {
        counts
            .entry(code_of(finding).to_owned())
            .or_default()
            .note(name, finding);
    }
}

/// How many mailboxes of a host have which index version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Versions {
    /// Mailboxes by index version.
    pub versions: BTreeMap<u32, u64>,
    /// Mailboxes that could not be looked at, by reason.
    pub refused: Refused,
}

/// The versions on both hosts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Census(BTreeMap<&'static str, Versions>);

impl Census {
    /// Counts a mailbox of which each host answered `STATUS`.
    pub fn answered(&mut self, answered: &Answered) {
        each_host(
            answered,
            &mut self.0,
            |fields| fields.get::<u32>("index"),
            |host, _, version| *host.versions.entry(*version).or_default() += 1,
            |host| &mut host.refused,
        );
    }
}

/// For a person: a line a host.
impl fmt::Display for Census {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (side, host) in &self.0 {
            let counts = versions(&host.versions);
            let counts = if counts.is_empty() { "none" } else { &counts };
            writeln!(out, "{side}, mailboxes by index version: {counts}")?;
            host.refused.lines(out, "not looked at")?;
        }
        Ok(())
    }
}

/// `3 of version 9, 1 of version 10`
pub(crate) fn versions(counts: &BTreeMap<u32, u64>) -> String {
    let each: Vec<String> = counts
        .iter()
        .map(|(version, n)| format!("{n} of version {version}"))
        .collect();
    each.join(", ")
}
