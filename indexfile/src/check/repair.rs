//! The one repair that can be proved: an expunge file left at an older version than the index.
//!
//! No tool of Cyrus does this. The new file is written wherever the caller says; putting it in
//! place needs the mailbox's locks, which are slotd's.

use crate::kind::FileKind;
use crate::layout::WRITABLE;
use crate::read_error::ReadError;
use crate::reader::IndexFile;
use crate::stream_copy::{CopyError, CopyReport, Decision, StreamCopy};
use std::collections::HashSet;
use std::convert::Infallible;
use std::io::Write;
use std::path::PathBuf;

/// Why there is nothing that could safely be repaired.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepairError {
    /// The versions are not those of the half-upgraded state.
    #[error(
        "{}: version {expunge} beside an index of version {index} is not the state that this \
         repairs",
        path.display()
    )]
    OtherState {
        /// The expunge file.
        path: PathBuf,
        /// Version of the index.
        index: u32,
        /// Version of the expunge file.
        expunge: u32,
    },
    /// The two files contradict each other.
    #[error("{}: not repaired, {reason}", path.display())]
    NotProvable {
        /// The expunge file.
        path: PathBuf,
        /// The contradiction.
        reason: String,
    },
    /// One of the files cannot be read to its end.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The writer failed.
    #[error("cannot write the repaired file: {0}")]
    Write(#[from] std::io::Error),
}

/// Writes the expunge file that belongs to `index` to `out`.
///
/// Its own header says how its records lie, so nothing is guessed; identifiers become what Cyrus
/// would have made of them.
///
/// # Errors
/// [`RepairError`]; nothing is written unless the two files agree in everything that can be
/// compared.
pub fn repair_expunge<W: Write + ?Sized>(
    index: &IndexFile,
    expunge: &IndexFile,
    out: &mut W,
) -> Result<CopyReport, RepairError> {
    let path = || expunge.path().to_path_buf();
    let versions = (index.minor_version(), expunge.minor_version());
    let kinds = (index.kind(), expunge.kind());
    let older = versions.1 < versions.0 && WRITABLE.contains(&versions.0);
    if !older || kinds != (FileKind::Index, FileKind::Expunge) {
        return Err(RepairError::OtherState {
            path: path(),
            index: versions.0,
            expunge: versions.1,
        });
    }
    let refuse = |reason: String| {
        Err(RepairError::NotProvable {
            path: path(),
            reason,
        })
    };
    let mut seen = HashSet::with_capacity(expunge.num_records() as usize);
    for record in expunge.records() {
        let uid = record?.uid();
        if !seen.insert(uid) {
            return refuse(format!("UID {uid} is in it twice"));
        }
        if index.find_uid(uid)?.is_some() {
            return refuse(format!("UID {uid} is in the index too"));
        }
        if uid > index.header().last_uid() {
            return refuse(format!(
                "UID {uid} is above last_uid {} of the index",
                index.header().last_uid()
            ));
        }
    }
    let copy = StreamCopy::new(expunge).to_version(versions.0);
    copy.write(out, |_| Ok::<_, Infallible>(Decision::Keep))
        .map_err(|e| match e {
            CopyError::Write(e) => RepairError::Write(e),
            CopyError::Read(e) => RepairError::Read(e),
            e => RepairError::NotProvable {
                path: path(),
                reason: e.to_string(),
            },
        })
}
