//! One file written anew in another version, complete and locked, without a name where that can be
//! done. A crash leaves nothing, or a file under a scratch name that a durable note tells of.

use std::fs::File;

use indexfile::{CopyError, IndexFile, IoError, StreamCopy};
use precompute::nice;

use super::patch::RecordCounts;
use super::{Identities, Note};
use crate::fs::{Dir, NewFile};
use crate::protocol::Code;
use crate::refusal::Refusal;

/// Copies one file to a new one in another version, complete, not synced.
pub(super) fn write_copy<'a>(
    dir: &'a Dir,
    name: &'static str,
    source: &IndexFile,
    like: &File,
    identities: &Identities,
    note: Note<'_>,
) -> Result<(NewFile<'a>, RecordCounts), Refusal> {
    let mut new = if let Some(new) = NewFile::nameless(dir, name)? {
        new
    } else {
        note()?;
        NewFile::create(dir, name)?
    };
    new.lock()?;
    let mut counts = RecordCounts::default();
    let copy = StreamCopy::new(source)
        .to_version(identities.version)
        .lossy(true);
    let report = copy.write(&mut new, |record| {
        nice::give_way();
        let identity = identities.decide(&record)?;
        counts.restored += u32::from(identity.restored);
        counts.cut += u32::from(identity.cuts(&record, identities.version));
        Ok::<_, Refusal>(identity.decision)
    });
    let report = report.map_err(|error| match error {
        CopyError::Decide(refusal) => refusal,
        CopyError::Convert(error) => error.into(),
        CopyError::Read(error) => error.into(),
        CopyError::Write(source) => IoError::new("write", &dir.path_of(name), source).into(),
        other => Refusal::new(Code::Io, other.to_string()),
    })?;
    new.finish(like)?;
    (counts.altered, counts.lost_modseqs) = (report.altered, report.lost_modseqs);
    Ok((new, counts))
}
