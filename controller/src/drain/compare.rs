//! Whether both hosts of a pair have the same mail: the digests of every mailbox, without a lock
//! and without reading a message.

use std::fmt;
use std::sync::Arc;

use slotd::protocol::{Command, Named, Verify};

use super::look::{Host, Seen, look};
use crate::error::RunError;
use crate::hosts::{Connect, Said};
use crate::stop::{Stop, StopSignal};
use crate::survey::{Answered, Asking, Source, VerifyReport, survey};
use crate::two_phase::Reason;

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
    /// That the replica has not got, or neither host any more, and one of them: made or deleted on
    /// the master just now.
    pub missing: (u64, String),
    /// That a host refused to look at.
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
        if strict && self.missing.0 > 0 {
            let (count, example) = &self.missing;
            faults.push(format!(
                "{count} mailbox(es) are not on both hosts, for example {example}"
            ));
        }
        if self.refused > 0 {
            faults.push(format!(
                "{} mailbox(es) could not be looked at",
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
        let lag = self.lagging.0 + self.missing.0;
        if lag > 0 {
            write!(f, "; {lag} lag, which passes by itself")?;
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
    let mut found = Found::default();
    survey(&asking, vec![Source::Master], |a| found.answered(&a)).await?;
    if stop.level() != Stop::No {
        return Err(RunError::Stopped);
    }
    Ok(judge(&found))
}

/// What the hosts said.
#[derive(Default)]
struct Found {
    report: VerifyReport,
    missing: (u64, String),
}

impl Found {
    fn answered(&mut self, answered: &Answered) {
        self.report.answered(answered);
        if is_missing(answered) {
            if self.missing.0 == 0 {
                self.missing.1 = answered.of.name.to_string();
            }
            self.missing.0 += 1;
        }
    }
}

/// Whether a host has not got the mailbox, and that is all that is wrong.
fn is_missing(answered: &Answered) -> bool {
    let lacks = |said: &Said| matches!(said, Err((Reason::NoMailbox, _)));
    let mut said = answered.said.iter().flatten();
    said.clone().any(lacks) && said.all(|said| said.is_ok() || lacks(said))
}

fn judge(found: &Found) -> Comparison {
    let Found { report, missing } = found;
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
        missing: missing.clone(),
        refused: report.mailboxes - both - missing.0,
        later: later.max().unwrap_or(0),
        impossible: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use indexfile::mailbox::MailboxName;
    use slotd::protocol::Fields;

    use crate::journal::Candidate;

    fn verified() -> Fields {
        Fields::new()
            .with("index", 10)
            .with("expunge", "none")
            .with("messages", 1)
            .with("checked", 0)
            .with("old", 0)
            .with("bad", 0)
            .with_list::<&str>("list", [])
            .with_list::<&str>("findings", [])
            .with("digest", "1".repeat(40))
    }

    fn compared(master: Said, replica: Said) -> Comparison {
        let mut found = Found::default();
        found.answered(&Answered {
            of: Candidate {
                name: MailboxName::parse("user.new").unwrap(),
                partition: None,
                named: false,
                back: [None; 2],
                uniqueids: [None, None],
            },
            said: [Some(master), Some(replica)],
            then: [None, None],
        });
        judge(&found)
    }

    #[test]
    fn a_mailbox_that_was_made_or_deleted_meanwhile_is_lag_and_a_fault_beside_a_drained_master() {
        let refusal = |reason| -> Said { Err((reason, "no".to_owned())) };
        let none = || refusal(Reason::NoMailbox);
        for found in [compared(Ok(verified()), none()), compared(none(), none())] {
            assert_eq!((found.missing.0, found.refused), (1, 0), "{found:?}");
            assert_eq!(found.fault(false), None);
            let fault = found.fault(true).unwrap();
            assert!(
                fault.contains("not on both hosts, for example user.new"),
                "{fault}"
            );
            assert!(found.to_string().contains("1 lag"), "{found}");
        }
        // What could not be looked at may be anything.
        for found in [
            compared(Ok(verified()), refusal(Reason::Damaged)),
            compared(none(), refusal(Reason::Damaged)),
        ] {
            assert_eq!((found.missing.0, found.refused), (0, 1), "{found:?}");
            assert!(found.fault(false).is_some());
        }
    }
}
