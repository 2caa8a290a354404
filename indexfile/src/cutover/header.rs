//! The header over the merged records.

use super::Sources;
use crate::layout::{HeaderField as H, Layout};
use crate::sync_crc::NO_ANNOTATIONS;

/// The option SHAREDSEEN.
pub(super) const SHAREDSEEN: u64 = 1 << 2;
/// `POP3_NEW_UIDL`, SHAREDSEEN and DUPDELIVER. CONDSTORE, the fourth that 2.3 has, is implied from
/// version 12 on, and all other bits mean something else there.
const OPTIONS: u64 = 1 | SHAREDSEEN | 1 << 3;

/// What the records add up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // the names and meanings are those of `HeaderField`
pub struct Counts {
    pub num_records: u32,
    pub exists: u32,
    /// `num_records` without `exists`.
    pub expunged: u32,
    pub answered: u32,
    pub flagged: u32,
    pub deleted: u32,
    pub unseen: u32,
    pub quota_mailbox_used: u64,
    pub quota_deleted_used: u64,
    pub quota_expunged_used: u64,
    pub first_expunged: u32,
    pub sync_crc: u32,
    /// The largest modseq of a record.
    pub highestmodseq: u64,
}

/// The header in the target's layout.
pub(super) fn compose(sources: &Sources<'_>, to: &Layout, counts: &Counts, now: u32) -> Vec<u8> {
    let old = sources.index.header();
    let kept = |field| old.get(field).unwrap_or(0);
    let highestmodseq = kept(H::Highestmodseq).max(counts.highestmodseq).max(1);
    let seen = sources.seen;
    let mut out = vec![0; to.header_size as usize];
    for (field, slot) in to.header.present() {
        let value = match field {
            H::GenerationNo
            | H::Format
            | H::LastAppenddate
            | H::LastUid
            | H::Pop3LastLogin
            | H::Uidvalidity => kept(field),
            H::MinorVersion => to.minor_version.into(),
            H::StartOffset => to.header_size.into(),
            H::RecordSize => to.record_size.into(),
            H::NumRecords => counts.num_records.into(),
            H::Exists => counts.exists.into(),
            H::QuotaMailboxUsed => counts.quota_mailbox_used,
            H::Deleted => counts.deleted.into(),
            H::Answered => counts.answered.into(),
            H::Flagged => counts.flagged.into(),
            H::Options => kept(field) & OPTIONS,
            // Of deletions before now nothing is known.
            H::Highestmodseq | H::Deletedmodseq => highestmodseq,
            H::FirstExpunged => counts.first_expunged.into(),
            H::LastRepackTime | H::ChangesEpoch => now.into(),
            H::HeaderFileCrc => sources.header.crc.into(),
            H::SyncCrc => counts.sync_crc.into(),
            H::Recentuid => seen.map_or(0, |seen| seen.last_uid.into()),
            H::Recenttime => seen.map_or(0, |seen| seen.last_change.into()),
            H::SyncCrcAnnot => NO_ANNOTATIONS.into(),
            H::Unseen => counts.unseen.into(),
            H::QuotaDeletedUsed => counts.quota_deleted_used,
            H::QuotaExpungedUsed => counts.quota_expunged_used,
            // What leaked were the cache records of the expunged, which the index points to now.
            // The others are new, and nothing is known of them.
            H::LeakedCache | H::Pop3ShowAfter | H::QuotaAnnotUsed | H::Createdmodseq => 0,
            // The last field: everything before it is there.
            H::HeaderCrc => crc32fast::hash(&out[..slot.offset.into()]).into(),
        };
        // Each is as wide as what it is made from.
        let _ = slot.write(&mut out, value);
    }
    out
}
