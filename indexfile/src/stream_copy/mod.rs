//! Writing a file again in another version, record by record, altering GUIDs on the way.
//!
//! Promises: every field that both versions have is carried over bit for bit; fields that are new
//! get the values that Cyrus gives them on upgrade (without its bugs); nothing is lost unless
//! [`StreamCopy::lossy`] allows it, and the report counts what was. Memory does not grow with the
//! file. The output goes to whatever writer is given: a crash leaves a part of that and never
//! touches the input.

mod buffer;
mod header;
mod plan;
mod report;

pub use header::{HeaderCounts, convert_header};
use plan::Effect;
pub use plan::{GuidOut, RecordPlan, convert_record};
pub use report::{ConvertError, CopyError, CopyReport, Losses};

pub(crate) use self::buffer::Buffer;
use crate::guid::{Guid, Uuid};
use crate::layout::{self, Layout, RecordField};
use crate::reader::IndexFile;
use crate::record::Record;
use std::io::{Seek, SeekFrom, Write};

/// What becomes of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Carry it over; to its GUID do what Cyrus does (pad 12 to 20 bytes, cut 20 to 12, NULL if
    /// new).
    Keep,
    /// Carry it over with this GUID (cut to 12 bytes below version 10).
    Alter(Guid),
    /// Carry it over with this UUID (padded to 20 bytes in version 10).
    AlterUuid(Uuid),
    /// Carry it over with this UUID, and with the modseq 0 that an upgrade turned into 1.
    Restore {
        /// The identifier that an older copy of the file has.
        uuid: Uuid,
        /// Write modseq 0 where the record has 1.
        zero_modseq: bool,
    },
    /// Leave it out; the header's counters go down accordingly. Only with
    /// [`StreamCopy::write_seek`].
    Drop,
}

/// A copy of a file in another version; see the crate's example.
#[derive(Clone, Copy, Debug)]
pub struct StreamCopy<'a> {
    source: &'a IndexFile,
    to: u32,
    lossy: bool,
}

impl<'a> StreamCopy<'a> {
    /// Starts a copy of `source` in its own version.
    #[must_use]
    pub fn new(source: &'a IndexFile) -> Self {
        Self {
            source,
            to: source.minor_version(),
            lossy: false,
        }
    }

    /// Sets the version to write: 6 to 10.
    #[must_use]
    pub fn to_version(mut self, minor_version: u32) -> Self {
        self.to = minor_version;
        self
    }

    /// Allows to lose what the target cannot hold: modseqs below 8, UUIDs below 7, options below 8.
    #[must_use]
    pub fn lossy(mut self, lossy: bool) -> Self {
        self.lossy = lossy;
        self
    }

    /// Counts what the target version cannot hold, and checks that the copy is possible at all.
    ///
    /// # Errors
    /// [`ConvertError`] if the versions are not ones that are written, or something would be lost
    /// and [`Self::lossy`] was not asked for, or the input cannot be read.
    pub fn prepare(&self) -> Result<Losses, ConvertError> {
        let layout = self.target()?;
        let losses = Losses::count(self.source, layout)?;
        if losses.any() && !self.lossy {
            let path = self.source.path().to_path_buf();
            return Err(ConvertError::Loss {
                path,
                to: self.to,
                losses,
            });
        }
        Ok(losses)
    }

    /// Bytes the copy will have if no record is dropped.
    #[must_use]
    pub fn output_len(&self) -> Option<u64> {
        let layout = self.target().ok()?;
        let records = u64::from(self.source.num_records()) * u64::from(layout.record_size);
        Some(u64::from(layout.header_size) + records)
    }

