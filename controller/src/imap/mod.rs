//! What one user sees by IMAP: every mailbox, every message, compared with what the server says of
//! them and with what the same user saw before.
//!
//! A client that finds another UIDVALIDITY, UID or message downloads a mailbox anew. That none has
//! changed is seen here as the client sees it.
//!
//! # What it promises
//!
//! * It only reads: `EXAMINE` and `BODY.PEEK[]`, so no message becomes seen or loses `\Recent`.
//! * Every wait has a bound. What the server says is hostile: names are printed escaped, and one
//!   message at a time is in memory (at most 512 MiB of it).
//! * That nothing was seen is a finding, never a success.
//!
//! # What a crash leaves
//!
//! A connection that closes. What was seen is written to a new file that is renamed when complete.

mod address;
mod client;
mod compare;
mod error;
mod read;
mod report;
mod seen;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use address::{Address, AddressError};
pub use compare::compare;
pub use error::{Fault, ImapError, SeenError};
pub use read::read;
pub use report::{Code, Finding, ImapReport};
pub use seen::{Mailbox, Message, Seen};

use crate::login::{Password, Security, SetupError, Tls};

/// How long to wait for an IMAP server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For each of its addresses, until a connection is made.
    pub connect: Duration,
    /// For each piece of an answer, and for the handshake. A server that opens a large mailbox for
    /// the first time says nothing for a while.
    pub reply: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            reply: Duration::from_secs(120),
        }
    }
}

/// What is needed to log in as a user.
#[derive(Clone)]
pub struct Settings {
    address: Address,
    user: String,
    password: Password,
    tls: Tls,
    timeouts: Timeouts,
}

impl Settings {
    /// Puts them together; reads the CA file.
    ///
    /// # Errors
    /// The CA file cannot be used, or what `security` asks for excludes itself.
    pub fn new(
        address: Address,
        user: &str,
        password: Password,
        security: &Security,
    ) -> Result<Self, SetupError> {
        Ok(Self {
            address,
            user: user.to_owned(),
            password,
            tls: Tls::new(security)?,
            timeouts: Timeouts::default(),
        })
    }
}
