//! Records against message files.

use super::findings::Findings;
use crate::finding::Code;
use crate::guid::RecordGuid;
use crate::message::{MessageError, Spool};
use crate::reader::IndexFile;
use crate::record::{Record, flags};
use std::path::Path;

/// What there was of the messages.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    /// Records that have a file.
    pub(super) messages: u64,
    /// Of those, the ones of which the file is not there.
    pub(super) missing: u64,
}

/// Compares sizes, and GUIDs that are whole SHA-1s, with the files in `dir`; those of archived
/// messages with the files in `archive`, if it is known.
pub(super) fn check_messages(
    dir: &Path,
    archive: Option<&Path>,
    indexes: &[&IndexFile],
    findings: &mut Findings,
) -> Seen {
    let mut seen = Seen::default();
    let mut open = |dir| match Spool::open(dir) {
        Ok(messages) => Some(messages),
        Err(e) => {
            findings.push(Code::Io, dir, None, e.to_string());
            None
        }
    };
    let Some(data) = open(dir) else {
        return seen;
    };
    let archive = archive.filter(|_| indexes.iter().any(|index| has_archived(index)));
    let archive = archive.and_then(open);
    for index in indexes {
        for record in index.records() {
            let record = match record {
                Ok(record) => record,
                Err(error) => {
                    findings.read_error(&error);
                    break;
                }
            };
            if record.system_flags() & flags::UNLINKED != 0 {
                continue;
            }
            let uid = record.uid();
            seen.messages += 1;
            let archived = is_archived(index, &record);
            let messages = match &archive {
                Some(archive) if archived => archive,
                _ => &data,
            };
            let path = messages.path_of(uid);
            let message = match messages.hash(uid) {
                Ok(message) => message,
                Err(MessageError::Missing { .. }) => {
                    seen.missing += 1;
                    let detail = format!("the file of UID {uid} in {} is missing", index.kind());
                    findings.push(Code::MessageMissing, dir, Some(uid), detail);
                    continue;
                }
                Err(e) => {
                    findings.push(Code::MessageUnreadable, dir, Some(uid), e.to_string());
                    continue;
                }
            };
            if message.size != record.size() {
                let detail = format!(
                    "{} has {} bytes, the record says {}",
                    path.display(),
                    message.size,
                    record.size()
                );
                findings.push(Code::MessageSize, dir, Some(uid), detail);
            }
            let RecordGuid::Guid(guid) = record.guid() else {
                continue;
            };
            if !guid.is_old_style() && guid != message.guid {
                let detail = format!(
                    "{} has SHA-1 {}, the record {guid}",
                    path.display(),
                    message.guid
                );
                findings.push(Code::MessageGuid, dir, Some(uid), detail);
            }
        }
    }
    seen
}

/// Below version 12 the bit has no meaning.
fn is_archived(index: &IndexFile, record: &Record<'_>) -> bool {
    index.minor_version() >= 12 && record.system_flags() & flags::ARCHIVED != 0
}

fn has_archived(index: &IndexFile) -> bool {
    index
        .records()
        .flatten()
        .any(|record| is_archived(index, &record))
}
