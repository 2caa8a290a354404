//! The `cyrus.cache` of an index: generation, offsets, records, checksums.

use super::findings::Findings;
use crate::cache_file::{CacheFile, offset_of};
use crate::dir::{OpenError, open_named};
use crate::finding::Code;
use crate::layout::RecordField as R;
use crate::read_error::ReadError;
use crate::reader::IndexFile;
use crate::record::{Record, flags};
use std::path::Path;

/// Checks the cache at `path` against the records of `indexes` (the index first, then the expunge
/// file).
pub(super) fn check_cache(path: &Path, indexes: &[&IndexFile], findings: &mut Findings) {
    let Some(index) = indexes.first() else { return };
    let minor = index.minor_version();
    // A cache is never replaced by rename: it may be a link.
    let file = match open_named(path) {
        Ok(file) => file,
        Err(OpenError::Missing { .. }) => {
            // From version 12 on an empty mailbox has no cache.
            if minor <= 10 || index.num_records() > 0 {
                findings.push(Code::CacheMissing, path, None, "there is no cyrus.cache");
            }
            return;
        }
        Err(e) => return findings.open_error(&e),
    };
    let opened = CacheFile::from_file(&file, path).map_err(ReadError::from);
    let result = opened.and_then(|mut cache| check_file(&mut cache, indexes, findings));
    if let Err(error) = result {
        findings.read_error(&error);
    }
}

/// Checks the content of a `cyrus.cache` against the records of `indexes`, the index being the
/// first.
pub fn check_cache_bytes(
    cache: &[u8],
    path: &Path,
    indexes: &[&IndexFile],
    findings: &mut Findings,
) {
    let mut cache = CacheFile::from_bytes(cache, path);
    if let Err(error) = check_file(&mut cache, indexes, findings) {
        findings.read_error(&error);
    }
}

fn check_file(
    cache: &mut CacheFile,
    indexes: &[&IndexFile],
    findings: &mut Findings,
) -> Result<(), ReadError> {
    let Some(index) = indexes.first() else {
        return Ok(());
    };
    let Some(generation) = cache.generation()? else {
        let detail = "it is too short for its generation number";
        findings.push(Code::CacheDamaged, cache.path(), None, detail);
        return Ok(());
    };
    let expected = index.header().generation_no();
    if generation != expected {
        findings.push(
            Code::CacheGeneration,
            cache.path(),
            None,
            format!("it has generation {generation}, the index {expected}"),
        );
    }
    let mut archived = 0_u64;
    for index in indexes {
        for record in index.records() {
            let record = record?;
            let is = |flag| record.system_flags() & flag != 0;
            // A record without its file has, from version 12 on, nothing in the cache either.
            if is(flags::UNLINKED) {
                continue;
            }
            // Below version 12 the bit has no meaning. Its offset is one in another file.
            if is(flags::ARCHIVED) && index.minor_version() >= 12 {
                archived += 1;
                continue;
            }
            check_record(cache, &record, index, findings)?;
        }
    }
    if archived > 0 {
        let detail = format!("{archived} records have theirs on the archive partition");
        findings.push(Code::CacheArchived, cache.path(), None, detail);
    }
    Ok(())
}

fn check_record(
    cache: &mut CacheFile,
    record: &Record<'_>,
    index: &IndexFile,
    findings: &mut Findings,
) -> Result<(), ReadError> {
    let uid = Some(record.uid());
    let offset = offset_of(record, index.minor_version());
    if offset < 4 || offset >= cache.len() {
        let detail = format!(
            "cache_offset {offset} of {} is not inside {} bytes",
            index.kind(),
            cache.len()
        );
        findings.push(Code::CacheOffset, cache.path(), uid, detail);
        return Ok(());
    }
    let Some(range) = cache.record(offset)? else {
        let detail = format!("at {offset} there is no whole cache record");
        findings.push(Code::CacheDamaged, cache.path(), uid, detail);
        return Ok(());
    };
    let Some(stored) = record.get(R::CacheCrc).filter(|&crc| crc != 0) else {
        return Ok(());
    };
    let computed = cache.crc(range)?;
    if stored != u64::from(computed) {
        let detail = format!("cache_crc is {stored:08x}, the cache record gives {computed:08x}");
        findings.push(Code::CacheCrc, cache.path(), uid, detail);
    }
    Ok(())
}
