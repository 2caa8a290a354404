//! What lies on a Cyrus disk: index and expunge files, GUIDs, `cyrus.header`, `imapd.conf`, mailbox
//! directories.
//!
//! This crate knows bytes and paths and nothing else: it has no clock, no network and no threads,
//! takes no locks, and never writes under a live name. The caller decides what may be opened
//! and where the output goes.
//!
//! * [`layout`] is the one table of every version of the format; everything else asks it.
//! * [`IndexFile`] reads `cyrus.index` and `cyrus.expunge` of versions 2 to 10 and 12 to 20.
//! * [`StreamCopy`] writes versions 6 to 10 from any of 2 to 10, altering GUIDs on the way.
//! * [`cutover`] writes versions 12 to 19 from the files of a mailbox of version 10.
//! * [`build`] makes fresh files; [`sha1s`] is the format of `cyrus.sha1s`.
//! * [`mailbox`] turns a mailbox name and an `imapd.conf` into directories.
//!
//! ```
//! use indexfile::build::{BuildRecord, IndexBuilder};
//! use indexfile::{Decision, FileKind, Guid, IndexFile, StreamCopy};
//! use std::path::Path;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let v9 = IndexBuilder::new(9, FileKind::Index)
//!     .record(BuildRecord { uid: 7, size: 1234, ..BuildRecord::default() })
//!     .to_bytes()?;
//! let old = IndexFile::from_bytes(v9, Path::new("cyrus.index"), FileKind::Index)?;
//! let sha1 = Guid::from_bytes([0x5a; 20]);
//! let mut new = Vec::new();
//! let report = StreamCopy::new(&old).to_version(10).write(&mut new, |record| {
//!     Ok::<_, std::convert::Infallible>(if record.guid().is_old_style() {
//!         Decision::Alter(sha1)
//!     } else {
//!         Decision::Keep
//!     })
//! })?;
//! assert_eq!(report.altered, 1);
//! let new = IndexFile::from_bytes(new, Path::new("cyrus.index.NEW"), FileKind::Index)?;
//! assert_eq!(new.find_uid(7)?.map(|r| r.guid().padded()), Some(sha1));
//! # Ok(()) }
//! ```

mod by_uid;
mod date;
mod error;
mod guid;
mod header;
mod hex;
mod kind;
mod read_error;
mod reader;
mod record;
mod records;
mod shape;
mod source;
mod sync_crc;
mod write_behind;

pub mod build;
pub mod cache_file;
pub mod check;
pub mod cli;
pub mod config;
pub mod cutover;
pub mod diff;
pub mod dir;
pub mod exit;
pub mod finding;
pub mod layout;
pub mod mailbox;
pub mod message;
pub mod program;
pub mod seen;
pub mod sha1s;
pub mod stream_copy;
pub mod walk;

pub use by_uid::ByUid;
pub use error::{IoContext, IoError};
pub use guid::{Guid, ParseGuidError, RecordGuid, Uuid};
pub use header::Header;
pub use hex::hex;
pub use kind::FileKind;
pub use layout::{HeaderField, RecordField};
pub use read_error::{Damage, ReadError};
pub use reader::IndexFile;
pub use record::{Block, Record, flags};
pub use records::{Blocks, Records};
pub use source::read_up_to;
pub use stream_copy::{ConvertError, CopyError, CopyReport, Decision, StreamCopy};
pub use write_behind::WriteBehind;
