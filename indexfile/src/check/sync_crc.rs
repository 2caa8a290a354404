//! The checksum over the messages that replication compares; see [`crate::sync_crc`].
//!
//! It is compared only where `cyrus.header` can be read. The checksum of the annotations is not
//! compared: they lie in another database.

use super::findings::Findings;
use crate::finding::Code;
use crate::layout::HeaderField as H;
use crate::mailbox::HeaderFile;
use crate::reader::IndexFile;
use crate::record::flags;
use crate::sync_crc::Message;

/// Compares the `sync_crc` of an index, if it has one, with its records.
pub(super) fn check_sync_crc(index: &IndexFile, header: &HeaderFile, findings: &mut Findings) {
    if index.minor_version() > 19 {
        // Version 20 keeps fractions of seconds; no file of it has been seen that shows how they
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
        let Some(message) = Message::of(&record) else {
            return;
        };
        computed ^= message.crc(record.user_flag_numbers(), header);
    }
    if stored != u64::from(computed) {
        let detail = format!("sync_crc is {stored:08x}, the records give {computed:08x}");
        findings.push(Code::SyncCrc, index.path(), None, detail);
    }
}
