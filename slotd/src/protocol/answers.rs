//! What OK replies mean: one type an answer, made by the server and read by the client.

use std::fmt::{self, Display};
use std::str::FromStr;
use std::time::Duration;

use indexfile::Guid;
use indexfile::mailbox::MailboxName;

use super::answer::{Value, answer, name, plain, unescaped};
use super::{FieldError, Fields, HostState, Limits, Named, StoreRoots};

/// `HELLO` and `REGISTER`
#[allow(clippy::struct_excessive_bools)] // independent facts, each a word of the answer
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Greeting {
    /// The version of the server.
    pub version: String,
    /// The version of the protocol.
    pub protocol: u32,
    /// Names the store: two addresses with one `host_id` are the same store.
    pub host_id: String,
    /// So are two with a directory of index files in common.
    pub roots: StoreRoots,
    /// Stopping: takes no new mailbox.
    pub draining: bool,
    /// The intent log has failed: nothing can be committed before slotd has written a new one,
    /// which it tries by itself.
    pub failed: bool,
    /// How many connections it serves one client at once; absent from servers that do not say.
    pub capacity: Option<u32>,
    /// What a client may have of it; absent from servers that do not say.
    pub limits: Option<Limits>,
    /// Who serves the store: `2.3`, `2.4+` or `unknown`; empty if it does not say.
    pub served: String,
    /// Its operator says that no server runs, whatever it is.
    pub stopped: bool,
    /// It knows `UPGRADE rehash=`; older ones do not say so.
    pub rehash: bool,
    /// Whether users get in. Older ones do not say so.
    pub host: HostState,
    /// Since when it is announced or drained, milliseconds since 1970.
    pub host_since: Option<u64>,
    /// Who did that, in words.
    pub host_by: Option<String>,
    /// Mounts that the operator has set to `failover`: the other host's mail is believed.
    pub failover: Vec<String>,
    /// Days until its own certificate ends, negative once it has; `None` if it has none.
    pub cert_days: Option<i64>,
    /// To `REGISTER`: another journal that worked here and did not `LEAVE`.
    pub left: Option<String>,
}

/// `FIND`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// The mailbox with that unique id.
    At(Named),
    /// Not found so far: go on after this one.
    NotYet(Named),
    /// The whole store was looked through, and no mailbox has it.
    Nowhere,
}

answer! {
    /// `LOCK`, and a part of `STATUS`: what the mailbox is like.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct MailboxFacts {
        /// The internal name.
        pub mailbox: MailboxName = "mailbox",
        /// The partition it was found on.
        pub partition: String = "partition",
        /// From cyrus.header; empty if it has none.
        pub uniqueid: String = "uniqueid",
        /// From the index header.
        pub uidvalidity: u32 = "uidvalidity",
        /// Index version.
        pub index: u32 = "index",
        /// Version of cyrus.expunge, if there is one.
        pub expunge: Option<u32> = "expunge" via or_none,
        /// Records in cyrus.index.
        pub exists: u32 = "exists",
        /// Records in cyrus.expunge.
        pub expunged: u32 = "expunged",
        /// Records of both with an old-style GUID; `LOCK` does not count them, `STATUS` does.
        pub old: Option<u32> = "old",
    }
}

/// What happened to one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::Display, strum::EnumString)]
#[strum(serialize_all = "lowercase")]
pub enum FileState {
    /// A new file is ready to be renamed.
    Staged,
    /// It is to be moved out of its name and has no successor: what it lists is in the new index.
    Removed,
    /// The file is as it should be already.
    Unchanged,
    /// There is no such file.
    None,
}
plain!(FileState);

