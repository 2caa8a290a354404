//! Two files compared field by field, records matched by UID.
//!
//! Memory grows by 8 bytes a record of an expunge file, whose records are in no order; index files
//! are merged as they stand. Reads only.

use crate::kind::FileKind;
use crate::layout::{HeaderField, RecordField};
use crate::reader::IndexFile;
use crate::record::Record;

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
/// Whatever `found` returns ends the comparison.
pub fn diff<E>(
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
    let (order_a, order_b) = (Order::of(a), Order::of(b));
    let (mut i, mut j, mut moved) = (0, 0, false);
    loop {
        let (left, right) = (order_a.nth(a, i), order_b.nth(b, j));
        match (left, right) {
            (Some(left), Some(right)) if left.uid() == right.uid() => {
                moved |= order_a.position(i) != order_b.position(j);
                fields(&left, &right, &mut found)?;
                (i, j) = (i + 1, j + 1);
            }
            (Some(left), right) if right.is_none_or(|right| left.uid() < right.uid()) => {
                found(Difference::OnlyA(left.uid()))?;
                i += 1;
            }
            (_, Some(right)) => {
                found(Difference::OnlyB(right.uid()))?;
                j += 1;
            }
            (_, None) => break,
        }
    }
    // Where records come and go, positions differ anyway; the order is news only if nothing else is.
    if moved && i == j && a.num_records() == b.num_records() {
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

/// Positions of the records in ascending order of UID.
enum Order {
    AsIs,
    Sorted(Vec<(u32, u32)>),
}

impl Order {
    fn of(file: &IndexFile) -> Self {
        if file.kind() == FileKind::Index {
            return Self::AsIs;
        }
        let mut all: Vec<(u32, u32)> = file.records().map(|r| r.uid()).zip(0..).collect();
        all.sort_unstable();
        Self::Sorted(all)
    }

    fn position(&self, i: u32) -> u32 {
        match self {
            Self::AsIs => 0,
            Self::Sorted(all) => all.get(i as usize).map_or(0, |&(_, at)| at),
        }
    }

    fn nth<'a>(&self, file: &'a IndexFile, i: u32) -> Option<Record<'a>> {
        match self {
            Self::AsIs => file.record(i),
            Self::Sorted(all) => file.record(all.get(i as usize)?.1),
        }
    }
}
