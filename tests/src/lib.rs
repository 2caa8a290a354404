//! The harness that end-to-end tests share.
//!
//! It makes mail stores (from the committed fixtures, which a genuine Cyrus wrote), runs the real
//! binaries on them, changes mailboxes the way Cyrus 2.3 does, and judges the result.
//!
//! Promise: what judges ([`witness`], [`invariants`], [`snapshot`]) shares no code with what is
//! judged. It reads index files with its own few lines and takes SHA-1s of its own.
//! A crash in it leaves a temporary directory behind, and child processes only until their
//! standard input or socket closes.

pub mod cyrus23;
pub mod cyrus36;
pub mod damage;
pub mod fleet;
pub mod invariants;
pub mod locks;
pub mod model;
pub mod power;
pub mod process;
pub mod proxy;
pub mod sim;
pub mod snapshot;
pub mod store;
pub mod strace;
pub mod sweep;
pub mod watch;
pub mod wire;
pub mod witness;
