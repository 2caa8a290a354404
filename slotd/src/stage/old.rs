//! The UUIDs, and the old-style GUIDs of version 10, that upgrades replaced, for the way back.
//!
//! They are in `cyrus.uuids` ([`super::ledger`]), in the `.OLD` files, and, where a power cut and a lost state directory came
//! together, in what had stepped aside for those. The oldest that is known of a message counts. Only reads.

use std::collections::HashMap;

use indexfile::{FileKind, Guid, IndexFile, IoContext, Record, RecordField, RecordGuid, Uuid};

use super::ledger::Ledger;
use super::{GUID_VERSION, LiveFiles, sources};
use crate::fs::{Identity, OpenError};
use crate::refusal::Refusal;
use crate::store::Place;

/// The name of the hard link to a file that was replaced.
#[must_use]
pub const fn old_name(kind: FileKind) -> &'static str {
    match kind {
        FileKind::Index => "cyrus.index.OLD",
        FileKind::Expunge => "cyrus.expunge.OLD",
    }
}

/// Where an older `.OLD` waits until the transaction is over.
#[must_use]
pub const fn previous_name(kind: FileKind) -> &'static str {
    match kind {
        FileKind::Index => "cyrus.index.OLD.reguid-prev",
        FileKind::Expunge => "cyrus.expunge.OLD.reguid-prev",
    }
}

/// What a record had before it was upgraded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OldUuid {
    /// The identifier.
    pub uuid: Uuid,
    /// Its modseq was 0, which an upgrade turns into 1.
    pub zero_modseq: bool,
    pub(super) internaldate: u64,
    pub(super) size: u64,
}

impl OldUuid {
    /// Of a record that has one: a UUID, or at version 10 an old-style GUID.
    pub(super) fn of(record: &Record<'_>) -> Option<OldUuid> {
        let uuid = match record.guid() {
            RecordGuid::Uuid(uuid) => uuid,
            RecordGuid::Guid(guid) if guid.is_old_style() => guid.truncated(),
            _ => return None,
        };
        let (internaldate, size) = message_of(record);
        Some(OldUuid {
            uuid,
            zero_modseq: record.modseq() == Some(0),
            internaldate,
            size,
        })
    }

    /// Whether it is of the same message.
    pub(super) fn fits(&self, record: &Record<'_>) -> bool {
        message_of(record) == (self.internaldate, self.size)
    }
}

/// One file that was replaced.
#[derive(Debug)]
pub(super) struct Replaced {
    pub(super) kind: FileKind,
    pub(super) file: Identity,
    pub(super) version: u32,
    pub(super) by_uid: HashMap<u32, OldUuid>,
}

/// All that lies beside a mailbox.
#[derive(Debug, Default)]
pub(super) struct Beside {
    pub(super) ledger: Option<Ledger>,
    /// What stepped aside first, as it is older; the index before the expunge file.
    pub(super) replaced: Vec<Replaced>,
}

impl Beside {
    /// Reads it. A `.OLD` file that is damaged or of another incarnation of the mailbox gives nothing.
    ///
    /// # Errors
    /// `cyrus.uuids` is there and cannot be read.
    pub(super) fn of(place: &Place, live: &IndexFile) -> Result<Beside, Refusal> {
        let uidvalidity = live.header().uidvalidity();
        let ledger = Ledger::load(place, uidvalidity, || sources::uniqueid_of(place))?;
        let mut replaced = Vec::new();
        for name in [previous_name, old_name] {
            for kind in [FileKind::Index, FileKind::Expunge] {
                replaced.extend(read_replaced(place, kind, name(kind), uidvalidity)?);
            }
        }
        Ok(Beside { ledger, replaced })
    }
}

fn read_replaced(
    place: &Place,
    kind: FileKind,
    name: &str,
    uidvalidity: u32,
) -> Result<Option<Replaced>, Refusal> {
    let dir = place.directory_of(kind);
    let path = dir.path_of(name);
    let file = match dir.open_file(name, false) {
        Ok(file) => file,
        Err(OpenError::Missing { .. }) => return Ok(None),
        Err(error) => {
            tracing::warn!(mailbox = %place.mailbox, "not used for UUIDs: {error}");
            return Ok(None);
        }
    };
    let identity = Identity::of(&file).io_context("stat", &path)?;
    let old = match IndexFile::from_file(&file, &path, kind) {
        Ok(old) if old.header().uidvalidity() == uidvalidity => old,
        Ok(_) => return Ok(None),
        Err(error) => {
            tracing::warn!(mailbox = %place.mailbox, "not used for UUIDs: {error}");
            return Ok(None);
        }
    };
    let mut replaced = Replaced {
        kind,
        file: identity,
        version: old.minor_version(),
        by_uid: HashMap::new(),
    };
    for record in old.records() {
        match record {
            Ok(record) => {
                let had = OldUuid::of(&record).map(|had| (record.uid(), had));
                replaced.by_uid.extend(had);
            }
            // What was read before it could be read no further is as good as the rest.
            Err(error) => {
                tracing::warn!(mailbox = %place.mailbox, "not all used for UUIDs: {error}");
                break;
            }
        }
    }
    Ok(Some(replaced))
}

