//! Whether one file is the conversion of another, whatever its GUIDs.

use indexfile::stream_copy::{GuidOut, HeaderCounts, RecordPlan, convert_header};
use indexfile::{IndexFile, ReadError, Record, RecordField, RecordGuid, layout};

/// The identifier that makes the conversion of any record equal to `record`, if the rest is equal.
#[must_use]
pub fn guid_like(record: &Record<'_>) -> GuidOut {
    match record.guid() {
        RecordGuid::Absent => GuidOut::Keep,
        RecordGuid::Uuid(uuid) => GuidOut::Uuid(uuid),
        RecordGuid::Guid(guid) => GuidOut::Guid(guid),
    }
}

/// Whether `new` is what a conversion of `old` to its version gives, byte for byte, GUIDs apart: so
/// that nothing that `old` holds would be lost with it.
///
/// # Errors
/// One of them cannot be read to its end.
pub fn carries(old: &IndexFile, new: &IndexFile) -> Result<bool, ReadError> {
    let Some(layout) = layout::of(new.minor_version()) else {
        return Ok(false);
    };
    if old.num_records() != new.num_records() {
        return Ok(false);
    }
    let header = convert_header(old.header(), layout, &HeaderCounts::of(old)?);
    if header != new.header().bytes() {
        return Ok(false);
    }
    let plan = RecordPlan::new(old.minor_version(), old.record_slots(), layout);
    let mut converted = vec![0; layout.record_size as usize];
    for (old, new) in old.records().zip(new.records()) {
        let (old, new) = (old?, new?);
        plan.convert(&old, guid_like(&new), &mut converted);
        // A downgrade gives back the modseq 0 that an upgrade turned into 1.
        if let Some(slot) = layout.record.get(RecordField::Modseq)
            && old.modseq() == Some(1)
            && new.modseq() == Some(0)
        {
            let _ = slot.write(&mut converted, 0);
        }
        if converted != new.bytes() {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use indexfile::build::{BuildRecord, IndexBuilder};
    use indexfile::{Decision, FileKind, Guid, StreamCopy};
    use std::path::Path;

    fn v9(records: u32) -> Vec<u8> {
        let mut builder = IndexBuilder::new(9, FileKind::Index);
        for uid in 1..=records {
            builder = builder.record(BuildRecord {
                uid,
                size: 100,
                modseq: 9,
                ..BuildRecord::default()
            });
        }
        builder.to_bytes().unwrap()
    }

    fn index(bytes: Vec<u8>) -> IndexFile {
        IndexFile::from_bytes(bytes, Path::new("cyrus.index"), FileKind::Index).unwrap()
    }

    fn upgraded(old: &IndexFile) -> Vec<u8> {
        let mut out = Vec::new();
        let alter = |_: Record<'_>| {
            Ok::<_, std::convert::Infallible>(Decision::Alter(Guid::from_bytes([7; 20])))
        };
        StreamCopy::new(old)
            .to_version(10)
            .write(&mut out, alter)
            .unwrap();
        out
    }

    #[test]
    fn a_conversion_carries_its_source_and_no_changed_byte_goes_unnoticed() {
        let old_bytes = v9(5);
        let new_bytes = upgraded(&index(old_bytes.clone()));
        let carries = |old: &IndexFile, new: &IndexFile| carries(old, new).unwrap();
        assert!(carries(
            &index(old_bytes.clone()),
            &index(new_bytes.clone())
        ));
        let new = index(new_bytes);
        for at in 0..old_bytes.len() {
            let in_record = at.checked_sub(96).map(|a| a % 80);
            let mut changed = old_bytes.clone();
            changed[at] ^= 1;
            let Ok(old) = IndexFile::from_bytes(changed, Path::new("x"), FileKind::Index) else {
                continue;
            };
            // (A modseq of 0 would become 1, as in Cyrus: these have 9.) The identifier is what
            // conversions replace, and the two sizes and the version are the layout's own.
            let replaced =
                in_record.is_some_and(|a| (60..72).contains(&a)) || (8..20).contains(&at);
            assert_eq!(carries(&old, &new), replaced, "byte {at}");
        }
        assert!(!carries(&index(v9(4)), &new));
    }
}
