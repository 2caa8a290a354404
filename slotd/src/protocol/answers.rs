//! What OK replies mean: one type an answer, made by the server and read by the client.

use std::time::Duration;

use indexfile::Guid;
use indexfile::mailbox::MailboxName;

use super::{FieldError, Fields, Named};

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
    /// Stopping: takes no new mailbox.
    pub draining: bool,
    /// The intent log has failed: nothing can be committed before slotd has written a new one,
    /// which it tries by itself.
    pub failed: bool,
    /// How many connections it serves at once; absent from servers that do not say.
    pub capacity: Option<u32>,
    /// Who serves the store: `2.3`, `2.4+` or `unknown`; empty if it does not say.
    pub served: String,
    /// Its operator says that no server runs, whatever it is.
    pub stopped: bool,
    /// It knows `UPGRADE rehash=`; older ones do not say so.
    pub rehash: bool,
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

/// `LOCK`, and a part of `STATUS`: what the mailbox is like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailboxFacts {
    /// The internal name.
    pub mailbox: MailboxName,
    /// The partition it was found on.
    pub partition: String,
    /// From cyrus.header; empty if it has none.
    pub uniqueid: String,
    /// From the index header.
    pub uidvalidity: u32,
    /// Index version.
    pub index: u32,
    /// Version of cyrus.expunge, if there is one.
    pub expunge: Option<u32>,
    /// Records in cyrus.index.
    pub exists: u32,
    /// Records in cyrus.expunge.
    pub expunged: u32,
    /// Records of both with an old-style GUID; `LOCK` does not count them, `STATUS` does.
    pub old: Option<u32>,
}

/// What happened to one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileState {
    /// A new file is ready to be renamed.
    Staged,
    /// The file is as it should be already.
    Unchanged,
    /// There is no such file.
    None,
}

impl FileState {
    fn as_str(self) -> &'static str {
        match self {
            FileState::Staged => "staged",
            FileState::Unchanged => "unchanged",
            FileState::None => "none",
        }
    }

    fn from_fields(fields: &Fields, key: &'static str) -> Result<FileState, FieldError> {
        let value = fields.text(key)?;
        [FileState::Staged, FileState::Unchanged, FileState::None]
            .into_iter()
            .find(|s| s.as_str() == value)
            .ok_or(FieldError::Malformed { key, value })
    }
}

/// `UPGRADE`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgraded {
    /// What happened to cyrus.index.
    pub index: FileState,
    /// What happened to cyrus.expunge.
    pub expunge: FileState,
    /// The version of cyrus.index before.
    pub from: u32,
    /// And after.
    pub to: u32,
    /// Records of both files.
    pub messages: u32,
    /// Of them, those whose GUID was not just carried over.
    pub altered: u32,
    /// Of those, the ones that cyrus.sha1s knew.
    pub cached: u32,
    /// And the ones that were hashed now.
    pub hashed: u32,
    /// Old-style GUIDs that upgrades replaced and that came back (downgrades, and `uuids=old`).
    pub restored: u32,
    /// GUIDs that were no old-style ones and lost their last eight bytes (downgrades below version
    /// 10).
    pub cut: u32,
    /// Whether a `PREPARE` before it was of use.
    pub prepared: bool,
    /// Modification sequences that a version below 8 cannot hold.
    pub lost_modseqs: u32,
    /// The group of a live file that its new one has not, as it is not slotd's to give and lets
    /// nobody do anything that others may not; none if all keep theirs.
    pub left_group: Option<u32>,
    /// SHA-1 over (UID as 4 bytes big-endian, GUID) of all records, in ascending order of UIDs.
    /// With `rehash=report` as they would be with `rehash=fix`.
    pub digest: Guid,
    /// With `rehash=`: what the comparison of all records with their messages found.
    pub rehash: Option<Rehashed>,
}

/// What `UPGRADE rehash=` found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rehashed {
    /// Records whose GUID is no old-style one and not the SHA-1 of the message: right afterwards
    /// with `rehash=fix`, as they were with `rehash=report`.
    pub wrong: u32,
    /// Expunged records whose message is gone: nobody can say what their GUID is of, so they keep
    /// it.
    pub gone: u32,
    /// The first of the wrong ones, up to [`Rehashed::MAX`].
    pub list: Vec<WrongGuid>,
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

/// `COMMIT`, `RELEASE`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// How long the lock on cyrus.index has been held.
    pub held: Duration,
    /// How long `LOCK` waited for the locks.
    pub waited: Duration,
}

