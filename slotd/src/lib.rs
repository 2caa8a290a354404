//! The per-host agent: protocol, locks, staging, commit, recovery, and its client.
//!
//! `slotd` is the only part of reguid that locks, renames or unlinks anything in a mail store. It does so
//! for one mailbox a connection, on the orders of a coordinator (the `controller` crate, or a person who
//! types the commands), and it promises that at every instant each file of the mailbox is one complete
//! set, the old one or the new one.
//!
//! | module | what it is |
//! |---|---|
//! | [`protocol`] | the commands and replies of the wire, parsed and formatted for both ends |
//! | [`client`] | the other end of the wire: an asynchronous connection with a deadline on everything |
//! | [`transaction`] | the life of one locked mailbox as a state machine without I/O |
//!
//! The order of all locks, syncs and renames is written down in `docs/recovery.md`, the wire in
//! `docs/protocol.md`.

pub mod client;
pub mod protocol;
pub mod transaction;
