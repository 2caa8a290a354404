//! What the comparison with a Murder's list found, kept with a run for its report.

use super::columns::{Columns, Fault, Query};

/// What was found of a kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disagreement {
    /// The kind: a code of `crate::murder::compare`.
    pub code: String,
    /// How often.
    pub findings: u64,
    /// The first of them, a sentence without a line end each.
    pub first: Vec<String>,
}

/// What finds those of a run, in the order of their codes.
pub(super) const OF_RUN: &str = "SELECT code, findings, examples FROM disagreement \
     WHERE run = ?1 AND findings > 0 ORDER BY code";

pub(super) fn read(row: &dyn Columns) -> Query<Disagreement> {
    let missing = || Fault::Damaged("a disagreement has a column without a value".to_owned());
    let findings = row.number(1)?.ok_or_else(missing)?;
    let first = row.text(2)?.ok_or_else(missing)?;
    Ok(Disagreement {
        code: row.text(0)?.ok_or_else(missing)?,
        findings: findings.unsigned_abs(),
        first: first.lines().map(str::to_owned).collect(),
    })
}