    fn target(&self) -> Result<&'static Layout, ConvertError> {
        let (from, to) = (self.source.minor_version(), self.to);
        let path = || self.source.path().to_path_buf();
        if from > 10 || to > 10 && layout::of(to).is_some() {
            return Err(ConvertError::ReadOnlyVersion {
                path: path(),
                from,
                to,
            });
        }
        match layout::of(to).filter(|_| layout::WRITABLE.contains(&to)) {
            Some(layout) => Ok(layout),
            None => Err(ConvertError::UnwritableVersion { path: path(), to }),
        }
    }

    /// Writes the copy. `decide` is called once a record, in the order of the file.
    ///
    /// # Errors
    /// [`CopyError::Convert`] before anything is written; else what `decide` or the writer said, or
    /// [`CopyError::Read`]: what was written is of no use then.
    /// [`Decision::Drop`] is refused here, as the header is written first.
    pub fn write<W, F, E>(&self, out: &mut W, mut decide: F) -> Result<CopyReport, CopyError<E>>
    where
        W: Write + ?Sized,
        F: FnMut(Record<'_>) -> Result<Decision, E>,
    {
        self.run(out, |record| match decide(record) {
            Ok(Decision::Drop) => Err(CopyError::DropNeedsSeek { uid: record.uid() }),
            Ok(decision) => Ok(decision),
            Err(e) => Err(CopyError::Decide(e)),
        })
        .map(|(report, _)| report)
    }

    /// Writes the copy to something that can seek, so that records may be dropped. The copy begins
    /// at the writer's position, and the writer ends up behind it.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn write_seek<W, F, E>(
        &self,
        out: &mut W,
        mut decide: F,
    ) -> Result<CopyReport, CopyError<E>>
    where
        W: Write + Seek + ?Sized,
        F: FnMut(Record<'_>) -> Result<Decision, E>,
    {
        let start = out.stream_position().map_err(CopyError::Write)?;
        let (report, gone) = self.run(out, |record| decide(record).map_err(CopyError::Decide))?;
        if report.dropped > 0 {
            let layout = self.target()?;
            let counts = HeaderCounts::of(self.source)?;
            let header = convert_header(self.source.header(), layout, &counts.without(&gone));
            let end = out.stream_position().map_err(CopyError::Write)?;
            out.seek(SeekFrom::Start(start)).map_err(CopyError::Write)?;
            out.write_all(&header).map_err(CopyError::Write)?;
            out.seek(SeekFrom::Start(end)).map_err(CopyError::Write)?;
        }
        Ok(report)
    }

    fn run<W, F, E>(
        &self,
        out: &mut W,
        mut decide: F,
    ) -> Result<(CopyReport, HeaderCounts), CopyError<E>>
    where
        W: Write + ?Sized,
        F: FnMut(Record<'_>) -> Result<Decision, CopyError<E>>,
    {
        let layout = self.target()?;
        let losses = self.prepare()?;
        let plan = RecordPlan::new(
            self.source.minor_version(),
            self.source.record_slots(),
            layout,
        );
        let mut report = CopyReport::new(self.source.minor_version(), self.to, losses);
        let mut gone = HeaderCounts::default();
        let counts = HeaderCounts::of(self.source)?;
        let header = convert_header(self.source.header(), layout, &counts);
        let size = layout.record_size as usize;
        let mut buffer = Buffer::new(out, size.max(header.len()));
        buffer
            .put(header.len(), |to| to.copy_from_slice(&header))
            .map_err(CopyError::Write)?;
        let mut blocks = self.source.blocks();
        while let Some(block) = blocks.read()? {
            for record in block.records() {
                let decision = decide(record)?;
                let given = match decision {
                    Decision::Keep => None,
                    Decision::Alter(guid) => Some(guid),
                    Decision::AlterUuid(uuid) | Decision::Restore { uuid, .. } => {
                        Some(Guid::padded(uuid))
                    }
                    Decision::Drop => {
                        gone.add(&record);
                        report.dropped += 1;
                        continue;
                    }
                };
                // Every byte of a record belongs to a field, so all of `to` is written.
                let mut effect = Effect::default();
                let put = buffer.put(size, |to| {
                    effect = plan.convert_as(record.bytes(), given.as_ref(), to);
                    if matches!(
                        decision,
                        Decision::Restore {
                            zero_modseq: true,
                            ..
                        }
                    ) {
                        restore_zero_modseq(layout, &record, to);
                    }
                });
                put.map_err(CopyError::Write)?;
                report.count(effect);
            }
        }
        buffer.finish().map_err(CopyError::Write)?;
        Ok((report, gone))
    }
}

/// Undoes what an upgrade does to a modseq of 0, unless the record changed since.
fn restore_zero_modseq(layout: &Layout, record: &Record<'_>, out: &mut [u8]) {
    let slot = layout.record.get(RecordField::Modseq);
    if let Some(slot) = slot.filter(|_| record.modseq() == Some(1)) {
        let _ = slot.write(out, 0);
    }
}
