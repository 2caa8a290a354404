//! Offsets of the format; all numbers are big-endian.

use super::{Entry, Stamp};
use crate::guid::Guid;
use byteorder::{BE, ReadBytesExt as _, WriteBytesExt as _};
use std::io::{self, Read as _, Write};

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
/// An [`Entry`].
pub(super) const RECORD_LEN: usize = Entry::LEN;
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

impl Entry {
    /// Its length in a file, bytes: uid, size, mtime, ctime, inode, sha1.
    pub const LEN: usize = 4 + 8 + 8 + 8 + 8 + 20;

    /// Writes it as a file has it.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_to(&self, out: &mut impl Write) -> io::Result<()> {
        out.write_u32::<BE>(self.uid)?;
        out.write_u64::<BE>(self.size)?;
        out.write_i64::<BE>(self.stamp.mtime_ns)?;
        out.write_i64::<BE>(self.stamp.ctime_ns)?;
        out.write_u64::<BE>(self.stamp.inode)?;
        out.write_all(self.guid.as_bytes())
    }

    /// Reads it from the beginning of `bytes`; `None` if they are too short.
    #[must_use]
    pub fn read_from(mut bytes: &[u8]) -> Option<Self> {
        let uid = bytes.read_u32::<BE>().ok()?;
        let size = bytes.read_u64::<BE>().ok()?;
        let stamp = Stamp {
            mtime_ns: bytes.read_i64::<BE>().ok()?,
            ctime_ns: bytes.read_i64::<BE>().ok()?,
            inode: bytes.read_u64::<BE>().ok()?,
        };
        let mut guid = [0; 20];
        bytes.read_exact(&mut guid).ok()?;
        Some(Self {
            uid,
            size,
            stamp,
            guid: Guid::from_bytes(guid),
        })
    }
}
