//! By what two hosts of a changed-over mailbox are compared: what a user sees of it.
//!
//! Not `sync_crc`, which counts modseq and the time of the last change too: replication of 2.3
//! carries neither when flags change, and the replica writes its own. Not the digest of all
//! records: a host forgets expunged messages when its own `cyr_expire` comes round. User flags count by name,
//! because two hosts need not number them alike.

use indexfile::mailbox::HeaderFile;
use indexfile::{Guid, IndexFile, ReadError, RecordField, flags};
use sha1::{Digest, Sha1};

use crate::stage::cutover::is_over;

/// SHA-1 over a line of each message that is not expunged, in the order of their UIDs: UID, GUID,
/// size, internaldate, and the names of its flags in lower case, sorted. None below version 12,
/// where the seen state lies in another file.
///
/// # Errors
/// The index cannot be read to its end.
pub(super) fn live_digest(
    index: &IndexFile,
    header: &HeaderFile,
) -> Result<Option<Guid>, ReadError> {
    if !is_over(index.minor_version()) {
        return Ok(None);
    }
    let mut sha1 = Sha1::new();
    for record in index.records() {
        let record = record?;
        let set = record.system_flags();
        if set & flags::EXPUNGED != 0 {
            continue;
        }
        let system = flags::COMPARED
            .into_iter()
            .filter(|(bit, _)| set & bit != 0);
        let mut names: Vec<String> = system.map(|(_, name)| name.to_owned()).collect();
        // A flag without a name is none.
        let user = record
            .user_flag_numbers()
            .filter_map(|k| header.flag_name(k));
        names.extend(user.map(str::to_ascii_lowercase));
        names.sort_unstable();
        let number = |field| record.get(field).unwrap_or(0);
        let line = format!(
            "{} {} {} {} ({})\n",
            record.uid(),
            record.guid().padded(),
            number(RecordField::Size),
            number(RecordField::Internaldate),
            names.join(" ")
        );
        sha1.update(line.as_bytes());
    }
    Ok(Some(Guid::from_bytes(sha1.finalize().into())))
}
