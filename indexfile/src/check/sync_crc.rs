//! The checksum over the messages that replication of 2.4 and later compares.
//!
//! Versions 12 to 19 keep in the index's header the XOR, over all messages not expunged, of the
//! CRC-32 of a line of text made from each: `UID modseq last_updated (flags) internaldate guid`,
//! where `flags` is the XOR of the CRC-32 of each flag's name in lower case. It needs the names of
//! the user flags, so it is compared only where `cyrus.header` can be read. Proven on files of
//! Cyrus 3.6.1 of versions 12 to 17. The checksum of the annotations is not compared: they lie in
//! another database.

use super::findings::Findings;
use crate::finding::Code;
use crate::layout::{HeaderField as H, RecordField as R};
use crate::mailbox::HeaderFile;
use crate::reader::IndexFile;
use crate::record::{Record, flags};

/// The flags which clients see, by the names that count.
const SYSTEM_FLAGS: [(u32, &str); 5] = [
    (flags::ANSWERED, "\\answered"),
    (flags::FLAGGED, "\\flagged"),
    (flags::DELETED, "\\deleted"),
    (flags::DRAFT, "\\draft"),
    (flags::SEEN, "\\seen"),
];

/// Compares the `sync_crc` of an index, if it has one, with its records.
pub(super) fn check_sync_crc(index: &IndexFile, header: &HeaderFile, findings: &mut Findings) {
    if index.minor_version() > 19 {
        // Version 20 keeps fractions of seconds; no file of it has been seen to tell how they
        // count.
        return;
    }
    // 0 is also "not computed yet": the server makes it when it is asked for.
    let Some(stored) = index.header().get(H::SyncCrc).filter(|&crc| crc != 0) else {
        return;
    };
    let mut computed = 0;
    for record in index.records() {
        let record = match record {
            Ok(record) => record,
            Err(error) => return findings.read_error(&error),
        };
        if record.system_flags() & flags::EXPUNGED != 0 {
            continue;
        }
        let Some(crc) = record_sync_crc(&record, header) else {
            return; // a flag without a name, which is a finding of its own
        };
        computed ^= crc;
    }
    if stored != u64::from(computed) {
        let detail = format!("sync_crc is {stored:08x}, the records give {computed:08x}");
        findings.push(Code::SyncCrc, index.path(), None, detail);
    }
}

fn record_sync_crc(record: &Record<'_>, header: &HeaderFile) -> Option<u32> {
    let mut flag_crc = 0;
    for (bit, name) in SYSTEM_FLAGS {
        if record.system_flags() & bit != 0 {
            flag_crc ^= crc32fast::hash(name.as_bytes());
        }
    }
    for k in record.user_flag_numbers() {
        let name = header.flag_name(k)?.to_ascii_lowercase();
        flag_crc ^= crc32fast::hash(name.as_bytes());
    }
    let line = format!(
        "{} {} {} ({flag_crc}) {} {}",
        record.uid(),
        record.modseq()?,
        record.get(R::LastUpdated)?,
        record.get(R::Internaldate)?,
        record.guid().padded()
    );
    Some(crc32fast::hash(line.as_bytes()))
}
