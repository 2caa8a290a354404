//! MUPDATE (RFC 3656) as bytes: what a server says, and what we say to it.
//!
//! # What it promises
//!
//! * No input or output happens here: [`Decoder`] is given bytes and gives [`Event`]s.
//! * What a server sends is hostile: lines, words and literals have a limit, what is no answer is
//!   an error, and memory is that of one answer at most.
//! * Only what reads can be said: [`Command`] has no RESERVE, ACTIVATE, DEACTIVATE or DELETE. A
//!   DELETE of a name that is not there ends a genuine 3.6.1 master.
//!
//! # What a crash leaves
//!
//! Nothing.

mod base64;
mod command;
mod decoder;
mod error;
mod event;

pub use command::Command;
pub use decoder::{Decoder, MAX_ACL, MAX_STRING};
pub use error::{MAX_LINE, WireError};
pub use event::{Banner, Entry, Event, Status, shown};

#[cfg(test)]
mod tests;
