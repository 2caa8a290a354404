//! A run: many mailboxes through the two-phase commit, from a list to a summary.
//!
//! # What it is for
//!
//! The driver around [`crate::two_phase`]: connections, deadlines, the journal, retries, and
//! what happens at a signal. [`run`] is the whole of it as a library call; the command line and
//! the demo both use it.
//!
//! # What it promises
//!
//! * Open transactions of an earlier run are settled before anything new begins.
//! * A run that was stopped in any way goes on where it was, with no flag.
//! * At most `parallel` mailboxes at once, each with one connection to each host; memory does not
//!   grow with the number of mailboxes.
//! * Every wait has a bound.
//! * A run in which too much fails stops by itself, and can be gone on with (see `breaker`).
//! * A host that is away, or a partition that is not mounted, fails no mailbox: they wait for it,
//!   for `host_wait` at most (see `hosts::outages`).
//! * [`Stop::Finish`] lets the transactions under way end; [`Stop::Now`] rolls back those that
//!   are not decided.
//!
//! # What a crash leaves
//!
//! The journal (see [`crate::journal`]), and on the hosts what the participants' own rules say:
//! an undecided transaction is rolled back when its connection closes.

mod alert;
mod attempt;
mod begin;
mod breaker;
mod busy;
mod capacity;
mod context;
mod drive;
mod engine;
mod epochs;
mod histogram;
mod liveness;
mod locate;
mod newcomers;
mod participant;
mod pass;
mod queue;
mod recover;
mod rehash;
mod rollback;
mod second_walk;
mod selection;
mod settings;
mod summary;
mod token;
mod warnings;
mod whereabouts;

#[cfg(test)]
mod tests;

pub use alert::Alerts;
pub use begin::Retry;
pub use breaker::MaxFailures;
pub use context::Parts;
pub use engine::{retry, run, run_controlled};
pub use epochs::{HigherEpoch, higher_epoch};
pub(crate) use histogram::Histogram;
pub use histogram::LockMs;
pub use newcomers::take_in;
pub use recover::{Recovered, recover, recover_controlled};
pub use rollback::{
    Undo, Undone, all_runs, names_of_runs, rollback, rollback_each, run_to_undo, runs_since,
    standing_before,
};
pub use selection::words;
pub use settings::{FleetRun, Settings};
pub use summary::{Summary, summary_of};

// What a caller needs to start a run.
pub use crate::error::{OtherRun, RunError};
pub use crate::hosts::{BoxFuture, Connect, Slotds};
pub use crate::observer::{Finished, Observer, Silent};
pub use crate::stop::{Stop, StopHandle, StopSignal, stop_pair};
pub use crate::survey::Source;
