//! The checksum of one message that replication of 2.4 and later compares.
//!
//! Versions 12 to 19 keep in the index's header the XOR, over all messages not expunged, of the
//! CRC-32 of a line of text made from each: `UID modseq last_updated (flags) internaldate guid`,
//! where `flags` is the XOR of the CRC-32 of each flag's name in lower case. It needs the names of
//! the user flags, which are in `cyrus.header`. Proven on files of Cyrus 3.6.1, versions 12 to 17.

use crate::guid::Guid;
use crate::layout::RecordField as R;
use crate::mailbox::HeaderFile;
use crate::record::{Record, flags};

/// The checksum of no annotations at all, which is not 0.
pub(crate) const NO_ANNOTATIONS: u32 = 12_345_678;

/// What counts of one message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message {
    pub(crate) uid: u32,
    pub(crate) modseq: u64,
    pub(crate) last_updated: u64,
    pub(crate) internaldate: u64,
    pub(crate) system_flags: u32,
    pub(crate) guid: Guid,
}

impl Message {
    /// As a record of version 12 or later has it.
    pub(crate) fn of(record: &Record<'_>) -> Option<Self> {
        Some(Self {
            uid: record.uid(),
            modseq: record.modseq()?,
            last_updated: record.get(R::LastUpdated)?,
            internaldate: record.get(R::Internaldate)?,
            system_flags: record.system_flags(),
            guid: record.guid().padded(),
        })
    }

    /// Its checksum with these user flags. A flag without a name does not count.
    pub(crate) fn crc(&self, user_flags: impl Iterator<Item = usize>, header: &HeaderFile) -> u32 {
        let mut flag_crc = 0;
        for (bit, name) in flags::COMPARED {
            if self.system_flags & bit != 0 {
                flag_crc ^= crc32fast::hash(name.as_bytes());
            }
        }
        for name in user_flags.filter_map(|k| header.flag_name(k)) {
            flag_crc ^= crc32fast::hash(name.to_ascii_lowercase().as_bytes());
        }
        let line = format!(
            "{} {} {} ({flag_crc}) {} {}",
            self.uid, self.modseq, self.last_updated, self.internaldate, self.guid
        );
        crc32fast::hash(line.as_bytes())
    }
}
