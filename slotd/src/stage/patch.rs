//! What has changed in a live file since a new one was made from it without locks.
//!
//! Every live record is compared byte for byte: with the same record as it was when it was
//! converted, or, if that was not kept, is converted again and compared with its slot. Nothing is
//! trusted but the SHA-1 of a message whose record says the same of it (UID, identifier, size,
//! internal date) and whose file is as it was (`looks`).

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use indexfile::layout::{self, Layout};
use indexfile::stream_copy::{GuidOut, HeaderCounts, RecordPlan, convert_header};
use indexfile::{Decision, FileKind, IndexFile, IoError, ReadError, Record, RecordGuid};
use precompute::nice;

use super::{GuidChoice, Identities};
use crate::failpoint;
use crate::refusal::Refusal;

/// How a prepared file differs from what it should be now.
#[derive(Debug)]
pub enum Diff {
    /// These slots are to be written, those behind the prepared file's end included.
    Patch(Patch),
    /// Records are gone, or enough have changed that a new copy is less work.
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
    /// What becomes of the records of the live file.
    pub counts: RecordCounts,
}

/// What becomes of records, by their number; counted as a stream copy counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordCounts {
    /// They get another identifier.
    pub altered: u32,
    /// They get one from a `.OLD` file.
    pub restored: u32,
    /// Their GUIDs are no old-style ones and lose the last eight bytes.
    pub cut: u32,
    /// They have a modseq above 1, and the version none.
    pub lost_modseqs: u32,
}

impl RecordCounts {
    fn of(record: &Record<'_>, choice: &GuidChoice, version: u32) -> RecordCounts {
        RecordCounts {
            altered: u32::from(is_altered(record, choice)),
            restored: u32::from(choice.restored),
            cut: u32::from(choice.cuts(record, version)),
            lost_modseqs: u32::from(version < 8 && record.modseq().is_some_and(|m| m > 1)),
        }
    }

    fn add(&mut self, more: RecordCounts) {
        self.altered += more.altered;
        self.restored += more.restored;
        self.cut += more.cut;
        self.lost_modseqs += more.lost_modseqs;
    }

    fn take_off(&mut self, less: RecordCounts) {
        self.altered = self.altered.saturating_sub(less.altered);
        self.restored = self.restored.saturating_sub(less.restored);
        self.cut = self.cut.saturating_sub(less.cut);
        self.lost_modseqs = self.lost_modseqs.saturating_sub(less.lost_modseqs);
    }
}

/// One whose identifier has to be looked for: a SHA-1, so the version has all that it has.
const UNKNOWN: RecordCounts = RecordCounts {
    altered: 1,
    restored: 0,
    cut: 0,
    lost_modseqs: 0,
};

impl Patch {
    /// The records of the live file that its slots are to be written from.
    pub fn records<'a>(
        &'a self,
        live: &'a IndexFile,
    ) -> impl Iterator<Item = Result<Record<'a>, ReadError>> {
        let records = self.slots.iter().map(|position| live.record(*position));
        records.filter_map(Result::transpose)
    }
}

/// What was prepared of one file.
#[derive(Debug)]
pub struct Origin<'a> {
    /// The new file.
    pub prepared: &'a IndexFile,
    /// What it was made from, as it was then, if that was kept.
    pub snapshot: Option<&'a IndexFile>,
    /// What became of its records.
    pub counts: RecordCounts,
}

/// Records that are compared at once with what they were.
const PIECE: u16 = 64;

/// Compares a live file with what was prepared from it. Of the live file only the header and the
/// length need have been checked.
///
/// # Errors
/// The live file is damaged.
pub fn compare(
    live: &IndexFile,
    origin: &Origin<'_>,
    identities: &Identities,
) -> Result<Diff, ReadError> {
    if let Some(snapshot) = origin.snapshot
        && let Some(patch) = compare_with_snapshot(live, snapshot, origin, identities)?
    {
        return Ok(Diff::Patch(patch));
    }
    live.verify()?;
    compare_with_new(live, origin.prepared, identities)
}

