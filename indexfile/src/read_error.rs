//! Why a file cannot be read as an index.

use crate::error::IoError;
use crate::exit::Exit;
use crate::finding::Code;
use std::path::{Path, PathBuf};

/// A file that is not a sound index or expunge file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The system could not open or read the file.
    #[error(transparent)]
    Io(#[from] IoError),
    /// It could be read, and is not what it should be.
    #[error("{} {damage}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        damage: Damage,
    },
}

/// What is wrong with a file; the text completes a sentence that begins with its path. Sizes are in
/// bytes, records are numbered from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)] // the text of each variant says what its numbers are
pub enum Damage {
    /// The bytes are not those of an index header of any version.
    #[error("is not a Cyrus index or expunge file: {0}")]
    NotIndex(&'static str),
    /// The file has no byte at all. Cyrus 2.3.16 crashes on such an expunge file.
    #[error("is empty (zero bytes), not even a header")]
    ZeroLength,
    /// The header is plausible, its version is not one of 2 to 10 and 12 to 20.
    #[error("has the unknown index version {0}")]
    UnknownVersion(u32),
    /// Version 11, which only `FastMail` ever ran and which was never released.
    #[error("has index version 11, which was never released and whose layout is not known")]
    Version11,
    /// The file is shorter than its header says.
    #[error("is truncated: {num_records} records need {expected} bytes, the file has {actual}")]
    Truncated {
        num_records: u32,
        expected: u64,
        actual: u64,
    },
    /// The file became shorter while it was read: something that takes no lock truncated it.
    /// `actual` is where it ends now, or a place behind that.
    #[error(
        "became shorter while it was read, from at least {expected} bytes to {actual}: \
         something truncates it in place, as cp does"
    )]
    Changed { expected: u64, actual: u64 },
    /// Version 9 or older with the record size of version 10: a version 10 file that a server
    /// before 2.3.10 appended to. Its GUIDs may be overwritten in part.
    #[error(
        "says version {minor_version} but has records of 88 bytes: a server older than 2.3.10 \
         wrote into a version 10 file, and its GUIDs and modseqs cannot be trusted"
    )]
    HybridMinor9Record88 { minor_version: u32 },
    /// The version is known, the sizes in the header cannot be.
    #[error("has a damaged header: {field} is {value}, which version {minor_version} cannot have")]
    BadHeader {
        minor_version: u32,
        field: &'static str,
        value: u32,
    },
    /// A record has UID 0.
    #[error("is damaged: record {record} has UID 0")]
    ZeroUid { record: u32 },
    /// The UIDs of an index file do not ascend.
    #[error("is damaged: record {record} has UID {uid} after UID {previous}")]
    UidOrder {
        record: u32,
        uid: u32,
        previous: u32,
    },
    /// The header's checksum is wrong (version 12 and later).
    #[error("is damaged: header_crc is {stored:08x}, the header's bytes give {computed:08x}")]
    HeaderCrc { stored: u32, computed: u32 },
    /// A record's checksum is wrong (version 12 and later).
    #[error(
        "is damaged: record {record} (UID {uid}) has record_crc {stored:08x}, its bytes give \
         {computed:08x}"
    )]
    RecordCrc {
        record: u32,
        uid: u32,
        stored: u32,
        computed: u32,
    },
}

impl Damage {
    /// The error about `path`.
    #[must_use]
    pub fn of(self, path: &Path) -> ReadError {
        ReadError::Damaged {
            path: path.to_path_buf(),
            damage: self,
        }
    }

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::NotIndex(_) => Code::NotIndex,
            Self::ZeroLength => Code::ZeroLength,
            Self::UnknownVersion(_) => Code::UnknownVersion,
            Self::Version11 => Code::Version11,
            Self::Truncated { .. } => Code::Truncated,
            Self::Changed { .. } => Code::Changed,
            Self::HybridMinor9Record88 { .. } => Code::Hybrid,
            Self::BadHeader { .. } => Code::BadHeader,
            Self::ZeroUid { .. } => Code::ZeroUid,
            Self::UidOrder { .. } => Code::UidOrder,
            Self::HeaderCrc { .. } => Code::HeaderCrc,
            Self::RecordCrc { .. } => Code::RecordCrc,
        }
    }
}

impl ReadError {
    /// What is wrong with the content, if the file could be read.
    #[must_use]
    pub fn damage(&self) -> Option<Damage> {
        match self {
            Self::Io(_) => None,
            Self::Damaged { damage, .. } => Some(*damage),
        }
    }

    /// The stable code of what is wrong.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Io(e) if crate::dir::is_odd(&e.source) => Code::NotRegular,
            Self::Io(_) => Code::Io,
            Self::Damaged { damage, .. } => damage.code(),
        }
    }

    /// The file in question.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Io(e) => &e.path,
            Self::Damaged { path, .. } => path,
        }
    }

    /// The exit code a command ends with that fails for this reason.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Io(e) => Exit::of_io(&e.source),
            Self::Damaged { .. } => Exit::Data,
        }
    }
}
