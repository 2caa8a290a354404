//! What identified a message before an upgrade, and which record is still of that message.

use indexfile::{Record, RecordField, RecordGuid, Uuid};

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

/// What a message keeps for its life, besides its UID.
pub(super) fn message_of(record: &Record<'_>) -> (u64, u64) {
    (
        record.get(RecordField::Internaldate).unwrap_or(0),
        record.size(),
    )
}
