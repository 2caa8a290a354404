//! What a scrub can find: stable codes, and everything needed to go and look.

use std::fmt;
use std::path::{Path, PathBuf};

use indexfile::Guid;
use indexfile::exit::Exit;
use serde::Serialize;

/// What is wrong. The text forms are stable: scripts may rely on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Code {
    /// The message's SHA-1 is not the GUID in the index, though its size is right.
    BitRot,
    /// The message's size is not the one in the index.
    Size,
    /// A record without its message file.
    Missing,
    /// A message file without a record.
    Unlisted,
    /// A second copy of a message, in the partition where its record says it is not (archive).
    Duplicate,
    /// The disk cannot read the message.
    ReadError,
    /// Something that is no regular file has the name of a message.
    NotRegular,
    /// The message reads differently each time though nobody changed it (memory, cable or disk), or
    /// somebody keeps changing it.
    Unstable,
    /// The directory of the messages is not there: not mounted, or lost.
    NoSpool,
    /// A directory with messages or a `cyrus.header`, but without `cyrus.index`.
    NoIndex,
    /// The index or expunge file itself is damaged; the text is `indexfile`'s code.
    Index(&'static str),
    /// No mailbox of that name.
    NoMailbox,
    /// A symbolic link to a directory that the walk did not follow: a mailbox may hide behind it.
    Link,
    /// We may not look; nothing is known to be wrong.
    Unreadable,
    /// The system failed in some other way; nothing is known to be wrong.
    Io,
}

impl Code {
    /// The stable text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BitRot => "bit-rot",
            Self::Size => "size",
            Self::Missing => "missing",
            Self::Unlisted => "unlisted",
            Self::Duplicate => "duplicate",
            Self::ReadError => "read-error",
            Self::NotRegular => "not-regular",
            Self::Unstable => "unstable",
            Self::NoSpool => "no-spool",
            Self::NoIndex => "no-index",
            Self::Index(code) => code,
            Self::NoMailbox => "no-mailbox",
            Self::Link => "link",
            Self::Unreadable => "unreadable",
            Self::Io => "io",
        }
    }

    /// The exit code of a scrub that found nothing graver.
    #[must_use]
    pub const fn exit(self) -> Exit {
        match self {
            Self::NoMailbox => Exit::NoMailbox,
            Self::Unreadable => Exit::Denied,
            Self::Io => Exit::Io,
            _ => Exit::Data,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What is wrong.
    pub code: Code,
    /// The mailbox by name where that is known, else its directory.
    pub mailbox: String,
    /// The file or directory to look at.
    #[serde(serialize_with = "lossy")]
    pub path: PathBuf,
    /// The message, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The index or expunge file that has the record, if it is about one.
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
    /// In words.
    pub text: String,
}

// The signature is serde's.
#[allow(clippy::ref_option, clippy::trivially_copy_pass_by_ref)]
fn hex<S: serde::Serializer>(guid: &Option<Guid>, to: S) -> Result<S::Ok, S::Error> {
    match guid {
        Some(guid) => to.collect_str(guid),
        None => to.serialize_none(),
    }
}

/// A path that is no UTF-8 is still worth telling.
fn lossy<S: serde::Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&path.to_string_lossy())
}

// The signature is serde's.
#[allow(clippy::ref_option)]
fn lossy_if_any<S: serde::Serializer>(path: &Option<PathBuf>, to: S) -> Result<S::Ok, S::Error> {
    match path {
        Some(path) => lossy(path, to),
        None => to.serialize_none(),
    }
}

impl Finding {
    /// A finding about a mailbox or one of its files.
    #[must_use]
    pub fn new(code: Code, mailbox: &str, path: PathBuf, text: String) -> Self {
        Self {
            code,
            mailbox: mailbox.to_owned(),
            path,
            uid: None,
            index: None,
            record_guid: None,
            file_guid: None,
            record_size: None,
            file_size: None,
            text,
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_line_in_the_documentation() {
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
}
