//! Where the fields of versions 6 to 10 lie: a table of its own, so that a mistake in the table of
//! `indexfile` cannot hide itself. Source: `imap/mailbox.h` of Cyrus 2.2.2 to 2.3.16.

use std::ops::Range;

/// One version.
pub(super) struct Fields {
    /// Bytes of the header.
    pub header: usize,
    /// Bytes a record.
    pub record: usize,
    /// The identifier in a record.
    pub id: Option<Range<usize>>,
    /// The modseq in a record.
    pub modseq: Option<Range<usize>>,
    /// Header bytes that mean the same in version 10; the rest are spares.
    pub meaning: usize,
}

/// The version's fields, if it is one of 6 to 10.
pub(super) fn of(minor: u32) -> Option<Fields> {
    let (header, record, id, modseq, meaning) = match minor {
        6 => (76, 60, None, None, 68),
        7 => (76, 72, Some(60..72), None, 68),
        8 => (92, 80, Some(60..72), Some(72..80), 76),
        9 => (96, 80, Some(60..72), Some(72..80), 76),
        10 => (96, 88, Some(60..80), Some(80..88), 76),
        _ => return None,
    };
    Some(Fields {
        header,
        record,
        id,
        modseq,
        meaning,
    })
}

/// Bytes of a record that are the same in all of these versions: everything before the identifier.
pub(super) const SAME: Range<usize> = 0..60;

/// The big-endian word at `offset`.
pub(super) fn word(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_be_bytes(
        bytes.get(offset..offset + 4)?.try_into().ok()?,
    ))
}
