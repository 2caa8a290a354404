//! An index or expunge file with messages in it: for the simulation.

use std::collections::BTreeMap;

use indexfile::Guid;
use sha1::{Digest, Sha1};

use super::image::{Guids, Image};

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Record {
    /// Flags, as the owner set them.
    pub flags: u32,
    /// What the message file holds, boiled down.
    pub body: u64,
    /// The GUID is the SHA-1 of the body; else an old-style one.
    pub sha1: bool,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Mail {
    /// Minor version.
    pub version: u8,
    /// By UID.
    pub records: BTreeMap<u32, Record>,
    /// Those of the expunge file, in an index that has its messages in itself.
    pub expunged: Option<BTreeMap<u32, Record>>,
}

impl Record {
    /// The GUID as the record has it.
    #[must_use]
    pub fn guid(&self) -> Guid {
        let whole: [u8; 20] = Sha1::digest(self.body.to_be_bytes()).into();
        if self.sha1 {
            return Guid::from_bytes(whole);
        }
        let mut old = [0; 20];
        old[..8].copy_from_slice(&self.body.to_be_bytes());
        Guid::from_bytes(old)
    }
}

impl Mail {
    /// A file of that version with messages whose UIDs are `uids`.
    #[must_use]
    pub fn new(version: u8, uids: std::ops::Range<u32>) -> Self {
        let record = |uid: u32| Record {
            flags: 0,
            body: body_of(uid),
            sha1: false,
        };
        Self {
            version,
            records: uids.map(|uid| (uid, record(uid))).collect(),
            expunged: None,
        }
    }
}

fn facts(records: &BTreeMap<u32, Record>) -> Vec<(u32, u32, u64)> {
    let facts = records.iter();
    facts.map(|(uid, r)| (*uid, r.flags, r.body)).collect()
}

/// What message number `uid` holds, on either host.
#[must_use]
pub fn body_of(uid: u32) -> u64 {
    u64::from(uid).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl Image for Mail {
    type Facts = Vec<(u32, u32, u64)>;

    fn version(&self) -> u8 {
        self.version
    }

    fn facts(&self) -> Self::Facts {
        facts(&self.records)
    }

    fn expunged(&self) -> Option<Self::Facts> {
        self.expunged.as_ref().map(facts)
    }

    fn merged(&self, expunge: Option<&Self>, to: u8) -> Self {
        Self {
            version: to,
            records: self.records.clone(),
            expunged: expunge.map(|expunge| expunge.records.clone()),
        }
    }

    fn rewritten(&self, to: u8, guids: Guids<'_, Self>) -> Self {
        let mut records = self.records.clone();
        // As slotd does: one with an old-style GUID is none that a rewrite at version 10 made.
        let rewritten = to < 10 || records.values().all(|r| r.sha1);
        for (uid, record) in &mut records {
            record.sha1 = to >= 10
                && match guids {
                    Guids::Replace => true,
                    Guids::Restore(old) => {
                        let old = old.filter(|old| rewritten && old.version >= 10);
                        let old = old.and_then(|old| old.records.get(uid));
                        old.map_or(record.sha1, |old| old.sha1)
                    }
                };
        }
        Self {
            version: to,
            records,
            expunged: self.expunged.clone(),
        }
    }

    fn digest(&self) -> [u8; 20] {
        let mut hasher = Sha1::new();
        for (uid, record) in &self.records {
            hasher.update(uid.to_be_bytes());
            hasher.update(record.guid().as_bytes());
        }
        hasher.finalize().into()
    }
}