answer! {
    /// `UPGRADE`
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Upgraded {
        /// What happened to cyrus.index.
        pub index: FileState = "index",
        /// What happened to cyrus.expunge.
        pub expunge: FileState = "expunge",
        /// The version of cyrus.index before.
        pub from: u32 = "from",
        /// And after.
        pub to: u32 = "to",
        /// Records of both files.
        pub messages: u32 = "messages",
        /// Of them, those whose GUID was not just carried over.
        pub altered: u32 = "altered",
        /// Of those, the ones that cyrus.sha1s knew.
        pub cached: u32 = "cached",
        /// And the ones that were hashed now.
        pub hashed: u32 = "hashed",
        /// Old-style GUIDs that upgrades replaced and that came back (downgrades, and `uuids=old`).
        pub restored: u32 = "restored",
        /// GUIDs that were no old-style ones and lost their last eight bytes (downgrades below
        /// version 10).
        pub cut: u32 = "cut" via or_default,
        /// Whether a `PREPARE` before it was of use.
        pub prepared: bool = "prepared",
        /// Modification sequences that a version below 8 cannot hold.
        pub lost_modseqs: u32 = "lost_modseqs",
        /// SHA-1 over (UID as 4 bytes big-endian, GUID) of all records, in ascending order of UIDs.
        /// With `rehash=report` as they would be with `rehash=fix`.
        pub digest: Guid = "digest",
        /// The group of a live file that its new one has not, as it is not slotd's to give and lets
        /// nobody do anything that others may not; none if all keep theirs.
        pub left_group: Option<u32> = "left_group",
        /// With `rehash=`: what the comparison of all records with their messages found.
        pub rehash: Option<Rehashed> = "wrong_list",
    }
}

answer! {
    /// What `UPGRADE rehash=` found.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct Rehashed {
        /// Records whose GUID is no old-style one and not the SHA-1 of the message: right
        /// afterwards with `rehash=fix`, as they were with `rehash=report`.
        pub wrong: u32 = "wrong",
        /// Expunged records whose message is gone: nobody can say what their GUID is of, so they
        /// keep it.
        pub gone: u32 = "gone",
        /// The first of the wrong ones, up to [`Rehashed::MAX`].
        pub list: Vec<WrongGuid> = "wrong_list" via unescaped,
    }
}

/// A record whose GUID is not the SHA-1 of its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongGuid {
    /// The UID.
    pub uid: u32,
    /// The GUID that the record has, or had.
    pub has: Guid,
    /// The SHA-1 of the message file.
    pub is: Guid,
}

/// One record of a `GUIDS` reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GuidEntry {
    /// The UID.
    pub uid: u32,
    /// The GUID as it is after the upgrade; a UUID is padded with zeros.
    pub guid: Guid,
    /// The size of the message in bytes, as the record has it.
    pub size: u64,
}

/// `GUIDS`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GuidPage {
    /// In ascending order of UIDs.
    pub entries: Vec<GuidEntry>,
    /// Ask again from this UID.
    pub next: Option<u32>,
}

answer! {
    /// `COMMIT`, `RELEASE`
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Committed {
        /// How long the lock on cyrus.index has been held.
        pub held: Duration = "held_us",
        /// How long `LOCK` waited for the locks.
        pub waited: Duration = "lock_us",
    }
}

answer! {
    /// `PREPARE`
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Prepared {
        /// Whether there is anything staged; if not, the mailbox is as it should be already.
        pub prepared: bool = "prepared",
        /// Records of both files.
        pub messages: u32 = "messages",
        /// GUIDs taken from cyrus.sha1s.
        pub cached: u32 = "cached",
        /// GUIDs computed now.
        pub hashed: u32 = "hashed",
        /// What an earlier one made for a version of 12 or later fits still: nothing was written.
        pub unchanged: bool = "unchanged" via or_default,
    }
}

answer! {
    /// `COMPLETE`
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct Completed {
        /// The mailboxes of the store, each of which was looked at.
        pub mailboxes: u32 = "mailboxes",
        /// The file that says so, for the script that starts the server; none after a dry run.
        pub file: Option<String> = "file",
    }
}

answer! {
    /// `REVOKE`
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct Revoked {
        /// The file was there.
        pub removed: bool = "removed",
        /// The file, which is not there any more.
        pub file: String = "file",
    }
}

