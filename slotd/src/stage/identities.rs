//! Which identifier each record gets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;

use indexfile::layout::Layout;
use indexfile::stream_copy::{GuidOut, RecordPlan};
use indexfile::{Decision, FileKind, Guid, IndexFile, IoError, ReadError, Record, RecordField};
use precompute::nice;

use super::found_guids::{FoundGuid, FoundGuids};
use super::mark::{self, Mark};
use super::recheck::{Recheck, recheck};
use super::resolve::Want;
use super::{GUID_VERSION, LiveFiles, OldUuids, Sources, resolve, sources, spool};
use crate::protocol::{Code, Rehash, Upgrade, UuidSource};
use crate::refusal::Refusal;
use crate::store::Place;

/// Everything needed to decide about any record of a mailbox.
#[derive(Debug, Default)]
pub struct Identities {
    /// The version that is written.
    pub version: u32,
    /// SHA-1s of messages whose records were old-style, or with `rehash` of all, with what shows
    /// that record and file are the same still.
    pub guids: FoundGuids,
    /// Messages that were looked at again and are not what they were when what was prepared of them
    /// was written.
    pub changed: BTreeSet<u32>,
    /// For downgrades below version 10, and for the way back to what version 10 had before.
    pub uuids: OldUuids,
    /// Nothing gets a SHA-1: what `.OLD` has of old-style GUIDs comes back, at version 10 too.
    pub restoring: bool,
    /// What came from `.OLD` before is not asked for.
    pub cuts: bool,
    /// Records whose GUID is no old-style one are compared with their messages too.
    pub rehash: Option<Rehash>,
    /// With that, expunged records whose message is gone, with their marks: they keep what they
    /// have.
    pub gone: BTreeMap<u32, Mark>,
    /// GUIDs taken from a cache.
    pub cached: u32,
    /// GUIDs computed from messages.
    pub hashed: u32,
}

/// What one record gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuidChoice {
    /// For a stream copy.
    pub decision: Decision,
    /// As it is afterwards, padded to twenty bytes.
    pub guid: Guid,
    /// It comes from a `.OLD` file.
    pub restored: bool,
}

impl GuidChoice {
    /// For the conversion of a single record.
    #[must_use]
    pub fn out(&self) -> GuidOut {
        match self.decision {
            Decision::Alter(guid) => GuidOut::Guid(guid),
            Decision::AlterUuid(uuid) | Decision::Restore { uuid, .. } => GuidOut::Uuid(uuid),
            Decision::Keep | Decision::Drop => GuidOut::Keep,
        }
    }

    /// Whether a GUID that is no old-style one loses its last eight bytes in this version.
    #[must_use]
    pub fn cuts(&self, record: &Record<'_>, version: u32) -> bool {
        version < GUID_VERSION && self.decision == Decision::Keep && !record.guid().is_old_style()
    }

    /// Converts a single record as a stream copy with this decision does.
    pub fn convert(&self, plan: &RecordPlan, record: &Record<'_>, to: &Layout, out: &mut [u8]) {
        plan.convert(record, self.out(), out);
        if matches!(
            self.decision,
            Decision::Restore {
                zero_modseq: true,
                ..
            }
        ) && record.modseq() == Some(1)
            && let Some(slot) = to.record.get(RecordField::Modseq)
        {
            // The slot is in every layout that has one: nothing to do if it is not.
            let _ = slot.write(out, 0);
        }
    }
}

