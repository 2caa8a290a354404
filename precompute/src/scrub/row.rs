//! What a record says about its message file.

use indexfile::{FileKind, Guid, Record};

use crate::store::Place;

/// Something of the message is still to be removed (3.0 and later).
const NEEDS_CLEANUP: u32 = 1 << 28;
/// The message lies in the archive partition (3.0 and later).
const ARCHIVED: u32 = 1 << 29;

/// What a record says about its message file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) uid: u32,
    /// Bytes.
    pub(super) size: u64,
    /// `None` if it is no SHA-1: NULL, padded, or a UUID.
    pub(super) guid: Option<Guid>,
    /// The file lies in the archive partition.
    pub(super) archived: bool,
    /// The file is gone, or about to go.
    pub(super) unlinked: bool,
    /// A copy in the other partition is about to be removed.
    pub(super) cleanup: bool,
    /// Which file has the record.
    pub(super) kind: FileKind,
}

impl Row {
    pub(super) fn of(record: &Record<'_>, kind: FileKind) -> Self {
        let guid = record.guid();
        let flags = record.system_flags();
        Self {
            uid: record.uid(),
            size: record.size(),
            guid: Some(guid.padded()).filter(|_| !guid.is_old_style()),
            archived: flags & ARCHIVED != 0,
            unlinked: flags & indexfile::flags::UNLINKED != 0,
            cleanup: flags & NEEDS_CLEANUP != 0,
            kind,
        }
    }

    /// Where the message file lies.
    pub(super) fn place(&self) -> Place {
        if self.archived {
            Place::Archive
        } else {
            Place::Data
        }
    }
}
