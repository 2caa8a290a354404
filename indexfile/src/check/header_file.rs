//! The `cyrus.header` of an index.

use super::findings::Findings;
use crate::dir::{OpenError, limit, read_in_store};
use crate::finding::Code;
use crate::layout::HeaderField as H;
use crate::mailbox::{HeaderFile, HeaderForm};
use crate::reader::IndexFile;
use std::path::Path;

/// Checks the header file; returns it if it can be read.
pub(super) fn check_header_file(
    path: &Path,
    indexes: &[&IndexFile],
    findings: &mut Findings,
) -> Option<HeaderFile> {
    let bytes = match read_in_store(path, limit::HEADER) {
        Ok(bytes) => bytes,
        Err(OpenError::Missing { .. }) => {
            findings.push(Code::HeaderMissing, path, None, "there is no cyrus.header");
            return None;
        }
        Err(e) => {
            findings.open_error(&e);
            return None;
        }
    };
    let header = match HeaderFile::parse_at(&bytes, path) {
        Ok(header) => header,
        Err(e) => {
            findings.push(Code::HeaderDamaged, path, None, e.to_string());
            return None;
        }
    };
    let index = indexes.first();
    if let Some(index) =
        index.filter(|i| i.minor_version() <= 10 && header.form == HeaderForm::Dlist)
    {
        let detail = format!(
            "the list form beside an index of version {}",
            index.minor_version()
        );
        findings.push(Code::HeaderForm, path, None, detail);
    }
    let stored = index
        .and_then(|i| i.header().get(H::HeaderFileCrc))
        .filter(|&crc| crc != 0);
    let computed = u64::from(crc32fast::hash(&bytes));
    if let Some(stored) = stored.filter(|&s| s != computed) {
        let detail = format!(
            "header_file_crc of the index is {stored:08x}, the file's bytes give {computed:08x}"
        );
        findings.push(Code::HeaderFileCrc, path, None, detail);
    }
    for index in indexes {
        for record in index.records() {
            let record = match record {
                Ok(record) => record,
                Err(error) => {
                    findings.read_error(&error);
                    break;
                }
            };
            if let Some(k) = record
                .user_flag_numbers()
                .find(|&k| header.flag_name(k).is_none())
            {
                let detail = format!(
                    "user flag {k} of UID {} in {} has no name",
                    record.uid(),
                    index.kind()
                );
                findings.push(Code::UnnamedFlag, path, Some(record.uid()), detail);
            }
        }
    }
    Some(header)
}
