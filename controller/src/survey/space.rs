//! The room that a run takes on a partition: what its new files need beside the old ones.

use indexfile::layout;
use serde::Serialize;
use slotd::protocol::Status;

/// What mailboxes of a partition of a host take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Space {
    /// Mailboxes that would be changed.
    pub mailboxes: u64,
    /// Bytes of the files that would be written, all together.
    pub new_bytes: u64,
    /// Bytes of the files that they replace, which stay as `.OLD` until `clean`.
    pub old_bytes: u64,
    /// Bytes of the new files of the largest mailbox: what one that is under way takes.
    pub largest: u64,
    /// Bytes that may still be written where index files of the partition lie; `None`: its slotd
    /// does not say so.
    pub free: Option<u64>,
}

impl Space {
    /// Adds a mailbox that is to be brought to version `to`.
    pub(super) fn add(&mut self, status: &Status, to: u32) {
        let facts = &status.facts;
        let files = [
            (Some(facts.index), facts.exists),
            (facts.expunge, facts.expunged),
        ];
        let sizes = files.map(|(from, records)| {
            let from = from.and_then(layout::of)?;
            let to = layout::of(to)?;
            let bytes = |one: &layout::Layout| {
                u64::from(one.header_size) + u64::from(one.record_size) * u64::from(records)
            };
            Some((bytes(from), bytes(to)))
        });
        let sum = |side: fn(&(u64, u64)) -> u64| sizes.iter().flatten().map(side).sum::<u64>();
        let (now, then) = (sum(|size| size.0), sum(|size| size.1));
        // What an index of that version has beyond its header and records stays.
        let new = (status.index_bytes + then).saturating_sub(now);
        self.mailboxes += 1;
        self.new_bytes += new;
        self.old_bytes += status.index_bytes;
        self.largest = self.largest.max(new);
    }
}
