//! What the hosts' answers tell an operator besides the outcome: identifiers that were cut, and
//! hosts that are not alike in what a transaction need not agree about. Counts and one example
//! each; of this invocation alone.

use serde::Serialize;

use super::participant::Learned;
use crate::two_phase::Side;
use parking_lot::Mutex;

/// What was observed in one transaction, by side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Observed {
    restored: [Option<u32>; 2],
    cut: [u32; 2],
    uniqueid: [Option<String>; 2],
    wrong: [u32; 2],
    gone: [u32; 2],
    left_group: Option<u32>,
}

impl Observed {
    pub(super) fn note(&mut self, side: Side, learned: &Learned) {
        if let Some(up) = &learned.upgraded {
            self.restored[side.index()] = Some(up.restored);
            self.cut[side.index()] = up.cut;
            self.left_group = self.left_group.or(up.left_group);
            let found = up.rehash.as_ref();
            self.wrong[side.index()] = found.map_or(0, |f| f.wrong);
            self.gone[side.index()] = found.map_or(0, |f| f.gone);
        }
        if let Some(id) = &learned.uniqueid {
            self.uniqueid[side.index()] = Some(id.clone());
        }
    }
}

/// How often, and where for example.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Example {
    /// Mailboxes.
    pub mailboxes: u64,
    /// One of them.
    pub example: String,
}

impl Example {
    fn note(&mut self, name: &str) {
        self.mailboxes += 1;
        if self.mailboxes == 1 {
            name.clone_into(&mut self.example);
        }
    }

    fn line(&self, what: &str) -> Option<String> {
        let (n, example) = (self.mailboxes, &self.example);
        (n > 0).then(|| format!("WARNING: {n} mailboxes, for example {example}: {what}"))
    }
}

/// What is warnings of all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Warnings {
    /// GUIDs of both hosts that were cut to 12 bytes, as there was no UUID to bring back.
    pub cut: u64,
    /// With `--rehash`: GUIDs of both hosts that were found not to be the SHA-1s of their messages.
    pub wrong_guids: u64,
    /// Expunged records of both hosts whose message is gone, so that their GUID could not be
    /// compared.
    pub not_compared: u64,
    /// One host had UUIDs to bring back that the other had not.
    pub unlike_uuids: Example,
    /// The two hosts have another unique id for the mailbox.
    pub unlike_uniqueid: Example,
    /// New files have not the group of the old ones.
    pub left_group: Example,
}

impl Warnings {
    /// A line each.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let cut = (self.cut > 0).then(|| {
            format!(
                "{} GUIDs were cut to 12 bytes: no UUID is known of these messages",
                self.cut
            )
        });
        let wrong = (self.wrong_guids > 0).then(|| {
            format!(
                "{} GUIDs were found not to be the SHA-1s of their messages, on both hosts \
                 together",
                self.wrong_guids
            )
        });
        let gone = (self.not_compared > 0).then(|| {
            format!(
                "{} expunged records have no message any more: nobody can say what their GUIDs \
                 are of",
                self.not_compared
            )
        });
        let uuids = self.unlike_uuids.line(
            "messages have other UUIDs on the two hosts now, as one had no more of them; \
             replication sends these again. \
             With --uuids cut both are alike",
        );
        let ids = self.unlike_uniqueid.line(
            "its unique id is another on the replica (unlike_uniqueid); what users have seen is \
             kept under that id",
        );
        let groups = self.left_group.line(
            "the new files have another group than the old ones, of which slotd's user is no \
             member; it gave nobody a right that \
             others have not. A slotd that runs as root, or as a member of the group, keeps it",
        );
        [cut, wrong, gone, uuids, ids, groups]
            .into_iter()
            .flatten()
            .collect()
    }
}

/// Collects them.
#[derive(Debug, Default)]
pub(super) struct WarningLog(Mutex<Warnings>);

impl WarningLog {
    /// Adds a transaction; `changed` if it was carried out.
    pub(super) fn record(&self, name: &str, observed: &Observed, changed: bool) {
        let mut warnings = self.0.lock();
        let sum = |each: &[u32; 2]| each.iter().map(|n| u64::from(*n)).sum::<u64>();
        warnings.wrong_guids += sum(&observed.wrong);
        warnings.not_compared += sum(&observed.gone);
        if changed {
            warnings.cut += sum(&observed.cut);
            if observed.left_group.is_some() {
                warnings.left_group.note(name);
            }
            if let [Some(master), Some(replica)] = observed.restored
                && master != replica
                && observed.cut[0] != observed.cut[1]
            {
                warnings.unlike_uuids.note(name);
            }
        }
        if let [Some(master), Some(replica)] = &observed.uniqueid
            && master != replica
        {
            warnings.unlike_uniqueid.note(name);
        }
    }

    pub(super) fn warnings(&self) -> Warnings {
        let warnings = self.0.lock();
        warnings.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_hosts_call_differently_is_told_once_for_each_mailbox_and_counted() {
        let observed = |cut, ids: [&str; 2]| Observed {
            restored: [Some(5), Some(5 - cut)],
            cut: [0, cut],
            uniqueid: ids.map(|id| Some(id.to_owned())),
            ..Observed::default()
        };
        let log = WarningLog::default();
        log.record("user.a", &observed(0, ["1", "1"]), true);
        assert_eq!(log.warnings(), Warnings::default());
        log.record("user.b", &observed(2, ["1", "2"]), true);
        log.record("user.c", &observed(3, ["1", "2"]), false);
        let warnings = log.warnings();
        assert_eq!(
            (
                warnings.cut,
                warnings.unlike_uuids.mailboxes,
                warnings.unlike_uniqueid.mailboxes
            ),
            (2, 1, 2)
        );
        assert_eq!(warnings.lines().len(), 3);
        assert!(
            warnings.lines()[1].contains("user.b"),
            "{:?}",
            warnings.lines()
        );
        let left = Observed {
            left_group: Some(8),
            ..Observed::default()
        };
        log.record("user.d", &left, false);
        log.record("user.e", &left, true);
        let warnings = log.warnings();
        assert_eq!(warnings.left_group.mailboxes, 1);
        assert!(
            warnings.lines()[3].contains("user.e"),
            "{:?}",
            warnings.lines()
        );
    }
}
