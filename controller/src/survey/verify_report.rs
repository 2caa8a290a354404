//! What `verify` found: GUIDs against message files, findings, and master against replica.
//!
//! Only digests and findings travel; the slotds read the messages. Counts and one example of each
//! kind are kept, so memory is flat. Changes nothing.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use slotd::protocol::Verified;
use slotd::stage::GUID_VERSION;

use super::ask::Answered;
use super::counts::{
    Count, Refused, UNLIKE_UNIQUEID, each_host, is_unknown, note_findings, side_by_side, versions,
};

/// One host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Host {
    /// Mailboxes it answered for.
    pub mailboxes: u64,
    /// Records of index and expunge files.
    pub messages: u64,
    /// Messages that were read.
    pub checked: u64,
    /// Records with an old-style GUID, which says nothing about content.
    pub old_guids: u64,
    /// Mailboxes of version 10 or later that have such: what a session that was open during an
    /// upgrade copied, or an upgrade that was not ours.
    pub unfinished: Count,
    /// Messages that are not what their records say.
    pub bad: u64,
    /// Mailboxes by index version.
    pub versions: BTreeMap<u32, u64>,
    /// What is wrong, by kind: `guid`, `size`, `missing`, and the codes of `indexfile check`.
    pub findings: BTreeMap<String, Count>,
    /// Mailboxes that could not be looked at, by reason.
    pub refused: Refused,
}

/// What `VERIFY` calls a message that has the size of its record and another SHA-1 than its GUID.
const WRONG_GUID: &str = "guid";

/// Both.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// Mailboxes asked about.
    pub mailboxes: u64,
    /// Names that the master does not know.
    pub unknown: u64,
    /// Master and replica.
    pub hosts: BTreeMap<&'static str, Host>,
    /// The same UIDs and identifiers on both hosts.
    pub alike: u64,
    /// Another number of records: replication lag, as a rule.
    pub lagging: Count,
    /// The same number of records and other identifiers, or another index version.
    pub differing: Count,
    /// Another unique id on the replica: what users have seen is kept under it. A warning, no
    /// fault.
    pub unlike_uniqueid: Count,
}

impl VerifyReport {
    /// Adds what the hosts said about a mailbox.
    pub fn answered(&mut self, answered: &Answered) {
        self.mailboxes += 1;
        let name = answered.of.name.as_str();
        self.unknown += u64::from(is_unknown(answered));
        let both = each_host(
            answered,
            &mut self.hosts,
            Verified::from_fields,
            Host::add,
            |host| &mut host.refused,
        );
        if let [Some(master), Some(replica)] = &both {
            let of = |v: &Verified| (v.index, u64::from(v.messages));
            let text = side_by_side(of(master), of(replica));
            if master.uniqueid != replica.uniqueid {
                let ids = format!("{} and {}", master.uniqueid, replica.uniqueid);
                self.unlike_uniqueid.note(name, &ids);
            }
            if master.index != replica.index {
                self.differing.note(name, &text);
            } else if master.digest == replica.digest {
                self.alike += 1;
            } else if master.messages == replica.messages {
                self.differing.note(name, &text);
            } else {
                self.lagging.note(name, &text);
            }
        }
    }

    /// Whether something is wrong. Replication lag is not.
    #[must_use]
    pub fn is_good(&self) -> bool {
        let wrong = |host: &Host| {
            !host.findings.is_empty() || !host.refused.is_empty() || host.is_unfinished()
        };
        self.differing.mailboxes == 0 && !self.hosts.values().any(wrong)
    }

    /// Whether another `upgrade` has something to do at version 10.
    #[must_use]
    pub fn is_unfinished(&self) -> bool {
        self.hosts.values().any(Host::is_unfinished)
    }

    /// The mailboxes to give to it: the one there is, or none, which means all.
    #[must_use]
    pub fn unfinished_name(&self) -> Option<&str> {
        let mut names = self.hosts.values().map(|host| &host.unfinished);
        let count = names.find(|count| count.mailboxes > 0)?;
        let all_one = self.hosts.values().all(|host| {
            let other = &host.unfinished;
            other.mailboxes == 0 || (other.mailboxes == 1 && other.example == count.example)
        });
        all_one.then_some(count.example.as_str())
    }

    /// Whether a GUID is not the SHA-1 of its message, though the size is the record's.
    #[must_use]
    pub fn has_wrong_guids(&self) -> bool {
        let wrong = |host: &Host| host.findings.contains_key(WRONG_GUID);
        self.hosts.values().any(wrong)
    }
}

/// For a person.
impl fmt::Display for VerifyReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{} mailboxes", self.mailboxes)?;
        for (side, host) in &self.hosts {
            writeln!(
                out,
                "{side}: {} messages, {} of them read, {} wrong; {} old GUIDs; {}",
                host.messages,
                host.checked,
                host.bad,
                host.old_guids,
                versions(&host.versions)
            )?;
            host.unfinished
                .line(out, "  old GUIDs at version 10 or later")?;
            for (kind, count) in &host.findings {
                count.line(out, &format!("  {kind}"))?;
            }
            host.refused.lines(out, "not looked at")?;
        }
        if self.hosts.len() == 2 {
            writeln!(out, "Alike on both hosts: {} mailboxes", self.alike)?;
            self.lagging.line(
                out,
                "Another number of messages (replication lag, as a rule)",
            )?;
            self.differing.line(out, "DIFFERENT")?;
            self.unlike_uniqueid.line(out, UNLIKE_UNIQUEID)?;
        }
        Ok(())
    }
}