/// By what the live file was: a record that is as it was has the slot it should have. `None` if
/// that does not tell.
fn compare_with_snapshot(
    live: &IndexFile,
    was: &IndexFile,
    origin: &Origin<'_>,
    identities: &Identities,
) -> Result<Option<Patch>, ReadError> {
    let shape = |f: &IndexFile| {
        let header = f.header();
        (
            f.minor_version(),
            header.start_offset(),
            header.record_size(),
        )
    };
    let (old, new) = (live.num_records(), origin.prepared.num_records());
    if shape(live) != shape(was) || was.num_records() != new || old < new {
        return Ok(None);
    }
    let Some(layout) = layout::of(identities.version) else {
        return Ok(None);
    };
    let mut work = Comparison::new(live, layout, old, new);
    work.patch.counts = origin.counts;
    let mut last = 0;
    let (mut before, mut now) = (was.blocks(), live.blocks());
    while let (Some(before), Some(now)) = (before.read()?, now.read()?) {
        nice::give_way();
        for (before, now) in before.pieces(PIECE).zip(now.pieces(PIECE)) {
            // What comes after it was not there when all was checked.
            let equal = now.bytes().get(..before.bytes().len()) == Some(before.bytes());
            if equal && identities.changed.is_empty() {
                continue;
            }
            let pairs = before.records().zip(now.records());
            for (at, (was, is)) in (before.first()..).zip(pairs) {
                if was.bytes() == is.bytes() && !identities.changed.contains(&is.uid()) {
                    continue;
                }
                let Some(slot) = origin.prepared.record(at)? else {
                    return Ok(None);
                };
                // It is counted anew.
                let Some(known) = identity_before(&was, &slot, identities) else {
                    return Ok(None);
                };
                let counted = RecordCounts::of(&was, &known, identities.version);
                work.patch.counts.take_off(counted);
                if !work.record(at, &is, &slot, identities) {
                    return Ok(None);
                }
            }
        }
        last = before.records().last().map_or(last, |r| r.uid());
    }
    for at in new..old {
        let Some(record) = live.record(at)? else {
            return Ok(None);
        };
        let uid = record.uid();
        if uid == 0 || (live.kind() == FileKind::Index && uid <= last) {
            return Ok(None);
        }
        last = uid;
    }
    work.finish(identities)
}

/// By converting every live record.
fn compare_with_new(
    live: &IndexFile,
    prepared: &IndexFile,
    identities: &Identities,
) -> Result<Diff, ReadError> {
    let Some(layout) = layout::of(identities.version) else {
        return Ok(Diff::Rewrite);
    };
    let (old, new) = (live.num_records(), prepared.num_records());
    if old < new || prepared.minor_version() != identities.version {
        return Ok(Diff::Rewrite);
    }
    let mut work = Comparison::new(live, layout, old, new);
    let (mut records, mut slots) = (live.blocks(), prepared.blocks());
    while let (Some(records), Some(slots)) = (records.read()?, slots.read()?) {
        nice::give_way();
        let pairs = records.records().zip(slots.records());
        for (position, (record, slot)) in (records.first()..).zip(pairs) {
            if !work.record(position, &record, &slot, identities) {
                return Ok(Diff::Rewrite);
            }
        }
    }
    Ok(work.finish(identities)?.map_or(Diff::Rewrite, Diff::Patch))
}

/// A comparison under way.
struct Comparison<'a> {
    live: &'a IndexFile,
    layout: &'a Layout,
    plan: RecordPlan,
    converted: Vec<u8>,
    patch: Patch,
    /// More slots than this are not worth it.
    limit: usize,
    old: u32,
    new: u32,
}

