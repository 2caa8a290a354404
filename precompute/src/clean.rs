//! Removing caches, when a migration is over.
//!
//! Removes `cyrus.sha1s` and what a killed run left of its own name, whatever state they are in,
//! and nothing else. A crash leaves some of them removed.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use indexfile::mailbox::MetaFile;
use rustix::fs::AtFlags;

use crate::cache::{self, FILE_NAME, StoreError, TEMPORARY};
use crate::finding::Finding;
use crate::mailbox::directory_finding;
use crate::store::Target;

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// Number of files.
    pub files: u64,
}

/// Removes the cache of one mailbox; with `dry_run` only counts.
///
/// # Errors
/// A finding, if the directory cannot be opened or the files not be removed.
pub fn clean(target: &Target, dry_run: bool) -> Result<Cleaned, Finding> {
    let path = target.index_path();
    let dirs = target
        .open()
        .map_err(|error| directory_finding(target, &error))?;
    let dir = dirs.at(target.dirs.file_dir(MetaFile::Index)).as_fd();
    let result = if dry_run {
        Ok(count(dir))
    } else {
        remove(dir, &path)
    };
    result
        .map(|files| Cleaned { files })
        .map_err(|error| Finding::new(&target.mailbox, error.code(), path.join(FILE_NAME), &error))
}

fn count(dir: BorrowedFd<'_>) -> u64 {
    let there = |name: &str| rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).is_ok();
    u64::from(there(FILE_NAME)) + u64::from(there(TEMPORARY))
}

fn remove(dir: BorrowedFd<'_>, path: &Path) -> Result<u64, StoreError> {
    let stray = cache::sweep(dir, path)?;
    let cache = cache::remove(dir, path)?;
    Ok(u64::from(stray) + u64::from(cache))
}
