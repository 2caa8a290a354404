//! The observer of a run: a progress bar, plain lines, a test.

use crate::journal::{Ended, Figures};
use crate::two_phase::Failure;

/// An attempt that is over.
#[derive(Clone, Debug)]
pub struct Finished<'a> {
    /// The mailbox.
    pub name: &'a str,
    /// How it ended.
    pub ended: Ended,
    /// Why it failed, if it did.
    pub failure: Option<&'a Failure>,
    /// What it amounted to.
    pub figures: &'a Figures,
}

/// Receives what happens; must not block for long. All methods have an empty default.
pub trait Observer: Send + Sync {
    /// How many mailboxes the run has, and how many of them were done before.
    fn begins(&self, _mailboxes: u64, _done: u64) {}
    /// An attempt at a mailbox is over.
    fn finished(&self, _what: &Finished<'_>) {}
    /// Something that a person should know, one sentence.
    fn say(&self, _text: &str) {}
    /// Something that a person must know before mailboxes are changed, one line; never hidden.
    fn warn(&self, _text: &str) {}
    /// Something that a person must see, several lines.
    fn alarm(&self, _text: &str) {}
}

/// Watches and says nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {}
