//! Mailbox lists, read by the parser that all of reguid shares.
//!
//! A mailbox whose directory is named after its unique id (Cyrus 3.6 and later) is one that the controller does
//! not handle: it has SHA-1 GUIDs already. It is counted as skipped.

pub use indexfile::mailbox::list::{Item, ListError, Reader, Skip, Skipped};