/// `PREPARE`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prepared {
    /// Whether there is anything staged; if not, the mailbox is as it should be already.
    pub prepared: bool,
    /// Records of both files.
    pub messages: u32,
    /// GUIDs taken from cyrus.sha1s.
    pub cached: u32,
    /// GUIDs computed now.
    pub hashed: u32,
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
        let fields = match self.capacity {
            Some(capacity) => fields.with("capacity", capacity),
            None => fields,
        };
        let fields = match self.served.as_str() {
            "" => fields,
            served => fields.with("served", served),
        };
        let fields = if self.stopped {
            fields.with("stopped", 1)
        } else {
            fields
        };
        let fields = if self.rehash {
            fields.with("rehash", 1)
        } else {
            fields
        };
        match &self.left {
            Some(left) => fields.with("left", left),
            None => fields,
        }
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
            draining: fields.text("state")? == "draining",
            failed: fields.text("state")? == "failed",
            capacity: fields.get("capacity").ok(),
            served: fields.get_optional("served")?.unwrap_or_default(),
            stopped: fields.get_optional::<u8>("stopped")? == Some(1),
            rehash: fields.get_optional::<u8>("rehash")? == Some(1),
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

/// Reads a mailbox name.
pub(super) fn name(key: &'static str, bytes: &[u8]) -> Result<MailboxName, FieldError> {
    MailboxName::from_bytes(bytes).map_err(|_| FieldError::Malformed {
        key,
        value: String::from_utf8_lossy(bytes).into_owned(),
    })
}

fn micros(fields: &Fields, key: &'static str) -> Result<Duration, FieldError> {
    fields.get(key).map(Duration::from_micros)
}

impl MailboxFacts {
    /// For the wire.
    #[must_use]
    pub fn to_fields(&self) -> Fields {
        let expunge = self
            .expunge
            .map_or_else(|| "none".to_owned(), |v| v.to_string());
        let fields = Fields::new()
            .with("mailbox", &self.mailbox)
            .with("partition", &self.partition)
            .with("uniqueid", &self.uniqueid)
            .with("uidvalidity", self.uidvalidity)
            .with("index", self.index)
            .with("expunge", expunge)
            .with("exists", self.exists)
            .with("expunged", self.expunged);
        match self.old {
            Some(old) => fields.with("old", old),
            None => fields,
        }
    }

    /// From the wire.
    ///
    /// # Errors
    /// A field is missing or malformed.
    pub fn from_fields(fields: &Fields) -> Result<MailboxFacts, FieldError> {
        let expunge = fields.text("expunge")?;
        Ok(MailboxFacts {
            mailbox: name("mailbox", &fields.bytes("mailbox")?)?,
            partition: fields.text("partition")?,
            uniqueid: fields.text("uniqueid")?,
            uidvalidity: fields.get("uidvalidity")?,
            index: fields.get("index")?,
            expunge: if expunge == "none" {
                None
            } else {
                Some(fields.get("expunge")?)
            },
            exists: fields.get("exists")?,
            expunged: fields.get("expunged")?,
            old: fields.get_optional("old")?,
        })
    }
}

impl Upgraded {
    /// Whether there is anything to commit.
    #[must_use]
    pub fn is_staged(&self) -> bool {
        self.index == FileState::Staged || self.expunge == FileState::Staged
    }

    /// For the wire.
    #[must_use]
    pub fn to_fields(&self) -> Fields {
        Fields::new()
            .with("index", self.index.as_str())
            .with("expunge", self.expunge.as_str())
            .with("from", self.from)
            .with("to", self.to)
            .with("messages", self.messages)
            .with("altered", self.altered)
            .with("cached", self.cached)
            .with("hashed", self.hashed)
            .with("restored", self.restored)
            .with("cut", self.cut)
            .with("prepared", u8::from(self.prepared))
            .with("lost_modseqs", self.lost_modseqs)
            .with("digest", self.digest)
            .with_all(
                self.left_group
                    .map(|gid| Fields::new().with("left_group", gid)),
            )
            .with_all(self.rehash.as_ref().map(Rehashed::to_fields))
    }

    /// From the wire.
    ///
    /// # Errors
    /// A field is missing or malformed.
    pub fn from_fields(fields: &Fields) -> Result<Upgraded, FieldError> {
        Ok(Upgraded {
            index: FileState::from_fields(fields, "index")?,
            expunge: FileState::from_fields(fields, "expunge")?,
            from: fields.get("from")?,
            to: fields.get("to")?,
            messages: fields.get("messages")?,
            altered: fields.get("altered")?,
            cached: fields.get("cached")?,
            hashed: fields.get("hashed")?,
            restored: fields.get("restored")?,
            cut: fields.get_optional("cut")?.unwrap_or(0),
            prepared: fields.get::<u8>("prepared")? != 0,
            lost_modseqs: fields.get("lost_modseqs")?,
            left_group: fields.get_optional("left_group")?,
            digest: fields.get("digest")?,
            rehash: Rehashed::from_fields(fields)?,
        })
    }
}

