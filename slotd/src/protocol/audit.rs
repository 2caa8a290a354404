//! The answers of `STATUS`, `VERIFY` and `CLEAN`.

use indexfile::Guid;

use super::answer::{Value, answer};
use super::{FieldError, Fields, MailboxFacts};

answer! {
    /// `STATUS`
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Status {
        /// As `LOCK` answers.
        pub facts: MailboxFacts = "mailbox",
        /// Old-style GUIDs that cyrus.sha1s knows.
        pub cached: u32 = "cached",
        /// Bytes of all messages, as the records have them.
        pub bytes: u64 = "bytes",
        /// Bytes of the messages that would have to be hashed.
        pub hash_bytes: u64 = "hash_bytes",
        /// Bytes of cyrus.index and cyrus.expunge.
        pub index_bytes: u64 = "index_bytes",
        /// The highest UID ever, from the index header.
        pub last_uid: u32 = "last_uid",
        /// Whether `.OLD` files are there.
        pub has_old: bool = "has_old",
        /// A new index can be given to the owner of the old one.
        pub keeps_owner: bool = "keeps_owner" via or_true,
        /// Findings of `indexfile check`, by their stable codes, each with the file: `FILE:CODE`.
        pub findings: Vec<String> = "findings",
        /// As in [`super::Upgraded::digest`], of the files as they are.
        pub digest: Guid = "digest",
    }
}

answer! {
    /// `VERIFY`: GUIDs against message files.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Verified {
        /// Index version.
        pub index: u32 = "index",
        /// Version of cyrus.expunge, if there is one.
        pub expunge: Option<u32> = "expunge" via or_none,
        /// Records of both files.
        pub messages: u32 = "messages",
        /// Messages that were read.
        pub checked: u32 = "checked",
        /// Records with an old-style GUID, which says nothing about content.
        pub old: u32 = "old",
        /// How many of the messages that were read are not what their records say.
        pub bad: u32 = "bad",
        /// The first of them, each as `UID:reason`; reasons are `guid`, `size`, `missing`,
        /// `unreadable`.
        pub list: Vec<String> = "list",
        /// Findings of `indexfile check`, each as `FILE:CODE`.
        pub findings: Vec<String> = "findings",
        /// As in [`super::Upgraded::digest`], of the files as they are.
        pub digest: Guid = "digest",
        /// From cyrus.header.
        pub uniqueid: String = "uniqueid" via or_default,
        /// Of version 12 and later: `sync_crc` of the index header, which counts flags, seen state
        /// and dates of all live records.
        pub sync_crc: Option<u32> = "sync_crc",
        /// Of version 12 and later: SHA-1 over all messages that are not expunged, with GUID, size,
        /// internaldate and flags by name, seen state included. Unlike `sync_crc` it is the same on
        /// a replica: replication of 2.3 carries no modseq and no time of a change of flags.
        pub live: Option<Guid> = "live",
    }
}

/// `CLEAN`: what was, or would be, removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// The names of the files.
    pub files: Vec<String>,
    /// Their bytes; those of a file that has another name still are not freed.
    pub bytes: u64,
}

impl Verified {
    /// The most bad messages that are listed.
    pub const MAX: usize = 500;

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.bad == 0 && self.findings.is_empty()
    }
}

impl Cleaned {
    /// For the wire.
    #[must_use]
    pub fn to_fields(&self) -> Fields {
        Fields::new()
            .with("count", self.files.len())
            .with("bytes", self.bytes)
            .with_list("files", &self.files)
    }

    /// From the wire.
    ///
    /// # Errors
    /// A field is missing or malformed.
    pub fn from_fields(fields: &Fields) -> Result<Cleaned, FieldError> {
        Ok(Cleaned {
            files: Value::read(fields, "files")?,
            bytes: fields.get("bytes")?,
        })
    }
}
