//! What a command is about: its arguments, and why a line is none.

use std::time::Duration;

use indexfile::mailbox::MailboxName;

use super::{Code, DEFAULT_VERSION, Reply};

/// A mailbox, and where it lies if the asker knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The internal name.
    pub mailbox: MailboxName,
    /// The partition; without it, every partition is searched and two hits are refused.
    pub partition: Option<String>,
}

impl Named {
    /// A mailbox on whatever partition it is found.
    #[must_use]
    pub fn new(mailbox: MailboxName) -> Named {
        Named {
            mailbox,
            partition: None,
        }
    }
}

/// `LOCK name [partition=P] [wait_ms=N] [now=1] [ahead=0] [epoch=E]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    /// Which mailbox.
    pub of: Named,
    /// How long to queue for all the locks together; the server has its own upper bound.
    pub wait: Option<Duration>,
    /// Somebody is waiting already, another host's locks being held: do not first bring up to date
    /// what `PREPARE` made.
    pub now: bool,
    /// Without `PREPARE`, first read the messages that have no SHA-1 yet, because an `UPGRADE` that
    /// wants some will follow.
    pub ahead: bool,
    /// The epoch of the connection's coordinator, above 0, if it has one by now.
    pub epoch: Option<u64>,
}

/// Where the identifiers of the new files come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum UuidSource {
    /// SHA-1s from version 10 on; below it as [`UuidSource::Old`].
    #[default]
    Auto,
    /// From what upgrades replaced, where the message is the same. Else, below version 10, the
    /// first 12 bytes of the GUID; from version 10 on the GUID as it is, and nothing is hashed:
    /// this takes a rewrite at version 10 back.
    Old,
    /// Below version 10 always the first 12 bytes of the GUID.
    Cut,
}

/// A damage that `UPGRADE` may repair because the result is provable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Repair {
    /// An index of version 10 beside an expunge file of version 9: convert the expunge file.
    Expunge,
}

/// Whether the GUIDs that records have are compared with their messages, and what becomes of those
/// that are wrong. Without it a GUID that is not old-style is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::EnumString, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum Rehash {
    /// They are reported, and nothing is written.
    Report,
    /// They are replaced by the SHA-1s of the messages.
    Fix,
}

impl Rehash {
    /// As it stands on the wire and on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// The one with this word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Rehash> {
        word.parse().ok()
    }
}

/// `UPGRADE [VERSION] [uuids=old|cut] [repair=expunge] [run=N] [compare=content]
/// [rehash=report|fix]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upgrade {
    /// The index version to end with; a lower one than the file's downgrades.
    pub version: u32,
    /// Where identifiers come from.
    pub uuids: UuidSource,
    /// What may be repaired on the way.
    pub repair: Option<Repair>,
    /// Names the run that asks; with `uuids=old` at version 10 the run whose changes are taken
    /// back, 0 for all. Both hosts are given the same, and no two runs have the same.
    pub run: u64,
    /// `digest` and `GUIDS` are of what the messages are, not of what they will be called: of each
    /// record the GUID that it has, or, where that is old-style and says nothing of the message,
    /// its size as 8 bytes big-endian behind four zero bytes. So two hosts can be compared that
    /// call a message by different UUIDs.
    pub by_content: bool,
    /// Only with version 10 and without `uuids=`.
    pub rehash: Option<Rehash>,
}

impl Default for Upgrade {
    fn default() -> Upgrade {
        Upgrade {
            version: DEFAULT_VERSION,
            uuids: UuidSource::default(),
            repair: None,
            run: 0,
            by_content: false,
            rehash: None,
        }
    }
}

/// `GUIDS [from=UID] [to=UID] [max=N]`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GuidRange {
    /// The lowest UID wanted.
    pub from: u32,
    /// The highest UID wanted; all that follow if not given.
    pub to: Option<u32>,
    /// At most this many; the server has its own upper bound, which keeps the reply within a line.
    pub max: Option<u32>,
}

/// `COMMIT [hold] [drop_old=1]`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Commit {
    /// Rename, but keep the locks until `RELEASE` or `ROLLBACK`.
    pub hold: bool,
    /// Do not leave `.OLD` files behind.
    pub drop_old: bool,
}

/// Whether `PREPARE` writes the new files too. Messages that have no SHA-1 yet are read in any
/// case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Write {
    /// Always.
    #[default]
    Always,
    /// If the mailbox is so large that this shortens the time under the locks.
    Auto,
    /// Never.
    Never,
}

/// `PREPARE name [VERSION] [partition=P] [uuids=old|cut] [rehash=report|fix] [write=auto|never]
/// [epoch=E]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepare {
    /// Which mailbox.
    pub of: Named,
    /// What the `UPGRADE` that follows will ask for.
    pub upgrade: Upgrade,
    /// How much is done.
    pub write: Write,
    /// As of [`Lock`].
    pub epoch: Option<u64>,
}

/// `LIST [after=NAME [partition=P]] [only=P] [max=N]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListRange {
    /// The last mailbox already known, and its partition: the `next` and `partition` of the last
    /// reply.
    pub after: Option<Named>,
    /// Mailboxes of this partition alone.
    pub only: Option<String>,
    /// At most this many; the server has its own upper bound, which keeps the reply within a line.
    pub max: Option<u32>,
}

/// `SHA1S name [partition=P] [offset=N]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sha1sRange {
    /// Which mailbox.
    pub of: Named,
    /// Where in the `cyrus.sha1s` file, in bytes.
    pub offset: u64,
}

/// `VERIFY name [partition=P] [sample=N]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verify {
    /// Which mailbox.
    pub of: Named,
    /// Read at most this many messages, spread over the mailbox; all of them if not given.
    pub sample: Option<u32>,
}

/// `CLEAN name [partition=P] [dry_run=1]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clean {
    /// Which mailbox.
    pub of: Named,
    /// Say what would go, remove nothing.
    pub dry_run: bool,
}

/// `COMPLETE VERSION mailboxes=N [dry_run=1]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Complete {
    /// The index version that every mailbox of the store has, 12 to 19.
    pub version: u32,
    /// How many mailboxes the asker has verified on this host.
    pub mailboxes: u32,
    /// Look, make no file.
    pub dry_run: bool,
}

/// `FIND uniqueid=ID [after=NAME partition=P]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Find {
    /// As cyrus.header has it.
    pub uniqueid: String,
    /// Where the last answer stopped, if it did.
    pub after: Option<Named>,
}

/// Why a line is no command that can be run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// Not understood.
    #[error("{0}")]
    Bad(String),
    /// Understood, but what stands where the mailbox should be cannot be one.
    #[error("{0}")]
    Mailbox(String),
}

impl CommandError {
    /// The reply that says so.
    #[must_use]
    pub fn to_reply(&self) -> Reply {
        match self {
            CommandError::Bad(text) => Reply::Bad(text.clone()),
            CommandError::Mailbox(text) => Reply::no(Code::NoMailbox, text),
        }
    }
}
