//! `cyrus.cache` beside an index: generation, offsets, records, checksums.

use super::code::Code;
use super::findings::Findings;
use crate::bytes::Bytes;
use crate::error::IoError;
use crate::header::be32;
use crate::layout::RecordField as R;
use crate::reader::IndexFile;
use crate::record::{Record, flags};
use std::fs::File;
use std::path::Path;

/// Items of a cache record.
const ITEMS: usize = 10;

/// Checks the cache at `path` against the records of `indexes` (the index first, then the expunge file).
pub(super) fn check_cache(path: &Path, indexes: &[&IndexFile], findings: &mut Findings) {
    let Some(index) = indexes.first() else { return };
    let minor = index.minor_version();
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            // From version 12 on an empty mailbox has no cache.
            if minor <= 10 || index.num_records() > 0 {
                findings.push(Code::CacheMissing, path, None, "there is no cyrus.cache");
            }
            return;
        }
        Err(e) => {
            return findings.push(
                Code::Io,
                path,
                None,
                IoError::new("open", path, e).to_string(),
            );
        }
    };
    let mapped = file.metadata().and_then(|meta| {
        let len = usize::try_from(meta.len()).map_err(|_| std::io::ErrorKind::FileTooLarge)?;
        Bytes::map(&file, len)
    });
    let cache = match mapped {
        Ok(bytes) => bytes,
        Err(e) => {
            return findings.push(
                Code::Io,
                path,
                None,
                IoError::new("read", path, e).to_string(),
            );
        }
    };
    check_cache_bytes(&cache, path, indexes, findings);
}

/// Checks the content of a `cyrus.cache` against the records of `indexes`, the index being the first.
pub fn check_cache_bytes(
    cache: &[u8],
    path: &Path,
    indexes: &[&IndexFile],
    findings: &mut Findings,
) {
    let Some(index) = indexes.first() else { return };
    let Some(generation) = be32(cache, 0) else {
        return findings.push(
            Code::CacheDamaged,
            path,
            None,
            "it is too short for its generation number",
        );
    };
    let expected = index.header().generation_no();
    if generation != expected {
        findings.push(
            Code::CacheGeneration,
            path,
            None,
            format!("it has generation {generation}, the index {expected}"),
        );
    }
    for index in indexes {
        // A record without its file has, from version 12 on, nothing in the cache either.
        for record in index
            .released_records()
            .filter(|r| r.system_flags() & flags::UNLINKED == 0)
        {
            check_record(cache, &record, index, path, findings);
        }
    }
}

fn check_record(
    cache: &[u8],
    record: &Record<'_>,
    index: &IndexFile,
    path: &Path,
    findings: &mut Findings,
) {
    let uid = Some(record.uid());
    let mut offset = record.get(R::CacheOffset).unwrap_or(0);
    if index.minor_version() >= 12 {
        // Bits 32 to 47, from 3.2 on; the version proper is in the lower half.
        offset |= (record.get(R::CacheVersion).unwrap_or(0) >> 16) << 32;
    }
    let from = usize::try_from(offset)
        .ok()
        .filter(|&o| o >= 4)
        .and_then(|o| cache.get(o..));
    let Some(from) = from.filter(|rest| !rest.is_empty()) else {
        let detail = format!(
            "cache_offset {offset} of {} is not inside {} bytes",
            index.kind(),
            cache.len()
        );
        return findings.push(Code::CacheOffset, path, uid, detail);
    };
    let Some(len) = record_len(from) else {
        let detail = format!("at {offset} there is no whole cache record");
        return findings.push(Code::CacheDamaged, path, uid, detail);
    };
    let stored = record.get(R::CacheCrc).filter(|&crc| crc != 0);
    let computed = u64::from(crc32fast::hash(&from[..len]));
    if let Some(stored) = stored.filter(|&s| s != computed) {
        let detail = format!("cache_crc is {stored:08x}, the cache record gives {computed:08x}");
        findings.push(Code::CacheCrc, path, uid, detail);
    }
}

/// Length of the cache record that `bytes` begin with: ten items of a length and padded data.
fn record_len(bytes: &[u8]) -> Option<usize> {
    let mut at = 0_usize;
    for _ in 0..ITEMS {
        let len = be32(bytes, at)? as usize;
        at = at
            .checked_add(4)?
            .checked_add(len.checked_next_multiple_of(4)?)?;
        if at > bytes.len() {
            return None;
        }
    }
    Some(at)
}
