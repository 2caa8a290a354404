//! What a copy did, what it would lose, and why it was refused.

use super::plan::Effect;
use crate::exit::Exit;
use crate::guid::RecordGuid;
use crate::layout::{HeaderField, Layout, RecordField};
use crate::read_error::ReadError;
use crate::reader::IndexFile;
use std::fmt;
use std::path::PathBuf;

/// What the target version cannot hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Records with a modseq above 1.
    pub modseqs: u32,
    /// The header's highestmodseq, if above 1.
    pub highestmodseq: u64,
    /// Records with a UUID or GUID that is not NULL.
    pub guids: u32,
    /// Option bits besides bit 0.
    pub options: u32,
}

impl Losses {
    /// Counts by a pass over the records, if the target makes one needed.
    pub(crate) fn count(source: &IndexFile, to: &Layout) -> Result<Self, ReadError> {
        let mut losses = Self::default();
        let keeps = |field| to.record.get(field).is_some();
        let had = |field| source.record_slots().get(field).is_some();
        let modseq = had(RecordField::Modseq) && !keeps(RecordField::Modseq);
        let guid = had(RecordField::Guid) && !keeps(RecordField::Guid);
        if modseq || guid {
            let mut blocks = source.blocks();
            while let Some(block) = blocks.read()? {
                for record in block.records() {
                    losses.modseqs += u32::from(modseq && record.modseq() > Some(1));
                    let null = match record.guid() {
                        RecordGuid::Absent => true,
                        RecordGuid::Uuid(uuid) => uuid.is_null(),
                        RecordGuid::Guid(guid) => guid.is_null(),
                    };
                    losses.guids += u32::from(guid && !null);
                }
            }
        }
        if to.minor_version < 8 && source.minor_version() >= 8 {
            let header = source.header();
            losses.highestmodseq = header.highestmodseq().filter(|&m| m > 1).unwrap_or(0);
            let options = header.get(HeaderField::Options).unwrap_or(0) & !1;
            losses.options = u32::try_from(options).unwrap_or(u32::MAX);
        }
        Ok(losses)
    }

    /// True if anything is lost.
    #[must_use]
    pub fn any(&self) -> bool {
        *self != Self::default()
    }
}

impl fmt::Display for Losses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if self.modseqs > 0 {
            parts.push(format!("{} modseqs", self.modseqs));
        }
        if self.highestmodseq > 0 {
            parts.push(format!("highestmodseq {}", self.highestmodseq));
        }
        if self.guids > 0 {
            parts.push(format!("{} message identifiers", self.guids));
        }
        if self.options > 0 {
            parts.push(format!("option bits {:#x}", self.options));
        }
        f.write_str(if parts.is_empty() { "nothing" } else { "" })?;
        f.write_str(&parts.join(", "))
    }
}

/// What a copy did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyReport {
    /// Version of the input.
    pub from: u32,
    /// Version of the output.
    pub to: u32,
    /// Records written.
    pub records: u32,
    /// Records whose identifier became another.
    pub altered: u32,
    /// Records left out.
    pub dropped: u32,
    /// UUIDs that were padded to GUIDs.
    pub padded: u32,
    /// GUIDs of full length that were cut to twelve bytes.
    pub cut: u32,
    /// Records whose modseq of 0 became 1.
    pub zero_modseqs: u32,
    /// Records whose modseq was lost; the same as `losses.modseqs`.
    pub lost_modseqs: u32,
    /// Everything that was lost.
    pub losses: Losses,
}

impl CopyReport {
    pub(crate) const fn new(from: u32, to: u32, losses: Losses) -> Self {
        Self {
            from,
            to,
            records: 0,
            altered: 0,
            dropped: 0,
            padded: 0,
            cut: 0,
            zero_modseqs: 0,
            lost_modseqs: losses.modseqs,
            losses,
        }
    }
}

impl CopyReport {
    #[inline]
    pub(super) fn count(&mut self, effect: Effect) {
        self.records += 1;
        self.altered += u32::from(effect.altered);
        self.padded += u32::from(effect.padded);
        self.cut += u32::from(effect.cut);
        self.zero_modseqs += u32::from(effect.zero_modseq);
    }
}

/// Why a single file of version 12 or later is neither read from nor made.
fn later(from: u32, to: u32) -> String {
    if from <= 10 {
        return format!(
            "version {to} is made from index, expunge file, seen record, header and cache \
             together: `indexfile convert --to {to}` with all of them"
        );
    }
    let upward = format!(
        "version {from} becomes {to} by Cyrus's own `reconstruct -V {to}`, once `indexfile check \
         --before-reconstruct` has nothing to say"
    );
    let downward = format!(
        "there is no way from version {from} to {to} but the files of before, cyrus.index.OLD and \
         cyrus.expunge.OLD, which are right until a newer server has written; Cyrus's own \
         `reconstruct -V {to}` makes expunged messages live ones for 2.3"
    );
    if to > 10 { upward } else { downward }
}

/// A conversion that is refused before anything is written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// From or to version 12 and later.
    #[error("{}: {}", path.display(), later(*from, *to))]
    ReadOnlyVersion {
        /// The input.
        path: PathBuf,
        /// Its version.
        from: u32,
        /// The version asked for.
        to: u32,
    },
    /// A target that is not written: below 6, 11, above 20.
    #[error("{}: version {to} cannot be written, only 6 to 10 can", path.display())]
    UnwritableVersion {
        /// The input.
        path: PathBuf,
        /// The version asked for.
        to: u32,
    },
    /// The target cannot hold something, and to lose it was not allowed.
    #[error("{}: version {to} cannot hold {losses}; --lossy drops that", path.display())]
    Loss {
        /// The input.
        path: PathBuf,
        /// The version asked for.
        to: u32,
        /// What would be lost.
        losses: Losses,
    },
    /// The input cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl ConvertError {
    /// The exit code a command ends with that fails for this reason.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Read(error) => error.exit(),
            Self::UnwritableVersion { .. } => Exit::Usage,
            _ => Exit::Data,
        }
    }
}

/// Why a copy failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError<E> {
    /// Refused before anything was written.
    #[error(transparent)]
    Convert(#[from] ConvertError),
    /// The input could be read no further.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The writer failed.
    #[error("cannot write the new file: {0}")]
    Write(#[source] std::io::Error),
    /// The caller's decision failed.
    #[error("{0}")]
    Decide(E),
    /// A record was to be dropped, but the header had been written already.
    #[error("record with UID {uid} cannot be dropped from a copy that is written in one go")]
    DropNeedsSeek {
        /// The record.
        uid: u32,
    },
}
