//! What a line of the intent log says.

use indexfile::FileKind;
use serde::{Deserialize, Serialize};

use crate::fs::Identity;

/// Which of the two files; as it stands in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// cyrus.index
    Index,
    /// cyrus.expunge
    Expunge,
}

impl From<FileKind> for Kind {
    fn from(kind: FileKind) -> Kind {
        match kind {
            FileKind::Index => Kind::Index,
            FileKind::Expunge => Kind::Expunge,
        }
    }
}

impl From<Kind> for FileKind {
    fn from(kind: Kind) -> FileKind {
        match kind {
            Kind::Index => FileKind::Index,
            Kind::Expunge => FileKind::Expunge,
        }
    }
}

/// One file whose live name is about to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntentFile {
    /// Which.
    pub kind: Kind,
    /// The live file; `None` if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<Identity>,
    /// The staged one; `None` if there is to be none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new: Option<Identity>,
}

/// Forward, or back again after a `COMMIT hold`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Hash)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Staged, and perhaps `COMMIT` was ordered: the first rename tells.
    #[default]
    Commit,
    /// `ROLLBACK` was ordered while the commit was held.
    PutBack,
}

/// What one transaction is about to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Unique in this log.
    pub id: u64,
    /// The internal name.
    pub mailbox: String,
    /// The partition.
    pub partition: String,
    /// The version of cyrus.index before.
    pub from: u32,
    /// The version of both after.
    pub to: u32,
    /// Which way.
    #[serde(default)]
    pub direction: Direction,
    /// `.OLD` files shall not stay.
    #[serde(default)]
    pub drop_old: bool,
    /// Identifiers come back from `.OLD`, at version 10 too.
    #[serde(default)]
    pub uuids_old: bool,
    /// GUIDs are replaced, or come back, that are no old-style ones: wrong ones, by `rehash=fix` or
    /// its way back.
    #[serde(default)]
    pub rehash: bool,
    /// The run that asked, as in [`crate::protocol::Upgrade::run`].
    #[serde(default)]
    pub run: u64,
    /// The files.
    pub files: Vec<IntentFile>,
}

/// A mailbox in whose directories there may be scratch files of ours.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Scratch {
    /// The internal name.
    pub mailbox: String,
    /// The partition.
    pub partition: String,
}

/// A line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Line {
    /// An intent; a second one of the same id replaces the first.
    Begin(Intent),
    /// It is settled.
    End {
        /// Of the intent.
        id: u64,
    },
    /// Files under scratch names are about to be made for this mailbox.
    Touch(Scratch),
    /// There are none of ours any more.
    Clear(Scratch),
}

impl Line {
    /// With checksum and line end.
    pub(super) fn to_text(&self) -> Result<String, serde_json::Error> {
        let json = serde_json::to_string(self)?;
        Ok(format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes())))
    }

    /// Whether it has its checksum, whatever it says.
    pub(super) fn is_whole(line: &str) -> bool {
        json_of(line).is_some()
    }

    /// `None` if it is not whole, or says what this release does not know.
    pub(super) fn parse(line: &str) -> Option<Line> {
        serde_json::from_str(json_of(line)?).ok()
    }
}

fn json_of(line: &str) -> Option<&str> {
    let (crc, json) = line.split_once(' ')?;
    let right =
        crc.len() == 8 && u32::from_str_radix(crc, 16).ok()? == crc32fast::hash(json.as_bytes());
    right.then_some(json)
}