/// `SHA1S`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sha1sChunk {
    /// The size of the whole file.
    pub size: u64,
    /// Where the data begins.
    pub offset: u64,
    /// The data; empty at the end of the file.
    pub data: Vec<u8>,
}

impl Greeting {
    /// For the wire.
    #[must_use]
    pub fn to_fields(&self) -> Fields {
        let state = match (self.draining, self.failed) {
            (true, _) => "draining",
            (false, true) => "failed",
            (false, false) => "serving",
        };
        let fields = Fields::new()
            .with("slotd", &self.version)
            .with("protocol", self.protocol)
            .with("host_id", &self.host_id)
            .with("state", state);
        let fields = self.roots.add(fields);
        let fields = self.capacity.add(fields, "capacity");
        let served = Some(&self.served).filter(|served| !served.is_empty());
        let fields = served.cloned().add(fields, "served");
        let fields = self.stopped.then_some(true).add(fields, "stopped");
        let fields = self.rehash.then_some(true).add(fields, "rehash");
        let host = Some(self.host).filter(|host| *host != HostState::Open);
        let fields = host.add(fields, "host");
        let fields = self.host_since.add(fields, "since");
        let fields = self.host_by.add(fields, "by");
        let fields = match &self.limits {
            Some(limits) => fields.with_all(limits.to_fields()),
            None => fields,
        };
        let failover = Some(&self.failover).filter(|points| !points.is_empty());
        let fields = failover.cloned().add(fields, "failover");
        let fields = match self.cert_days {
            Some(days) => fields.with("cert_days", days),
            None => fields,
        };
        self.left.add(fields, "left")
    }

    /// From the wire.
    ///
    /// # Errors
    /// A field is missing or malformed.
    pub fn from_fields(fields: &Fields) -> Result<Greeting, FieldError> {
        Ok(Greeting {
            version: fields.text("slotd")?,
            protocol: fields.get("protocol")?,
            host_id: fields.text("host_id")?,
            roots: StoreRoots::read(fields)?,
            draining: fields.text("state")? == "draining",
            failed: fields.text("state")? == "failed",
            capacity: fields.get("capacity").ok(),
            limits: Limits::from_fields(fields).ok(),
            served: fields.get_optional("served")?.unwrap_or_default(),
            stopped: fields.get_optional::<u8>("stopped")? == Some(1),
            rehash: fields.get_optional::<u8>("rehash")? == Some(1),
            host: match fields.word("host") {
                None => HostState::Open,
                Some(word) => word.parse().unwrap_or(HostState::Unknown),
            },
            host_since: fields.get_optional("since")?,
            host_by: fields.get_optional("by")?,
            failover: match fields.word("failover") {
                None => Vec::new(),
                Some(_) => Value::read(fields, "failover")?,
            },
            cert_days: fields.get_optional("cert_days")?,
            left: fields.get_optional("left")?,
        })
    }
}

impl Found {
    /// For the wire.
    #[must_use]
    pub fn to_fields(&self) -> Fields {
        let of = |named: &Named, key: &str| {
            let partition = named.partition.clone().unwrap_or_default();
            Fields::new()
                .with(key, &named.mailbox)
                .with("partition", partition)
        };
        match self {
            Found::At(named) => of(named, "mailbox"),
            Found::NotYet(named) => of(named, "next"),
            Found::Nowhere => Fields::new().with("nowhere", 1),
        }
    }

    /// From the wire.
    ///
    /// # Errors
    /// A field is missing or malformed.
    pub fn from_fields(fields: &Fields) -> Result<Found, FieldError> {
        let named = |key: &'static str| {
            Ok(Named {
                mailbox: name(key, &fields.bytes(key)?)?,
                partition: Some(fields.text("partition")?),
            })
        };
        if fields.text("mailbox").is_ok() {
            named("mailbox").map(Found::At)
        } else if fields.text("next").is_ok() {
            named("next").map(Found::NotYet)
        } else {
            fields.get::<u8>("nowhere").map(|_| Found::Nowhere)
        }
    }
}

/// A part of another answer.
impl Value for MailboxFacts {
    fn add(&self, fields: Fields, _: &str) -> Fields {
        fields.with_all(self.to_fields())
    }

