//! Twoskip files of 2.4 and later: records with two pointers to the next one, and checksums.
//!
//! A record of a deletion does not name what it deletes: what there is, is what the pointers lead
//! to, of the two of each record the one that was last committed.

use super::SeenError;
use super::database::{Database, Found};
use std::ops::Range;

pub(super) const MAGIC: &[u8; 20] = b"\xa1\x02\x8b\x0dtwoskip file\0\0\0\0";

const HEADER: u64 = 64;
const MOST_LEVELS: u8 = 31;

/// Finds the value of `key`.
pub(super) fn find(database: &mut Database, key: &[u8]) -> Found {
    if database.len() < HEADER {
        return Err(database.damaged(0, "it is too short for its header"));
    }
    if database.u32(20)? != 1 {
        return Err(database.damaged(20, "its version is not 1"));
    }
    let (stored, computed) = (database.u32(60)?, crc(database, 0, 60)?);
    if stored != computed {
        return Err(database.damaged(60, "the checksum of the header is wrong"));
    }
    // What lies behind was never committed.
    let end = database.u64(48)?.min(database.len());
    let mut at = HEADER;
    // Bytes of the records so far: no two of them share one.
    let mut passed = 0_u64;
    while passed <= end {
        let record = record(database, at)?;
        match (record.kind, at) {
            (b'=', HEADER) | (b'-', _) => {}
            (b'+', _) => {
                // Of each: a key with a wrong byte would be another mailbox's.
                check_tail(database, &record)?;
                let len = record.key.end - record.key.start;
                if len == key.len() as u64 && database.is(record.key.start, key)? {
                    return Ok(Some(record.value));
                }
            }
            _ => return Err(database.damaged(at, "there is no record of this kind")),
        }
        passed = passed.saturating_add(record.value.end - at);
        at = record.next(end);
        if at == 0 {
            return Ok(None);
        }
    }
    Err(database.damaged(at, "the pointers lead in a circle"))
}

struct Record {
    kind: u8,
    pointers: [u64; 2],
    key: Range<u64>,
    value: Range<u64>,
    /// The checksum of key, value and padding.
    tail_crc: u32,
}

impl Record {
    /// Where the next record begins; 0 for none.
    fn next(&self, end: u64) -> u64 {
        let [first, second] = self.pointers;
        match (self.kind, first < end, second < end) {
            (b'-', ..) | (_, true, false) => first,
            (_, false, _) => second,
            (_, true, true) => first.max(second),
        }
    }
}

fn record(database: &mut Database, start: u64) -> Result<Record, SeenError> {
    let beyond = |database: &Database| database.damaged(start, "a record ends behind the file");
    if start >= database.len() {
        return Err(beyond(database));
    }
    let head = database.piece(start, 8)?;
    let (kind, level) = (head[0], head[1]);
    let (mut key, mut value) = (
        u64::from(u16::from_be_bytes([head[2], head[3]])),
        u64::from(u32::from_be_bytes([head[4], head[5], head[6], head[7]])),
    );
    if level > MOST_LEVELS {
        return Err(database.damaged(start, "a record has too many levels"));
    }
    let mut at = start + 8;
    if key == u64::from(u16::MAX) {
        key = database.u64(at)?;
        at += 8;
    }
    if value == u64::from(u32::MAX) {
        value = database.u64(at)?;
        at += 8;
    }
    let pointers = at;
    let head_crc = pointers + 8 * (1 + u64::from(level));
    let first = database.u64(pointers)?;
    let second = if level == 0 {
        0
    } else {
        database.u64(pointers + 8)?
    };
    if database.u32(head_crc)? != crc(database, start, head_crc - start)? {
        return Err(database.damaged(start, "the checksum of a record is wrong"));
    }
    let tail_crc = database.u32(head_crc + 4)?;
    let key_start = head_crc + 8;
    let ends = key_start.checked_add(key).and_then(|key_end| {
        let value_end = key_end.checked_add(value)?;
        Some((key_end, value_end)).filter(|_| value_end <= database.len())
    });
    let (key_end, value_end) = ends.ok_or_else(|| beyond(database))?;
    Ok(Record {
        kind,
        pointers: [first, second],
        key: key_start..key_end,
        value: key_end..value_end,
        tail_crc,
    })
}

fn check_tail(database: &mut Database, record: &Record) -> Result<(), SeenError> {
    let start = record.key.start;
    let len = (record.value.end - start).next_multiple_of(8);
    if crc(database, start, len)? == record.tail_crc {
        Ok(())
    } else {
        Err(database.damaged(start, "the checksum of a value is wrong"))
    }
}

fn crc(database: &mut Database, offset: u64, len: u64) -> Result<u32, SeenError> {
    let mut crc = crc32fast::Hasher::new();
    database.pieces(offset, len, |piece| crc.update(piece))?;
    Ok(crc.finalize())
}