impl Host {
    fn is_unfinished(&self) -> bool {
        self.unfinished.mailboxes > 0
    }

    fn add(&mut self, name: &str, verified: &Verified) {
        self.mailboxes += 1;
        self.messages += u64::from(verified.messages);
        self.checked += u64::from(verified.checked);
        self.old_guids += u64::from(verified.old);
        if verified.index >= GUID_VERSION && verified.old > 0 {
            let text = format!("{} of {} records", verified.old, verified.messages);
            self.unfinished.note(name, &text);
        }
        self.bad += u64::from(verified.bad);
        *self.versions.entry(verified.index).or_default() += 1;
        for item in &verified.list {
            // UID:reason
            let kind = item.split_once(':').map_or("message", |(_, reason)| reason);
            self.findings
                .entry(kind.to_owned())
                .or_default()
                .note(name, item);
        }
        if verified.bad > 0 && verified.list.is_empty() {
            let text = format!("{} messages", verified.bad);
            self.findings
                .entry("message".to_owned())
                .or_default()
                .note(name, &text);
        }
        note_findings(&mut self.findings, name, &verified.findings);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use indexfile::mailbox::MailboxName;
    use slotd::protocol::Fields;

    use crate::journal::Candidate;
    use crate::two_phase::Reason;

    fn verified(index: u32, messages: u32, digest: &str, bad: &[&str]) -> Fields {
        with_old(index, messages, digest, bad, 0)
    }

    fn with_old(index: u32, messages: u32, digest: &str, bad: &[&str], old: u32) -> Fields {
        Fields::new()
            .with("index", index)
            .with("expunge", "none")
            .with("messages", messages)
            .with("checked", messages)
            .with("old", old)
            .with("bad", bad.len())
            .with_list("list", bad)
            .with_list::<&str>("findings", [])
            .with("digest", digest.repeat(40))
    }

    fn audit(pairs: &[(Fields, Fields)]) -> VerifyReport {
        let mut audit = VerifyReport::default();
        for (master, replica) in pairs {
            let of = Candidate {
                name: MailboxName::parse("user.a").unwrap(),
                partition: None,
                named: true,
                back: [None; 2],
                uniqueids: [None, None],
            };
            audit.answered(&Answered {
                of,
                said: [Some(Ok(master.clone())), Some(Ok(replica.clone()))],
                then: [None, None],
            });
        }
        audit
    }

    #[test]
    fn lag_is_told_and_is_no_fault() {
        let found = audit(&[
            (verified(10, 5, "1", &[]), verified(10, 5, "1", &[])),
            (verified(10, 5, "1", &[]), verified(10, 4, "2", &[])),
        ]);
        assert_eq!(
            (found.alike, found.lagging.mailboxes, found.is_good()),
            (1, 1, true)
        );
    }

    #[test]
    fn a_wrong_message_another_version_or_other_identifiers_are_faults() {
        for pair in [
            (verified(10, 5, "1", &["7:guid"]), verified(10, 5, "1", &[])),
            (verified(10, 5, "1", &[]), verified(9, 5, "1", &[])),
            (verified(10, 5, "1", &[]), verified(10, 5, "2", &[])),
        ] {
            let found = audit(std::slice::from_ref(&pair));
            assert!(!found.is_good(), "{pair:?}");
            let guid = pair.0.word("list") != Some("");
            assert_eq!(found.has_wrong_guids(), guid, "{pair:?}");
            assert!(
                found.to_string().contains("user.a"),
                "{}",
                found.to_string()
            );
        }
    }

    #[test]
    fn old_guids_are_a_fault_from_version_10_on_and_the_mailbox_to_finish_is_named() {
        let with = |index, old| with_old(index, 5, "1", &[], old);
        let found = audit(&[(with(9, 5), with(9, 5))]);
        assert!(found.is_good() && !found.is_unfinished());
        let found = audit(&[(with(10, 0), with(10, 3))]);
        assert!(!found.is_good() && found.is_unfinished());
        assert_eq!(found.unfinished_name(), Some("user.a"));
        assert!(found.to_string().contains("user.a: 3 of 5 records"));
    }

    #[test]
    fn a_mailbox_that_cannot_be_looked_at_is_a_fault() {
        let mut found = VerifyReport::default();
        let of = Candidate {
            name: MailboxName::parse("user.a").unwrap(),
            partition: None,
            named: true,
            back: [None; 2],
            uniqueids: [None, None],
        };
        let refusal = Err((Reason::NoMailbox, "there is none".to_owned()));
        found.answered(&Answered {
            of,
            said: [Some(refusal), None],
            then: [None, None],
        });
        assert_eq!((found.unknown, found.is_good()), (1, false));
    }
}
