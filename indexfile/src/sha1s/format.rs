//! Offsets of the format; all numbers are big-endian.

use super::{Entry, Stamp};
use crate::guid::Guid;

/// First bytes of the file. The line ends and the ^Z in it show damage by text-mode copies.
pub const MAGIC: [u8; 16] = *b"reguid.sha1s\r\n\x1a\n";
/// The one version of the format so far.
pub const FORMAT_VERSION: u32 = 1;

pub(super) const UNIQUEID_MAX: usize = 64;
/// Header: magic, version, flags, uidvalidity, count, records a block, length of the unique id,
/// the unique id, CRC-32 of all that.
pub(super) const HEADER_LEN: usize = 16 + 6 * 4 + UNIQUEID_MAX + 4;
pub(super) const HEADER_CRC_AT: usize = HEADER_LEN - 4;
pub(super) const UNIQUEID_AT: usize = 40;
/// uid, size, mtime, ctime, inode, sha1.
pub(super) const RECORD_LEN: usize = 4 + 8 + 8 + 8 + 8 + 20;
/// Records a block when we write; a reader takes the number from the header.
pub(super) const BLOCK_RECORDS: u32 = 72;
/// A reader holds one block in memory, so a block has no more records than these: 224 KiB.
pub(super) const MAX_BLOCK_RECORDS: u32 = 4096;
/// SHA-1 of everything before it.
pub(super) const TRAILER_LEN: usize = 20;

/// Length of a file of `count` records, bytes; `None` if it exceeds what can be addressed.
pub(super) fn file_len(count: u32, block_records: u32) -> Option<u64> {
    let blocks = u64::from(count).div_ceil(u64::from(block_records));
    let records = u64::from(count).checked_mul(RECORD_LEN as u64)?;
    records
        .checked_add(blocks.checked_mul(4)?)?
        .checked_add((HEADER_LEN + TRAILER_LEN) as u64)
}

pub(super) fn put_entry(entry: &Entry, out: &mut Vec<u8>) {
    out.extend_from_slice(&entry.uid.to_be_bytes());
    out.extend_from_slice(&entry.size.to_be_bytes());
    out.extend_from_slice(&entry.stamp.mtime_ns.to_be_bytes());
    out.extend_from_slice(&entry.stamp.ctime_ns.to_be_bytes());
    out.extend_from_slice(&entry.stamp.inode.to_be_bytes());
    out.extend_from_slice(entry.guid.as_bytes());
}

pub(super) fn get_entry(bytes: &[u8]) -> Option<Entry> {
    fn at<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
        bytes.get(offset..offset + N)?.try_into().ok()
    }
    Some(Entry {
        uid: u32::from_be_bytes(at(bytes, 0)?),
        size: u64::from_be_bytes(at(bytes, 4)?),
        stamp: Stamp {
            mtime_ns: i64::from_be_bytes(at(bytes, 12)?),
            ctime_ns: i64::from_be_bytes(at(bytes, 20)?),
            inode: u64::from_be_bytes(at(bytes, 28)?),
        },
        guid: Guid::from_bytes(at(bytes, 36)?),
    })
}
