//! The intent log: what was about to be renamed, so that index and expunge change as one.
//!
//! `intents.log` in the state directory is append-only text, a line a record: eight hexadecimal
//! digits of CRC-32 over the rest, a blank, the record as JSON. `begin` is on stable storage before
//! the first rename of its mailbox; concurrent transactions share one fsync. `end` is written
//! without waiting: a lost one only makes recovery look again at a mailbox that is settled.
//!
//! `touch` notes, on stable storage before the first of them is made, in which mailboxes there may
//! be scratch files: after a kill or a power cut recovery removes them. `clear`, which is not
//! synced, notes that there are none any more.
//!
//! A crash leaves open intents, which recovery settles under the mailbox's locks before it can be
//! locked by anybody else through this slotd; see `docs/recovery.md`.

mod contents;
mod file;
mod log;
mod record;
pub mod recovery;
mod settle;
mod unreadable;
mod unsettled;
mod verdict;

pub use log::{IntentLog, LogError, PendingIntent};
pub use record::{Direction, Intent, IntentFile, Kind, Scratch};
pub use settle::{Located, first_syncs, settle};
pub use unreadable::Unreadable;
pub use unsettled::Unsettled;
pub use verdict::{Found, Location, Verdict, verdict, verdict_across};