    fn read(fields: &Fields, _: &'static str) -> Result<MailboxFacts, FieldError> {
        MailboxFacts::from_fields(fields)
    }
}

impl Upgraded {
    /// Whether there is anything to commit.
    #[must_use]
    pub fn is_staged(&self) -> bool {
        let changes = |state| matches!(state, FileState::Staged | FileState::Removed);
        changes(self.index) || changes(self.expunge)
    }
}

impl Rehashed {
    /// The most wrong records that are listed: each is at most 10 + 1 + 40 + 1 + 40 + 1 bytes of a
    /// line.
    pub const MAX: usize = 500;
}

/// A part of another answer.
impl Value for Rehashed {
    fn add(&self, fields: Fields, _: &str) -> Fields {
        fields.with_all(self.to_fields())
    }

    fn read(fields: &Fields, _: &'static str) -> Result<Rehashed, FieldError> {
        Rehashed::from_fields(fields)
    }
}

/// An item of a list: three values with colons between them.
macro_rules! item {
    ($name:ident, $one:ident, $two:ident, $three:ident) => {
        impl Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}:{}:{}", self.$one, self.$two, self.$three)
            }
        }

        impl FromStr for $name {
            type Err = ();

            fn from_str(item: &str) -> Result<$name, ()> {
                let mut parts = item.splitn(3, ':');
                let mut next = || parts.next().ok_or(());
                Ok($name {
                    $one: next()?.parse().map_err(|_| ())?,
                    $two: next()?.parse().map_err(|_| ())?,
                    $three: next()?.parse().map_err(|_| ())?,
                })
            }
        }
    };
}
item!(WrongGuid, uid, has, is);
item!(GuidEntry, uid, guid, size);

impl GuidPage {
    /// The most entries that fit into one line with certainty: each is at most 10 + 1 + 40 + 1 +
    /// 20 + 1 bytes.
    pub const MAX: usize = 800;

    /// For the wire.
    #[must_use]
    pub fn to_fields(&self) -> Fields {
        let fields = Fields::new()
            .with("count", self.entries.len())
            .with("next", self.next.unwrap_or(0));
        unescaped::add(&self.entries, fields, "list")
    }

    /// From the wire.
    ///
    /// # Errors
    /// A field is missing or malformed.
    pub fn from_fields(fields: &Fields) -> Result<GuidPage, FieldError> {
        let next = fields.get("next")?;
        Ok(GuidPage {
            entries: unescaped::read(fields, "list")?,
            next: (next > 0).then_some(next),
        })
    }
}

impl Sha1sChunk {
    /// The most bytes of data in one reply; in hexadecimal they fit into a line.
    pub const MAX: usize = 30 * 1024;

    /// For the wire.
    #[must_use]
    pub fn to_fields(&self) -> Fields {
        let mut hex = String::with_capacity(self.data.len() * 2);
        for byte in &self.data {
            for nibble in [byte >> 4, byte & 15] {
                hex.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
            }
        }
        Fields::new()
            .with("size", self.size)
            .with("offset", self.offset)
            .with_word("data", hex)
    }

    /// From the wire.
    ///
    /// # Errors
    /// A field is missing or malformed.
    pub fn from_fields(fields: &Fields) -> Result<Sha1sChunk, FieldError> {
        let key = "data";
        let hex = fields.word(key).ok_or(FieldError::Missing { key })?;
        let digit = |b: u8| char::from(b).to_digit(16);
        let data = hex
            .as_bytes()
            .chunks(2)
            .map(|pair| match pair {
                [high, low] => u8::try_from(digit(*high)? * 16 + digit(*low)?).ok(),
                _ => None,
            })
            .collect::<Option<Vec<u8>>>()
            .ok_or_else(|| FieldError::Malformed {
                key,
                value: format!("{} characters", hex.len()),
            })?;
        Ok(Sha1sChunk {
            size: fields.get("size")?,
            offset: fields.get("offset")?,
            data,
        })
    }
}