/// UUIDs by UID, of messages that are in the live files, each with what shows that it is of the same message.
#[derive(Debug, Default)]
pub struct OldUuids {
    by_uid: HashMap<u32, OldUuid>,
}

impl OldUuids {
    /// All that is known, whichever run replaced it: for versions below 10.
    ///
    /// # Errors
    /// `cyrus.uuids` is there and cannot be read.
    pub fn of_all(place: &Place, live: &LiveFiles) -> Result<OldUuids, Refusal> {
        let Beside { ledger, replaced } = Beside::of(place, &live.index)?;
        let mut uuids = OldUuids::default();
        if let Some(ledger) = &ledger {
            uuids.add(live, |uid| ledger.entries.get(&uid).map(|k| k.old))?;
        }
        for file in &replaced {
            uuids.add(live, |uid| file.by_uid.get(&uid).copied())?;
        }
        Ok(uuids)
    }

    /// What one run replaced at version 10 (0: whichever run). A record that has an old-style GUID is none that a run
    /// rewrote and stays as it is: so the same order can be given twice, and where the rewrite never came to pass.
    ///
    /// # Errors
    /// As [`OldUuids::of_all`].
    pub fn of_run(place: &Place, live: &LiveFiles, run: u64) -> Result<OldUuids, Refusal> {
        let Beside {
            ledger,
            mut replaced,
        } = Beside::of(place, &live.index)?;
        let known = ledger.as_ref().is_some_and(|l| l.knows(run));
        // A run that it has not heard of is one from before it was begun.
        let is_meant = |of: u64| run == 0 || of == if known { run } else { 0 };
        replaced.retain(|file| {
            let by = ledger.as_ref().map(|l| l.run_of(file.kind, file.file));
            // Without a ledger it was one run, and is that which is spoken of.
            let meant = by.is_none_or(|by| by.map_or(run == 0, is_meant));
            file.version >= GUID_VERSION && meant
        });
        let mut uuids = OldUuids::default();
        if let Some(ledger) = &ledger {
            // Taken away by this run, or by an earlier one and then again by this one.
            let by_file = |uid| replaced.iter().any(|f| f.by_uid.contains_key(&uid));
            uuids.add(live, |uid| {
                let kept = ledger.entries.get(&uid)?;
                (is_meant(kept.run) || by_file(uid)).then_some(kept.old)
            })?;
        }
        for file in &replaced {
            uuids.add(live, |uid| file.by_uid.get(&uid).copied())?;
        }
        for record in live.records() {
            let record = record?;
            if record.guid().is_old_style() {
                uuids.by_uid.remove(&record.uid());
            }
        }
        Ok(uuids)
    }

    /// Takes from one source what fits a live record and is not known from an older one.
    fn add(
        &mut self,
        live: &LiveFiles,
        source: impl Fn(u32) -> Option<OldUuid>,
    ) -> Result<(), Refusal> {
        for record in live.records() {
            let record = record?;
            let uid = record.uid();
            if !self.by_uid.contains_key(&uid)
                && let Some(old) = source(uid).filter(|old| old.fits(&record))
            {
                self.by_uid.insert(uid, old);
            }
        }
        Ok(())
    }

    /// What this message had.
    #[must_use]
    pub fn get(&self, record: &Record<'_>) -> Option<OldUuid> {
        let old = self.by_uid.get(&record.uid())?;
        old.fits(record).then_some(*old)
    }
}

/// Whether a record's identifier is this one.
pub(super) fn has(guid: Guid, old: &OldUuid) -> bool {
    guid == Guid::padded(old.uuid)
}

/// What a message keeps for its life, besides its UID.
fn message_of(record: &Record<'_>) -> (u64, u64) {
    (
        record.get(RecordField::Internaldate).unwrap_or(0),
        record.size(),
    )
}
