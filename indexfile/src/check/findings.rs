//! Collecting findings without drowning in them.

use super::code::{Code, Severity};
use crate::dir::{self, OpenError};
use crate::read_error::ReadError;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// So many findings of one code in one file are told one by one; the rest is counted.
const EACH: u64 = 20;

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is.
    pub code: Code,
    /// The file it is about.
    pub path: PathBuf,
    /// The message it is about, if one.
    pub uid: Option<u32>,
    /// The particulars, a sentence without path or code.
    pub detail: String,
}

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
                path: path.to_path_buf(),
                uid,
                detail: detail.into(),
            });
        }
    }

    pub(super) fn read_error(&mut self, error: &ReadError) {
        let uid = match error {
            ReadError::RecordCrc { uid, .. } | ReadError::UidOrder { uid, .. } => Some(*uid),
            _ => None,
        };
        self.push(code_of(error), error.path(), uid, error.to_string());
    }

    /// A file that is there and cannot be opened, or is not what it should be.
    pub(super) fn open_error(&mut self, error: &OpenError) {
        let code = match error {
            OpenError::Io(_) | OpenError::Denied(_) | OpenError::Missing { .. } => Code::Io,
            _ => Code::NotRegular,
        };
        self.push(code, error.path(), None, error.to_string());
    }

    pub(super) fn looked_at_a_file(&mut self) {
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

/// The code of a file that cannot be read.
fn code_of(error: &ReadError) -> Code {
    match error {
        ReadError::Io(e) if dir::is_odd(&e.source) => Code::NotRegular,
        ReadError::Io(_) => Code::Io,
        ReadError::NotIndex { .. } => Code::NotIndex,
        ReadError::ZeroLength { .. } => Code::ZeroLength,
        ReadError::UnknownVersion { .. } => Code::UnknownVersion,
        ReadError::Version11 { .. } => Code::Version11,
        ReadError::Truncated { .. } => Code::Truncated,
        ReadError::Changed { .. } => Code::Changed,
        ReadError::HybridMinor9Record88 { .. } => Code::Hybrid,
        ReadError::BadHeader { .. } => Code::BadHeader,
        ReadError::ZeroUid { .. } => Code::ZeroUid,
        ReadError::UidOrder { .. } => Code::UidOrder,
        ReadError::HeaderCrc { .. } => Code::HeaderCrc,
        ReadError::RecordCrc { .. } => Code::RecordCrc,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_reading_are_spelled_alike_everywhere() {
        let path = PathBuf::from("x");
        for error in [
            ReadError::ZeroLength { path: path.clone() },
            ReadError::HybridMinor9Record88 {
                path: path.clone(),
                minor_version: 9,
            },
            ReadError::Version11 { path: path.clone() },
            ReadError::NotIndex {
                path: path.clone(),
                reason: "",
            },
            ReadError::UnknownVersion {
                path: path.clone(),
                minor_version: 0,
            },
            ReadError::Truncated {
                path: path.clone(),
                num_records: 0,
                expected: 0,
                actual: 0,
            },
            ReadError::Changed {
                path: path.clone(),
                expected: 0,
                actual: 0,
            },
            ReadError::BadHeader {
                path: path.clone(),
                minor_version: 9,
                field: "",
                value: 0,
            },
            ReadError::ZeroUid {
                path: path.clone(),
                record: 1,
            },
            ReadError::UidOrder {
                path: path.clone(),
                record: 1,
                uid: 1,
                previous: 1,
            },
            ReadError::HeaderCrc {
                path: path.clone(),
                stored: 0,
                computed: 0,
            },
            ReadError::RecordCrc {
                path,
                record: 1,
                uid: 1,
                stored: 0,
                computed: 0,
            },
        ] {
            assert_eq!(code_of(&error).name(), error.code());
        }
    }

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
