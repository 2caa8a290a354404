//! `cyrus.cache` beside an index: generation, offsets, records, checksums.
//!
//! It may be gigabytes long and is read through a window, mostly once from front to back.

use super::findings::Findings;
use crate::dir::{OpenError, open_named};
use crate::error::IoError;
use crate::finding::Code;
use crate::header::be32;
use crate::layout::RecordField as R;
use crate::read_error::ReadError;
use crate::reader::IndexFile;
use crate::record::{Record, flags};
use crate::source::{Source, Window};
use std::path::Path;

/// Items of a cache record.
const ITEMS: usize = 10;
/// Bytes whose checksum is computed at a time.
const PIECE: u64 = 16 << 10;

/// Checks the cache at `path` against the records of `indexes` (the index first, then the expunge
/// file).
pub(super) fn check_cache(path: &Path, indexes: &[&IndexFile], findings: &mut Findings) {
    let Some(index) = indexes.first() else { return };
    let minor = index.minor_version();
    // Nobody replaces a cache by rename: it may be a link.
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
    let opened = file.metadata().and_then(|meta| {
        let source = Source::of(&file, meta.len())?;
        Ok(Window::new(source, meta.len()))
    });
    let result = match opened {
        Ok(mut cache) => check_window(&mut cache, path, indexes, findings),
        Err(e) => Err(IoError::new("read", path, e).into()),
    };
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
    let mut cache = Window::of_bytes(cache);
    if let Err(error) = check_window(&mut cache, path, indexes, findings) {
        findings.read_error(&error);
    }
}

fn check_window(
    cache: &mut Window,
    path: &Path,
    indexes: &[&IndexFile],
    findings: &mut Findings,
) -> Result<(), ReadError> {
    let Some(index) = indexes.first() else {
        return Ok(());
    };
    let Some(generation) = word(cache, 0, path)? else {
        let detail = "it is too short for its generation number";
        findings.push(Code::CacheDamaged, path, None, detail);
        return Ok(());
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
            check_record(cache, &record, index, path, findings)?;
        }
    }
    if archived > 0 {
        let detail = format!("{archived} records have theirs on the archive partition");
        findings.push(Code::CacheArchived, path, None, detail);
    }
    Ok(())
}

fn check_record(
    cache: &mut Window,
    record: &Record<'_>,
    index: &IndexFile,
    path: &Path,
    findings: &mut Findings,
) -> Result<(), ReadError> {
    let uid = Some(record.uid());
    let mut offset = record.get(R::CacheOffset).unwrap_or(0);
    if index.minor_version() >= 12 {
        // Bits 32 to 47, from 3.2 on; the version proper is in the lower half.
        offset |= (record.get(R::CacheVersion).unwrap_or(0) >> 16) << 32;
    }
    if offset < 4 || offset >= cache.len() {
        let detail = format!(
            "cache_offset {offset} of {} is not inside {} bytes",
            index.kind(),
            cache.len()
        );
        findings.push(Code::CacheOffset, path, uid, detail);
        return Ok(());
    }
    let Some(end) = record_end(cache, offset, path)? else {
        let detail = format!("at {offset} there is no whole cache record");
        findings.push(Code::CacheDamaged, path, uid, detail);
        return Ok(());
    };
    let Some(stored) = record.get(R::CacheCrc).filter(|&crc| crc != 0) else {
        return Ok(());
    };
    let mut crc = crc32fast::Hasher::new();
    let mut at = offset;
    while at < end {
        let count = (end - at).min(PIECE);
        crc.update(bytes(cache, at, count, path)?.unwrap_or_default());
        at += count;
    }
    let computed = u64::from(crc.finalize());
    if stored != computed {
        let detail = format!("cache_crc is {stored:08x}, the cache record gives {computed:08x}");
        findings.push(Code::CacheCrc, path, uid, detail);
    }
    Ok(())
}

/// Where the cache record ends that begins at `at`: ten items of a length and padded data.
fn record_end(cache: &mut Window, mut at: u64, path: &Path) -> Result<Option<u64>, ReadError> {
    for _ in 0..ITEMS {
        let Some(len) = word(cache, at, path)? else {
            return Ok(None);
        };
        // Both are far below 2^63.
        at += 4 + u64::from(len).next_multiple_of(4);
        if at > cache.len() {
            return Ok(None);
        }
    }
    Ok(Some(at))
}

fn word(cache: &mut Window, at: u64, path: &Path) -> Result<Option<u32>, ReadError> {
    Ok(bytes(cache, at, 4, path)?.and_then(|word| be32(word, 0)))
}

/// `None` if the file never had so many bytes.
fn bytes<'a>(
    cache: &'a mut Window,
    at: u64,
    count: u64,
    path: &Path,
) -> Result<Option<&'a [u8]>, ReadError> {
    let expected = cache.len();
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    cache.at(at, count).map_err(|error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => ReadError::Changed {
            path: path.to_path_buf(),
            expected,
            actual: at,
        },
        _ => IoError::new("read", path, error).into(),
    })
}
