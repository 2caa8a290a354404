//! Records against message files.

use super::findings::Findings;
use crate::finding::Code;
use crate::guid::RecordGuid;
use crate::message::{MessageError, Spool};
use crate::reader::IndexFile;
use crate::record::flags;
use std::path::Path;

/// Compares sizes, and GUIDs that are whole SHA-1s, with the files in `dir`.
pub(super) fn check_messages(dir: &Path, indexes: &[&IndexFile], findings: &mut Findings) {
    let messages = match Spool::open(dir) {
        Ok(messages) => messages,
        Err(e) => return findings.push(Code::Io, dir, None, e.to_string()),
    };
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
            let path = messages.path_of(uid);
            let message = match messages.hash(uid) {
                Ok(message) => message,
                Err(MessageError::Missing { .. }) => {
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
}
