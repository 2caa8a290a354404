//! The files of a mailbox by their names.

use std::fmt;
use std::path::Path;

/// `cyrus.index` and `cyrus.expunge` share their format; only the order of records differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// `cyrus.index`: records in strictly ascending UID order.
    Index,
    /// `cyrus.expunge` (2.3 only): records in the order in which messages were expunged.
    Expunge,
}

impl FileKind {
    /// The file's name in the mailbox directory.
    #[must_use]
    pub const fn file_name(self) -> &'static str {
        match self {
            Self::Index => "cyrus.index",
            Self::Expunge => "cyrus.expunge",
        }
    }

    /// Guesses from the last path component: one that speaks of "expunge" is an expunge file.
    #[must_use]
    pub fn of_path(path: &Path) -> Self {
        let name = path
            .file_name()
            .map(|n| n.to_string_lossy().into_owned())
            .unwrap_or_default();
        if name.contains("expunge") {
            Self::Expunge
        } else {
            Self::Index
        }
    }
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.file_name())
    }
}

/// A file of a mailbox that may lie apart from its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MetaFile {
    /// `cyrus.header`
    Header,
    /// `cyrus.index`
    Index,
    /// `cyrus.cache`
    Cache,
    /// `cyrus.expunge`
    Expunge,
    /// `cyrus.squat`
    Squat,
    /// `cyrus.sha1s`, which always lies next to the index.
    Sha1s,
}

impl MetaFile {
    /// The file's name.
    #[must_use]
    pub const fn file_name(self) -> &'static str {
        match self {
            Self::Header => "cyrus.header",
            Self::Index => "cyrus.index",
            Self::Cache => "cyrus.cache",
            Self::Expunge => "cyrus.expunge",
            Self::Squat => "cyrus.squat",
            Self::Sha1s => "cyrus.sha1s",
        }
    }
}
