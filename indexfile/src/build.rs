//! Fresh files from typed records: for stores that are made from nothing, and for tests.
//!
//! Promises: what it returns, [`crate::IndexFile`] reads; counters, `exists` and checksums are
//! right unless set otherwise. Makes bytes only, so a crash leaves nothing.

use crate::guid::RecordGuid;
use crate::kind::FileKind;
use crate::layout::{self, HeaderField, Layout, RecordField, Slot};
use crate::record::flags;

/// One message. Fields that the version does not have are ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuildRecord {
    /// UID, at least 1.
    pub uid: u32,
    /// INTERNALDATE, seconds since 1970.
    pub internaldate: u32,
    /// Day of the `Date:` header, seconds since 1970.
    pub sentdate: u32,
    /// Size of the message file, bytes.
    pub size: u32,
    /// Size of its header, bytes; written as `content_offset` too.
    pub header_size: u32,
    /// Offset in `cyrus.cache`.
    pub cache_offset: u32,
    /// Time of the last change, seconds since 1970.
    pub last_updated: u32,
    /// System flag bits.
    pub system_flags: u32,
    /// User flags as on disk.
    pub user_flags: [u8; 16],
    /// Lines of the body.
    pub content_lines: u32,
    /// Cache version.
    pub cache_version: u32,
    /// The identifier; padded or cut to what the version holds.
    pub guid: RecordGuid,
    /// MODSEQ.
    pub modseq: u64,
}

impl Default for BuildRecord {
    fn default() -> Self {
        Self {
            uid: 1,
            internaldate: 0,
            sentdate: 0,
            size: 0,
            header_size: 0,
            cache_offset: 4,
            last_updated: 0,
            system_flags: 0,
            user_flags: [0; 16],
            content_lines: 0xffff_ffff,
            cache_version: 2,
            guid: RecordGuid::Absent,
            modseq: 1,
        }
    }
}

/// Why a file cannot be built.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildError {
    /// There is no such version.
    #[error("there is no index version {0}")]
    UnknownVersion(u32),
    /// A value does not fit its field, or the version has no such field.
    #[error("version {minor_version} cannot hold {field} = {value}")]
    Field {
        /// The version.
        minor_version: u32,
        /// The field's name.
        field: &'static str,
        /// The value.
        value: u64,
    },
    /// A UID of 0, or an index whose UIDs do not ascend.
    #[error("UID {uid} cannot follow UID {previous}")]
    UidOrder {
        /// The UID.
        uid: u32,
        /// The one before it, 0 at the start.
        previous: u32,
    },
    /// More records than a file can count.
    #[error("more than 4294967295 records")]
    TooMany,
}

/// Builds an index or expunge file of any version that has a layout.
#[derive(Clone, Debug)]
pub struct IndexBuilder {
    minor_version: u32,
    kind: FileKind,
    records: Vec<BuildRecord>,
    set: Vec<(HeaderField, u64)>,
}

impl IndexBuilder {
    /// An empty file: generation 0, uidvalidity 1, `POP3_NEW_UIDL` set as Cyrus does for new
    /// mailboxes.
    #[must_use]
    pub fn new(minor_version: u32, kind: FileKind) -> Self {
        Self {
            minor_version,
            kind,
            records: Vec::new(),
            set: Vec::new(),
        }
    }

    /// Adds a record at the end. An index must get them in ascending order of UID.
    #[must_use]
    pub fn record(mut self, record: BuildRecord) -> Self {
        self.records.push(record);
        self
    }

    /// Adds many records.
    #[must_use]
    pub fn records(mut self, records: impl IntoIterator<Item = BuildRecord>) -> Self {
        self.records.extend(records);
        self
    }

    /// Sets a header field, overriding what follows from the records.
    #[must_use]
    pub fn set(mut self, field: HeaderField, value: u64) -> Self {
        self.set.push((field, value));
        self
    }

    /// Sets UIDVALIDITY.
    #[must_use]
    pub fn uidvalidity(self, value: u32) -> Self {
        self.set(HeaderField::Uidvalidity, u64::from(value))
    }

    /// Sets the generation number.
    #[must_use]
    pub fn generation_no(self, value: u32) -> Self {
        self.set(HeaderField::GenerationNo, u64::from(value))
    }

    /// Sets `last_uid` (else the largest UID given).
    #[must_use]
    pub fn last_uid(self, value: u32) -> Self {
        self.set(HeaderField::LastUid, u64::from(value))
    }

    /// The file's bytes.
    ///
    /// # Errors
    /// [`BuildError`] if the version does not exist or a value does not fit.
    pub fn to_bytes(&self) -> Result<Vec<u8>, BuildError> {
        let layout =
            layout::of(self.minor_version).ok_or(BuildError::UnknownVersion(self.minor_version))?;
        let mut previous = 0;
        for record in &self.records {
            let uid = record.uid;
            if uid == 0 || self.kind == FileKind::Index && uid <= previous {
                return Err(BuildError::UidOrder { uid, previous });
            }
            previous = uid;
        }
        let mut out = self.header(layout)?;
        let size = layout.record_size as usize;
        out.reserve(self.records.len() * size);
        for record in &self.records {
            let at = out.len();
            out.resize(at + size, 0);
            write_record(layout, record, &mut out[at..])?;
        }
        Ok(out)
    }

