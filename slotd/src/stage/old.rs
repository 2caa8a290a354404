//! The UUIDs, and the old-style GUIDs of version 10, that an upgrade replaced, out of the `.OLD` files it left: for the way back.

use std::collections::HashMap;

use indexfile::{FileKind, IndexFile, ReadError, Record, RecordField, RecordGuid, Uuid};

use super::{GUID_VERSION, LiveFiles, sources};
use crate::store::Place;

/// The name of the hard link to a file that was replaced.
#[must_use]
pub const fn old_name(kind: FileKind) -> &'static str {
    match kind {
        FileKind::Index => "cyrus.index.OLD",
        FileKind::Expunge => "cyrus.expunge.OLD",
    }
}

/// What a record had before it was upgraded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OldUuid {
    /// The identifier.
    pub uuid: Uuid,
    /// Its modseq was 0, which an upgrade turns into 1.
    pub zero_modseq: bool,
    internaldate: u64,
    size: u64,
}

/// UUIDs by UID, each with what shows that it is of the same message.
#[derive(Debug, Default)]
pub struct OldUuids {
    by_uid: HashMap<u32, OldUuid>,
}

impl OldUuids {
    /// Reads what `.OLD` files there are. One that is missing, damaged or of another incarnation of the mailbox
    /// gives nothing: a UUID cut from the GUID is legal too. Nor does one below `lowest_version`.
    #[must_use]
    pub fn load(place: &Place, live: &IndexFile, lowest_version: u32) -> OldUuids {
        let mut uuids = OldUuids::default();
        for kind in [FileKind::Expunge, FileKind::Index] {
            let dir = place.directory_of(kind);
            let Ok(file) = dir.open_file(old_name(kind), false) else {
                continue;
            };
            match IndexFile::from_file(&file, &dir.path_of(old_name(kind)), kind) {
                Ok(old) if old.minor_version() < lowest_version => {}
                Ok(old) => {
                    // What was read before it could be read no further is as good as the rest.
                    if let Err(error) = uuids.add(&old, live) {
                        tracing::warn!(mailbox = %place.mailbox, "not all used for UUIDs: {error}");
                    }
                }
                Err(error) => {
                    tracing::warn!(mailbox = %place.mailbox, "not used for UUIDs: {error}");
                }
            }
        }
        uuids
    }

    /// What a rewrite at version 10 replaced. A live file that has an old-style GUID is none that such a rewrite made: it
    /// stays as it is, so that the same order can be given twice, and where the rewrite never came to pass.
    ///
    /// # Errors
    /// A live file cannot be read.
    pub fn of_rewrite(place: &Place, live: &LiveFiles) -> Result<OldUuids, ReadError> {
        let old = OldUuids::load(place, &live.index, GUID_VERSION);
        let mut uuids = OldUuids::default();
        for file in live.each() {
            if sources::needs_guids(file)? {
                continue;
            }
            for record in file.records() {
                let record = record?;
                uuids
                    .by_uid
                    .extend(old.get(&record).map(|o| (record.uid(), o)));
            }
        }
        Ok(uuids)
    }

    fn add(&mut self, old: &IndexFile, live: &IndexFile) -> Result<(), ReadError> {
        if old.header().uidvalidity() != live.header().uidvalidity() {
            return Ok(());
        }
        for record in old.records() {
            let record = record?;
            let uuid = match record.guid() {
                RecordGuid::Uuid(uuid) => uuid,
                // A version 10 file that had padded UUIDs.
                RecordGuid::Guid(guid) if guid.is_old_style() => guid.truncated(),
                _ => continue,
            };
            let (internaldate, size) = message_of(&record);
            let zero_modseq = record.modseq() == Some(0);
            self.by_uid.insert(
                record.uid(),
                OldUuid {
                    uuid,
                    zero_modseq,
                    internaldate,
                    size,
                },
            );
        }
        Ok(())
    }

    /// What this message had.
    #[must_use]
    pub fn get(&self, record: &Record<'_>) -> Option<OldUuid> {
        let old = self.by_uid.get(&record.uid())?;
        (message_of(record) == (old.internaldate, old.size)).then_some(*old)
    }
}

/// What a message keeps for its life, besides its UID.
fn message_of(record: &Record<'_>) -> (u64, u64) {
    (
        record.get(RecordField::Internaldate).unwrap_or(0),
        record.size(),
    )
}
