//! One host of a pair out of service, and back: `drain` and `undrain`.
//!
//! # What it promises
//!
//! * One host at a time: every other host that the command knows is asked before anything is
//!   written, and again once the host has its record; the second of two takes its own back.
//! * The other host of the pair answers, or nothing is begun.
//! * Every wait has a bound, and each step says what it did and how it is undone.
//! * Only slotd touches a host: see `slotd::drain`.
//!
//! The order of the steps is [`Course`], a state machine that knows no clock, socket or file; the
//! driver is thin.
//!
//! # What a crash leaves
//!
//! A host that is open, announced or drained, as its slotd says; the same command goes on, and
//! `undrain` opens it.

mod compare;
mod course;
mod drive;
mod look;
mod undo;

#[cfg(test)]
mod tests;

pub use compare::{Comparison, compare};
pub use course::{Action, Course, End, Event, Line, Step, Wanted};
pub use drive::{Ended, Job, drain, undrain};
pub use look::{Host, Seen, look, sentence};
pub use undo::Undo;
