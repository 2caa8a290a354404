//! Converting one record: which bytes go where, decided once a file.

use crate::guid::{Guid, RecordGuid, Uuid};
use crate::layout::{Layout, RecordField, RecordSlots, Slot};
use crate::record::Record;

/// Which identifier the new record gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuidOut {
    /// The old one: padded, cut, or NULL if there was none, as Cyrus does it.
    Keep,
    /// This GUID; cut to 12 bytes where the version has only UUIDs.
    Guid(Guid),
    /// This UUID; padded where the version has GUIDs.
    Uuid(Uuid),
}

impl GuidOut {
    /// The twenty bytes that are written, or whose first twelve are.
    #[must_use]
    #[inline]
    pub fn padded(self, old: RecordGuid) -> Guid {
        match self {
            Self::Keep => old.padded(),
            Self::Guid(guid) => guid,
            Self::Uuid(uuid) => Guid::padded(uuid),
        }
    }
}

/// A run of bytes that both layouts have in the same order.
#[derive(Clone, Copy, Debug)]
struct Run {
    from: usize,
    to: usize,
    len: usize,
}

/// What happened to one record besides being carried over.
#[derive(Clone, Copy, Debug, Default)]
#[allow(clippy::struct_excessive_bools)] // four independent counters go up or not
pub(super) struct Effect {
    /// Its identifier became another.
    pub(super) altered: bool,
    /// Its UUID was padded.
    pub(super) padded: bool,
    /// Its GUID lost bytes that were not zero.
    pub(super) cut: bool,
    /// Its modseq of 0 became 1.
    pub(super) zero_modseq: bool,
}

/// How records of one layout become records of another.
#[derive(Clone, Debug)]
pub struct RecordPlan {
    runs: Vec<Run>,
    fills: Vec<(Slot, u64)>,
    /// Where the identifier was, if it was there, and where it goes.
    guid: Option<(Option<Slot>, Slot)>,
    /// Where a modseq of 0 is turned into 1, as 2.3.13 and later do on upgrade to 10.
    modseq: Option<Slot>,
}

impl RecordPlan {
    /// Plans from the slots of a file of version `minor_version` to a layout of versions 6 to 10.
    #[must_use]
    pub fn new(minor_version: u32, from: &RecordSlots, to: &Layout) -> Self {
        let mut plan = Self {
            runs: Vec::new(),
            fills: Vec::new(),
            guid: None,
            modseq: None,
        };
        for (field, slot) in to.record.present() {
            match (field, from.get(field)) {
                (RecordField::Guid, old) => plan.guid = Some((old, slot)),
                (_, Some(old)) if old.width == slot.width => plan.copy(old, slot),
                _ => plan.fills.push((slot, default_of(field))),
            }
        }
        if minor_version < 10 && to.minor_version == 10 {
            plan.modseq = to.record.get(RecordField::Modseq);
        }
        plan
    }

    fn copy(&mut self, old: Slot, new: Slot) {
        let run = Run {
            from: old.offset.into(),
            to: new.offset.into(),
            len: new.width.into(),
        };
        match self.runs.last_mut() {
            Some(last) if last.from + last.len == run.from && last.to + last.len == run.to => {
                last.len += run.len;
            }
            _ => self.runs.push(run),
        }
    }

    /// Writes `record` as planned into `out`, which is one record of the target layout long.
    /// `record` has the slots the plan was made from.
    pub fn convert(&self, record: &Record<'_>, guid: GuidOut, out: &mut [u8]) {
        let given = (guid != GuidOut::Keep).then(|| guid.padded(record.guid()));
        let _ = self.convert_as(record.bytes(), given.as_ref(), out);
    }

    /// The same for the bytes of a record; `given` is its new identifier if it is to have one.
    #[inline]
    pub(super) fn convert_as(&self, bytes: &[u8], given: Option<&Guid>, out: &mut [u8]) -> Effect {
        for run in &self.runs {
            let pair = (
                bytes.get(run.from..run.from + run.len),
                out.get_mut(run.to..run.to + run.len),
            );
            if let (Some(from), Some(to)) = pair {
                to.copy_from_slice(from);
            }
        }
        for (slot, value) in &self.fills {
            let _ = slot.write(out, *value);
        }
        let mut effect = Effect::default();
        if let Some((old, slot)) = self.guid {
            let old = old.and_then(|s| s.of(bytes)).unwrap_or(&[]);
            if let Some(to) = slot.of_mut(out) {
                effect = put_guid(old, given, to);
            }
        }
        if let Some(slot) = self.modseq.filter(|s| s.read(out) == Some(0)) {
            // A new field was filled with 1, so this one was stored.
            effect.zero_modseq = true;
            let _ = slot.write(out, 1);
        }
        effect
    }
}

/// Puts an identifier in place: the old one, cut or padded, or the one that is given.
#[inline]
fn put_guid(old: &[u8], given: Option<&Guid>, to: &mut [u8]) -> Effect {
    let common = old.len().min(to.len());
    let mut effect = Effect::default();
    if let Some(guid) = given {
        to.copy_from_slice(&guid.as_bytes()[..to.len().min(20)]);
        let same =
            old[..common] == to[..common] && all_zero(&old[common..]) && all_zero(&to[common..]);
        effect.altered = old.is_empty() || !same;
    } else {
        to[..common].copy_from_slice(&old[..common]);
        to[common..].fill(0);
        effect.padded = !old.is_empty() && old.len() < to.len();
        effect.cut = !all_zero(&old[common..]);
    }
    effect
}

fn all_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|&b| b == 0)
}

/// What Cyrus writes into a field that the old record does not have.
const fn default_of(field: RecordField) -> u64 {
    match field {
        RecordField::ContentLines => 0xffff_ffff,
        RecordField::Modseq => 1,
        _ => 0,
    }
}

/// Converts a single record of a file of version `minor_version`; for many, make a [`RecordPlan`]
/// once.
pub fn convert_record(
    minor_version: u32,
    record: &Record<'_>,
    to: &Layout,
    guid: GuidOut,
    out: &mut [u8],
) {
    RecordPlan::new(minor_version, record.slots(), to).convert(record, guid, out);
}
