//! `cyrus.sha1s` on disk: found, judged, replaced, removed.
//!
//! The format itself is [`indexfile::sha1s`]'s and is re-exported here. This module adds how the
//! file is handled: a cache of another incarnation of the mailbox (uidvalidity or uniqueid differ)
//! does not count, a damaged one is as good as none, and a new one is written next to it under
//! [`TEMPORARY`], given the owner, group and mode of `cyrus.index`, synced and renamed into place.
//!
//! What a crash leaves: the old cache or the new one, whole; at worst also a file named
//! [`TEMPORARY`], which the next run reuses or removes. Nothing else in the directory is touched.

mod owner;
mod store;

pub use indexfile::sha1s::{
    Cache, CacheError, CacheWriter, Entries, Entry, FILE_NAME, Stamp, WriteError,
};
pub use owner::Owner;
pub use store::{Found, StoreError, TEMPORARY, find, remove, replace, sweep};

#[cfg(test)]
mod tests;
