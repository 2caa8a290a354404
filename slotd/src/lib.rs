//! The per-host agent: protocol, locks, staging, commit, recovery, and its client.
//!
//! `slotd` is the only part of reguid that locks, renames or unlinks anything in a mail store. It
//! does so for one mailbox a connection, on the orders of a coordinator (the `controller` crate, or
//! a person who types the commands), and it promises that at every instant each file of the mailbox
//! is one complete set, the old one or the new one.
//!
//! | module | what it is |
//! |---|---|
//! | [`protocol`] | the commands and replies of the wire, parsed and formatted for both ends |
//! | [`client`] | the other end of the wire: an asynchronous connection with a deadline on everything |
//! | [`transaction`] | the life of one locked mailbox as a state machine without I/O |
//! | [`session`] | one connection's work: drives the state machine |
//! | `queries` | what can be asked of a host without a lock |
//! | [`locked`] | a locked mailbox, by which alone files are changed |
//! | [`server`] | listens, and runs sessions off the reactor |
//! | [`tls`] | the certificates of both ends of a connection |
//! | [`peer`] | who is at the other end of a connection |
//! | [`store`], [`fs`], [`mounts`] | from a mailbox name to open directories of file systems that are really there |
//! | [`lock`] | header, index, expunge, in that order, with a bounded wait |
//! | [`stage`] | complete new files beside the live ones |
//! | [`fileops`] | the order of renames, as lists of file operations |
//! | [`commit`] | executes them: new files in place, and back |
//! | [`intent`] | what was about to be renamed, and settling what a crash left |
//! | [`complete`] | the file that says that the whole store is changed over |
//! | [`drain`] | keeps users out of a host, and says who is there |
//! | [`failpoint`] | places where a test can make all this fail |
//!
//! The order of all locks, syncs and renames is written down in `docs/recovery.md`, the wire in
//! `docs/protocol.md`.

pub mod activity;
pub mod audit;
mod blocking_task;
pub mod cli;
pub mod client;
pub mod commit;
pub mod complete;
pub mod control;
pub mod coordinators;
pub mod drain;
pub mod failpoint;
pub mod fileops;
pub mod fs;
pub mod host;
pub mod intent;
pub mod lease;
pub mod lock;
pub mod locked;
pub mod log_sink;
pub mod metrics;
pub mod mounts;
pub mod pass;
pub mod peer;
pub mod protocol;
mod queries;
pub mod refusal;
mod scratch;
pub mod served;
pub mod server;
pub mod session;
pub mod stage;
pub mod store;
pub mod sync_log;
pub mod tls;
pub mod transaction;
