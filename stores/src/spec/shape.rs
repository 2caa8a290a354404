//! What one mailbox of the store is to be like.

/// Which identifiers the records carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ids {
    /// All zero: UUIDs were never switched on.
    Null,
    /// Stock UUIDs, schema 1.
    Uuid,
    /// UUIDs of a patched server, first byte 02.
    Patched,
    /// Stock ones and zero ones by turns.
    Mixed,
    /// SHA-1 of the message; version 10 only.
    Sha1,
    /// SHA-1 for the newer half, padded UUIDs for the older; version 10 only.
    HalfSha1,
}

/// What a mailbox is like. Counts are shares of the messages it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// Minor version of cyrus.index.
    pub version: u32,
    /// Minor version of cyrus.expunge; `None`: there is no such file.
    pub expunge: Option<u32>,
    /// Percentage of messages that are expunged but still on disk.
    pub gone: u32,
    /// Messages, as percentage of the mean.
    pub many: u32,
    /// Identifiers.
    pub ids: Ids,
    /// User flags with names.
    pub flags: usize,
    /// Whether modseqs differ (CONDSTORE was in use).
    pub modseqs: bool,
    /// Percentage of messages shared with the first mailbox of the group, as hard links.
    pub shared: u32,
    /// Bytes after the last record, as a crashed append leaves them.
    pub trailing: usize,
    /// Whether messages were also copied within the mailbox.
    pub copies: bool,
}

impl Shape {
    /// Version 9, stock UUIDs, nothing expunged.
    pub const PLAIN: Self = Self {
        version: 9,
        expunge: None,
        gone: 0,
        many: 100,
        ids: Ids::Uuid,
        flags: 0,
        modseqs: false,
        shared: 0,
        trailing: 0,
        copies: false,
    };

    pub(super) const fn expunged(mut self, percent: u32) -> Self {
        self.expunge = Some(if self.version < 7 { 7 } else { self.version });
        self.gone = percent;
        self
    }

    pub(super) const fn version(mut self, version: u32) -> Self {
        self.version = version;
        self
    }

    pub(super) const fn ids(mut self, ids: Ids) -> Self {
        self.ids = ids;
        self
    }

    pub(super) const fn flags(mut self, flags: usize) -> Self {
        self.flags = flags;
        self
    }

    pub(super) const fn many(mut self, percent: u32) -> Self {
        self.many = percent;
        self
    }
}

/// One mailbox to build.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub name: String,
    /// The user who owns it; empty for shared mailboxes.
    pub owner: String,
    /// The access control list as `ctl_mboxlist` and cyrus.header have it.
    pub acl: String,
    pub shape: Shape,
    /// Messages; `None`: by the shape and the mean of the store.
    pub count: Option<u32>,
}

/// Rights as Cyrus 2.3.9 gives them to owners, and what people give each other.
pub(super) fn acl(owner: &str) -> String {
    match owner {
        "" => "anyone\tlrsip\t".to_owned(),
        "alice" => "alice\tlrswipkxtecda\tbob\tlrs\t".to_owned(),
        owner => format!("{owner}\tlrswipkxtecda\t"),
    }
}
