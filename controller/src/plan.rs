//! What a run would do, found out without changing anything.
//!
//! From the list alone: mailboxes and partitions. With a look into each mailbox (`STATUS` on both
//! hosts, no locks): versions, GUIDs to replace, cached or to be hashed, bytes, findings of
//! `indexfile check`, refusals, and whether master and replica agree. Counts and a few examples of
//! each kind are kept, so memory is flat. Writes nothing, so a crash leaves nothing.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;
use slotd::protocol::Status;

use crate::listing::Skipped;
use crate::run::Answered;
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
    pub(crate) fn line(&self, out: &mut String, what: &str) -> std::fmt::Result {
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

/// One host, as it is now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Host {
    /// Mailboxes it answered for.
    pub mailboxes: u64,
    /// Of them, those with nothing to do.
    pub done: u64,
    /// Mailboxes by index version.
    pub versions: BTreeMap<u32, u64>,
    /// Records of index and expunge files.
    pub messages: u64,
    /// Records with an old-style GUID.
    pub old_guids: u64,
    /// Of them, those in cyrus.sha1s.
    pub cached: u64,
    /// Of them, those whose message would have to be hashed under the lock.
    pub to_hash: u64,
    /// Bytes of those messages.
    pub hash_bytes: u64,
    /// Bytes of all messages.
    pub bytes: u64,
    /// Bytes of index and expunge files: about what `.OLD` files will keep.
    pub index_bytes: u64,
    /// Mailboxes with a cyrus.expunge that has records.
    pub with_expunge: u64,
    /// Records in them.
    pub expunged: u64,
    /// Mailboxes that have `.OLD` files of an earlier run.
    pub with_old: u64,
    /// Findings by the codes of `indexfile check`.
    pub findings: BTreeMap<String, Count>,
    /// Refusals by reason: these mailboxes would fail.
    pub refused: BTreeMap<&'static str, Count>,
}

/// What a run would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The index version wanted.
    pub to: u32,
    /// Mailboxes of the list.
    pub mailboxes: u64,
    /// Mailboxes by partition, where the list has it.
    pub partitions: BTreeMap<String, u64>,
    /// Skipped entries of the list, by reason.
    pub skipped: BTreeMap<&'static str, u64>,
    /// Names that the master does not know.
    pub unknown: u64,
    /// Whether each mailbox was looked into.
    pub deep: bool,
    /// Master and replica; empty without a look into each mailbox.
    pub hosts: BTreeMap<&'static str, Host>,
    /// Mailboxes with the same UIDs and identifiers on both hosts.
    pub alike: u64,
    /// Mailboxes that differ in some way: replication lag, other versions, or damage.
    pub different: Count,
    /// Mailboxes whose uidvalidity differs: not the same mailbox, would be refused.
    pub other_incarnation: Count,
}

impl Plan {
    /// An empty plan.
    #[must_use]
    pub fn new(to: u32, deep: bool) -> Self {
        Self {
            to,
            deep,
            ..Self::default()
        }
    }

    /// Adds an entry of the list.
    pub fn listed(&mut self, partition: Option<&str>) {
        self.mailboxes += 1;
        if let Some(partition) = partition {
            *self.partitions.entry(partition.to_owned()).or_default() += 1;
        }
    }

    /// Notes what the list had beside mailboxes.
    pub fn skipped(&mut self, skipped: &Skipped) {
        self.skipped = skipped.iter().map(|(why, n)| (why.as_str(), *n)).collect();
    }

    /// Adds what the hosts said.
    pub fn answered(&mut self, answered: &Answered) {
        self.listed(answered.of.partition.as_deref());
        let name = answered.of.name.as_str();
        let mut statuses = [None, None];
        for side in Side::ALL {
            let Some(said) = &answered.said[side.index()] else {
                continue;
            };
            let to = self.to;
            let host = self.hosts.entry(side.as_str()).or_default();
            let status = match said {
                Ok(fields) => {
                    Status::from_fields(fields).map_err(|e| (Reason::Protocol, e.to_string()))
                }
                Err(refusal) => Err(refusal.clone()),
            };
            match status {
                Ok(status) => {
                    host.add(name, &status, to);
                    statuses[side.index()] = Some(status);
                }
                Err((reason, text)) => {
                    let unknown =
                        reason == Reason::NoMailbox && side == Side::Master && answered.of.named;
                    self.unknown += u64::from(unknown);
                    host.refused
                        .entry(reason.as_str())
                        .or_default()
                        .note(name, &text);
                }
            }
        }
        if let [Some(master), Some(replica)] = &statuses {
            self.compare(name, master, replica);
        }
    }

