//! One record, borrowed from the file: no allocation, no copy.

use crate::guid::{Guid, RecordGuid, Uuid};
use crate::header::be32;
use crate::layout::{RecordField, RecordSlots};

/// Bits of `system_flags`.
pub mod flags {
    /// `\Answered`
    pub const ANSWERED: u32 = 1 << 0;
    /// `\Flagged`
    pub const FLAGGED: u32 = 1 << 1;
    /// `\Deleted`
    pub const DELETED: u32 = 1 << 2;
    /// `\Draft`
    pub const DRAFT: u32 = 1 << 3;
    /// `\Seen` of the mailbox's owner (version 12 and later).
    pub const SEEN: u32 = 1 << 4;
    /// The message file is gone (version 12 and later).
    pub const UNLINKED: u32 = 1 << 30;
    /// Expunged (version 12 and later, and in older files that Cyrus 3.x wrote).
    pub const EXPUNGED: u32 = 1 << 31;

    /// Names of all known bits, lowest first.
    pub const NAMES: [(u32, &str); 11] = [
        (ANSWERED, "\\Answered"),
        (FLAGGED, "\\Flagged"),
        (DELETED, "\\Deleted"),
        (DRAFT, "\\Draft"),
        (SEEN, "\\Seen"),
        (1 << 26, "[snoozed]"),
        (1 << 27, "[split]"),
        (1 << 28, "[needs-cleanup]"),
        (1 << 29, "[archived]"),
        (UNLINKED, "[unlinked]"),
        (EXPUNGED, "[expunged]"),
    ];
}

/// A record of an index or expunge file.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    bytes: &'a [u8],
    slots: &'a RecordSlots,
}

impl<'a> Record<'a> {
    /// Views `bytes`, which are one record whole, through `slots`.
    #[inline]
    pub(crate) const fn new(bytes: &'a [u8], slots: &'a RecordSlots) -> Self {
        Self { bytes, slots }
    }

    /// UID; 0 only in a damaged file.
    #[must_use]
    #[inline]
    pub fn uid(&self) -> u32 {
        be32(self.bytes, 0).unwrap_or(0)
    }

    /// Size of the message in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.get(RecordField::Size).unwrap_or(0)
    }

    /// The value of a number field; `None` if this file does not have the field, or it is no number
    /// (`user_flags`, `guid`).
    #[must_use]
    #[inline]
    pub fn get(&self, field: RecordField) -> Option<u64> {
        self.slots.get(field)?.read(self.bytes)
    }

    /// The bytes of a field, if this file has it.
    #[must_use]
    #[inline]
    pub fn field_bytes(&self, field: RecordField) -> Option<&'a [u8]> {
        self.slots.get(field)?.of(self.bytes)
    }

    /// The message's identifier.
    #[must_use]
    #[inline]
    pub fn guid(&self) -> RecordGuid {
        let Some(bytes) = self.field_bytes(RecordField::Guid) else {
            return RecordGuid::Absent;
        };
        if let Ok(guid) = <[u8; 20]>::try_from(bytes) {
            RecordGuid::Guid(Guid::from_bytes(guid))
        } else if let Ok(uuid) = <[u8; 12]>::try_from(bytes) {
            RecordGuid::Uuid(Uuid::from_bytes(uuid))
        } else {
            RecordGuid::Absent
        }
    }

    /// System flag bits; see [`flags`].
    #[must_use]
    pub fn system_flags(&self) -> u32 {
        self.get(RecordField::SystemFlags)
            .and_then(|v| u32::try_from(v).ok())
            .unwrap_or(0)
    }

    /// User flags as on disk: four big-endian words, bit k of word k/32 is flag k.
    #[must_use]
    pub fn user_flags(&self) -> [u8; 16] {
        self.field_bytes(RecordField::UserFlags)
            .and_then(|b| b.try_into().ok())
            .unwrap_or_default()
    }

    /// The numbers of the user flags that are set, ascending, each below 128.
    pub fn user_flag_numbers(&self) -> impl Iterator<Item = usize> + use<> {
        let bits = self.user_flags();
        (0..128).filter(move |k| {
            let byte = bits[k / 32 * 4 + 3 - k % 32 / 8];
            byte >> (k % 8) & 1 == 1
        })
    }

    /// MODSEQ, or `None` before version 8.
    #[must_use]
    #[inline]
    pub fn modseq(&self) -> Option<u64> {
        self.get(RecordField::Modseq)
    }

    /// The record's bytes.
    #[must_use]
    #[inline]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Where the fields lie.
    #[must_use]
    pub const fn slots(&self) -> &'a RecordSlots {
        self.slots
    }
}
