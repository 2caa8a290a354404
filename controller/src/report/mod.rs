//! What a run came to, read from its journal.
//!
//! [`Story`] is one pair's, for the text and the JSON of `report`; [`page`] is about all pairs, and
//! explains the run to anybody who asks afterwards.
//!
//! # What it promises
//!
//! The journal is read in pages, and nothing is kept of a mailbox but what is among the N longest
//! locks or the first of its kind to fail: memory grows with pairs and partitions, never with
//! mailboxes. Nothing is written, so a crash leaves nothing.

mod account;
mod disagreements;
mod measured;
mod page;
mod part;
mod slices;
mod standing;
mod story;
mod text;
mod time;

#[cfg(test)]
mod sample;
#[cfg(test)]
mod tests;

pub use disagreements::Disagreements;
pub use measured::Measured;
pub use page::{PageOptions, page};
pub use standing::{Standing, retry};
pub use story::{FailureClass, Slow, Story};
pub(crate) use text::whole_words;