    fn header(&self, layout: &Layout) -> Result<Vec<u8>, BuildError> {
        use HeaderField as H;
        let mut out = vec![0; layout.header_size as usize];
        let all = u32::try_from(self.records.len()).map_err(|_| BuildError::TooMany)?;
        // From version 12 on, counters describe the records that are not expunged.
        let alive =
            |r: &&BuildRecord| layout.minor_version <= 10 || r.system_flags & flags::EXPUNGED == 0;
        let count = |bit: u32| {
            self.records
                .iter()
                .filter(alive)
                .filter(|r| r.system_flags & bit != 0)
                .count() as u64
        };
        let exists = self.records.iter().filter(alive).count() as u64;
        // What is set by hand is not derived, and so cannot fail to fit.
        let mut put = |field: H, derived: u64| {
            let value = self
                .set
                .iter()
                .rfind(|(f, _)| *f == field)
                .map_or(derived, |(_, v)| *v);
            put(layout, field, value, &mut out)
        };
        put(H::MinorVersion, u64::from(layout.minor_version))?;
        put(H::StartOffset, u64::from(layout.header_size))?;
        put(H::RecordSize, u64::from(layout.record_size))?;
        put(H::Exists, exists)?;
        put(H::NumRecords, u64::from(all))?;
        put(
            H::LastUid,
            self.records
                .iter()
                .map(|r| u64::from(r.uid))
                .max()
                .unwrap_or(0),
        )?;
        put(
            H::QuotaMailboxUsed,
            self.records
                .iter()
                .filter(alive)
                .map(|r| u64::from(r.size))
                .sum(),
        )?;
        put(H::Uidvalidity, 1)?;
        put(H::Deleted, count(flags::DELETED))?;
        put(H::Answered, count(flags::ANSWERED))?;
        put(H::Flagged, count(flags::FLAGGED))?;
        put(H::Unseen, exists - count(flags::SEEN))?;
        put(H::Options, 1)?;
        put(
            H::Highestmodseq,
            self.records
                .iter()
                .map(|r| r.modseq)
                .max()
                .unwrap_or(1)
                .max(1),
        )?;
        for &(field, value) in &self.set {
            if layout.header.get(field).is_none() {
                return Err(no_room(layout, field.name(), value));
            }
            put(field, value)?;
        }
        if let Some(slot) = layout.header.get(H::HeaderCrc) {
            seal(slot, &mut out);
        }
        Ok(out)
    }
}

fn no_room(layout: &Layout, field: &'static str, value: u64) -> BuildError {
    BuildError::Field {
        minor_version: layout.minor_version,
        field,
        value,
    }
}

/// Writes a field if the version has it.
fn put(layout: &Layout, field: HeaderField, value: u64, out: &mut [u8]) -> Result<(), BuildError> {
    let Some(slot) = layout.header.get(field) else {
        return Ok(());
    };
    slot.write(out, value)
        .ok_or_else(|| no_room(layout, field.name(), value))
}

/// Writes the checksum of the bytes before `slot` into it.
fn seal(slot: Slot, image: &mut [u8]) {
    let crc = image.get(..slot.offset as usize).map_or(0, crc32fast::hash);
    let _ = slot.write(image, u64::from(crc));
}

fn write_record(layout: &Layout, record: &BuildRecord, out: &mut [u8]) -> Result<(), BuildError> {
    use RecordField as R;
    for (field, slot) in layout.record.present() {
        // Version 20 counts nanoseconds.
        let time =
            |seconds: u32| u64::from(seconds) * if slot.width == 8 { 1_000_000_000 } else { 1 };
        let value = match field {
            R::Uid => u64::from(record.uid),
            R::Internaldate => time(record.internaldate),
            R::Sentdate | R::Gmtime => time(record.sentdate),
            R::LastUpdated => time(record.last_updated),
            R::Size => u64::from(record.size),
            R::HeaderSize | R::ContentOffset => u64::from(record.header_size),
            R::CacheOffset => u64::from(record.cache_offset),
            R::SystemFlags => u64::from(record.system_flags),
            R::ContentLines => u64::from(record.content_lines),
            R::CacheVersion => u64::from(record.cache_version),
            R::Modseq | R::Createdmodseq => record.modseq,
            R::UserFlags => {
                if let Some(to) = slot.of_mut(out) {
                    to.copy_from_slice(&record.user_flags);
                }
                continue;
            }
            R::Guid => {
                if let Some(to) = slot.of_mut(out) {
                    to.copy_from_slice(&record.guid.padded().as_bytes()[..slot.width.into()]);
                }
                continue;
            }
            R::Savedate | R::Cid | R::Basecid | R::CacheCrc => 0,
            R::RecordCrc => {
                seal(slot, out);
                continue;
            }
        };
        slot.write(out, value)
            .ok_or_else(|| no_room(layout, field.name(), value))?;
    }
    Ok(())
}
