//! Why a file cannot be read as an index; one variant a finding.

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
    /// The bytes are not those of an index header of any version.
    #[error("{} is not a Cyrus index or expunge file: {reason}", path.display())]
    NotIndex {
        /// The file.
        path: PathBuf,
        /// What gave it away.
        reason: &'static str,
    },
    /// The file has no byte at all. Cyrus 2.3.16 crashes on such an expunge file.
    #[error("{} is empty (zero bytes), not even a header", path.display())]
    ZeroLength {
        /// The file.
        path: PathBuf,
    },
    /// The header is plausible, its version is not one of 2 to 10 and 12 to 20.
    #[error("{} has the unknown index version {minor_version}", path.display())]
    UnknownVersion {
        /// The file.
        path: PathBuf,
        /// The version it claims.
        minor_version: u32,
    },
    /// Version 11, which only `FastMail` ever ran and nobody released.
    #[error("{} has index version 11, which was never released and whose layout is not known", path.display())]
    Version11 {
        /// The file.
        path: PathBuf,
    },
    /// The file is shorter than its header says.
    #[error(
        "{} is truncated: {num_records} records need {expected} bytes, the file has {actual}",
        path.display()
    )]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Records according to the header.
        num_records: u32,
        /// Bytes needed for them.
        expected: u64,
        /// Bytes there are.
        actual: u64,
    },
    /// The file became shorter while it was read: somebody who takes no lock truncated it.
    #[error(
        "{} became shorter while it was read, from at least {expected} bytes to {actual}: something truncates it \
         in place, as cp does",
        path.display()
    )]
    Changed {
        /// The file.
        path: PathBuf,
        /// Bytes of header and records when it was opened.
        expected: u64,
        /// Where it ends now, or a place behind that.
        actual: u64,
    },
    /// Version 9 or older with the record size of version 10: a version 10 file that a server
    /// before 2.3.10 appended to. Its GUIDs may be overwritten in part.
    #[error(
        "{} says version {minor_version} but has records of 88 bytes: a server older than 2.3.10 wrote \
         into a version 10 file, and its GUIDs and modseqs cannot be trusted",
        path.display()
    )]
    HybridMinor9Record88 {
        /// The file.
        path: PathBuf,
        /// The version it claims, at most 9.
        minor_version: u32,
    },
    /// The version is known, the sizes in the header cannot be.
    #[error("{} has a damaged header: {field} is {value}, which version {minor_version} cannot have", path.display())]
    BadHeader {
        /// The file.
        path: PathBuf,
        /// The version it claims.
        minor_version: u32,
        /// The field that cannot be right.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// A record has UID 0.
    #[error("{} is damaged: record {record} has UID 0", path.display())]
    ZeroUid {
        /// The file.
        path: PathBuf,
        /// Number of the record, from 1.
        record: u32,
    },
    /// The UIDs of an index file do not ascend.
    #[error("{} is damaged: record {record} has UID {uid} after UID {previous}", path.display())]
    UidOrder {
        /// The file.
        path: PathBuf,
        /// Number of the record, from 1.
        record: u32,
        /// Its UID.
        uid: u32,
        /// The UID before it.
        previous: u32,
    },
    /// The header's checksum is wrong (version 12 and later).
    #[error("{} is damaged: header_crc is {stored:08x}, the header's bytes give {computed:08x}", path.display())]
    HeaderCrc {
        /// The file.
        path: PathBuf,
        /// The checksum in the file.
        stored: u32,
        /// The checksum of the bytes.
        computed: u32,
    },
    /// A record's checksum is wrong (version 12 and later).
    #[error(
        "{} is damaged: record {record} (UID {uid}) has record_crc {stored:08x}, its bytes give {computed:08x}",
        path.display()
    )]
    RecordCrc {
        /// The file.
        path: PathBuf,
        /// Number of the record, from 1.
        record: u32,
        /// Its UID.
        uid: u32,
        /// The checksum in the file.
        stored: u32,
        /// The checksum of the bytes.
        computed: u32,
    },
}

impl ReadError {
    /// The stable code of what is wrong.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Io(e) if crate::dir::is_odd(&e.source) => Code::NotRegular,
            Self::Io(_) => Code::Io,
            Self::NotIndex { .. } => Code::NotIndex,
            Self::ZeroLength { .. } => Code::ZeroLength,
            Self::UnknownVersion { .. } => Code::UnknownVersion,
            Self::Version11 { .. } => Code::Version11,
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

    /// The file in question.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Io(e) => &e.path,
            Self::NotIndex { path, .. }
            | Self::ZeroLength { path }
            | Self::UnknownVersion { path, .. }
            | Self::Version11 { path }
            | Self::Truncated { path, .. }
            | Self::Changed { path, .. }
            | Self::HybridMinor9Record88 { path, .. }
            | Self::BadHeader { path, .. }
            | Self::ZeroUid { path, .. }
            | Self::UidOrder { path, .. }
            | Self::HeaderCrc { path, .. }
            | Self::RecordCrc { path, .. } => path,
        }
    }

    /// The exit code a command ends with that fails for this reason.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Io(e) => Exit::of_io(&e.source),
            _ => Exit::Data,
        }
    }
}
