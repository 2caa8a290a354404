//! The coordinator's half of the two-phase commit of one mailbox, as a pure state machine.
//!
//! # What it is for
//!
//! [`Coordinator::step`] takes one [`Event`] (a reply, a lost connection, a durable journal
//! entry, the end of a pause) and gives [`Action`]s (send, record, wait, alert, finished).
//! There is no clock, no socket and no file in here; the driver in `crate::run` supplies
//! them, and the model checker and the simulation of the tests crate drive the same code.
//!
//! # What it promises
//!
//! * No `COMMIT` is sent before [`Entry::Decided`] is durable.
//! * Before the decision, whatever goes wrong ends in [`Outcome::RolledBack`]; where the journal
//!   may have lost a decision, only what is known to be alike on both sides does.
//! * After it, both sides end forward; only when a side that is known to be as before cannot be
//!   brought forward is the other brought back (with [`Entry::Reversing`] durable first); only
//!   when neither can be shown is the mailbox [`Outcome::InDoubt`], with an [`Action::Alert`].
//! * Once a side says that another coordinator has taken over nothing is sent any more, whatever
//!   was decided: [`Outcome::TakenOver`].
//! * In a rehearsal nothing is recorded and no `COMMIT` is sent: what was staged alike on both
//!   sides ends in [`Outcome::Rehearsed`], rolled back.
//! * Both sides say that they still hold what they staged, just before the decision.
//! * The master is locked before the replica; commits and rollbacks go to the replica first.
//! * No lock is kept over a pause: before each [`Action::Wait`] everything is released or
//!   rolled back.
//!
//! # What a crash leaves
//!
//! Nothing in memory matters. Without a `Decided` entry the transaction never happened
//! (presumed abort: the participants roll back when their connection closes). With one,
//! [`Coordinator::resume`] settles it; with `Reversing` it settles it backwards. Settling
//! repeats LOCK, UPGRADE and COMMIT, which are all idempotent. See docs/two-phase-commit.md.

mod alive;
mod assume;
mod commit;
mod coordinator;
mod drop_old;
mod lists;
mod ranges;
mod reason;
mod settle;
mod state;
mod types;

#[cfg(test)]
mod tests;

pub use coordinator::Coordinator;
pub use lists::{ListError, ListItem, Merger};
pub use ranges::{Finder, Want};
pub use reason::Reason;
pub use state::Open;
pub use types::{
    Action, Answer, Comparison, Entry, Event, FIRST_OF_2_4, FIRST_WITH_GUIDS, Failure, Outcome,
    Plan, Refusal, Request, Side,
};
