//! What a command has to report about a mailbox or a message: one type for `indexfile check` and
//! for every command of `precompute`.

mod code;

pub use code::{Code, Severity};

use crate::exit::Exit;
use crate::guid::Guid;
use serde::{Serialize, Serializer};
use std::fmt;
use std::path::{Path, PathBuf};

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was found.
    pub code: Code,
    /// The mailbox: its name, or its directory where it has none; empty in `indexfile check`.
    pub mailbox: String,
    /// The file or directory to look at.
    #[serde(serialize_with = "lossy")]
    pub path: PathBuf,
    /// In words.
    pub text: String,
    /// The message, and what was compared with it.
    #[serde(flatten)]
    pub compared: Box<Compared>,
}

/// The message that a finding is about, and what was compared.
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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record_guid: Option<Guid>,
    /// The SHA-1 of the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_guid: Option<Guid>,
    /// The size in the record, bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record_size: Option<u64>,
    /// The size of the file, bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_size: Option<u64>,
}

/// A path that is not UTF-8 is still worth reporting.
fn lossy<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&path.to_string_lossy())
}

#[allow(clippy::ref_option)] // the signature is serde's
fn lossy_if_any<S: Serializer>(path: &Option<PathBuf>, to: S) -> Result<S::Ok, S::Error> {
    path.as_ref()
        .map(|path| path.to_string_lossy())
        .serialize(to)
}

impl Finding {
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

    /// The text as a complete sentence: with the path, where that is not in it.
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

/// The exit code of a `precompute` command with findings of these codes: the gravest first.
#[must_use]
pub fn worst(codes: impl IntoIterator<Item = Code>) -> Exit {
    let order = |exit: &Exit| match exit {
        Exit::Io => 5,
        Exit::Data => 4,
        Exit::Denied => 3,
        Exit::NoMailbox => 2,
        _ => 1,
    };
    let exits = codes.into_iter().map(Code::exit);
    exits.max_by_key(order).unwrap_or(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gravest_finding_decides_the_exit_code() {
        for (codes, exit) in [
            (&[][..], Exit::Ok),
            (&[Code::Io], Exit::Io),
            (&[Code::Unreadable], Exit::Denied),
            (&[Code::Unstable], Exit::RolledBack),
            (&[Code::Unstable, Code::NoMailbox], Exit::NoMailbox),
            (&[Code::Unreadable, Code::NoMailbox], Exit::Denied),
            (&[Code::NotRegular, Code::NoMailbox], Exit::Data),
            (&[Code::BitRot, Code::Cache], Exit::Io),
        ] {
            assert_eq!(worst(codes.iter().copied()), exit, "{codes:?}");
        }
    }
}
