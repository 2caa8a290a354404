//! The mailboxes with something open that could not be settled yet, and are to be tried again in
//! the background.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// Their names. What is in here is a reason to look, no more: the intent log says what is open.
#[derive(Debug, Default)]
pub struct Unsettled(Mutex<BTreeSet<String>>);

impl Unsettled {
    /// Adds one.
    pub fn add(&self, mailbox: String) {
        self.names().insert(mailbox);
    }

    /// Takes all of them.
    #[must_use]
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.names()).into_iter().collect()
    }

    fn names(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        // A set of names is whole after a panic too.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
