//! What a host says of itself, and what is not as it should be, as a look before a run has it.

use std::collections::BTreeMap;

use indexfile::exit::Exit;
use serde::Serialize;
use slotd::protocol::{Code, StoreRoots};

/// Where files can be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Room {
    /// Number of the file system on its host: partitions on the same one share its room.
    pub device: u64,
    /// Bytes that slotd may still write there.
    pub free: u64,
}

/// What follows from a trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Weight {
    /// A person should know.
    Warning,
    /// Some mailboxes would be refused, or wait.
    Some,
    /// A run is refused.
    All,
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Trouble {
    /// A stable word.
    pub what: &'static str,
    /// What follows.
    pub weight: Weight,
    /// One sentence.
    pub text: String,
    /// What a run that is refused for it ends with.
    #[serde(skip)]
    pub exit: Exit,
}

impl Trouble {
    pub(super) fn new(what: &'static str, weight: Weight, exit: Exit, text: String) -> Self {
        Self {
            what,
            weight,
            text,
            exit,
        }
    }
}

/// What a host says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HostLook {
    /// The release of its slotd.
    pub version: String,
    /// Names its store.
    pub host_id: String,
    /// Where its index files lie.
    #[serde(skip)]
    pub roots: StoreRoots,
    /// Who serves the store, in slotd's words.
    pub served: String,
    /// The limit on slotd's open files, if it says so.
    pub open_files: Option<u64>,
    /// Bytes free where index and expunge files lie, if it says so.
    pub free: Option<u64>,
    /// The room for index files of each partition, if it says so.
    pub partitions: BTreeMap<String, Room>,
    /// Bytes that the new files will need, as far as the sample tells.
    pub needed: u64,
    /// Another process that has a file of a partition open, in words.
    pub open: Option<String>,
    /// What the store's server calls itself, if slotd says so.
    pub servername: Option<String>,
    /// How far the host's clock is ahead of this machine's, milliseconds; negative if it is behind.
    pub clock_ms: Option<i64>,
}

/// What it is called, the exit code and the words that fit, where mailboxes on a root are refused
/// with that code.
pub(super) fn of_root(code: Code) -> (&'static str, Exit, &'static str) {
    match code {
        Code::Unmounted => ("mounts", Exit::Unavailable, "is not mounted, or not there"),
        Code::Denied => ("access", Exit::Denied, "cannot be written by slotd"),
        _ => ("access", Exit::Io, "cannot be looked at"),
    }
}
