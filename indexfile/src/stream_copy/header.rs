//! Converting a header: upgrade defaults as Cyrus has them, spares carried over where both have
//! them.

use crate::header::Header;
use crate::layout::{HeaderField, HeaderSlots, Layout};
use crate::read_error::ReadError;
use crate::reader::IndexFile;
use crate::record::{Record, flags};

/// The counters of a header that follow from the records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeaderCounts {
    /// Number of records.
    pub records: u32,
    /// Records with `\Deleted`.
    pub deleted: u32,
    /// Records with `\Answered`.
    pub answered: u32,
    /// Records with `\Flagged`.
    pub flagged: u32,
    /// Sum of the sizes, bytes.
    pub quota: u64,
}

impl HeaderCounts {
    /// What the header of `source` says; counted from the records where the header has no such
    /// field.
    ///
    /// # Errors
    /// The records cannot be read.
    pub fn of(source: &IndexFile) -> Result<Self, ReadError> {
        let header = source.header();
        let get = |field| header.get(field).and_then(|v| u32::try_from(v).ok());
        let mut counts = Self {
            records: source.num_records(),
            ..Self::default()
        };
        let stored = (
            get(HeaderField::Deleted),
            get(HeaderField::Answered),
            get(HeaderField::Flagged),
        );
        if let (Some(deleted), Some(answered), Some(flagged)) = stored {
            (counts.deleted, counts.answered, counts.flagged) = (deleted, answered, flagged);
        } else {
            let mut seen = Self::default();
            let mut blocks = source.blocks();
            while let Some(block) = blocks.read()? {
                block.records().for_each(|r| seen.add(&r));
            }
            (counts.deleted, counts.answered, counts.flagged) =
                (seen.deleted, seen.answered, seen.flagged);
        }
        counts.quota = header.get(HeaderField::QuotaMailboxUsed).unwrap_or(0);
        Ok(counts)
    }

    /// Adds one record.
    pub fn add(&mut self, record: &Record<'_>) {
        let bits = record.system_flags();
        self.records = self.records.saturating_add(1);
        self.deleted = self
            .deleted
            .saturating_add(u32::from(bits & flags::DELETED != 0));
        self.answered = self
            .answered
            .saturating_add(u32::from(bits & flags::ANSWERED != 0));
        self.flagged = self
            .flagged
            .saturating_add(u32::from(bits & flags::FLAGGED != 0));
        self.quota = self.quota.saturating_add(record.size());
    }

    /// The counters after the records counted in `gone` left; a counter that was wrong stops at 0.
    #[must_use]
    pub fn without(self, gone: &Self) -> Self {
        Self {
            records: self.records.saturating_sub(gone.records),
            deleted: self.deleted.saturating_sub(gone.deleted),
            answered: self.answered.saturating_sub(gone.answered),
            flagged: self.flagged.saturating_sub(gone.flagged),
            quota: self.quota.saturating_sub(gone.quota),
        }
    }
}

/// Writes `header` in a layout of versions 6 to 10.
#[must_use]
pub fn convert_header(header: &Header, to: &Layout, counts: &HeaderCounts) -> Vec<u8> {
    let mut out = vec![0; to.header_size as usize];
    copy_spares(header, to, &mut out);
    for (field, slot) in to.header.present() {
        let value = match field {
            HeaderField::MinorVersion => u64::from(to.minor_version),
            HeaderField::StartOffset => u64::from(to.header_size),
            HeaderField::RecordSize => u64::from(to.record_size),
            HeaderField::Exists => u64::from(counts.records),
            HeaderField::Deleted => u64::from(counts.deleted),
            HeaderField::Answered => u64::from(counts.answered),
            HeaderField::Flagged => u64::from(counts.flagged),
            HeaderField::QuotaMailboxUsed => counts.quota,
            HeaderField::Options => options(header, to),
            _ => header.get(field).unwrap_or(match field {
                HeaderField::Uidvalidity | HeaderField::Highestmodseq => 1,
                // leaked_cache too: 2.3 leaves bytes of the first record there, which is its bug.
                _ => 0,
            }),
        };
        // Every field of 6 to 10 is at least as wide as it was before, so the value fits.
        let _ = slot.write(&mut out, value);
    }
    out
}

/// Below version 8 the word is `pop3_new_uidl`, 0 or 1; an empty mailbox without the field gets bit
/// 0.
fn options(header: &Header, to: &Layout) -> u64 {
    match header.get(HeaderField::Options) {
        Some(bits) if to.minor_version < 8 && header.minor_version() >= 8 => bits & 1,
        Some(bits) => bits,
        None => u64::from(header.num_records() == 0),
    }
}

/// First byte after the last field.
fn fields_end(slots: &HeaderSlots) -> usize {
    slots.present().last().map_or(0, |(_, slot)| slot.end())
}

/// Bytes that are spare in both versions stay what they are (zero, in every file seen so far).
fn copy_spares(header: &Header, to: &Layout, out: &mut [u8]) {
    let family = |minor: u32| (minor >= 6, minor >= 8);
    if header.minor_version() < 6 || family(header.minor_version()) != family(to.minor_version) {
        return;
    }
    let start = fields_end(header.slots()).max(fields_end(&to.header));
    let end = header.bytes().len().min(out.len());
    if let (Some(from), Some(to)) = (header.bytes().get(start..end), out.get_mut(start..end)) {
        to.copy_from_slice(from);
    }
}
