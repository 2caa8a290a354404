//! What has changed in a live file since a new one was made from it without locks.
//!
//! Every live record is converted and compared with its slot, byte for byte: nothing is trusted but the
//! SHA-1 of a message whose UID and size are the same.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use indexfile::stream_copy::{GuidOut, HeaderCounts, RecordPlan, convert_header};
use indexfile::{Decision, IndexFile, IoError, Record, layout};

use super::{GUID_VERSION, Identities, Identity};
use crate::failpoint;
use crate::refusal::Refusal;

/// How a prepared file differs from what it should be now.
#[derive(Debug)]
pub enum Diff {
    /// These slots are to be written, those behind the prepared file's end included.
    Patch(Patch),
    /// Records are gone, or so many have changed that a new copy is less work.
    Rewrite,
}

/// Slots to write.
#[derive(Debug, Default)]
pub struct Patch {
    /// Positions of records, from 0, ascending.
    pub slots: Vec<u32>,
    /// How many of them are behind the end.
    pub appended: u32,
    /// A record that stays has another identifier or size than when it was prepared.
    pub identities_changed: bool,
    /// Records of the live file whose identifier becomes another.
    pub altered: u32,
    /// Identifiers from a `.OLD` file.
    pub restored: u32,
}

/// Compares a live file with what was prepared from it.
#[must_use]
pub fn compare(live: &IndexFile, prepared: &IndexFile, identities: &Identities) -> Diff {
    let Some(layout) = layout::of(identities.version) else {
        return Diff::Rewrite;
    };
    let (old, new) = (live.num_records(), prepared.num_records());
    if old < new || prepared.minor_version() != identities.version {
        return Diff::Rewrite;
    }
    let plan = RecordPlan::new(live.minor_version(), live.record_slots(), layout);
    let mut converted = vec![0; layout.record_size as usize];
    let mut patch = Patch {
        appended: old - new,
        ..Patch::default()
    };
    let limit = (old / 8).max(64) as usize;
    for (position, (live_record, slot)) in (0_u32..).zip(live.records().zip(prepared.records())) {
        if live_record.uid() != slot.uid() {
            return Diff::Rewrite;
        }
        let Some(identity) = identity_of(&live_record, &slot, live.minor_version(), identities)
        else {
            // Its SHA-1 has to be looked for.
            patch.slots.push(position);
            patch.identities_changed = true;
            patch.altered += 1;
            continue;
        };
        patch.altered += u32::from(is_altered(&live_record, &identity));
        patch.restored += u32::from(identity.restored);
        identity.convert(&plan, &live_record, layout, &mut converted);
        if converted != slot.bytes() {
            patch.identities_changed |=
                identity.guid != slot.guid().padded() || live_record.size() != slot.size();
            patch.slots.push(position);
            if patch.slots.len() > limit {
                return Diff::Rewrite;
            }
        }
    }
    for position in new..old {
        patch.slots.push(position);
        if let Some(record) = live.record(position) {
            let known = identities.decide(&record);
            patch.altered += u32::from(known.as_ref().map_or(true, |i| is_altered(&record, i)));
            patch.restored += u32::from(known.is_ok_and(|i| i.restored));
        }
    }
    if patch.slots.len() > limit {
        Diff::Rewrite
    } else {
        Diff::Patch(patch)
    }
}

/// As `Identities::decide`, without a look-up for the many records that are as they were: the slot has the answer.
fn identity_of(
    record: &Record<'_>,
    slot: &Record<'_>,
    live_version: u32,
    identities: &Identities,
) -> Option<Identity> {
    let all_were_resolved = live_version < GUID_VERSION && identities.version >= GUID_VERSION;
    if all_were_resolved && record.size() == slot.size() {
        let guid = slot.guid().padded();
        return Some(Identity {
            decision: Decision::Alter(guid),
            guid,
            restored: false,
        });
    }
    identities.decide(record).ok()
}

/// Counted as a stream copy counts.
fn is_altered(record: &Record<'_>, identity: &Identity) -> bool {
    use indexfile::RecordGuid;
    match identity.out() {
        GuidOut::Keep => false,
        _ => record.guid() == RecordGuid::Absent || identity.guid != record.guid().padded(),
    }
}

/// Writes the slots of a patch and the header into the prepared file, and syncs it if anything was written.
///
/// # Errors
/// The file is of no use then.
pub fn write(
    file: &File,
    path: &Path,
    live: &IndexFile,
    prepared: &IndexFile,
    patch: &Patch,
    identities: &Identities,
) -> Result<(), Refusal> {
    let version = identities.version;
    let unwritable = || indexfile::ConvertError::UnwritableVersion {
        path: path.to_path_buf(),
        to: version,
    };
    let layout = layout::of(version).ok_or_else(unwritable)?;
    let io = |source| IoError::new("write", path, source);
    let plan = RecordPlan::new(live.minor_version(), live.record_slots(), layout);
    let (start, size) = (u64::from(layout.header_size), layout.record_size as usize);
    let mut written = false;
    // Neighbours go in one write.
    let mut run: Vec<u8> = Vec::new();
    let mut run_at = 0;
    let mut next = None;
    for &position in &patch.slots {
        let Some(record) = live.record(position) else {
            continue;
        };
        let identity = identities.decide(&record)?;
        if next != Some(position) || run.len() > 1 << 18 {
            write_run(file, &run, run_at).map_err(io)?;
            run.clear();
            run_at = start + u64::from(position) * size as u64;
        }
        let at = run.len();
        run.resize(at + size, 0);
        identity.convert(&plan, &record, layout, &mut run[at..]);
        next = position.checked_add(1);
        written = true;
    }
    write_run(file, &run, run_at).map_err(io)?;
    let header = convert_header(live.header(), layout, &HeaderCounts::of(live));
    if header != prepared.header().bytes() {
        write_run(file, &header, 0).map_err(io)?;
        written = true;
    }
    if written {
        failpoint::hit("stage.sync")
            .and_then(|()| file.sync_all())
            .map_err(|e| IoError::new("sync", path, e))?;
    }
    Ok(())
}

fn write_run(file: &File, bytes: &[u8], at: u64) -> std::io::Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    failpoint::hit("stage.write")?;
    file.write_all_at(bytes, at)
}

/// The entries of appended records.
pub(super) fn appended<'a>(
    live: &'a IndexFile,
    patch: &Patch,
) -> impl Iterator<Item = Record<'a>> + use<'a> {
    let first = live.num_records() - patch.appended.min(live.num_records());
    (first..live.num_records()).filter_map(|i| live.record(i))
}