    fn compare(&mut self, name: &str, master: &Status, replica: &Status) {
        if master.facts.uidvalidity != replica.facts.uidvalidity {
            let text = format!(
                "{} and {}",
                master.facts.uidvalidity, replica.facts.uidvalidity
            );
            self.other_incarnation.note(name, &text);
        } else if master.digest == replica.digest {
            self.alike += 1;
        } else {
            let records = |s: &Status| u64::from(s.facts.exists) + u64::from(s.facts.expunged);
            let text = format!(
                "master: version {}, {} records; replica: version {}, {} records",
                master.facts.index,
                records(master),
                replica.facts.index,
                records(replica)
            );
            self.different.note(name, &text);
        }
    }

    /// For a person.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        writeln!(
            out,
            "{} mailboxes to bring to version {}",
            self.mailboxes, self.to
        )?;
        for (partition, n) in &self.partitions {
            writeln!(out, "  partition {partition}: {n}")?;
        }
        for (why, n) in &self.skipped {
            writeln!(out, "  skipped, {why}: {n}")?;
        }
        if !self.deep {
            return writeln!(out, "From the list alone; --deep looks into each mailbox.");
        }
        for (side, host) in &self.hosts {
            host.write(side, self.to, out)?;
        }
        if self.hosts.len() == 2 {
            writeln!(out, "Alike on both hosts: {} mailboxes", self.alike)?;
            self.different.line(
                out,
                "Different (lag, versions, or damage; a run tells which)",
            )?;
            self.other_incarnation
                .line(out, "Other uidvalidity: would be refused")?;
        }
        Ok(())
    }
}

impl Host {
    fn add(&mut self, name: &str, status: &Status, to: u32) {
        let facts = &status.facts;
        self.mailboxes += 1;
        *self.versions.entry(facts.index).or_default() += 1;
        self.messages += u64::from(facts.exists) + u64::from(facts.expunged);
        let old = u64::from(facts.old.unwrap_or(0));
        let cached = u64::from(status.cached).min(old);
        let expunge_done = facts.expunge.is_none_or(|version| version == to);
        let done = facts.index == to && expunge_done && (old == 0 || to < 10);
        self.done += u64::from(done);
        if to >= 10 {
            self.old_guids += old;
            self.cached += cached;
            self.to_hash += old - cached;
            self.hash_bytes += status.hash_bytes;
        }
        self.bytes += status.bytes;
        self.index_bytes += status.index_bytes;
        self.with_expunge += u64::from(facts.expunged > 0);
        self.expunged += u64::from(facts.expunged);
        self.with_old += u64::from(status.has_old);
        for finding in &status.findings {
            // FILE:CODE
            let code = finding.rsplit(':').next().unwrap_or(finding);
            self.findings
                .entry(code.to_owned())
                .or_default()
                .note(name, finding);
        }
    }

    fn write(&self, side: &str, to: u32, out: &mut String) -> std::fmt::Result {
        let versions: Vec<String> = self
            .versions
            .iter()
            .map(|(v, n)| format!("{n} of version {v}"))
            .collect();
        writeln!(
            out,
            "{side}: {} mailboxes ({}), {} with nothing to do",
            self.mailboxes,
            versions.join(", "),
            self.done
        )?;
        writeln!(out, "  {} messages, {}", self.messages, bytes(self.bytes))?;
        if to >= 10 {
            writeln!(
                out,
                "  {} old GUIDs: {} in cyrus.sha1s, {} to be computed under the lock ({})",
                self.old_guids,
                self.cached,
                self.to_hash,
                bytes(self.hash_bytes)
            )?;
            if self.to_hash > 0 {
                writeln!(
                    out,
                    "  run `precompute run` first, and locks are held for a much shorter time"
                )?;
            }
        }
        writeln!(
            out,
            "  disk space for the replaced files (.OLD): about {}",
            bytes(self.index_bytes)
        )?;
        if self.with_expunge > 0 {
            writeln!(
                out,
                "  {} mailboxes have {} messages in cyrus.expunge; Cyrus 2.5 and 3.x delete these when they\n  \
                 first open such a mailbox: go through 2.4, or expire them before you move on",
                self.with_expunge, self.expunged
            )?;
        }
        if self.with_old > 0 {
            writeln!(
                out,
                "  {} mailboxes have .OLD files of an earlier run",
                self.with_old
            )?;
        }
        for (code, count) in &self.findings {
            count.line(out, &format!("  finding {code}"))?;
        }
        for (reason, count) in &self.refused {
            count.line(out, &format!("  would fail, {reason}"))?;
        }
        Ok(())
    }
}

