//! What of a Murder each pair works on.
//!
//! Asks only: the mupdate server, and each pair's master for its whole list.

mod compared;
mod list;
mod moved;
mod sentences;

pub use compared::{Compared, compare};
pub use list::MurderList;
pub use moved::{Gone, Now, whereabouts};
