//! One change-over of a mailbox at a time.
//!
//! `PREPARE` needs no locks, and replaces the two files that a change-over under way, and its way
//! back, are proven by. So each takes the mailbox's turn: a transaction from `UPGRADE` until its
//! locks are given back, `PREPARE` while it works. One slotd serves a store, so it is enough that
//! its own connections keep out of each other's way. A crash leaves nothing.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::protocol::Code;
use crate::refusal::Refusal;
use crate::store::Place;

/// Whose turn is taken: partition and name.
type Taken = BTreeSet<(String, String)>;

/// The turns of a store's mailboxes.
#[derive(Clone, Debug, Default)]
pub struct Turns(Arc<Mutex<Taken>>);

/// A mailbox's turn, given back when dropped.
#[derive(Debug)]
pub struct Turn {
    of: (String, String),
    turns: Turns,
}

impl Turns {
    /// Takes that of a mailbox.
    ///
    /// # Errors
    /// [`Code::Locked`]: another connection has it.
    pub fn take(&self, place: &Place) -> Result<Turn, Refusal> {
        let of = (place.partition.clone(), place.mailbox.to_string());
        if !self.0.lock().insert(of.clone()) {
            let text = format!(
                "another connection to this slotd prepares or changes over mailbox {}",
                place.mailbox
            );
            return Err(Refusal::new(Code::Locked, text));
        }
        let turns = self.clone();
        Ok(Turn { of, turns })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.0.lock().remove(&self.of);
    }
}
