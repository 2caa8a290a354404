//! What the master says compared with what the backends have, name by name.
//!
//! Three lists: the master's (or a frontend's), that of each backend's slotd, which is the truth
//! about files, and where it is given each backend's own (`ctl_mboxlist -d`), which is what its
//! server goes by.
//!
//! # What it promises
//!
//! * Every name of the first two lists gets a [`Code`] for each backend that it concerns, and an
//!   [`Action`]; nothing is guessed.
//! * Two million names fit in 64 MiB: the lists lie in a temporary file that has no name, and are
//!   merged in their order.
//! * A backend of which much is missing is refused as a whole: that its spool is not mounted is
//!   likelier than that so much was deleted.
//!
//! # What a crash leaves
//!
//! Nothing.

mod code;
mod error;
mod facts;
mod finding;
mod lists;
mod summary;

pub use code::{Action, Code};
pub use error::CompareError;
pub use finding::Finding;
pub use lists::{Backend, Found, Lists};
pub use summary::{Pair, Summary};

#[cfg(test)]
mod tests;
