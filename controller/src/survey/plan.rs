//! What a run would do, found out without changing anything.
//!
//! From the list and a look at both hosts ([`crate::run::Preflight`]): mailboxes and partitions,
//! and what would be refused. With a look into each mailbox (`STATUS` on both hosts, no locks):
//! versions, GUIDs to replace, cached or to be hashed, bytes, findings of `indexfile check`,
//! refusals, and whether master and replica agree. Counts and a few examples of each kind are kept,
//! so memory is flat. Writes nothing, so a crash leaves nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use indexfile::exit::Exit;
use indicatif::BinaryBytes;
use serde::Serialize;
use slotd::protocol::Status;

use super::ask::Answered;
use super::counts::{
    Count, Refused, UNLIKE_UNIQUEID, each_host, is_unknown, note_findings, side_by_side, versions,
};
use super::damage::is_damage;
use super::excluded::{Excluded, LeftOut, Odd};
use super::looked::Line;
use super::preflight::{Preflight, SERVERS_BEFORE_2_3_10};
use super::space::Space;

/// Days, hours, minutes, seconds: the two largest that are not zero.
pub(crate) fn duration(time: Duration) -> String {
    let s = time.as_secs();
    match (s / 86_400, s / 3600 % 24, s / 60 % 60, s % 60) {
        (0, 0, 0, s) => format!("{s}s"),
        (0, 0, m, s) => format!("{m}m{s:02}s"),
        (0, h, m, _) => format!("{h}h{m:02}m"),
        (d, h, _, _) => format!("{d}d{h:02}h"),
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
    /// Bytes of index and expunge files.
    pub index_bytes: u64,
    /// Records of mailboxes that are not done.
    pub messages_to_do: u64,
    /// The room that a run takes, by partition.
    pub partitions: BTreeMap<String, Space>,
    /// Mailboxes with a cyrus.expunge that has records.
    pub with_expunge: u64,
    /// Records in them.
    pub expunged: u64,
    /// Mailboxes that have `.OLD` files of an earlier run.
    pub with_old: u64,
    /// Findings by the codes of `indexfile check`.
    pub findings: BTreeMap<String, Count>,
    /// Refusals by reason: these mailboxes would fail.
    pub refused: Refused,
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
    /// What a person must know before such a run.
    pub warnings: Vec<&'static str>,
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
    /// Mailboxes whose name is on more than one partition of the master: a run refuses these.
    pub two_places: Odd,
    /// Names that the master does not know.
    pub unknown: u64,
    /// Hosts without disk space for the new files, by a look into each mailbox.
    pub no_room: Vec<&'static str>,
    /// What a look at both hosts, and at a few mailboxes, has shown.
    pub preflight: Preflight,
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
    /// Another unique id on the replica: what users have seen is kept under it. A warning.
    pub unlike_uniqueid: Count,
}

impl Plan {
    /// An empty plan.
    #[must_use]
    pub fn new(to: u32, deep: bool) -> Self {
        let too_new_for_2_3_9 = to >= 10;
        Self {
            to,
            deep,
            warnings: too_new_for_2_3_9
                .then_some(SERVERS_BEFORE_2_3_10)
                .into_iter()
                .collect(),
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

    /// Mailboxes and messages that a run would have to do, of the host that has more; messages are
    /// known by a look into each mailbox.
    #[must_use]
    pub fn to_do(&self) -> (u64, Option<u64>) {
        let mailboxes = self.hosts.values().map(|host| host.mailboxes - host.done);
        let messages = self.hosts.values().map(|host| host.messages_to_do);
        (mailboxes.max().unwrap_or(self.mailboxes), messages.max())
    }

    /// Compares the disk space with what a look into each mailbox says will be written.
    pub fn check_disk_space(&mut self) {
        for (side, host) in &mut self.hosts {
            let Some(look) = self.preflight.hosts.get(side) else {
                continue;
            };
            let mut devices: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
            for (name, space) in &mut host.partitions {
                let Some(room) = look.partitions.get(name) else {
                    continue;
                };
                space.free = Some(room.free);
                devices.entry(room.device).or_insert((0, room.free)).0 += space.new_bytes;
            }
            let new_bytes = host.partitions.values().map(|space| space.new_bytes);
            // Of a slotd that does not say where partitions lie, all of them together are known.
            let full = if devices.is_empty() {
                look.free.is_some_and(|free| new_bytes.sum::<u64>() > free)
            } else {
                devices.values().any(|(needed, free)| needed > free)
            };
            if full {
                self.no_room.push(side);
            }
        }
    }

    /// What the command ends with: 0 only if nothing that was seen would refuse a run or a mailbox
    /// of it.
    #[must_use]
    pub fn exit(&self) -> Exit {
        let refused =
            self.other_incarnation.mailboxes > 0 || self.hosts.values().any(Host::would_refuse);
        let excluded = self.excluded().exit();
        match self.preflight.exit() {
            exit @ (Exit::Ok | Exit::Data) if self.unknown > 0 => exit.max(Exit::NoMailbox),
            Exit::Ok if !self.no_room.is_empty() => Exit::Io,
            Exit::Ok if refused => excluded.max(Exit::Data),
            exit @ (Exit::Ok | Exit::Data) => exit.max(excluded),
            exit => exit,
        }
    }

    fn excluded(&self) -> Excluded {
        Excluded {
            odd: self.odd.clone(),
            left_out: self.left_out.clone(),
            only_replica: self.only_replica.clone(),
            bad: self.bad_entries.clone(),
            two_places: self.two_places.clone(),
            ..Excluded::default()
        }
    }

    /// Notes what the list had that is not worked on.
    pub fn note_excluded(&mut self, excluded: Excluded) {
        self.skipped = excluded
            .skipped
            .iter()
            .map(|(why, n)| (why.as_str(), *n))
            .collect();
        self.odd = excluded.odd;
        self.left_out = excluded.left_out;
        self.only_replica = excluded.only_replica;
        self.bad_entries = excluded.bad;
        self.two_places = excluded.two_places;
    }

    /// Adds what the hosts said.
    pub fn answered(&mut self, answered: &Answered) {
        self.listed(answered.of.partition.as_deref());
        let name = answered.of.name.as_str();
        self.unknown += u64::from(is_unknown(answered));
        let to = self.to;
        let both = each_host(
            answered,
            &mut self.hosts,
            Status::from_fields,
            |host, name, status| host.add(name, status, to),
            |host| &mut host.refused,
        );
        if let [Some(master), Some(replica)] = &both {
            self.compare(name, master, replica);
        }
    }

    fn compare(&mut self, name: &str, master: &Status, replica: &Status) {
        let ids = [&master.facts.uniqueid, &replica.facts.uniqueid];
        if ids[0] != ids[1] {
            let text = format!("{} and {}", ids[0], ids[1]);
            self.unlike_uniqueid.note(name, &text);
        }
        if master.facts.uidvalidity != replica.facts.uidvalidity {
            let text = format!(
                "{} and {}",
                master.facts.uidvalidity, replica.facts.uidvalidity
            );
            self.other_incarnation.note(name, &text);
        } else if master.digest == replica.digest {
            self.alike += 1;
        } else {
            let of = |s: &Status| {
                let records = u64::from(s.facts.exists) + u64::from(s.facts.expunged);
                (s.facts.index, records)
            };
            self.different
                .note(name, &side_by_side(of(master), of(replica)));
        }
    }
}

/// For a person.
impl fmt::Display for Plan {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "{} mailboxes, wanted at version {}",
            self.mailboxes, self.to
        )?;
        for (partition, n) in &self.partitions {
            writeln!(out, "  partition {partition}: {n}")?;
        }
        for warning in &self.warnings {
            writeln!(out, "  {warning}")?;
        }
        for trouble in &self.preflight.troubles {
            writeln!(out, "  {}", Line(trouble))?;
        }
        for side in &self.no_room {
            writeln!(
                out,
                "  WOULD RUN OUT OF ROOM on the {side}: new files of all these mailboxes"
            )?;
        }
        for (why, n) in &self.skipped {
            writeln!(out, "  skipped, {why}: {n}")?;
        }
        for line in self.excluded().lines() {
            writeln!(out, "{line}")?;
        }
        if !self.deep {
            return writeln!(
                out,
                "{} of these mailboxes were looked at; --deep looks into each, and tells the room \
                 that is needed.",
                self.preflight.sampled
            );
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
            self.unlike_uniqueid.line(out, UNLIKE_UNIQUEID)?;
        }
        Ok(())
    }
}

impl Host {
    /// Whether a run would refuse one of its mailboxes.
    fn would_refuse(&self) -> bool {
        !self.refused.is_empty() || self.findings.keys().any(|code| is_damage(code))
    }

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
        let space = self.partitions.entry(facts.partition.clone()).or_default();
        if !done {
            space.add(status, to);
            self.messages_to_do += u64::from(facts.exists) + u64::from(facts.expunged);
        }
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
        note_findings(&mut self.findings, name, &status.findings);
    }

    fn write(&self, side: &str, to: u32, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "{side}: {} mailboxes ({}), {} with nothing to do",
            self.mailboxes,
            versions(&self.versions),
            self.done
        )?;
        writeln!(
            out,
            "  {} messages, {}",
            self.messages,
            BinaryBytes(self.bytes)
        )?;
        if to >= 10 {
            writeln!(
                out,
                "  {} old GUIDs: {} in cyrus.sha1s, {} to be computed under the lock ({})",
                self.old_guids,
                self.cached,
                self.to_hash,
                BinaryBytes(self.hash_bytes)
            )?;
            if self.to_hash > 0 {
                writeln!(
                    out,
                    "  run `precompute run` first, and locks are held for a much shorter time"
                )?;
            }
        }
        for (partition, space) in &self.partitions {
            let free = space.free.map_or_else(
                || "not known to its slotd".to_owned(),
                |free| BinaryBytes(free).to_string(),
            );
            writeln!(
                out,
                "  partition {partition}: {} of new files ({} for the largest mailbox); the {} \
                 that they replace\n  \
                 stay as .OLD until `controller clean`; free: {free}",
                BinaryBytes(space.new_bytes),
                BinaryBytes(space.largest),
                BinaryBytes(space.old_bytes),
            )?;
        }
        if self.with_expunge > 0 {
            writeln!(
                out,
                "  {} mailboxes have {} messages in cyrus.expunge; Cyrus 2.5 and 3.x delete these \
                 when they\n  \
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
        self.refused.lines(out, "would fail")
    }
}

#[cfg(test)]
mod tests;
