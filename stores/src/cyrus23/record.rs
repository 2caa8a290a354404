//! Fields of header and record that a running server writes, at their places in versions 9 and 10.

use crate::judge::image::{long, word};

/// The header bytes of an index or expunge file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header(pub [u8; 96]);

impl Header {
    /// Size of a record in this file.
    #[must_use]
    pub fn record_size(&self) -> usize {
        word(&self.0, 16) as usize
    }

    /// Number of records.
    #[must_use]
    pub fn exists(&self) -> u32 {
        word(&self.0, 20)
    }

    /// Where record `n` starts, from 0.
    #[must_use]
    pub fn offset(&self, n: u32) -> u64 {
        u64::from(word(&self.0, 12)) + u64::from(n) * self.record_size() as u64
    }

    /// 32-bit field at `at`.
    #[must_use]
    pub fn get(&self, at: usize) -> u32 {
        word(&self.0, at)
    }

    /// Sets the 32-bit field at `at`.
    pub fn set(&mut self, at: usize, value: u32) {
        self.0[at..at + 4].copy_from_slice(&value.to_be_bytes());
    }

    /// Adds to the 32-bit field at `at`, modulo 2^32.
    pub fn add(&mut self, at: usize, by: i32) {
        self.set(at, self.get(at).wrapping_add_signed(by));
    }

    /// Adds to the 64-bit field at `at`, modulo 2^64.
    pub fn add_long(&mut self, at: usize, by: i64) {
        let value = long(&self.0, at).wrapping_add_signed(by);
        self.0[at..at + 8].copy_from_slice(&value.to_be_bytes());
    }

    /// Counts one message with these flags in or out (`by` is 1 or -1).
    pub fn count(&mut self, record: &[u8], by: i32) {
        self.add(LAYOUT.exists, by);
        self.add_long(LAYOUT.quota, i64::from(by) * i64::from(word(record, 12)));
        self.count_flags(word(record, 32), by);
    }

    /// Counts system flags in or out.
    pub fn count_flags(&mut self, flags: u32, by: i32) {
        for (bit, at) in [
            (0, LAYOUT.answered),
            (1, LAYOUT.flagged),
            (2, LAYOUT.deleted),
        ] {
            if flags & (1 << bit) != 0 {
                self.add(at, by);
            }
        }
    }

    /// The header without minor version and record size: what a conversion leaves alone.
    #[must_use]
    pub fn lasting(&self) -> Vec<u8> {
        let mut bytes = self.0.to_vec();
        bytes[8..12].fill(0);
        bytes[16..20].fill(0);
        bytes
    }
}

/// Places of header fields, the same in versions 9 and 10.
pub struct Layout {
    /// Number of records.
    pub exists: usize,
    /// Time of the last append.
    pub last_appenddate: usize,
    /// Highest UID ever.
    pub last_uid: usize,
    /// Sum of sizes, 64 bits.
    pub quota: usize,
    /// Count of \Deleted.
    pub deleted: usize,
    /// Count of \Answered.
    pub answered: usize,
    /// Count of \Flagged.
    pub flagged: usize,
    /// Cache records that nothing uses.
    pub leaked_cache: usize,
    /// Highest modseq, 64 bits.
    pub highestmodseq: usize,
}

/// The places.
pub const LAYOUT: Layout = Layout {
    exists: 20,
    last_appenddate: 24,
    last_uid: 28,
    quota: 32,
    deleted: 48,
    answered: 52,
    flagged: 56,
    leaked_cache: 64,
    highestmodseq: 68,
};

/// Where the modseq of a record lies.
#[must_use]
pub fn modseq_at(record_size: usize) -> usize {
    record_size - 8
}
