//! A Cyrus Murder as the source of mailboxes: its mupdate master, or the mupdate of a frontend.
//!
//! # What it promises
//!
//! * Nothing is changed in the Murder: [`wire::Command`] has no command that writes.
//! * What the master says is a plan, not the truth: a mailbox is what the slotd of its backend
//!   finds.
//! * Every wait has a bound, and memory does not grow with the number of mailboxes.
//! * A name from the master is followed only as a [`MailboxName`](indexfile::mailbox::MailboxName).
//!
//! # What a crash leaves
//!
//! A connection that closes, and the kept list as it was.

mod address;
mod cache;
pub mod client;
pub mod compare;
mod location;
mod read;
pub mod wire;

pub use address::{Address, AddressError};
pub use cache::{CacheError, CacheReader, CacheWriter, Origin};
pub use location::Location;
pub use read::{ReadError, read_cache, read_server};