impl Identities {
    /// Finds all that the records of a mailbox need.
    ///
    /// # Errors
    /// A GUID is needed and cannot be had: the mailbox is refused.
    pub fn find(
        place: &Place,
        live: &LiveFiles,
        want: Upgrade,
        from: &Sources<'_>,
        cancel: &AtomicBool,
    ) -> Result<Identities, Refusal> {
        let mut identities = Identities {
            version: want.version,
            cuts: want.uuids == UuidSource::Cut,
            rehash: want.rehash,
            ..Identities::default()
        };
        let old = match want.uuids {
            UuidSource::Old => true,
            UuidSource::Auto => want.version < GUID_VERSION,
            UuidSource::Cut => false,
        };
        if old {
            identities.restoring = want.version >= GUID_VERSION;
            identities.uuids = if identities.restoring {
                OldUuids::of_run(place, live, want.run)?
            } else {
                OldUuids::of_all(place, live)?
            };
        } else if want.version >= GUID_VERSION {
            let wanted = wanted(live, want.rehash.is_some())?;
            identities.look_for(place, wanted, from, cancel)?;
        }
        Ok(identities)
    }

    /// Whether SHA-1s are looked for.
    #[must_use]
    pub fn wants_guids(&self) -> bool {
        self.version >= GUID_VERSION && !self.restoring
    }

    /// Whether one file needs a new one.
    ///
    /// # Errors
    /// It cannot be read to its end.
    pub fn needs_rewrite(&self, file: &IndexFile) -> Result<bool, ReadError> {
        if self.rehash == Some(Rehash::Report) {
            return Ok(false);
        }
        if file.minor_version() != self.version {
            return Ok(true);
        }
        if self.rehash.is_some() {
            return self.any_wrong(file);
        }
        if self.restoring {
            let mut blocks = file.blocks();
            while let Some(block) = blocks.read()? {
                nice::give_way();
                for record in block.records() {
                    if self.old_of(&record)?.is_some() {
                        return Ok(true);
                    }
                }
            }
            return Ok(false);
        }
        Ok(self.wants_guids() && sources::needs_guids(file)?)
    }

    /// At version 10: what the record gets back.
    fn old_of(&self, record: &Record<'_>) -> Result<Option<Guid>, IoError> {
        // An old-style GUID is none that a rewrite made.
        if record.guid().is_old_style() {
            return Ok(None);
        }
        if let Some(wrong) = self.uuids.wrong(record)? {
            return Ok(Some(wrong));
        }
        let old = self.uuids.get(record)?;
        Ok(old.map(|old| Guid::padded(old.uuid)))
    }

