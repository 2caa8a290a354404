//! Which of the two files of one format a path is.

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
