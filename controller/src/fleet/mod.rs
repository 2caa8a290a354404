//! Many pairs of hosts: the file that names them, the look at all of them, and one run over them.
//!
//! # What it is for
//!
//! A pair is what `crate::run` works on: a master, its replica, and the part of the journal that is
//! theirs. Here several pairs work side by side, each with an engine of its own, so that one whose
//! host is away waits alone. What they share is the journal, the places of `crate::control::Quota`,
//! and the operator.
//!
//! # What it promises
//!
//! * A fleet file is wrong as a whole or right as a whole: one wrong line refuses the start.
//! * A run over many pairs has one number. A pair that has finished it is not begun again while
//!   another one has something left to do.
//!
//! # What a crash leaves
//!
//! What a crash of the runs leaves: see `crate::run`. The journal knows which pairs are done.

mod check;
mod error;
mod file;
mod murder;
mod side_by_side;
mod start;
mod summary;
mod undo;

pub use check::{FleetLook, Named, PairLook, check};
pub use error::FleetError;
pub use file::{Fleet, Host, Pair};
pub use murder::{Compared, Gone, MurderList, Now, compare, whereabouts};
pub use side_by_side::{AT_ONCE, at_most, in_order, side_by_side};
pub use start::{Begin, begin, finished_since};
pub use summary::{FleetSummary, worst};
pub use undo::{Wanted, end_undone, to_undo};
