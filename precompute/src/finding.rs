//! What a command has to report about a mailbox or a message, with codes that stay.

use std::fmt;
use std::path::{Path, PathBuf};

use indexfile::Guid;
use indexfile::exit::Exit;
use serde::{Serialize, Serializer};

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
    /// It kept changing while it was read, or reads differently though nobody changed it (memory,
    /// cable or disk).
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
    /// A second copy of a message, in the partition where its record says it is not (scrub).
    Duplicate,
    /// The disk cannot read the message (scrub).
    ReadError,
    /// A directory with messages or a `cyrus.header`, but without `cyrus.index` (scrub).
    NoIndex,
    /// The index or expunge file is damaged; the text is `indexfile`'s code (scrub).
    IndexFile(&'static str),
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
            Self::Duplicate => "duplicate",
            Self::ReadError => "read-error",
            Self::NoIndex => "no-index",
            Self::IndexFile(code) => code,
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
            | Self::Duplicate
            | Self::ReadError
            | Self::NoIndex
            | Self::IndexFile(_)
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

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was found.
    pub code: Code,
    /// The mailbox: its name, or its directory where it has none.
    pub mailbox: String,
    /// The file or directory to look at.
    #[serde(serialize_with = "lossy")]
    pub path: PathBuf,
    /// In words.
    pub text: String,
    /// What a scrub compared.
    #[serde(flatten)]
    pub compared: Box<Compared>,
}

/// What a scrub compared, as far as a finding is about that.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Compared {
    /// The message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The index or expunge file that has the record.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "lossy_if_any"
    )]
    pub index: Option<PathBuf>,
    /// The GUID in the record.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "hex")]
    pub record_guid: Option<Guid>,
    /// The SHA-1 of the file.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "hex")]
    pub file_guid: Option<Guid>,
    /// The size in the record, bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record_size: Option<u64>,
    /// The size of the file, bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_size: Option<u64>,
}

// The signatures are serde's.
#[allow(clippy::ref_option, clippy::trivially_copy_pass_by_ref)]
fn hex<S: Serializer>(guid: &Option<Guid>, to: S) -> Result<S::Ok, S::Error> {
    match guid {
        Some(guid) => to.collect_str(guid),
        None => to.serialize_none(),
    }
}

/// A path that is no UTF-8 is still worth reporting.
fn lossy<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&path.to_string_lossy())
}

#[allow(clippy::ref_option)]
fn lossy_if_any<S: Serializer>(path: &Option<PathBuf>, to: S) -> Result<S::Ok, S::Error> {
    match path {
        Some(path) => lossy(path, to),
        None => to.serialize_none(),
    }
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
        Self::new(mailbox, code, error.path().to_owned(), error)
    }

    /// A finding about a mailbox or one of its files.
    #[must_use]
    pub fn new(mailbox: &str, code: Code, path: PathBuf, why: &dyn fmt::Display) -> Self {
        Self {
            code,
            mailbox: mailbox.to_owned(),
            path,
            text: why.to_string(),
            compared: Box::default(),
        }
    }

    /// The text as a sentence that stands for itself: with the path, where that is not in it.
    #[must_use]
    pub fn sentence(&self) -> String {
        let path = self.path.display().to_string();
        if self.text.contains(&path) {
            return self.text.clone();
        }
        format!("{path}: {}", self.text)
    }
}

impl fmt::Display for Finding {
    /// One line for people: code, mailbox, path, what is wrong.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A path can hold a newline; a finding is always one line.
        let path = self.path.to_string_lossy().replace(char::is_control, "?");
        let (code, mailbox, text) = (self.code, self.mailbox.escape_debug(), &self.text);
        write!(f, "{code} {mailbox} {path}: {text}")
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
    fn every_code_of_a_scrub_has_its_line_in_the_documentation() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/scrub.md");
        let text = std::fs::read_to_string(path).expect("docs/scrub.md");
        for code in [
            Code::BitRot,
            Code::Size,
            Code::Missing,
            Code::Unlisted,
            Code::Duplicate,
            Code::ReadError,
            Code::NotRegular,
            Code::Unstable,
            Code::NoSpool,
            Code::NoIndex,
            Code::NoMailbox,
            Code::Link,
            Code::Unreadable,
            Code::Io,
        ] {
            assert!(text.contains(&format!("\n| `{code}` | ")), "{code}");
        }
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
