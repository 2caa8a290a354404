//! One record: borrowed from a block, or a copy of its few bytes. Nothing is allocated.

use crate::guid::{Guid, RecordGuid, Uuid};
use crate::header::be32;
use crate::layout::{RecordField, RecordSlots, Slot};

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
    /// Message and cache record lie on the archive partition (Cyrus 3.0 and later).
    pub const ARCHIVED: u32 = 1 << 29;
    /// The message file is gone (version 12 and later).
    pub const UNLINKED: u32 = 1 << 30;
    /// Expunged (version 12 and later, and in older files that Cyrus 3.x wrote).
    pub const EXPUNGED: u32 = 1 << 31;

    /// The flags that clients see, by their names in lower case, as they are compared.
    pub const COMPARED: [(u32, &str); 5] = [
        (ANSWERED, "\\answered"),
        (FLAGGED, "\\flagged"),
        (DELETED, "\\deleted"),
        (DRAFT, "\\draft"),
        (SEEN, "\\seen"),
    ];

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
        (ARCHIVED, "[archived]"),
        (UNLINKED, "[unlinked]"),
        (EXPUNGED, "[expunged]"),
    ];
}

/// No version has a longer record, bytes.
const LONGEST: usize = 144;

/// A record of an index or expunge file.
#[derive(Clone, Copy)]
pub struct Record<'a> {
    image: Image<'a>,
    slots: &'a RecordSlots,
}

#[derive(Clone, Copy)]
enum Image<'a> {
    Seen(&'a [u8]),
    Held { len: u8, bytes: [u8; LONGEST] },
}

/// Stored and computed checksum of a header or record.
pub(crate) fn checksum(slot: Slot, image: &[u8]) -> Option<(u32, u32)> {
    let stored = u32::try_from(slot.read(image)?).ok()?;
    Some((stored, crc32fast::hash(image.get(..slot.offset as usize)?)))
}

impl std::fmt::Debug for Record<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Record(uid {})", self.uid())
    }
}

impl<'a> Record<'a> {
    /// Views `bytes`, which are one record whole, through `slots`.
    #[inline]
    pub(crate) const fn new(bytes: &'a [u8], slots: &'a RecordSlots) -> Self {
        let image = Image::Seen(bytes);
        Self { image, slots }
    }

    /// The same with a copy of the bytes.
    #[inline]
    pub(crate) fn held(bytes: &[u8], slots: &'a RecordSlots) -> Self {
        let len = bytes.len().min(LONGEST);
        let mut held = [0; LONGEST];
        held[..len].copy_from_slice(&bytes[..len]);
        Self::holding(len, held, slots)
    }

    /// A record of `size` bytes, which `fill` reads.
    pub(crate) fn read<E>(
        size: usize,
        slots: &'a RecordSlots,
        fill: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<Self, E> {
        let len = size.min(LONGEST);
        let mut held = [0; LONGEST];
        fill(&mut held[..len])?;
        Ok(Self::holding(len, held, slots))
    }

    #[inline]
    fn holding(len: usize, bytes: [u8; LONGEST], slots: &'a RecordSlots) -> Self {
        // At most 144.
        let len = u8::try_from(len).unwrap_or(0);
        let image = Image::Held { len, bytes };
        Self { image, slots }
    }

    /// Stored and computed checksum, from version 12 on.
    #[must_use]
    pub fn crc(&self) -> Option<(u32, u32)> {
        checksum(self.slots.get(RecordField::RecordCrc)?, self.bytes())
    }

    /// UID; 0 only in a damaged file.
    #[must_use]
    #[inline]
    pub fn uid(&self) -> u32 {
        be32(self.bytes(), 0).unwrap_or(0)
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
        self.slots.get(field)?.read(self.bytes())
    }

    /// The bytes of a field, if this file has it.
    #[must_use]
    #[inline]
    pub fn field_bytes(&self, field: RecordField) -> Option<&[u8]> {
        self.slots.get(field)?.of(self.bytes())
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
    pub fn bytes(&self) -> &[u8] {
        match &self.image {
            Image::Seen(bytes) => bytes,
            Image::Held { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or_default(),
        }
    }

    /// Where the fields lie.
    #[must_use]
    pub const fn slots(&self) -> &'a RecordSlots {
        self.slots
    }
}

/// Some neighbouring records.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a> {
    first: u32,
    bytes: &'a [u8],
    size: usize,
    slots: &'a RecordSlots,
}

impl<'a> Block<'a> {
    pub(crate) const fn new(
        first: u32,
        bytes: &'a [u8],
        size: usize,
        slots: &'a RecordSlots,
    ) -> Self {
        Self {
            first,
            bytes,
            size,
            slots,
        }
    }

    /// The position of its first record in the file, from 0.
    #[must_use]
    pub const fn first(&self) -> u32 {
        self.first
    }

    /// Its bytes.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// How many records it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len() / self.size
    }

    /// None.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The same in pieces of `records` records.
    pub fn pieces(&self, records: u16) -> impl Iterator<Item = Block<'a>> + use<'a> {
        let Self {
            first, size, slots, ..
        } = *self;
        let chunks = self.bytes.chunks(usize::from(records.max(1)) * size);
        let firsts = (first..).step_by(usize::from(records.max(1)));
        chunks
            .zip(firsts)
            .map(move |(bytes, first)| Self::new(first, bytes, size, slots))
    }

    /// Its records.
    #[must_use]
    pub fn records(&self) -> impl ExactSizeIterator<Item = Record<'a>> + use<'a> {
        let slots = self.slots;
        self.bytes
            .chunks_exact(self.size)
            .map(move |bytes| Record::new(bytes, slots))
    }
}