impl<'a> Comparison<'a> {
    fn new(live: &'a IndexFile, layout: &'a Layout, old: u32, new: u32) -> Comparison<'a> {
        Comparison {
            live,
            layout,
            plan: RecordPlan::new(live.minor_version(), live.record_slots(), layout),
            converted: vec![0; layout.record_size as usize],
            patch: Patch {
                appended: old - new,
                ..Patch::default()
            },
            limit: (old / 8).max(64) as usize,
            old,
            new,
        }
    }

    /// One record and its slot; `false` if this leads nowhere.
    fn record(
        &mut self,
        position: u32,
        record: &Record<'_>,
        slot: &Record<'_>,
        identities: &Identities,
    ) -> bool {
        if record.uid() != slot.uid() {
            return false;
        }
        let patch = &mut self.patch;
        let Ok(choice) = identities.decide(record) else {
            // Its SHA-1 has to be looked for.
            patch.slots.push(position);
            patch.identities_changed = true;
            patch.counts.add(UNKNOWN);
            return patch.slots.len() <= self.limit;
        };
        let counts = RecordCounts::of(record, &choice, identities.version);
        patch.counts.add(counts);
        choice.convert(&self.plan, record, self.layout, &mut self.converted);
        if self.converted != slot.bytes() {
            patch.identities_changed |=
                choice.guid != slot.guid().padded() || record.size() != slot.size();
            patch.slots.push(position);
        }
        patch.slots.len() <= self.limit
    }

    /// The records behind the end.
    fn finish(self, identities: &Identities) -> Result<Option<Patch>, ReadError> {
        let Comparison {
            live,
            mut patch,
            limit,
            ..
        } = self;
        for position in self.new..self.old {
            patch.slots.push(position);
            if let Some(record) = live.record(position)? {
                let known = identities.decide(&record);
                let counts = known.map_or(UNKNOWN, |choice| {
                    RecordCounts::of(&record, &choice, identities.version)
                });
                patch.counts.add(counts);
            }
        }
        Ok((patch.slots.len() <= limit).then_some(patch))
    }
}

/// What a record got when its slot was written: where SHA-1s are looked for the slot has the
/// answer, whatever is known of the message now.
fn identity_before(
    was: &Record<'_>,
    slot: &Record<'_>,
    identities: &Identities,
) -> Option<GuidChoice> {
    if identities.wants_guids() {
        let guid = slot.guid().padded();
        return Some(GuidChoice {
            decision: Decision::Alter(guid),
            guid,
            restored: false,
        });
    }
    identities.decide(was).ok()
}

/// Counted as a stream copy counts.
fn is_altered(record: &Record<'_>, choice: &GuidChoice) -> bool {
    match choice.out() {
        GuidOut::Keep => false,
        _ => record.guid() == RecordGuid::Absent || choice.guid != record.guid().padded(),
    }
}

/// Writes the slots of a patch and the header into the prepared file, and tells whether there was
/// anything to write. Nothing is synced.
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
) -> Result<bool, Refusal> {
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
        let Some(record) = live.record(position)? else {
            continue;
        };
        let choice = identities.decide(&record)?;
        if next != Some(position) || run.len() > 1 << 18 {
            write_run(file, &run, run_at).map_err(io)?;
            run.clear();
            run_at = start + u64::from(position) * size as u64;
        }
        let at = run.len();
        run.resize(at + size, 0);
        choice.convert(&plan, &record, layout, &mut run[at..]);
        next = position.checked_add(1);
        written = true;
    }
    write_run(file, &run, run_at).map_err(io)?;
    let header = convert_header(live.header(), layout, &HeaderCounts::of(live)?);
    if header != prepared.header().bytes() {
        write_run(file, &header, 0).map_err(io)?;
        written = true;
    }
    Ok(written)
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
) -> impl Iterator<Item = Result<Record<'a>, ReadError>> + use<'a> {
    let first = live.num_records() - patch.appended.min(live.num_records());
    (first..live.num_records()).filter_map(|i| live.record(i).transpose())
}
