//! What `preflight` tells: the look that a run has before it begins, and of how many mailboxes.
//!
//! Changes nothing, so a crash leaves nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use indexfile::exit::Exit;
use indicatif::BinaryBytes;
use serde::Serialize;

use super::ask::list;
use super::excluded::{Excluded, LeftOut, Odd};
use super::preflight::Preflight;
use super::source::Source;
use super::trouble::{HostLook, Trouble, Weight};
use crate::error::RunError;
use crate::hosts::Connect;
use crate::stop::StopSignal;

/// What was found before anything was begun.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Looked {
    /// Mailboxes that a run would be of.
    pub mailboxes: u64,
    /// What the hosts and a sample of these have shown.
    #[serde(flatten)]
    pub found: Preflight,
    /// Skipped entries of the list, by reason.
    pub skipped: BTreeMap<&'static str, u64>,
    /// Directories that may be mailboxes and that the master does not list.
    pub odd: Odd,
    /// Of these, those that may hold mailboxes.
    pub left_out: LeftOut,
    /// Mailboxes that the replica has and the master does not: a run does not know of them.
    pub only_replica: Odd,
    /// Entries of the list that are none.
    pub bad_entries: Odd,
    /// Mailboxes whose name is on more than one partition of the master.
    pub two_places: Odd,
    #[serde(skip)]
    lines: Vec<String>,
    #[serde(skip)]
    excluded: Option<Exit>,
}

impl Looked {
    /// Looks at both hosts and at a sample of the mailboxes of these sources.
    ///
    /// # Errors
    /// The list cannot be read, or a host does not answer.
    pub async fn at(
        connect: &Arc<dyn Connect>,
        sources: Vec<Source>,
        stop: &StopSignal,
    ) -> Result<Self, RunError> {
        let mut mailboxes = 0;
        let (excluded, found) = list(connect, sources, stop, |_| mailboxes += 1).await?;
        Ok(Self::of(mailboxes, found, excluded))
    }

    fn of(mailboxes: u64, found: Preflight, excluded: Excluded) -> Self {
        let (lines, exit) = (excluded.lines(), excluded.exit());
        let skipped = excluded.skipped.iter();
        Self {
            mailboxes,
            found,
            skipped: skipped.map(|(why, n)| (why.as_str(), *n)).collect(),
            odd: excluded.odd,
            left_out: excluded.left_out,
            only_replica: excluded.only_replica,
            bad_entries: excluded.bad,
            two_places: excluded.two_places,
            lines,
            excluded: Some(exit),
        }
    }

    /// What the command ends with: 0 only if nothing that was seen would refuse a run or a mailbox
    /// of it.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self.found.exit() {
            exit @ (Exit::Ok | Exit::Data) => self.excluded.map_or(exit, |other| exit.max(other)),
            exit => exit,
        }
    }
}

/// A line of a report.
pub(super) struct Line<'a>(pub(super) &'a Trouble);

impl fmt::Display for Line<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.0.weight {
            Weight::Warning => "warning",
            Weight::Some => "would be refused in part",
            Weight::All => "WOULD BE REFUSED",
        };
        write!(out, "{kind}: {}", self.0.text)
    }
}

/// For a person.
impl fmt::Display for Looked {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "{} mailboxes, {} of them looked at",
            self.mailboxes, self.found.sampled
        )?;
        for (side, host) in &self.found.hosts {
            writeln!(out, "{side}: {}", of_host(host))?;
        }
        for trouble in &self.found.troubles {
            writeln!(out, "  {}", Line(trouble))?;
        }
        for (why, n) in &self.skipped {
            writeln!(out, "  skipped, {why}: {n}")?;
        }
        for line in &self.lines {
            writeln!(out, "{line}")?;
        }
        let heaviest = self.found.troubles.iter().map(|t| t.weight).max();
        let verdict = match (heaviest, self.exit()) {
            (Some(Weight::All), _) => "a run would be refused",
            (_, Exit::Ok) => "nothing that was seen would refuse a run",
            _ => "a run would begin, and refuse some mailboxes",
        };
        writeln!(out, "{verdict}")
    }
}

/// What a host says of itself.
fn of_host(host: &HostLook) -> String {
    let mut parts = vec![format!("store {}, release {}", host.host_id, host.version)];
    if !host.served.is_empty() {
        parts.push(format!("served by {}", host.served));
    }
    if let Some(free) = host.free {
        let (free, needed) = (BinaryBytes(free), BinaryBytes(host.needed));
        parts.push(format!("{free} free, about {needed} needed"));
    }
    if let Some(open) = &host.open {
        parts.push(open.clone());
    }
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trouble(weight: Weight, exit: Exit) -> Trouble {
        Trouble {
            what: "space",
            weight,
            text: "there is something".to_owned(),
            exit,
        }
    }

    fn looked(troubles: Vec<Trouble>, excluded: Excluded) -> Looked {
        let found = Preflight {
            troubles,
            ..Preflight::default()
        };
        Looked::of(3, found, excluded)
    }

    #[test]
    fn it_ends_with_the_worst_that_was_found_and_says_what_a_run_would_do() {
        let part = trouble(Weight::Some, Exit::Denied);
        let whole = trouble(Weight::All, Exit::Io);
        let mut excluded = Excluded::default();
        excluded.two_places.note(|| "user.joe".to_owned());
        for (troubles, excluded, exit, verdict) in [
            (
                vec![],
                Excluded::default(),
                Exit::Ok,
                "nothing that was seen",
            ),
            (vec![], excluded, Exit::Data, "refuse some"),
            (
                vec![part.clone()],
                Excluded::default(),
                Exit::Data,
                "refuse some",
            ),
            (
                vec![whole, part],
                Excluded::default(),
                Exit::Io,
                "a run would be refused",
            ),
        ] {
            let looked = looked(troubles, excluded);
            assert_eq!(looked.exit(), exit);
            assert!(looked.to_string().contains(verdict), "{looked}");
        }
    }
}
