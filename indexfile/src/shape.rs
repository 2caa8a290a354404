//! What the first bytes of a file say about the rest: whether it is an index at all, of which
//! version, and how long it must be.
//!
//! Promises: every length is checked against the file's before anything is read by it, with
//! arithmetic that cannot overflow.

use crate::header::{Header, be32};
use crate::layout::{self, RecordSlots};
use crate::read_error::Damage;

/// No version has a header, or a record, of more than this many bytes.
pub(crate) const MAX_SIZE: u32 = 4096;
/// What the first bytes of a file say about the rest.
pub(crate) struct Shape {
    pub(crate) header: Header,
    pub(crate) slots: RecordSlots,
    /// Header and records, bytes.
    pub(crate) expected: u64,
}

/// Decides from the first bytes of a file (up to [`MAX_SIZE`]) and its length what it holds.
pub(crate) fn shape(mut first: Vec<u8>, length: u64) -> Result<Shape, Damage> {
    if length == 0 || first.is_empty() {
        return Err(Damage::ZeroLength);
    }
    let words = (
        be32(&first, 8),
        be32(&first, 12),
        be32(&first, 16),
        be32(&first, 20),
    );
    let (Some(minor_version), Some(start_offset), Some(record_size), Some(num_records)) = words
    else {
        return Err(Damage::NotIndex("it is shorter than any header"));
    };
    // Text, a database or a message has huge numbers here; a version that we merely do not know
    // has sizes of the usual order.
    let plausible = |n: u32, least: u32| (least..=MAX_SIZE).contains(&n) && n.is_multiple_of(4);
    let sized = plausible(start_offset, 36) && plausible(record_size, 52);
    match (minor_version, sized) {
        (11, true) => return Err(Damage::Version11),
        (_, true) if layout::of(minor_version).is_none() => {
            return Err(Damage::UnknownVersion(minor_version));
        }
        (2..=10 | 12..=20, _) => {}
        _ => {
            let why = "its first bytes are not those of an index header";
            return Err(Damage::NotIndex(why));
        }
    }
    check_sizes(minor_version, start_offset, record_size)?;
    let records = u64::from(num_records) * u64::from(record_size);
    let expected = u64::from(start_offset) + records;
    if length < expected || first.len() < start_offset as usize {
        return Err(Damage::Truncated {
            num_records,
            expected,
            actual: length,
        });
    }
    first.truncate(start_offset as usize);
    let slots = layout::record_slots(minor_version, record_size);
    let (Some(header), Some(slots)) = (Header::new(first), slots) else {
        return Err(Damage::UnknownVersion(minor_version));
    };
    Ok(Shape {
        header,
        slots,
        expected,
    })
}

/// Which sizes a version may have: the file's beat the version's, within what ever existed.
fn check_sizes(minor_version: u32, start_offset: u32, record_size: u32) -> Result<(), Damage> {
    let bad = |field, value| {
        Err(Damage::BadHeader {
            minor_version,
            field,
            value,
        })
    };
    let native = layout::of(minor_version).map_or((0, 0), |l| (l.header_size, l.record_size));
    let header_ok = match minor_version {
        // Field by field the header grew; 96 is the longest that 2.3 ever wrote.
        ..=5 => (36..=96).contains(&start_offset),
        6..=10 => (76..=96).contains(&start_offset),
        _ => start_offset == native.0,
    };
    if !header_ok || !start_offset.is_multiple_of(4) {
        return bad("start_offset", start_offset);
    }
    if minor_version <= 9 && record_size == 88 {
        return Err(Damage::HybridMinor9Record88 { minor_version });
    }
    let record_ok = match minor_version {
        ..=9 => layout::RECORD_SIZES_TO_9.contains(&record_size),
        19 => record_size == native.1 || record_size == layout::LONG_19,
        _ => record_size == native.1,
    };
    if record_ok {
        Ok(())
    } else {
        bad("record_size", record_size)
    }
}