    /// Finds SHA-1s for those of the records that are old-style, or with `rehash=` for all, and not
    /// known yet.
    ///
    /// # Errors
    /// As [`Identities::find`].
    pub fn add<'a>(
        &mut self,
        place: &Place,
        kind: FileKind,
        records: impl Iterator<Item = Result<Record<'a>, ReadError>>,
        sources: &Sources<'_>,
        cancel: &AtomicBool,
    ) -> Result<(), Refusal> {
        let mut wanted = Vec::new();
        for record in records {
            let record = record?;
            let needed = want(&record, kind, self.rehash.is_some());
            if let Some(want) = needed.filter(|_| !self.is_gone(&record))
                && self.known(&record)?.is_none()
            {
                wanted.push(want);
            }
        }
        wanted.sort_unstable();
        self.look_for(place, wanted.into_iter().map(Ok), sources, cancel)
    }

    /// The same for messages in ascending order of UID.
    fn look_for(
        &mut self,
        place: &Place,
        wanted: impl Iterator<Item = Result<Want, ReadError>>,
        sources: &Sources<'_>,
        cancel: &AtomicBool,
    ) -> Result<(), Refusal> {
        let guids = &mut self.guids;
        let found = |uid, known: &FoundGuid| Ok(guids.push(&place.index, uid, known)?);
        let resolved = resolve(place, wanted, sources, cancel, found)?;
        self.cached += resolved.cached;
        self.hashed += resolved.hashed;
        self.gone.extend(resolved.gone);
        Ok(())
    }

    /// The SHA-1 of a record's message, if it was found before.
    ///
    /// # Errors
    /// It cannot be read back.
    pub fn known(&self, record: &Record<'_>) -> Result<Option<Guid>, IoError> {
        let found = self.guids.get(record.uid())?;
        let same = found.filter(|known| known.record == mark::of_record(record));
        Ok(same.map(|known| known.guid))
    }

    /// Looks again at the messages that were found, all or some. Those that are not what they were
    /// are unknown from here on, and so are noted in [`Identities::changed`].
    ///
    /// # Errors
    /// What was found cannot be read back.
    pub fn recheck(&mut self, place: &Place, which: &Recheck) -> Result<(), Refusal> {
        if !self.guids.is_empty() {
            let changed = recheck(&mut self.guids, &spool(place)?, which)?;
            self.changed.extend(changed);
        }
        Ok(())
    }

    /// Decides about one record.
    ///
    /// # Errors
    /// Its SHA-1 is needed and not known: it was not among those that were looked for.
    pub fn decide(&self, record: &Record<'_>) -> Result<GuidChoice, Refusal> {
        let choice = |decision, guid, restored| {
            Ok(GuidChoice {
                decision,
                guid,
                restored,
            })
        };
        if self.restoring {
            return match self.old_of(record)? {
                Some(old) if old.is_old_style() => {
                    choice(Decision::AlterUuid(old.truncated()), old, true)
                }
                Some(old) => choice(Decision::Alter(old), old, true),
                None => choice(Decision::Keep, record.guid().padded(), false),
            };
        }
        if self.version >= GUID_VERSION {
            let keeps = self.rehash.is_none() || self.is_gone(record);
            if keeps && !record.guid().is_old_style() {
                return choice(Decision::Keep, record.guid().padded(), false);
            }
            let uid = record.uid();
            let unknown = || {
                Refusal::new(
                    Code::NoMessage,
                    format!("the GUID of UID {uid} is not known"),
                )
            };
            let guid = self.known(record)?.ok_or_else(unknown)?;
            return choice(Decision::Alter(guid), guid, false);
        }
        if self.version < 7 {
            return choice(Decision::Keep, Guid::NULL, false);
        }
        match self.uuids.get(record)? {
            Some(old) => {
                let (uuid, zero_modseq) = (old.uuid, old.zero_modseq);
                choice(
                    Decision::Restore { uuid, zero_modseq },
                    Guid::padded(uuid),
                    true,
                )
            }
            None => choice(
                Decision::Keep,
                Guid::padded(record.guid().truncated()),
                false,
            ),
        }
    }
}

/// The message of a record, if its SHA-1 is needed.
fn want(record: &Record<'_>, kind: FileKind, all: bool) -> Option<Want> {
    let old = record.guid().is_old_style();
    (all || old).then(|| Want {
        // Nobody can say then what its GUID is of.
        may_be_gone: kind == FileKind::Expunge && !old,
        ..Want::of(record)
    })
}

/// The messages of all old-style records of both files, or of all records, in ascending order of
/// UID.
fn wanted(
    live: &LiveFiles,
    all: bool,
) -> Result<impl Iterator<Item = Result<Want, ReadError>>, ReadError> {
    let of = move |record: Result<Record<'_>, ReadError>, kind| match record {
        Ok(record) => want(&record, kind, all).map(Ok),
        Err(error) => Some(Err(error)),
    };
    // In no order, and seldom many.
    let expunged = live.expunge.iter().flat_map(IndexFile::records);
    let expunged = expunged.filter_map(|record| of(record, FileKind::Expunge));
    let mut expunged: Vec<Want> = expunged.collect::<Result<_, _>>()?;
    expunged.sort_unstable();
    let indexed = live.index.records();
    let mut indexed = indexed
        .filter_map(move |record| of(record, FileKind::Index))
        .peekable();
    let mut expunged = expunged.into_iter().peekable();
    Ok(std::iter::from_fn(move || {
        match (indexed.peek(), expunged.peek()) {
            (Some(Ok(a)), Some(b)) if b.uid < a.uid => expunged.next().map(Ok),
            (None, Some(_)) => expunged.next().map(Ok),
            _ => indexed.next(),
        }
    }))
}
