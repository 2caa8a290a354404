//! Where every field of every version lies: the one table that the rest of the crate asks.
//!
//! Promises: every version from 2 to 20 that was ever released has its row in [`table`]; no two
//! fields of one version overlap and none reaches past its size (tests prove both). Nothing here
//! does I/O.

mod table;

pub use table::{HeaderField, RecordField};

use byteorder::{BE, ReadBytesExt as _, WriteBytesExt as _};

/// The place of one field: byte offset and width in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Slot {
    /// Bytes from the start of the header or record.
    pub offset: u16,
    /// Width in bytes: 4 or 8 for numbers, 12, 16 or 20 for byte strings.
    pub width: u8,
}

impl Slot {
    /// First byte after the field.
    #[must_use]
    #[inline]
    pub const fn end(self) -> usize {
        self.offset as usize + self.width as usize
    }

    /// The field's bytes in `image`, if it reaches that far.
    #[must_use]
    #[inline]
    pub fn of(self, image: &[u8]) -> Option<&[u8]> {
        image.get(self.offset as usize..self.end())
    }

    /// The field's bytes in `image` for writing, if it reaches that far.
    #[inline]
    pub fn of_mut(self, image: &mut [u8]) -> Option<&mut [u8]> {
        image.get_mut(self.offset as usize..self.end())
    }

    /// Reads a number of 4 or 8 bytes, big-endian; `None` for byte strings or out of reach.
    #[must_use]
    #[inline]
    pub fn read(self, image: &[u8]) -> Option<u64> {
        let mut bytes = self.of(image)?;
        match self.width {
            4 => bytes.read_u32::<BE>().ok().map(u64::from),
            8 => bytes.read_u64::<BE>().ok(),
            _ => None,
        }
    }

    /// Writes a number, big-endian; `None` if it does not fit the field or the field not the image.
    #[inline]
    pub fn write(self, image: &mut [u8], value: u64) -> Option<()> {
        let mut bytes = self.of_mut(image)?;
        match self.width {
            4 => bytes.write_u32::<BE>(u32::try_from(value).ok()?).ok(),
            8 => bytes.write_u64::<BE>(value).ok(),
            _ => None,
        }
    }
}

macro_rules! slots {
    ($(#[$doc:meta])* $name:ident $field:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name(pub(crate) [Option<Slot>; $field::COUNT]);

        impl $name {
            /// Where `field` lies, if it is there.
            #[must_use]
            #[inline]
            pub const fn get(&self, field: $field) -> Option<Slot> {
                self.0[field as usize]
            }

            /// The fields that are there, in the order of their offsets.
            #[must_use]
            pub fn present(&self) -> Vec<($field, Slot)> {
                let fields = $field::ALL.iter();
                let mut all: Vec<_> = fields.filter_map(|&f| Some((f, self.get(f)?))).collect();
                all.sort_by_key(|(_, slot)| slot.offset);
                all
            }

            /// Without the fields that reach past `size` bytes.
            #[must_use]
            fn within(mut self, size: usize) -> Self {
                for slot in &mut self.0 {
                    *slot = slot.filter(|s| s.end() <= size);
                }
                self
            }
        }
    };
}

slots! {
    /// The slots of a header, by field.
    HeaderSlots HeaderField
}
slots! {
    /// The slots of a record, by field.
    RecordSlots RecordField
}

/// One version's layout.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// The version this is the layout of.
    pub minor_version: u32,
    /// Header size in bytes; what a fresh file has as `start_offset`.
    pub header_size: u32,
    /// Record size in bytes; what a fresh file has as `record_size`.
    pub record_size: u32,
    /// The header's fields.
    pub header: HeaderSlots,
    /// A record's fields.
    pub record: RecordSlots,
}

/// Every version there is, oldest first. 11 was never released and is not among them.
pub const VERSIONS: [u32; 18] = [
    2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 13, 14, 15, 16, 17, 18, 19, 20,
];

/// The versions that [`crate::StreamCopy`] writes.
pub const WRITABLE: std::ops::RangeInclusive<u32> = 6..=10;

/// The versions that [`crate::cutover`] writes, from version 10.
pub const CUTOVER: std::ops::RangeInclusive<u32> = 12..=19;

/// Bytes of a record in some files of version 19: the fields of version 19 and zeros up to the size
/// of version 20.
pub(crate) const LONG_19: u32 = 144;

/// Record sizes that versions 2 to 9 ever had; the size, not the version, determines which fields
/// exist.
pub(crate) const RECORD_SIZES_TO_9: [u32; 5] = [52, 56, 60, 72, 80];

static LAYOUTS: [Layout; VERSIONS.len()] = {
    let mut all = [table::layout(VERSIONS[0]); VERSIONS.len()];
    let mut i = 1;
    while i < VERSIONS.len() {
        all[i] = table::layout(VERSIONS[i]);
        i += 1;
    }
    all
};

