//! Files and directories of a mail store: opened beneath a partition root, renamed by directory
//! handle, synced.
//!
//! No path string is walked twice: a mailbox's directory is opened once, beneath its partition
//! root, and everything after that goes by name relative to that handle. A symbolic link that leads
//! out of the partition is refused by the kernel.

mod attributes;
mod dir;
mod durable;
mod identity;
mod own;
mod rewrite;

pub use attributes::copy_attributes;
pub use dir::{Dir, FileId};
pub use durable::{CreatedFile, NewFile, Unsynced, sync_new};
pub use identity::Identity;
pub use indexfile::dir::OpenError;
pub use own::open_own;
pub use rewrite::rewrite;

use std::io;

use nix::errno::Errno;

use crate::protocol::Code;

/// The code that tells a coordinator what kind of I/O error it was.
#[must_use]
pub fn code_of(error: &io::Error) -> Code {
    if indexfile::dir::is_odd(error) {
        return Code::Damaged;
    }
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENOSPC | Errno::EDQUOT | Errno::EFBIG) => Code::NoSpace,
        Some(Errno::EACCES | Errno::EPERM | Errno::EROFS) => Code::Denied,
        Some(Errno::ESTALE | Errno::ENOTCONN | Errno::ENODEV | Errno::ENXIO) => Code::Unmounted,
        None if error.kind() == io::ErrorKind::PermissionDenied => Code::Denied,
        _ => Code::Io,
    }
}
