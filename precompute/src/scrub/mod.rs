//! Every message's SHA-1 against the GUID in its index, for any Cyrus from 2.3.10 on.
//!
//! Promises: nothing is written and nothing is locked, so it can run beside a live server at any
//! time, and a crash leaves nothing. Every message that has a SHA-1 in its record is read in full;
//! all others are compared by size. What Cyrus does meanwhile is told from damage by looking again
//! ([`look`]): a finding was seen at least twice, from two openings of the index. Memory stays flat
//! whatever the number of mailboxes, messages or findings.
//!
//! Records are those of `cyrus.index` and, in 2.3, of `cyrus.expunge`; expunged messages keep their
//! files until they are cleaned up, so they are read as well. A record marked unlinked (bit 30) is
//! not expected to have a file; one marked archived (bit 29) has it in the archive partition.

mod examine;
mod finding;
mod look;
mod mailbox;
pub mod names;
mod run;
mod snapshot;
mod strays;
mod summary;
mod told;
pub mod walk;
mod work;

pub use finding::{Code, Finding};
pub use mailbox::Mailbox;
pub use run::run;
pub use summary::{Progress, Summary};

use std::time::Duration;

/// How to scrub.
#[derive(Clone, Debug)]
pub struct Options {
    /// Threads; more than cores, so that a disk has many requests to choose from.
    pub jobs: usize,
    /// How long something must be still before it counts as settled.
    pub settle: Duration,
    /// How long a file beyond `last_uid` may be without a record.
    pub delivery_grace: Duration,
}

impl Default for Options {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            jobs: (4 * cores).max(16),
            settle: Duration::from_secs(2),
            delivery_grace: Duration::from_secs(15 * 60),
        }
    }
}

#[cfg(test)]
mod tests;
