//! Names for the states of one mailbox, by which pairs of them are kept and compared; and tables
//! that many threads use.
//!
//! Promise: two parts have the same name only if they are the same; should their hashes ever be
//! alike, the search ends with a panic. What is asked of every pair (whether promises hold, which
//! steps of whole hosts there are) is part of the name, so that it is found out once for each part.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::{Arc, RwLock};

use super::End;
use super::part::{Facts, Part};
use super::properties::Held;

/// The name of a [`Part`]: 48 bits of its hash, the number of its [`Facts`], and one bit for each
/// thing that is often asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(u64);

const TRUTH: u64 = 1;
const ORDER: u64 = 2;
const UPGRADED: u64 = 4;
const ROLLED_BACK: u64 = 8;
const RECOVERING: [u64; 2] = [16, 32];
const FACTS: u32 = 6;
const HASH: u32 = 16;

impl Name {
    /// Whether that holds of its files on both hosts.
    #[must_use]
    pub fn holds(self, held: Held) -> bool {
        let bit = match held {
            Held::Truth => TRUTH,
            Held::Order => ORDER,
        };
        self.0 & bit != 0
    }

    /// Whether it has come to that end; known of two of them.
    #[must_use]
    pub fn ended(self, end: End) -> bool {
        let bit = match end {
            End::Upgraded => UPGRADED,
            End::RolledBack => ROLLED_BACK,
            End::Unchanged | End::InDoubt | End::TakenOver => 0,
        };
        self.0 & bit != 0
    }

    /// One bit for each host on which its recovery is still under way.
    #[must_use]
    pub fn recovering(self) -> u64 {
        self.0 & (RECOVERING[0] | RECOVERING[1])
    }

    /// The number of its facts.
    #[must_use]
    pub fn facts(self) -> u64 {
        (self.0 & ((1 << HASH) - 1)) >> FACTS
    }
}

/// All names given so far.
#[derive(Debug, Default)]
pub struct Names {
    parts: Table<Name, Arc<Part>>,
    by_hash: Table<u64, Name>,
    facts: RwLock<Vec<Facts>>,
}

impl Names {
    /// The name of that part.
    ///
    /// # Panics
    /// If another part has the same, or there are more kinds of facts than fit.
    pub fn name(&self, part: &Part) -> Name {
        let hash = quick(part) >> HASH;
        if let Some(name) = self.by_hash.get(&hash) {
            let known = self.parts.get(&name).expect("named before");
            assert!(*known == *part, "two parts have the same name");
            return name;
        }
        let mut name = (hash << HASH) | (self.number(part.facts()) << FACTS);
        let holds = |held: Held| part.sites.iter().all(|site| held.of(site));
        let ended = |end| part.runner.as_ref().is_some_and(|r| r.end == Some(end));
        let recovering = part.recovering();
        for (bit, set) in [
            (TRUTH, holds(Held::Truth)),
            (ORDER, holds(Held::Order)),
            (UPGRADED, ended(End::Upgraded)),
            (ROLLED_BACK, ended(End::RolledBack)),
            (RECOVERING[0], recovering[0]),
            (RECOVERING[1], recovering[1]),
        ] {
            name |= if set { bit } else { 0 };
        }
        let name = Name(name);
        // In this order: who finds the name finds the part.
        let kept = self.parts.put(name, Arc::new(part.clone()));
        assert!(*kept == *part, "two parts have the same name");
        self.by_hash.put(hash, name)
    }

    /// The part of that name.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn part(&self, name: Name) -> Arc<Part> {
        self.parts.get(&name).expect("named before")
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_hash.len()
    }

    fn number(&self, facts: Facts) -> u64 {
        let mut all = self.facts.write().expect("nobody panicked");
        let at = all.iter().position(|known| *known == facts);
        let at = at.unwrap_or_else(|| {
            all.push(facts);
            all.len() - 1
        });
        assert!(at < 1 << (HASH - FACTS), "more facts than fit");
        at as u64
    }
}

/// A hash that is quick, and not for anybody's attacks. Each round is a bijection of what was
/// hashed before, so states that differ in one word never have the same.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quick(u64);

impl Hasher for Quick {
    #[inline]
    fn finish(&self) -> u64 {
        (self.0 ^ (self.0 >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
    }

    // Whoever hashes bytes hashes their number too, or ends them, so zeros may fill the last word.
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    // What states are made of: one round for a word of any width, and none for each byte of it.
    #[inline]
    fn write_u8(&mut self, word: u8) {
        self.write_u64(u64::from(word));
    }

    #[inline]
    fn write_u16(&mut self, word: u16) {
        self.write_u64(u64::from(word));
    }

    #[inline]
    fn write_u32(&mut self, word: u32) {
        self.write_u64(u64::from(word));
    }

    #[inline]
    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    #[inline]
    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    #[inline]
    fn write_isize(&mut self, word: isize) {
        self.write_u64(word.cast_unsigned() as u64);
    }
}

/// The quick hash.
pub fn quick(key: &impl Hash) -> u64 {
    let mut hasher = Quick::default();
    key.hash(&mut hasher);
    hasher.finish()
}

const SHARDS: usize = 64;

type Shard<K, V> = RwLock<HashMap<K, V, BuildHasherDefault<Quick>>>;

/// What is worked out once.
#[derive(Debug)]
pub struct Table<K, V>(Vec<Shard<K, V>>);

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self((0..SHARDS).map(|_| RwLock::default()).collect())
    }
}

impl<K: Hash + Eq + Copy, V: Clone> Table<K, V> {
    fn shard(&self, key: &K) -> &Shard<K, V> {
        // Neither the bits by which a HashMap finds a place nor those by which it tells what is
        // there.
        let at = quick(key) >> 40;
        &self.0[usize::try_from(at).unwrap_or(0) % SHARDS]
    }

    /// What was put there.
    pub fn get(&self, key: &K) -> Option<V> {
        self.shard(key).read().ok()?.get(key).cloned()
    }

    /// Puts it there and gives it back; or what was there already.
    ///
    /// # Panics
    /// If another thread did.
    pub fn put(&self, key: K, value: V) -> V {
        let mut shard = self.shard(&key).write().expect("nobody panicked");
        shard.entry(key).or_insert(value).clone()
    }

    /// Puts something else there.
    #[cfg(test)]
    pub fn replace(&self, key: K, value: V) {
        let mut shard = self.shard(&key).write().expect("nobody panicked");
        assert!(shard.insert(key, value).is_some(), "nothing to replace");
    }

    /// How much there is.
    pub fn len(&self) -> usize {
        let shards = self.0.iter().filter_map(|shard| shard.read().ok());
        shards.map(|shard| shard.len()).sum()
    }
}
