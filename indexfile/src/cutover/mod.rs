//! The change-over to Cyrus 2.4 and later: one index of version 12 to 19 out of the index, the
//! expunge file and the owner's seen record of a mailbox of version 10.
//!
//! No server of version 2.5 and later does this: each unlinks every message in `cyrus.expunge`
//! instead. Promises: records of both files are merged by UID, every flag, date, modseq and GUID is
//! kept, and nothing is guessed: what is not sound, or has a GUID that is no SHA-1, is refused. The
//! message files are not read. Memory is 8 bytes for each expunged message and 8 for each gap in
//! what was seen. The output goes to whatever writer is given, and a header is in it only once
//! everything else is: a crash leaves a part of that and touches none of the sources.
//!
//! `cyrus.cache` and `cyrus.header` remain as they are, in the place where they are.

mod error;
mod header;
mod merge;
mod record;

pub use error::CutoverError;
pub use header::Counts;

use crate::cache_file::CacheFile;
use crate::layout::{self, Layout};
use crate::mailbox::{HeaderError, HeaderFile};
use crate::reader::IndexFile;
use crate::seen::SeenRecord;
use crate::stream_copy::Buffer;
use merge::Merge;
use record::RecordWriter;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

/// The version that the sources must have.
pub const FROM: u32 = 10;

/// The file beside a mailbox's index which says what a prepared index was made from. An index of
/// version 12 or later beside it is slotd's own doing, and no sign of a later Cyrus.
pub const STAMP_NAME: &str = "cyrus.cutover";

/// The prepared index, before it has the live name.
pub const SIDE_NAME: &str = "cyrus.cutover.index";

/// `cyrus.header`, of which the names of the flags are needed and a checksum of all bytes.
#[derive(Clone, Debug)]
pub struct HeaderImage {
    file: HeaderFile,
    crc: u32,
}

impl HeaderImage {
    /// Parses all bytes of the file; `path` is for messages.
    ///
    /// # Errors
    /// [`HeaderError`], but not `Io`.
    pub fn new(bytes: &[u8], path: &Path) -> Result<Self, HeaderError> {
        let file = HeaderFile::parse_at(bytes, path)?;
        let crc = crc32fast::hash(bytes);
        Ok(Self { file, crc })
    }

    /// What the file says.
    #[must_use]
    pub const fn file(&self) -> &HeaderFile {
        &self.file
    }
}

/// The files of one mailbox.
#[derive(Debug)]
pub struct Sources<'a> {
    /// `cyrus.index`, of version 10.
    pub index: &'a IndexFile,
    /// `cyrus.expunge`, of version 10, if there is one.
    pub expunge: Option<&'a IndexFile>,
    /// `cyrus.header`.
    pub header: &'a HeaderImage,
    /// `cyrus.cache`.
    pub cache: &'a mut CacheFile,
    /// The seen record of the owner, or of `anyone` if the mailbox has the option SHAREDSEEN
    /// ([`shares_seen`]); none if nobody ever looked.
    pub seen: Option<&'a SeenRecord>,
}

/// Whether all users of a mailbox share one seen state, that of the user `anyone`.
#[must_use]
pub fn shares_seen(index: &IndexFile) -> bool {
    let options = index.header().get(layout::HeaderField::Options);
    options.unwrap_or(0) & header::SHAREDSEEN != 0
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The counters of the header.
    pub counts: Counts,
    /// Records whose modseq of 0 became 1.
    pub zero_modseqs: u32,
    /// Records whose cached envelope has no date that Cyrus understands; `internaldate` stands in.
    pub without_date: u32,
    /// Records of the expunge file that were left out: their UID is in the index, or again further
    /// on in the expunge file.
    pub superseded: u32,
}

/// Writes the index of version `to` at the position of `out`, which ends up behind it. `now`, in
/// seconds since 1970, becomes the time of the last repack.
///
/// # Errors
/// [`CutoverError`]; what was written is of no use then, and has no header.
pub fn write<W: Write + Seek + ?Sized>(
    mut sources: Sources<'_>,
    to: u32,
    now: u32,
    out: &mut W,
) -> Result<Report, CutoverError> {
    let layout = layout::of(to).filter(|_| layout::CUTOVER.contains(&to));
    let layout = layout.ok_or(CutoverError::Target { to })?;
    check_sources(&mut sources)?;
    let start = out.stream_position().map_err(CutoverError::Write)?;
    let report = write_records(&mut sources, layout, out)?;
    let header = header::compose(&sources, layout, &report.counts, now);
    let end = out.stream_position().map_err(CutoverError::Write)?;
    out.seek(SeekFrom::Start(start))
        .and_then(|_| out.write_all(&header))
        .and_then(|()| out.seek(SeekFrom::Start(end)))
        .map_err(CutoverError::Write)?;
    Ok(report)
}

/// Refuses what could only be half understood.
fn check_sources(sources: &mut Sources<'_>) -> Result<(), CutoverError> {
    for file in std::iter::once(sources.index).chain(sources.expunge) {
        let minor_version = file.minor_version();
        if minor_version != FROM {
            return Err(CutoverError::Version {
                path: file.path().to_path_buf(),
                minor_version,
            });
        }
    }
    let (cache, index) = (sources.cache.generation()?, sources.index.header());
    if cache != Some(index.generation_no()) {
        return Err(CutoverError::Generation {
            path: sources.cache.path().to_path_buf(),
            cache,
            index: index.generation_no(),
        });
    }
    Ok(())
}

/// Writes zeros in the place of the header, and all records.
fn write_records<W: Write + ?Sized>(
    sources: &mut Sources<'_>,
    layout: &Layout,
    out: &mut W,
) -> Result<Report, CutoverError> {
    let (header_size, size) = (layout.header_size as usize, layout.record_size as usize);
    let mut out = Buffer::new(out, header_size.max(size));
    out.put(header_size, |header| header.fill(0))
        .map_err(CutoverError::Write)?;
    let mut writer = RecordWriter::new(sources, layout);
    let mut merge = Merge::new(sources.index, sources.expunge)?;
    let mut image = vec![0; size];
    while let Some((record, from)) = merge.read()? {
        writer.convert(&record, from, sources.cache, &mut image)?;
        out.put(size, |to| to.copy_from_slice(&image))
            .map_err(CutoverError::Write)?;
    }
    out.finish().map_err(CutoverError::Write)?;
    let superseded = merge.superseded();
    Ok(Report {
        superseded,
        ..writer.report()
    })
}

#[cfg(test)]
mod tests;
