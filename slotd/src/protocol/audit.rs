//! The answers of `STATUS`, `VERIFY` and `CLEAN`.

use indexfile::Guid;

use super::{FieldError, Fields, MailboxFacts};

/// `STATUS`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// As `LOCK` answers.
    pub facts: MailboxFacts,
    /// Old-style GUIDs that cyrus.sha1s knows.
    pub cached: u32,
    /// Bytes of all messages, as the records have them.
    pub bytes: u64,
    /// Bytes of the messages that would have to be hashed.
    pub hash_bytes: u64,
    /// Bytes of cyrus.index and cyrus.expunge.
    pub index_bytes: u64,
    /// The highest UID ever, from the index header.
    pub last_uid: u32,
    /// Whether `.OLD` files are there.
    pub has_old: bool,
    /// A new index can be given to the owner of the old one.
    pub keeps_owner: bool,
    /// Findings of `indexfile check`, by their stable codes, each with the file: `FILE:CODE`.
    pub findings: Vec<String>,
    /// As in [`super::Upgraded::digest`], of the files as they are.
    pub digest: Guid,
}

/// `VERIFY`: GUIDs against message files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Index version.
    pub index: u32,
    /// Version of cyrus.expunge, if there is one.
    pub expunge: Option<u32>,
    /// Records of both files.
    pub messages: u32,
    /// Messages that were read.
    pub checked: u32,
    /// Records with an old-style GUID, which says nothing about content.
    pub old: u32,
    /// How many of the messages that were read are not what their records say.
    pub bad: u32,
    /// The first of them, each as `UID:reason`; reasons are `guid`, `size`, `missing`,
    /// `unreadable`.
    pub list: Vec<String>,
    /// Findings of `indexfile check`, each as `FILE:CODE`.
    pub findings: Vec<String>,
    /// As in [`super::Upgraded::digest`], of the files as they are.
    pub digest: Guid,
    /// From cyrus.header.
    pub uniqueid: String,
}

/// `CLEAN`: what was, or would be, removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// The names of the files.
    pub files: Vec<String>,
    /// Their bytes; those of a file that has another name still are not freed.
    pub bytes: u64,
}

fn texts(list: &[Vec<u8>]) -> Vec<String> {
    list.iter()
        .map(|item| String::from_utf8_lossy(item).into_owned())
        .collect()
}

impl Verified {
    /// The most bad messages that are listed.
    pub const MAX: usize = 500;

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.bad == 0 && self.findings.is_empty()
    }

    /// For the wire.
    #[must_use]
    pub fn to_fields(&self) -> Fields {
        let expunge = self
            .expunge
            .map_or_else(|| "none".to_owned(), |v| v.to_string());
        Fields::new()
            .with("index", self.index)
            .with("expunge", expunge)
            .with("messages", self.messages)
            .with("checked", self.checked)
            .with("old", self.old)
            .with("bad", self.bad)
            .with_list("list", &self.list)
            .with_list("findings", &self.findings)
            .with("digest", self.digest)
            .with("uniqueid", &self.uniqueid)
    }

    /// From the wire.
    ///
    /// # Errors
    /// A field is missing or malformed.
    pub fn from_fields(fields: &Fields) -> Result<Verified, FieldError> {
        let expunge = fields.text("expunge")?;
        Ok(Verified {
            index: fields.get("index")?,
            expunge: if expunge == "none" {
                None
            } else {
                Some(fields.get("expunge")?)
            },
            messages: fields.get("messages")?,
            checked: fields.get("checked")?,
            old: fields.get("old")?,
            bad: fields.get("bad")?,
            list: texts(&fields.list("list")?),
            findings: texts(&fields.list("findings")?),
            digest: fields.get("digest")?,
            uniqueid: fields.text("uniqueid").unwrap_or_default(),
        })
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
            files: texts(&fields.list("files")?),
            bytes: fields.get("bytes")?,
        })
    }
}

impl Status {
    /// For the wire.
    #[must_use]
    pub fn to_fields(&self) -> Fields {
        self.facts
            .to_fields()
            .with("cached", self.cached)
            .with("bytes", self.bytes)
            .with("hash_bytes", self.hash_bytes)
            .with("index_bytes", self.index_bytes)
            .with("last_uid", self.last_uid)
            .with("has_old", u8::from(self.has_old))
            .with("keeps_owner", u8::from(self.keeps_owner))
            .with_list("findings", &self.findings)
            .with("digest", self.digest)
    }

    /// From the wire.
    ///
    /// # Errors
    /// A field is missing or malformed.
    pub fn from_fields(fields: &Fields) -> Result<Status, FieldError> {
        let findings = fields.list("findings")?;
        Ok(Status {
            facts: MailboxFacts::from_fields(fields)?,
            cached: fields.get("cached")?,
            bytes: fields.get("bytes")?,
            hash_bytes: fields.get("hash_bytes")?,
            index_bytes: fields.get("index_bytes")?,
            last_uid: fields.get("last_uid")?,
            has_old: fields.get::<u8>("has_old")? != 0,
            keeps_owner: fields.get_optional::<u8>("keeps_owner")? != Some(0),
            findings: findings
                .iter()
                .map(|f| String::from_utf8_lossy(f).into_owned())
                .collect(),
            digest: fields.get("digest")?,
        })
    }
}
