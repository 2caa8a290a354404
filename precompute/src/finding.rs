//! What a run has to say about a mailbox or a message, with codes that stay.

use std::fmt;
use std::path::PathBuf;

use indexfile::exit::Exit;

use crate::message::MessageError;

/// What was found. The text form ([`Code::as_str`]) is stable; scripts may rely on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Code {
    /// No such mailbox.
    NoMailbox,
    /// A partition's root or a mailbox's directory is not there.
    NoSpool,
    /// `cyrus.index` is missing, damaged or unknown.
    Index,
    /// `cyrus.expunge` is damaged or unknown.
    Expunge,
    /// `cyrus.header` is missing or damaged.
    Header,
    /// A message is listed and has no file.
    Missing,
    /// Something else has the name of a message.
    NotRegular,
    /// We may not read a message.
    Unreadable,
    /// We may not open a directory or an index, or not write a cache.
    Denied,
    /// It kept changing while it was read.
    Unstable,
    /// The system failed on it.
    Io,
    /// `cyrus.sha1s` could not be written.
    Cache,
    /// A message's SHA-1 is not its GUID (scrub).
    BitRot,
    /// A message's length is not the one in its record (scrub).
    Size,
    /// A message file that no record lists (scrub).
    Unlisted,
    /// An entry of `cyrus.sha1s` is not the SHA-1 of its unchanged file (verify, import).
    WrongEntry,
    /// A symbolic link that the walk did not follow.
    Link,
}

impl Code {
    /// The stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoMailbox => "no-mailbox",
            Self::NoSpool => "no-spool",
            Self::Index => "index",
            Self::Expunge => "expunge",
            Self::Header => "header",
            Self::Missing => "missing",
            Self::NotRegular => "not-regular",
            Self::Unreadable => "unreadable",
            Self::Denied => "denied",
            Self::Unstable => "unstable",
            Self::Io => "io",
            Self::Cache => "cache",
            Self::BitRot => "bit-rot",
            Self::Size => "size",
            Self::Unlisted => "unlisted",
            Self::WrongEntry => "wrong-entry",
            Self::Link => "link",
        }
    }

    /// The exit code that a run ends with if this is the worst it found.
    #[must_use]
    pub const fn exit(self) -> Exit {
        match self {
            Self::NoMailbox => Exit::NoMailbox,
            Self::Index
            | Self::Expunge
            | Self::Header
            | Self::Missing
            | Self::NotRegular
            | Self::BitRot
            | Self::Size
            | Self::Unlisted
            | Self::WrongEntry
            | Self::Link => Exit::Data,
            Self::Denied | Self::Unreadable => Exit::Denied,
            Self::NoSpool | Self::Cache | Self::Io => Exit::Io,
            // Nothing is known to be wrong, and the next run may find it still.
            Self::Unstable => Exit::RolledBack,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The mailbox: its name, or its directory where it has none.
    pub mailbox: String,
    /// What was found.
    pub code: Code,
    /// The file it is about.
    pub path: PathBuf,
    /// One sentence that names file and reason.
    pub text: String,
}

impl Finding {
    /// A finding about a message.
    #[must_use]
    pub fn of_message(mailbox: &str, error: &MessageError) -> Self {
        let code = match error {
            MessageError::Missing { .. } => Code::Missing,
            MessageError::NoSpool { .. } => Code::NoSpool,
            MessageError::NotRegular { .. } => Code::NotRegular,
            MessageError::Denied { .. } => Code::Unreadable,
            MessageError::Unstable { .. } | MessageError::Stopped { .. } => Code::Unstable,
            MessageError::Io { .. } => Code::Io,
        };
        Self {
            mailbox: mailbox.to_owned(),
            code,
            path: error.path().to_owned(),
            text: error.to_string(),
        }
    }

    /// A finding whose text is an error's.
    #[must_use]
    pub fn new(mailbox: &str, code: Code, path: PathBuf, why: &dyn fmt::Display) -> Self {
        Self {
            mailbox: mailbox.to_owned(),
            code,
            path,
            text: why.to_string(),
        }
    }
}

/// The exit code of a run that had findings of these codes: the gravest first.
#[must_use]
pub fn worst(codes: impl IntoIterator<Item = Code>) -> Exit {
    let order = |exit: Exit| match exit {
        Exit::Io => 5,
        Exit::Data => 4,
        Exit::Denied => 3,
        Exit::NoMailbox => 2,
        _ => 1,
    };
    codes
        .into_iter()
        .map(Code::exit)
        .max_by_key(|exit| order(*exit))
        .unwrap_or(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_ends_with_the_exit_code_that_the_readme_gives_its_reason() {
        assert_eq!(worst([Code::Io]), Exit::Io);
        assert_eq!(worst([Code::Unreadable]), Exit::Denied);
    }

    #[test]
    fn the_gravest_finding_decides_the_exit_code() {
        assert_eq!(worst([]), Exit::Ok);
        assert_eq!(worst([Code::Unstable]), Exit::RolledBack);
        assert_eq!(worst([Code::Unstable, Code::NoMailbox]), Exit::NoMailbox);
        assert_eq!(worst([Code::Unreadable, Code::NoMailbox]), Exit::Denied);
        assert_eq!(worst([Code::NotRegular, Code::NoMailbox]), Exit::Data);
        assert_eq!(worst([Code::BitRot, Code::Cache]), Exit::Io);
    }
}
