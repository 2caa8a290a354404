//! What an index or expunge file means to the machines: a version, GUIDs, and what its owner wrote.

use std::fmt::Debug;
use std::hash::Hash;

/// The content of one index or expunge file, as far as the protocol cares.
pub trait Image: Clone + Eq + Hash + Debug + Send + Sync + 'static {
    /// Everything in it that a rewrite must not lose.
    type Facts: Clone + Eq + Hash + Debug + Send + Sync + 'static;

    /// The minor version.
    fn version(&self) -> u8;

    /// What the mailbox's owner wrote.
    fn facts(&self) -> Self::Facts;

    /// What it wrote to the expunge file, if this is an index that has its messages in itself.
    fn expunged(&self) -> Option<Self::Facts>;

    /// The file that `UPGRADE` makes of this one.
    #[must_use]
    fn rewritten(&self, to: u8, guids: Guids<'_, Self>) -> Self;

    /// The index that a change-over makes of this one and its expunge file.
    #[must_use]
    fn merged(&self, expunge: Option<&Self>, to: u8) -> Self;

    /// (UID, GUID) of every record, boiled down.
    fn digest(&self) -> [u8; 20];
}

/// Whether the second file carries all that the first one holds, version and GUIDs apart.
pub fn carries<C: Image>(one: &C, other: &C) -> bool {
    one.facts() == other.facts()
}

/// Where the GUIDs of a rewritten file come from.
#[derive(Clone, Copy, Debug)]
pub enum Guids<'a, C> {
    /// SHA-1s, if the version can hold them.
    Replace,
    /// Those of the `.OLD` file, where there is one.
    Restore(Option<&'a C>),
}

/// The smallest image: for the model, where each bit costs states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tiny {
    /// Minor version.
    pub version: u8,
    /// GUIDs are SHA-1s, all of them.
    pub sha1: bool,
    /// Counts the changes of the mailbox's owner.
    pub writes: u8,
    /// The same of the expunge file, in an index that has its messages in itself.
    pub expunged: Option<u8>,
}

impl Tiny {
    /// A file nobody has written to yet; version 10 and above with `sha1` as given.
    #[must_use]
    pub const fn new(version: u8, sha1: bool) -> Self {
        Self {
            version,
            sha1,
            writes: 0,
            expunged: None,
        }
    }
}

impl Image for Tiny {
    type Facts = u8;

    fn version(&self) -> u8 {
        self.version
    }

    fn facts(&self) -> u8 {
        self.writes
    }

    fn expunged(&self) -> Option<u8> {
        self.expunged
    }

    fn rewritten(&self, to: u8, guids: Guids<'_, Self>) -> Self {
        let sha1 = match guids {
            Guids::Replace => true,
            // As slotd does: only what a rewrite at version 10 made has anything to get back.
            Guids::Restore(old) => self.sha1 && old.is_none_or(|o| o.version < 10 || o.sha1),
        };
        Self {
            version: to,
            sha1: sha1 && to >= 10,
            ..*self
        }
    }

    fn merged(&self, expunge: Option<&Self>, to: u8) -> Self {
        Self {
            version: to,
            expunged: expunge.map(Self::facts),
            ..*self
        }
    }

    fn digest(&self) -> [u8; 20] {
        [self.version * 2 + u8::from(self.sha1); 20]
    }
}
