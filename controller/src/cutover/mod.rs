//! What surrounds the run of a change-over to a version of Cyrus 2.4 and later: the work before it,
//! days ahead and again and again, and the proof after it, without which no server may start. The
//! run itself is one of [`crate::run`].
//!
//! # What it promises
//!
//! * [`prepare`] takes no lock and changes no file that Cyrus knows.
//! * [`verify`] calls nothing complete of which it has not seen everything: each mailbox of both
//!   hosts' own lists, at the version wanted, without a finding, alike on both hosts. Then each
//!   slotd looks at its whole store once more, and only if both find it complete is the file made
//!   that says so, on both hosts or on none.
//! * Memory does not grow with the number of mailboxes.
//!
//! # What a crash leaves
//!
//! What is prepared stays until `clean`. A file that says `complete` on the replica alone: the
//! master's server may not start by it, and `verify`, given again, removes it first.

mod complete;
mod ids;
mod prepare;
mod verify;
mod work;

pub use prepare::{Preparation, PrepareHost, prepare};
pub use verify::{Proof, ProofHost, verify};
pub use work::Work;
