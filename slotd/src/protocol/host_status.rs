//! The answer of `STATUS` without a mailbox: what a host is doing.

use std::fmt::{self, Display};
use std::str::FromStr;

use super::answer::{Value, answer, plain};
use super::{FieldError, Fields};

plain!(f64);

/// For how long the oldest sync log of a store has not been worked off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncLogAge {
    /// There is no sync log: all of it is worked off.
    NoLog,
    /// Seconds.
    Seconds(u64),
}

impl Display for SyncLogAge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SyncLogAge::NoLog => f.write_str("none"),
            SyncLogAge::Seconds(seconds) => seconds.fmt(f),
        }
    }
}

impl FromStr for SyncLogAge {
    type Err = ();

    fn from_str(word: &str) -> Result<SyncLogAge, ()> {
        match word {
            "none" => Ok(SyncLogAge::NoLog),
            word => word.parse().map(SyncLogAge::Seconds).map_err(|_| ()),
        }
    }
}
plain!(SyncLogAge);

answer! {
    /// `STATUS` without a mailbox. What a host does not have is absent, and so is what could not be
    /// looked at: then the key that ends in `_error` says why.
    #[derive(Clone, Debug, Default, PartialEq)]
    pub struct HostStatus {
        /// The version of the server.
        pub version: String = "slotd",
        /// As in [`super::HostFacts::servername`].
        pub servername: String = "servername",
        /// The load average over one minute.
        pub load: Option<f64> = "load",
        /// Why it could not be looked at.
        pub load_error: Option<String> = "load_error",
        /// Percent of the last ten seconds in which some process waited for a disk; absent where
        /// the kernel does not count that.
        pub io: Option<f64> = "io",
        /// Why it could not be looked at, though the kernel counts it.
        pub io_error: Option<String> = "io_error",
        /// How often this slotd has waited for the locks of a mailbox lately, in vain too; those
        /// that it got at once count.
        pub lock_waits: u64 = "lock_waits",
        /// The 99th percentile of those waits, milliseconds; absent if there were none.
        pub lock_wait_p99_ms: Option<f64> = "lock_wait_p99_ms",
        /// The longest of them, milliseconds.
        pub lock_wait_max_ms: Option<f64> = "lock_wait_max_ms",
        /// How old the oldest sync log is that no `sync_client` has worked off.
        pub sync_log: Option<SyncLogAge> = "sync_log",
        /// Which one that is.
        pub sync_log_file: Option<String> = "sync_log_file",
        /// Why nobody knows whether there is one.
        pub sync_log_error: Option<String> = "sync_log_error",
    }
}