impl Rehashed {
    /// The most wrong records that are listed: each is at most 10 + 1 + 40 + 1 + 40 + 1 bytes of a
    /// line.
    pub const MAX: usize = 500;

    fn to_fields(&self) -> Fields {
        let items: Vec<String> = self
            .list
            .iter()
            .map(|w| format!("{}:{}:{}", w.uid, w.has, w.is))
            .collect();
        Fields::new()
            .with("wrong", self.wrong)
            .with("gone", self.gone)
            .with_word("wrong_list", items.join(","))
    }

    /// `None` if it was not asked for.
    fn from_fields(fields: &Fields) -> Result<Option<Rehashed>, FieldError> {
        let key = "wrong_list";
        let Some(word) = fields.word(key) else {
            return Ok(None);
        };
        let wrong = |item: &str| {
            let mut parts = item.splitn(3, ':');
            let uid = parts.next()?.parse().ok()?;
            let has = parts.next()?.parse().ok()?;
            let is = parts.next()?.parse().ok()?;
            Some(WrongGuid { uid, has, is })
        };
        let list = word.split(',').filter(|item| !item.is_empty());
        let list = list.map(|item| {
            wrong(item).ok_or_else(|| FieldError::Malformed {
                key,
                value: item.to_owned(),
            })
        });
        Ok(Some(Rehashed {
            wrong: fields.get("wrong")?,
            gone: fields.get("gone")?,
            list: list.collect::<Result<_, _>>()?,
        }))
    }
}

impl GuidPage {
    /// The most entries that fit into one line with certainty: each is at most 10 + 1 + 40 + 1 +
    /// 20 + 1 bytes.
    pub const MAX: usize = 800;

    /// For the wire.
    #[must_use]
    pub fn to_fields(&self) -> Fields {
        let items: Vec<String> = self
            .entries
            .iter()
            .map(|e| format!("{}:{}:{}", e.uid, e.guid, e.size))
            .collect();
        Fields::new()
            .with("count", items.len())
            .with("next", self.next.unwrap_or(0))
            .with_word("list", items.join(","))
    }

    /// From the wire.
    ///
    /// # Errors
    /// A field is missing or malformed.
    pub fn from_fields(fields: &Fields) -> Result<GuidPage, FieldError> {
        let key = "list";
        let word = fields.word(key).ok_or(FieldError::Missing { key })?;
        let entry = |item: &str| {
            let mut parts = item.splitn(3, ':');
            let uid = parts.next()?.parse().ok()?;
            let guid = parts.next()?.parse().ok()?;
            let size = parts.next()?.parse().ok()?;
            Some(GuidEntry { uid, guid, size })
        };
        let entries = word
            .split(',')
            .filter(|item| !item.is_empty())
            .map(|item| {
                entry(item).ok_or_else(|| FieldError::Malformed {
                    key,
                    value: item.to_owned(),
                })
            })
            .collect::<Result<_, _>>()?;
        let next = fields.get("next")?;
        Ok(GuidPage {
            entries,
            next: (next > 0).then_some(next),
        })
    }
}

impl Committed {
    /// For the wire.
    #[must_use]
    pub fn to_fields(&self) -> Fields {
        Fields::new()
            .with("held_us", self.held.as_micros())
            .with("lock_us", self.waited.as_micros())
    }

    /// From the wire.
    ///
    /// # Errors
    /// A field is missing or malformed.
    pub fn from_fields(fields: &Fields) -> Result<Committed, FieldError> {
        Ok(Committed {
            held: micros(fields, "held_us")?,
            waited: micros(fields, "lock_us")?,
        })
    }
}

impl Prepared {
    /// For the wire.
    #[must_use]
    pub fn to_fields(&self) -> Fields {
        Fields::new()
            .with("prepared", u8::from(self.prepared))
            .with("messages", self.messages)
            .with("cached", self.cached)
            .with("hashed", self.hashed)
    }

    /// From the wire.
    ///
    /// # Errors
    /// A field is missing or malformed.
    pub fn from_fields(fields: &Fields) -> Result<Prepared, FieldError> {
        Ok(Prepared {
            prepared: fields.get::<u8>("prepared")? != 0,
            messages: fields.get("messages")?,
            cached: fields.get("cached")?,
            hashed: fields.get("hashed")?,
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
