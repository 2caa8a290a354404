//! SHA-1 of messages: hashing, the cyrus.sha1s cache, the parallel pass, scrub.
//!
//! This crate reads messages and writes `cyrus.sha1s`, and nothing else: it takes no locks, renames
//! nothing of Cyrus's, and a crash in it leaves at worst a stray temporary file of its own name.

pub mod bench;
pub mod cache;
pub mod clean;
pub mod cli;
pub mod governor;
pub mod hash;
pub mod import;
pub mod links;
pub mod mailbox;
pub mod message;
pub mod nice;
pub mod pass;
pub mod run_as;
pub mod scrub;
pub mod store;
mod throttle;
mod uid_set;
pub mod verify;
pub mod worker_pool;
