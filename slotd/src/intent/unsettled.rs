//! The mailboxes with something open that could not be settled yet, and are to be tried again in
//! the background.

use std::collections::BTreeSet;

use parking_lot::Mutex;

/// Their names. What is in here is a reason to look, no more: the intent log says what is open.
#[derive(Debug, Default)]
pub struct Unsettled(Mutex<BTreeSet<String>>);

impl Unsettled {
    /// Adds one.
    pub fn add(&self, mailbox: String) {
        self.0.lock().insert(mailbox);
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.lock().len()
    }

    /// Takes all of them.
    #[must_use]
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock()).into_iter().collect()
    }
}
