//! How many mailboxes at once a run had, where that was found while it worked; kept with it for its
//! report.

use std::fmt;

use serde::Serialize;

use super::columns::{Columns, Fault, Query};

/// What the last start of a run found on a pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AtOnce {
    /// How many at the end.
    pub at_once: u64,
    /// Of how many: the limit `parallel`.
    pub of: String,
    /// The fewest that there were.
    pub least: u64,
    /// The most.
    pub most: u64,
    /// Why it was that number, for a person.
    pub why: String,
}

impl fmt::Display for AtOnce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.at_once, self.of)?;
        if self.least < self.most {
            write!(f, " ({} to {})", self.least, self.most)?;
        }
        write!(f, ": {}", self.why)
    }
}

pub(super) fn read(row: &dyn Columns) -> Query<AtOnce> {
    let missing = || Fault::Damaged("a number at once has a column without a value".to_owned());
    let number =
        |column| -> Query<u64> { Ok(row.number(column)?.ok_or_else(missing)?.unsigned_abs()) };
    let text = |column| -> Query<String> { row.text(column)?.ok_or_else(missing) };
    Ok(AtOnce {
        at_once: number(0)?,
        of: text(1)?,
        least: number(2)?,
        most: number(3)?,
        why: text(4)?,
    })
}
