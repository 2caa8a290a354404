//! The UUIDs, and the old-style GUIDs of version 10, that upgrades replaced, for the way back.
//!
//! They are in `cyrus.uuids` ([`super::ledger`]), in the `.OLD` files, and, where a power cut and a
//! lost state directory came together, in what had stepped aside for those. The oldest that is
//! known of a message counts. Only reads.

use indexfile::{FileKind, Guid, IndexFile, IoContext, IoError, ReadError, Record};

use super::by_uid::ByUid;
use super::ledger::{Ledger, WrongKept};
use super::old_uuid::OldUuid;
use super::{GUID_VERSION, LiveFiles, sources};
use crate::fileops::{Role, name};
use crate::fs::{Identity, OpenError};
use crate::refusal::Refusal;
use crate::store::Place;

/// The name of the hard link to a file that was replaced.
#[must_use]
pub const fn old_name(kind: FileKind) -> &'static str {
    name(kind, Role::Old)
}

/// Where an older `.OLD` waits until the transaction is over.
#[must_use]
pub const fn previous_name(kind: FileKind) -> &'static str {
    name(kind, Role::Prev)
}

/// One file that was replaced.
#[derive(Debug)]
pub(super) struct OldFile {
    pub(super) kind: FileKind,
    pub(super) file: Identity,
    pub(super) version: u32,
    pub(super) by_uid: ByUid,
}

/// What earlier upgrades kept of a mailbox: `cyrus.uuids` and the `.OLD` files.
#[derive(Debug, Default)]
pub(super) struct Backups {
    pub(super) ledger: Option<Ledger>,
    /// What stepped aside first, as it is older; the index before the expunge file.
    pub(super) old_files: Vec<OldFile>,
}

impl Backups {
    /// Reads it. A `.OLD` file that is damaged or of another incarnation of the mailbox gives
    /// nothing.
    ///
    /// # Errors
    /// One of them is there and cannot be opened or read, or `cyrus.uuids` is damaged.
    pub(super) fn of(place: &Place, live: &IndexFile) -> Result<Backups, Refusal> {
        let uidvalidity = live.header().uidvalidity();
        let ledger = Ledger::load(place, uidvalidity, || sources::uniqueid_of(place))?;
        let mut old_files = Vec::new();
        for name in [previous_name, old_name] {
            for kind in [FileKind::Index, FileKind::Expunge] {
                old_files.extend(read_old(place, kind, name(kind), uidvalidity)?);
            }
        }
        Ok(Backups { ledger, old_files })
    }
}

fn read_old(
    place: &Place,
    kind: FileKind,
    name: &str,
    uidvalidity: u32,
) -> Result<Option<OldFile>, Refusal> {
    let dir = place.directory_of(kind);
    let path = dir.path_of(name);
    // The commit removes what it holds, so what may be read another time is not taken for nothing.
    let needed = |error: Refusal| {
        let text = format!(
            "{}: it may have the only copy of UUIDs, and would be removed. A downgrade with \
             uuids=cut does without it",
            error.text
        );
        Refusal::new(error.code, text)
    };
    let file = match dir.open_file(name, false) {
        Ok(file) => file,
        Err(OpenError::Missing { .. }) => return Ok(None),
        Err(error) => return Err(needed(error.into())),
    };
    let identity = Identity::of(&file).io_context("stat", &path)?;
    let read = || -> Result<Option<(u32, ByUid)>, ReadError> {
        let old = IndexFile::from_file(&file, &path, kind)?;
        if old.header().uidvalidity() != uidvalidity {
            return Ok(None);
        }
        Ok(Some((old.minor_version(), ByUid::of(old)?)))
    };
    let (version, by_uid) = match read() {
        Ok(Some(old)) => old,
        Ok(None) => return Ok(None),
        Err(ReadError::Io(error)) => return Err(needed(error.into())),
        Err(error) => {
            tracing::warn!(mailbox = %place.mailbox, "not used for UUIDs: {error}");
            return Ok(None);
        }
    };
    Ok(Some(OldFile {
        kind,
        file: identity,
        version,
        by_uid,
    }))
}

/// UUIDs by UID, each with what shows that it is of the same message. They are looked up when they
/// are asked for.
#[derive(Debug, Default)]
pub struct OldUuids {
    ledger: Option<Ledger>,
    /// The oldest first.
    old_files: Vec<OldFile>,
    /// Only what this run replaced (0: whichever run).
    run: Option<u64>,
    /// The run is one that `cyrus.uuids` names.
    known: bool,
}

