//! A part of the answer of `HELLO`: what a client may have of this slotd.

use super::answer::answer;
use super::{FieldError, Fields, MAX_COMMAND};

answer! {
    /// What a client may have of a slotd. What is more is refused with one line.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Limits {
        /// Connections served at once.
        pub connections: u32 = "connections",
        /// Of these, how many may be of one user or address.
        pub connections_peer: u32 = "connections_peer",
        /// Mailboxes that all connections of one user or address may have locked at once, or wait
        /// for the locks of; and as many prepared.
        pub transactions_peer: u32 = "transactions_peer",
        /// The longest command, in bytes with its line end.
        pub line: u32 = "line",
        /// Milliseconds in which the first command must come, and any line end once it has begun.
        pub first_command_ms: u64 = "first_command_ms",
        /// Milliseconds after which a connection that holds nothing and says nothing is closed.
        pub max_idle_ms: u64 = "max_idle_ms",
    }
}

impl Limits {
    /// How many mailboxes one client can work on at once.
    #[must_use]
    pub fn at_once(&self) -> u32 {
        let all = [
            self.connections,
            self.connections_peer,
            self.transactions_peer,
        ];
        all.into_iter().min().unwrap_or(1)
    }
}

/// Before a server has begun.
impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 1,
            connections_peer: 1,
            transactions_peer: 1,
            line: u32::try_from(MAX_COMMAND).unwrap_or(u32::MAX),
            first_command_ms: 0,
            max_idle_ms: 0,
        }
    }
}
