//! Which findings of `indexfile check` are damage.

use indexfile::finding::{Code, Severity};

/// Whether a code of `indexfile check` is one of damage, for which a run refuses a mailbox.
pub(crate) fn is_damage(code: &str) -> bool {
    let mut codes = Code::CHECK.iter().filter(|known| known.name() == code);
    codes.any(|known| known.severity() == Severity::Error)
}

/// Of `FILE:CODE` the code.
pub(crate) fn code_of(finding: &str) -> &str {
    finding.rsplit(':').next().unwrap_or(finding)
}
