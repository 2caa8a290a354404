//! All files of one mailbox together.

use super::file::check_index;
use super::findings::Findings;
use super::{Options, cache, header_file, messages, reconstruct, sync_crc};
use crate::dir::open_in_store;
use crate::error::IoError;
use crate::finding::Code;
use crate::kind::FileKind;
use crate::mailbox::{HeaderFile, Location, MailboxDirs, MetaFile};
use crate::read_error::ReadError;
use crate::reader::IndexFile;
use crate::sha1s::{Cache, CacheError};
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// Opens a file and checks it by itself; `None` if it cannot be read as an index.
pub(super) fn open_and_check(
    path: &Path,
    kind: FileKind,
    findings: &mut Findings,
) -> Option<IndexFile> {
    let opened = open_in_store(path)
        .map_err(|e| ReadError::from(IoError::from(e)))
        .and_then(|file| IndexFile::from_file_unverified(&file, path, kind));
    match opened {
        Ok(index) => {
            check_index(&index, findings);
            Some(index)
        }
        Err(e) => {
            findings.count_file();
            findings.read_error(&e);
            None
        }
    }
}

/// Checks a mailbox: each file, and whether they belong together.
pub fn check_mailbox(dirs: &MailboxDirs, options: &Options, findings: &mut Findings) {
    let [index, expunge, cache, header] = [
        MetaFile::Index,
        MetaFile::Expunge,
        MetaFile::Cache,
        MetaFile::Header,
    ]
    .map(|file| dirs.file(file));
    for path in [&index, &expunge, &cache, &header] {
        let mut new = path.clone().into_os_string();
        new.push(".NEW");
        let new = PathBuf::from(new);
        if new.symlink_metadata().is_ok() {
            findings.push(Code::NewLeftBehind, &new, None, "left behind");
        }
    }
    let index = open_and_check(&index, FileKind::Index, findings);
    let has_expunge = expunge.symlink_metadata().is_ok();
    let expunge = has_expunge
        .then(|| open_and_check(&expunge, FileKind::Expunge, findings))
        .flatten();
    if let (Some(index), Some(expunge)) = (&index, &expunge) {
        check_pair(index, expunge, findings);
    }
    let indexes: Vec<&IndexFile> = index.iter().chain(&expunge).collect();
    let header = header_file::check_header_file(&header, &indexes, findings);
    cache::check_cache(&cache, &indexes, findings);
    if let (Some(index), Some(header)) = (&index, &header) {
        sync_crc::check_sync_crc(index, header, findings);
    }
    if let Some(index) = &index {
        check_sha1s(
            &dirs.file(MetaFile::Sha1s),
            index,
            header.as_ref(),
            findings,
        );
    }
    let data = || dirs.data().path();
    let messages = options.messages.clone();
    let Some(dir) = messages.or_else(|| options.before_reconstruct.then(data)) else {
        return;
    };
    let archive = dirs.archive().map(Location::path);
    let seen = messages::check_messages(&dir, archive.as_deref(), &indexes, findings);
    if let Some(index) = index.as_ref().filter(|_| options.before_reconstruct) {
        reconstruct::check_before_reconstruct(index, seen, findings);
    }
}

/// Checks index and expunge file side by side.
pub fn check_pair(index: &IndexFile, expunge: &IndexFile, findings: &mut Findings) {
    let path = expunge.path();
    let (ours, theirs) = (index.minor_version(), expunge.minor_version());
    if ours > 10 {
        findings.push(
            Code::ExpungeBeside12,
            path,
            None,
            format!("the index has version {ours}"),
        );
    } else if theirs < ours {
        let detail = format!(
            "it has version {theirs}, the index {ours}: Cyrus reads it with the sizes of the \
             index, and misreads its records"
        );
        findings.push(Code::ExpungeOlder, path, None, detail);
    } else if theirs > ours {
        findings.push(
            Code::ExpungeNewer,
            path,
            None,
            format!("it has version {theirs}, the index {ours}"),
        );
    }
    let validity = (index.header().uidvalidity(), expunge.header().uidvalidity());
    if validity.0 != validity.1 {
        let detail = format!(
            "it has uidvalidity {}, the index {}",
            validity.1, validity.0
        );
        findings.push(Code::ExpungeUidvalidity, path, None, detail);
    }
    if let Err(error) = check_uids(index, expunge, findings) {
        findings.read_error(&error);
    }
}

/// Each UID is in one of the two, once, and was given by the index.
fn check_uids(
    index: &IndexFile,
    expunge: &IndexFile,
    findings: &mut Findings,
) -> Result<(), ReadError> {
    let path = expunge.path();
    // All the space at once: a set that grows takes half as much again for a moment.
    let mut seen = HashSet::with_capacity(expunge.num_records() as usize);
    for record in expunge.records() {
        let uid = record?.uid();
        if !seen.insert(uid) {
            findings.push(
                Code::DuplicateUid,
                path,
                Some(uid),
                format!("UID {uid} is in it twice"),
            );
        } else if index.find_uid(uid)?.is_some() {
            findings.push(
                Code::DuplicateUid,
                path,
                Some(uid),
                format!("UID {uid} is in the index too"),
            );
        }
        if uid > index.header().last_uid() {
            let detail = format!(
                "last_uid is {}, UID {uid} was expunged",
                index.header().last_uid()
            );
            findings.push(Code::LastUid, index.path(), Some(uid), detail);
        }
    }
    Ok(())
}

fn check_sha1s(
    path: &Path,
    index: &IndexFile,
    header: Option<&HeaderFile>,
    findings: &mut Findings,
) {
    match Cache::open(path) {
        Ok(cache) => {
            let uidvalidity = index.header().uidvalidity();
            let other_id = header.is_some_and(|h| h.uniqueid != cache.uniqueid());
            if cache.uidvalidity() != uidvalidity || other_id {
                let detail = format!(
                    "it is of uidvalidity {} and uniqueid {:?}",
                    cache.uidvalidity(),
                    cache.uniqueid()
                );
                findings.push(Code::Sha1sForeign, path, None, detail);
            }
        }
        Err(CacheError::Io(e)) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(CacheError::Io(e)) => findings.push(Code::Io, path, None, e.to_string()),
        Err(e) => findings.push(Code::Sha1sDamaged, path, None, e.to_string()),
    }
}
