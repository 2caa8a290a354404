//! Collecting findings without drowning in them.

use crate::dir::OpenError;
use crate::finding::{Code, Compared, Finding, Severity};
use crate::read_error::{Damage, ReadError};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Findings of one code in one file that are listed; further ones are only counted.
const EACH: u64 = 20;

/// All that was found, in the order it was.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    list: Vec<Finding>,
    counts: BTreeMap<(Code, PathBuf), u64>,
    files: u64,
}

impl Findings {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    pub(super) fn push(
        &mut self,
        code: Code,
        path: &Path,
        uid: Option<u32>,
        detail: impl Into<String>,
    ) {
        let count = self.counts.entry((code, path.to_path_buf())).or_default();
        *count += 1;
        if *count <= EACH {
            self.list.push(Finding {
                code,
                mailbox: String::new(),
                path: path.to_path_buf(),
                text: detail.into(),
                compared: Box::new(Compared {
                    uid,
                    ..Compared::default()
                }),
            });
        }
    }

    pub(super) fn read_error(&mut self, error: &ReadError) {
        let uid = match error.damage() {
            Some(Damage::RecordCrc { uid, .. } | Damage::UidOrder { uid, .. }) => Some(uid),
            _ => None,
        };
        self.push(error.code(), error.path(), uid, error.to_string());
    }

    /// A file that is there and cannot be opened, or is not what it should be.
    pub(super) fn open_error(&mut self, error: &OpenError) {
        let code = match error {
            OpenError::Io(_) | OpenError::Denied(_) | OpenError::Missing { .. } => Code::Io,
            _ => Code::NotRegular,
        };
        self.push(code, error.path(), None, error.to_string());
    }

    pub(super) fn count_file(&mut self) {
        self.files += 1;
    }

    /// How many index and expunge files were looked at.
    #[must_use]
    pub fn files(&self) -> u64 {
        self.files
    }

    /// The findings; of many alike in one file the first twenty.
    #[must_use]
    pub fn list(&self) -> &[Finding] {
        &self.list
    }

    /// How often each code was found in each file, including those not listed.
    pub fn counts(&self) -> impl Iterator<Item = (Code, &Path, u64)> {
        self.counts
            .iter()
            .map(|((code, path), n)| (*code, path.as_path(), *n))
    }

    /// True if this was found.
    #[must_use]
    pub fn has(&self, code: Code) -> bool {
        self.counts.keys().any(|(c, _)| *c == code)
    }

    /// The worst of them.
    #[must_use]
    pub fn worst(&self) -> Option<Severity> {
        self.counts.keys().map(|(code, _)| code.severity()).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_alike_are_counted_not_listed() {
        let mut findings = Findings::new();
        for uid in 0..1000 {
            findings.push(Code::ZeroUid, Path::new("x"), Some(uid), "");
        }
        assert_eq!(findings.list().len(), 20);
        assert_eq!(
            findings.counts().map(|(_, _, n)| n).collect::<Vec<_>>(),
            [1000]
        );
        assert_eq!(findings.worst(), Some(Severity::Error));
    }
}