/// Bytes with a unit of 1000.
fn bytes(n: u64) -> String {
    let mut unit = 1;
    for name in ["bytes", "kB", "MB", "GB", "TB"] {
        if n / unit < 1000 || name == "TB" {
            let tenths = (n % unit) * 10 / unit;
            return if unit == 1 {
                format!("{n} {name}")
            } else {
                format!("{}.{tenths} {name}", n / unit)
            };
        }
        unit *= 1000;
    }
    format!("{n} bytes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use indexfile::Guid;
    use indexfile::mailbox::MailboxName;
    use slotd::protocol::MailboxFacts;

    use crate::journal::Listed;
    use crate::run::Said;

    #[allow(clippy::unnecessary_wraps)] // what a host says
    fn status(index: u32, old: u32, digest: u8) -> Said {
        let status = Status {
            facts: MailboxFacts {
                mailbox: MailboxName::parse("user.a").unwrap(),
                partition: "p".to_owned(),
                uniqueid: "u".to_owned(),
                uidvalidity: 1,
                index,
                expunge: Some(index),
                exists: 10,
                expunged: 2,
                old: Some(old),
            },
            cached: 5,
            bytes: 1_234_567,
            hash_bytes: 7_000,
            index_bytes: 900,
            last_uid: 12,
            has_old: false,
            findings: vec!["cyrus.index:short".to_owned()],
            digest: Guid::from_bytes([digest; 20]),
        };
        Ok(status.to_fields())
    }

    fn answered(name: &str, master: Said, replica: Said) -> Answered {
        let of = Listed {
            name: MailboxName::parse(name).unwrap(),
            partition: Some("p".to_owned()),
            named: true,
            back: [None; 2],
        };
        Answered {
            of,
            said: [Some(master), Some(replica)],
        }
    }

    #[test]
    fn counts_add_up_for_each_host_and_refusals_are_told_with_an_example() {
        let mut plan = Plan::new(10, true);
        plan.answered(&answered("user.a", status(9, 12, 1), status(9, 12, 1)));
        plan.answered(&answered("user.b", status(10, 0, 1), status(9, 3, 2)));
        let refusal = || Err((Reason::Unmounted, "/p is not mounted".to_owned()));
        plan.answered(&answered("user.c", refusal(), refusal()));
        plan.answered(&answered(
            "user.d",
            Err((Reason::NoMailbox, "no".to_owned())),
            status(9, 0, 1),
        ));
        let master = &plan.hosts["master"];
        assert_eq!(
            (
                plan.mailboxes,
                plan.unknown,
                plan.alike,
                plan.different.mailboxes
            ),
            (4, 1, 1, 1)
        );
        assert_eq!((master.mailboxes, master.done, master.messages), (2, 1, 24));
        assert_eq!(
            (master.old_guids, master.cached, master.to_hash),
            (12, 5, 7)
        );
        assert_eq!(master.refused["unmounted"].example, "user.c");
        assert_eq!(master.findings["short"].mailboxes, 2);
        let text = plan.to_text();
        for part in [
            "4 mailboxes to bring to version 10",
            "1 of version 9, 1 of version 10",
            "would fail, unmounted",
            "Cyrus 2.5 and 3.x",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn from_the_list_alone_only_the_list_is_told() {
        let mut plan = Plan::new(10, false);
        plan.listed(Some("p1"));
        plan.listed(None);
        let text = plan.to_text();
        assert!(
            text.contains("2 mailboxes")
                && text.contains("partition p1: 1")
                && text.contains("--deep"),
            "{text}"
        );
    }

    #[test]
    fn bytes_have_readable_units() {
        for (n, text) in [
            (0, "0 bytes"),
            (999, "999 bytes"),
            (1_500, "1.5 kB"),
            (1_234_567, "1.2 MB"),
        ] {
            assert_eq!(bytes(n), text);
        }
        assert!(bytes(u64::MAX).ends_with(" TB"));
    }
}
