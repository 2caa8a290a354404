//! Two files compared field by field, records matched by UID.
//!
//! Files whose records are in order, as those of an index always are, are merged as they stand, in
//! flat memory. For an expunge file that is in no order memory grows by 8 bytes a record. Reads
//! only.

use crate::layout::{HeaderField, RecordField};
use crate::read_error::ReadError;
use crate::reader::IndexFile;
use crate::record::Record;
use crate::records::Records;

/// A field's value, as far as the file has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// The file has no such field.
    Absent,
    /// A number.
    Number(u64),
    /// A byte string: `user_flags`, `uuid`, `guid`.
    Bytes(Vec<u8>),
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// A header field.
    Header {
        /// The field.
        field: HeaderField,
        /// Its value in the first file.
        a: Value,
        /// Its value in the second file.
        b: Value,
    },
    /// A record that only the first file has.
    OnlyA(u32),
    /// A record that only the second file has.
    OnlyB(u32),
    /// A field of a record that both have.
    Record {
        /// The UID.
        uid: u32,
        /// The field.
        field: RecordField,
        /// Its value in the first file.
        a: Value,
        /// Its value in the second file.
        b: Value,
    },
    /// The same records in another order (expunge files).
    Order,
}

/// Calls `found` with every difference: the header's first, then by ascending UID.
///
/// # Errors
/// Whatever `found` returns ends the comparison, and so does a file that cannot be read.
pub fn diff<E: From<ReadError>>(
    a: &IndexFile,
    b: &IndexFile,
    mut found: impl FnMut(Difference) -> Result<(), E>,
) -> Result<(), E> {
    for &field in HeaderField::ALL {
        let value = |file: &IndexFile| {
            file.header()
                .get(field)
                .map_or(Value::Absent, Value::Number)
        };
        let (a, b) = (value(a), value(b));
        if a != b {
            found(Difference::Header { field, a, b })?;
        }
    }
    let (mut a, mut b) = (Ascending::of(a)?, Ascending::of(b)?);
    // Where records come and go, positions differ anyway; the order is news only if nothing else
    // is.
    let (mut moved, mut others) = (false, false);
    let (mut left, mut right) = (a.next()?, b.next()?);
    loop {
        match (&left, &right) {
            (Some((at, one)), Some((there, other))) if one.uid() == other.uid() => {
                moved |= at != there;
                fields(one, other, &mut found)?;
                (left, right) = (a.next()?, b.next()?);
            }
            (Some((_, one)), other) if other.as_ref().is_none_or(|o| one.uid() < o.1.uid()) => {
                others = true;
                found(Difference::OnlyA(one.uid()))?;
                left = a.next()?;
            }
            (_, Some((_, other))) => {
                others = true;
                found(Difference::OnlyB(other.uid()))?;
                right = b.next()?;
            }
            (_, None) => break,
        }
    }
    if moved && !others {
        found(Difference::Order)
    } else {
        Ok(())
    }
}

fn fields<E>(
    a: &Record<'_>,
    b: &Record<'_>,
    found: &mut impl FnMut(Difference) -> Result<(), E>,
) -> Result<(), E> {
    for &field in RecordField::ALL {
        let value = |record: &Record<'_>| match (record.get(field), record.field_bytes(field)) {
            (Some(n), _) => Value::Number(n),
            (None, Some(bytes)) => Value::Bytes(bytes.to_vec()),
            (None, None) => Value::Absent,
        };
        let (left, right) = (value(a), value(b));
        if left != right {
            found(Difference::Record {
                uid: a.uid(),
                field,
                a: left,
                b: right,
            })?;
        }
    }
    Ok(())
}

/// The records of a file in ascending order of UID, each with its position.
enum Ascending<'a> {
    AsTheyAre(std::iter::Enumerate<Records<'a>>),
    Sorted {
        file: &'a IndexFile,
        /// UIDs and positions.
        order: std::vec::IntoIter<(u32, u32)>,
    },
}

impl<'a> Ascending<'a> {
    fn of(file: &'a IndexFile) -> Result<Self, ReadError> {
        let (mut previous, mut in_order) = (0, true);
        let mut blocks = file.blocks();
        while let Some(block) = blocks.read()? {
            for uid in block.records().map(|record| record.uid()) {
                in_order &= uid >= previous;
                previous = uid;
            }
        }
        if in_order {
            return Ok(Self::AsTheyAre(file.records().enumerate()));
        }
        let numbered = file.records().zip(0..);
        let order: Result<Vec<(u32, u32)>, ReadError> =
            numbered.map(|(record, i)| Ok((record?.uid(), i))).collect();
        let mut order = order?;
        order.sort_unstable();
        let order = order.into_iter();
        Ok(Self::Sorted { file, order })
    }

    fn next(&mut self) -> Result<Option<(usize, Record<'a>)>, ReadError> {
        match self {
            Self::AsTheyAre(records) => records
                .next()
                .map(|(i, record)| Ok((i, record?)))
                .transpose(),
            Self::Sorted { file, order } => {
                let Some((_, i)) = order.next() else {
                    return Ok(None);
                };
                Ok(file.record(i)?.map(|record| (i as usize, record)))
            }
        }
    }
}