/// The layout of `minor_version`, or `None` for a version that never was (0, 1, 11, above 20).
#[must_use]
pub fn of(minor_version: u32) -> Option<&'static Layout> {
    LAYOUTS.iter().find(|l| l.minor_version == minor_version)
}

/// Which header fields a file has whose header says this version and is `start_offset` bytes long.
///
/// Before 2.1.4, expunge grew the header of an older file and left `minor_version` alone, so for
/// versions 2 to 5 the length decides, and the version only determines where the fields after
/// offset 32 begin. `highestmodseq` alone goes by the version: in 6 and 7 its place is spare.
#[must_use]
pub fn header_slots(minor_version: u32, start_offset: u32) -> Option<HeaderSlots> {
    let family = if minor_version <= 5 { 5 } else { minor_version };
    of(minor_version)?;
    Some(of(family)?.header.within(start_offset as usize))
}

/// Which record fields a file has; for versions 2 to 9 the record size decides.
#[must_use]
pub fn record_slots(minor_version: u32, record_size: u32) -> Option<RecordSlots> {
    let family = if minor_version <= 9 { 9 } else { minor_version };
    of(minor_version)?;
    Some(of(family)?.record.within(record_size as usize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_fields_of_one_version_overlap_and_none_reaches_past_the_size() {
        for layout in &LAYOUTS {
            let v = layout.minor_version;
            let header: Vec<Slot> = layout
                .header
                .present()
                .into_iter()
                .map(|(_, s)| s)
                .collect();
            let record: Vec<Slot> = layout
                .record
                .present()
                .into_iter()
                .map(|(_, s)| s)
                .collect();
            for (slots, size) in [(header, layout.header_size), (record, layout.record_size)] {
                for pair in slots.windows(2) {
                    assert!(
                        pair[0].end() <= pair[1].offset as usize,
                        "version {v}: {pair:?}"
                    );
                }
                assert!(
                    slots.last().is_some_and(|s| s.end() <= size as usize),
                    "version {v}"
                );
            }
        }
    }

    #[test]
    fn records_have_no_gaps_and_checksums_are_last() {
        for layout in &LAYOUTS {
            let mut at = 0;
            for (field, slot) in layout.record.present() {
                assert_eq!(
                    slot.offset as usize,
                    at,
                    "version {}: {}",
                    layout.minor_version,
                    field.name()
                );
                at = slot.end();
            }
            assert_eq!(
                at, layout.record_size as usize,
                "version {}",
                layout.minor_version
            );
            if layout.minor_version >= 12 {
                assert_eq!(
                    layout.header.get(HeaderField::HeaderCrc).map(Slot::end),
                    Some(layout.header_size as usize)
                );
                assert_eq!(
                    layout.record.get(RecordField::RecordCrc).map(Slot::end),
                    Some(layout.record_size as usize)
                );
            }
        }
    }

    #[test]
    fn sizes_are_those_of_the_releases() {
        let sizes: Vec<_> = LAYOUTS
            .iter()
            .map(|l| (l.minor_version, l.header_size, l.record_size))
            .collect();
        assert_eq!(
            sizes,
            [
                (2, 44, 52),
                (3, 56, 52),
                (4, 76, 52),
                (5, 76, 56),
                (6, 76, 60),
                (7, 76, 72),
                (8, 92, 80),
                (9, 96, 80),
                (10, 96, 88),
                (12, 128, 96),
                (13, 128, 104),
                (14, 160, 104),
                (15, 160, 104),
                (16, 160, 112),
                (17, 160, 112),
                (18, 160, 112),
                (19, 160, 112),
                (20, 192, 144),
            ]
        );
    }

    #[test]
    fn version_11_and_unknown_versions_have_no_layout() {
        for v in [0, 1, 11, 21, u32::MAX] {
            assert!(of(v).is_none(), "{v}");
        }
    }

    #[test]
    fn a_grown_header_shows_its_fields_though_the_version_says_otherwise() {
        let grown = header_slots(2, 56).expect("version 2");
        assert_eq!(
            grown.get(HeaderField::Flagged),
            Some(Slot {
                offset: 52,
                width: 4
            })
        );
        assert_eq!(grown.get(HeaderField::Options), None);
        let short = header_slots(2, 40).expect("version 2");
        assert_eq!(
            short.get(HeaderField::Pop3LastLogin),
            Some(Slot {
                offset: 36,
                width: 4
            })
        );
        assert_eq!(short.get(HeaderField::Uidvalidity), None);
        assert_eq!(
            header_slots(7, 76).and_then(|h| h.get(HeaderField::Highestmodseq)),
            None
        );
    }
}
