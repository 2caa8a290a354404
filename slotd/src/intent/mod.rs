//! The intent log: what was about to be renamed, so that index and expunge change as one.
//!
//! `intents.log` in the state directory is append-only text, a line a record: eight hexadecimal digits of CRC-32 over
//! the rest, a blank, the record as JSON. `begin` is on stable storage before the first rename of its mailbox;
//! concurrent transactions share one fsync. `end` is written without waiting: a lost one only makes recovery look
//! again at a mailbox that is settled.
//!
//! `touch` and `clear` note, without any sync, in which mailboxes there may be scratch files: after a kill recovery
//! removes them. (After a power cut a note may be missing; then the next `UPGRADE` or `CLEAN` of the mailbox does.)
//!
//! A crash leaves open intents, which recovery settles under the mailbox's locks before it can be locked
//! by anybody else through this slotd; see `docs/recovery.md`.

mod log;
mod record;
pub mod recovery;
mod verdict;

pub use log::{IntentLog, LogError};
pub use record::{Direction, Intent, IntentFile, Kind, Scratch};
pub use verdict::{At, Found, Verdict, verdict};
