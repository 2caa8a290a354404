//! A file's header: a private copy of its bytes and where its fields lie.

use byteorder::{BE, ReadBytesExt as _};

use crate::layout::{self, HeaderField, HeaderSlots};

/// The header of an index or expunge file, as it was when the file was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    bytes: Vec<u8>,
    slots: HeaderSlots,
}

impl Header {
    /// Takes exactly the header's bytes; `None` if they are too short to name their own version
    /// or the version has no layout.
    pub(crate) fn new(bytes: Vec<u8>) -> Option<Self> {
        let minor = be32(&bytes, 8)?;
        let slots = layout::header_slots(minor, u32::try_from(bytes.len()).ok()?)?;
        Some(Self { bytes, slots })
    }

    /// The value of a field, or `None` if this file does not have it.
    #[must_use]
    pub fn get(&self, field: HeaderField) -> Option<u64> {
        self.slots.get(field)?.read(&self.bytes)
    }

    /// The fields that this file has, in the order of their offsets, with their values.
    pub fn fields(&self) -> impl Iterator<Item = (HeaderField, u64)> + '_ {
        self.slots
            .present()
            .into_iter()
            .filter_map(|(field, slot)| Some((field, slot.read(&self.bytes)?)))
    }

    /// Where the fields lie in this file.
    #[must_use]
    pub fn slots(&self) -> &HeaderSlots {
        &self.slots
    }

    fn word(&self, offset: usize) -> u32 {
        be32(&self.bytes, offset).unwrap_or(0)
    }

    fn word_of(&self, field: HeaderField) -> u32 {
        self.get(field)
            .and_then(|v| u32::try_from(v).ok())
            .unwrap_or(0)
    }

    /// The version number of the format.
    #[must_use]
    pub fn minor_version(&self) -> u32 {
        self.word(8)
    }

    /// Bytes before the first record.
    #[must_use]
    pub fn start_offset(&self) -> u32 {
        self.word(12)
    }

    /// Bytes a record.
    #[must_use]
    pub fn record_size(&self) -> u32 {
        self.word(16)
    }

    /// The number of records, expunged ones included (`num_records` from version 12 on).
    #[must_use]
    pub fn num_records(&self) -> u32 {
        self.word(20)
    }

    /// Messages that are not expunged; up to version 10 the number of records.
    #[must_use]
    pub fn exists(&self) -> u32 {
        self.word_of(HeaderField::Exists)
    }

    /// The largest UID ever given.
    #[must_use]
    pub fn last_uid(&self) -> u32 {
        self.word_of(HeaderField::LastUid)
    }

    /// UIDVALIDITY; 1 for a version 2 file that is older than the field (as Cyrus reads it).
    #[must_use]
    pub fn uidvalidity(&self) -> u32 {
        self.get(HeaderField::Uidvalidity)
            .map_or(1, |_| self.word_of(HeaderField::Uidvalidity))
    }

    /// The generation number, which `cyrus.cache` repeats.
    #[must_use]
    pub fn generation_no(&self) -> u32 {
        self.word(0)
    }

    /// HIGHESTMODSEQ, or `None` before version 8.
    #[must_use]
    pub fn highestmodseq(&self) -> Option<u64> {
        self.get(HeaderField::Highestmodseq)
    }

    /// The header's bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Reads a 32-bit big-endian word.
pub(crate) fn be32(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes.get(offset..)?.read_u32::<BE>().ok()
}
