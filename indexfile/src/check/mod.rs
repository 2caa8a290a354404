//! Reporting what is wrong with a file, a mailbox directory or a tree, each finding by a stable
//! name.
//!
//! Promises: reads only, takes no lock, changes nothing; a mailbox in use can therefore show a
//! finding that is gone a moment later (a rename between two of its files). The half-upgraded
//! states that real servers leave have a name each. Codes and their meanings are in
//! `docs/findings.md`.

mod cache;
mod file;
mod findings;
mod header_file;
mod mailbox;
mod messages;
mod reconstruct;
mod repair;
mod sync_crc;
mod tree;

pub use crate::finding::{Code, Finding, Severity};
pub use cache::check_cache_bytes;
pub use file::check_index;
pub use findings::Findings;
pub use mailbox::{check_mailbox, check_pair};
pub use repair::{RepairError, repair_expunge};
pub use tree::{check_path, check_store};

/// What to look at besides the files themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Compare sizes and GUIDs with the message files in this directory (of a single mailbox).
    pub messages: Option<std::path::PathBuf>,
    /// Look for all that would make Cyrus's own `reconstruct` lose mail or fail: message files are
    /// compared wherever the mailbox has them.
    pub before_reconstruct: bool,
}
