//! Removing caches, when a migration is over.
//!
//! Removes `cyrus.sha1s` and what a killed run left of its own name, whatever state they are in,
//! and nothing else. A crash leaves some of them removed.

use indexfile::dir::Dir;
use indexfile::mailbox::MetaFile;

use crate::cache::{self, FILE_NAME, StoreError, TEMPORARY};
use crate::mailbox::{cache_finding, directory_finding};
use crate::store::Target;
use indexfile::finding::Finding;

/// Removes the cache of one mailbox and gives the number of files; with `dry_run` only counts.
///
/// # Errors
/// A finding, if the directory cannot be opened or the files not be removed.
pub fn clean(target: &Target, dry_run: bool) -> Result<u64, Finding> {
    let dirs = target
        .open()
        .map_err(|error| directory_finding(target, &error))?;
    let dir = dirs.at(target.dirs.file_dir(MetaFile::Index));
    let result = if dry_run { count(dir) } else { remove(dir) };
    result.map_err(|error| cache_finding(target, &error))
}

fn count(dir: &Dir) -> Result<u64, StoreError> {
    let there = |name: &str| Ok::<_, StoreError>(u64::from(dir.stat(name)?.is_some()));
    Ok(there(FILE_NAME)? + there(TEMPORARY)?)
}

fn remove(dir: &Dir) -> Result<u64, StoreError> {
    let stray = cache::sweep(dir)?;
    let cache = cache::remove(dir)?;
    Ok(u64::from(stray) + u64::from(cache))
}
