//! The two slotds: how they are reached, what is known of them, and what is asked of them outside
//! of a transaction.
//!
//! # What it promises
//!
//! Nothing here changes a mailbox. Every wait has a bound.
//!
//! # What a crash leaves
//!
//! Connections that close. Another coordinator of the same stores learns of this journal from the
//! slotds (see `registration`).

mod connect;
mod fence;
mod link;
mod outages;
mod probe;
mod registration;

pub(crate) use connect::backoff;
pub use connect::{BoxFuture, Connect, Slotds};
pub(crate) use fence::fallen_fence;
pub(crate) use link::{Link, is_elsewhere, local, reason_of};
pub(crate) use outages::Outages;
pub use probe::{Question, Said};
pub(crate) use probe::{
    ask_about, check_hosts, check_rehash, failover, hello, host_facts, two_stores,
};
pub use registration::Registration;
pub(crate) use registration::Sides;
