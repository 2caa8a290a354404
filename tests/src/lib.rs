//! The harness that end-to-end tests share.
//!
//! It runs the real binaries on mail stores (which `stores` makes, changes the way Cyrus 2.3 does,
//! and judges), and breaks what can break: processes, connections, disks.
//! A crash in it leaves a temporary directory behind, and child processes only until their
//! standard input or socket closes.

pub mod attack;
pub mod browser;
pub mod cyrus36;
pub mod damage;
pub mod disagreements;
pub mod fleet;
pub mod model;
pub mod mupdate;
pub mod murder;
pub mod over;
pub mod pairs;
pub mod postgres;
pub mod power;
pub mod process;
pub mod proxy;
pub mod sim;
pub mod slotds;
pub mod strace;
pub mod sweep;
pub mod watch;
pub mod wire;