impl OldUuids {
    /// All that is known, whichever run replaced it: for versions below 10.
    ///
    /// # Errors
    /// `cyrus.uuids` or a `.OLD` file is there and cannot be read.
    pub fn of_all(place: &Place, live: &LiveFiles) -> Result<OldUuids, Refusal> {
        let Backups { ledger, old_files } = Backups::of(place, &live.index)?;
        Ok(OldUuids {
            ledger,
            old_files,
            run: None,
            known: false,
        })
    }

    /// What one run replaced at version 10 (0: whichever run). A record that has an old-style GUID
    /// is none that a run rewrote and stays as it is: so the same order can be given twice, and
    /// where the rewrite never came to pass.
    ///
    /// # Errors
    /// As [`OldUuids::of_all`].
    pub fn of_run(place: &Place, live: &LiveFiles, run: u64) -> Result<OldUuids, Refusal> {
        let mut uuids = OldUuids::of_all(place, live)?;
        uuids.run = Some(run);
        uuids.known = uuids.ledger.as_ref().is_some_and(|l| l.knows(run));
        let mut old_files = std::mem::take(&mut uuids.old_files);
        old_files.retain(|file| {
            let by = uuids
                .ledger
                .as_ref()
                .map(|l| l.run_of(file.kind, file.file));
            // Without a ledger it was one run, and is that which is spoken of.
            let meant = by.is_none_or(|by| by.map_or(run == 0, |by| uuids.is_meant(by)));
            file.version >= GUID_VERSION && meant
        });
        uuids.old_files = old_files;
        Ok(uuids)
    }

    fn is_meant(&self, of: u64) -> bool {
        let Some(run) = self.run else { return true };
        // A run that it does not name is one from before it was begun.
        run == 0 || of == if self.known { run } else { 0 }
    }

    fn kept(&self, uid: u32) -> Result<Option<OldUuid>, IoError> {
        let ledger = self.ledger.as_ref();
        let kept = ledger.map_or(Ok(None), |ledger| ledger.kept(uid))?;
        let Some(kept) = kept else { return Ok(None) };
        let mut meant = self.is_meant(kept.run);
        // Taken away by this run, or by an earlier one and then again by this one.
        for file in &self.old_files {
            meant = meant || file.by_uid.get(uid)?.is_some();
        }
        Ok(Some(kept.old).filter(|_| meant))
    }

    /// Whether a wrong GUID may come back.
    #[must_use]
    pub fn knows_wrong(&self) -> bool {
        let ledger = self.ledger.iter().filter(|_| self.run.is_some());
        ledger
            .flat_map(Ledger::wrong_runs)
            .any(|run| self.is_meant(run))
    }

    /// The GUID, no old-style one, that this message had before the run replaced it, as it was
    /// wrong. The first that a message had counts.
    ///
    /// # Errors
    /// `cyrus.uuids` cannot be read any more.
    pub fn wrong(&self, record: &Record<'_>) -> Result<Option<Guid>, IoError> {
        let Some(ledger) = self.ledger.as_ref().filter(|_| self.run.is_some()) else {
            return Ok(None);
        };
        let kept = ledger.wrong(record.uid())?;
        let kept = kept.iter().find(|k| self.is_meant(k.run));
        let has = record.guid().padded();
        let back = |kept: &&WrongKept| kept.fits(record) && kept.guid != has && !has.is_old_style();
        Ok(kept.filter(back).map(|kept| kept.guid))
    }

    /// What this message had.
    ///
    /// # Errors
    /// `cyrus.uuids` or a `.OLD` file cannot be read any more.
    pub fn get(&self, record: &Record<'_>) -> Result<Option<OldUuid>, IoError> {
        if self.run.is_some() && record.guid().is_old_style() {
            return Ok(None);
        }
        let uid = record.uid();
        if let Some(kept) = self.kept(uid)?.filter(|old| old.fits(record)) {
            return Ok(Some(kept));
        }
        for file in &self.old_files {
            if let Some(old) = file.by_uid.get(uid)?.filter(|old| old.fits(record)) {
                return Ok(Some(old));
            }
        }
        Ok(None)
    }
}

/// Whether a record's identifier is this one.
pub(super) fn has(guid: Guid, old: &OldUuid) -> bool {
    guid == Guid::padded(old.uuid)
}
