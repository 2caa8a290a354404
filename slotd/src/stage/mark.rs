//! What shows that a record or a message file is still the one that was looked at, in 8 bytes.
//!
//! A mark is a hash with a key of this process, so nobody can choose two things that look alike;
//! two that differ have the same mark once in 2^64. Marks are kept in memory, or in files that go
//! with the process.

use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;

use indexfile::sha1s::Stamp;
use indexfile::{Record, RecordField};

/// Equal if what it is of is the same.
pub type Mark = u64;

fn key() -> &'static RandomState {
    static KEY: OnceLock<RandomState> = OnceLock::new();
    KEY.get_or_init(RandomState::new)
}

/// Of what says which message a record is of: UID, identifier, size and internal date. Flags and
/// the like may change.
#[must_use]
pub fn of_record(record: &Record<'_>) -> Mark {
    let date = record.get(RecordField::Internaldate);
    let guid = record.guid().padded();
    key().hash_one((record.uid(), guid.as_bytes(), record.size(), date))
}

/// Of a message file: its place, its size in bytes and its times.
#[must_use]
pub fn of_file(device: u64, size: u64, stamp: &Stamp) -> Mark {
    key().hash_one((device, size, stamp))
}
