//! Whether both hosts of a pair have the same mail: the digests of every mailbox, without a lock
//! and without reading a message.

use std::fmt;
use std::sync::Arc;

use slotd::protocol::{Command, Named, Verify};

use super::look::{Host, Seen, look};
use crate::error::RunError;
use crate::hosts::Connect;
use crate::stop::{Stop, StopSignal};
use crate::survey::{Asking, Source, VerifyReport, survey};

/// Mailboxes that are asked about at once.
const AT_ONCE: usize = 4;
/// The first version of Cyrus 2.4 and later.
const LATER: u32 = 12;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Mailboxes of the master.
    pub mailboxes: u64,
    /// The same on both.
    pub alike: u64,
    /// With another number of messages, and one of them.
    pub lagging: (u64, String),
    /// With the same number and other messages.
    pub differing: (u64, String),
    /// That a host refused to look at, or has not got.
    pub refused: u64,
    /// Of version 12 or later, on either host.
    pub later: u64,
    /// Why they cannot be compared.
    pub impossible: Option<String>,
}

impl Comparison {
    /// What is wrong. `strict`: nothing comes in any more, so that not even lag is right.
    #[must_use]
    pub fn fault(&self, strict: bool) -> Option<String> {
        if let Some(why) = &self.impossible {
            return Some(format!(
                "the hosts were not compared: {why}; --no-compare goes without, and `controller \
                 verify --imap` compares what a user sees"
            ));
        }
        let mut faults = Vec::new();
        if self.differing.0 > 0 {
            let (count, example) = &self.differing;
            faults.push(format!("{count} mailbox(es) differ, for example {example}"));
        }
        if strict && self.lagging.0 > 0 {
            let (count, example) = &self.lagging;
            faults.push(format!(
                "{count} mailbox(es) have another number of messages, for example {example}"
            ));
        }
        if self.refused > 0 {
            faults.push(format!(
                "{} mailbox(es) are not on both hosts, or could not be looked at",
                self.refused
            ));
        }
        (!faults.is_empty()).then(|| {
            let faults = faults.join("; ");
            format!("the hosts are not alike: {faults} (`controller verify` says more)")
        })
    }

    /// Why the host may not be opened, though both are alike.
    #[must_use]
    pub fn change_over(&self) -> Option<String> {
        (self.later > 0).then(|| {
            format!(
                "{} mailbox(es) are changed over to Cyrus 2.4 or later: no server may start \
                 before `controller cutover --verify`",
                self.later
            )
        })
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} mailbox(es) are alike on both hosts", self.alike)?;
        if self.lagging.0 > 0 {
            write!(f, "; {} lag, which passes by itself", self.lagging.0)?;
        }
        Ok(())
    }
}

/// Compares the two hosts of a pair.
///
/// # Errors
/// A host does not answer, or it was stopped.
pub async fn compare(pair: &Arc<dyn Connect>, stop: &StopSignal) -> Result<Comparison, RunError> {
    for (name, seen) in look(&Host::of_pair("", pair)).await {
        if let Seen::There { served, .. } = seen
            && !["2.3", ""].contains(&served.as_str())
        {
            let why =
                format!("{name} is served by a Cyrus whose list slotd cannot read ({served})");
            return Ok(Comparison {
                impossible: Some(why),
                ..Comparison::default()
            });
        }
    }
    let sample = Some(0);
    let asking = Asking {
        connect: pair,
        parallel: AT_ONCE,
        stop,
        question: Arc::new(move |of: Named| Command::Verify(Verify { of, sample })),
        then: None,
    };
    let mut report = VerifyReport::default();
    survey(&asking, vec![Source::Master], |a| report.answered(&a)).await?;
    if stop.level() != Stop::No {
        return Err(RunError::Stopped);
    }
    Ok(judge(&report))
}

fn judge(report: &VerifyReport) -> Comparison {
    let later = report.hosts.values().map(|host| {
        let later = host
            .versions
            .iter()
            .filter(|(version, _)| **version >= LATER);
        later.map(|(_, count)| count).sum::<u64>()
    });
    let (differing, lagging) = (&report.differing, &report.lagging);
    let both = report.alike + differing.mailboxes + lagging.mailboxes;
    Comparison {
        mailboxes: report.mailboxes,
        alike: report.alike,
        lagging: (lagging.mailboxes, lagging.example.clone()),
        differing: (differing.mailboxes, differing.example.clone()),
        refused: report.mailboxes - both,
        later: later.max().unwrap_or(0),
        impossible: None,
    }
}
