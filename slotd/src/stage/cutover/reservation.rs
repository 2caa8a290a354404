//! One change-over of a mailbox at a time.
//!
//! `PREPARE` needs no locks, and replaces the two files that a change-over under way, and its way
//! back, are proven by. So each reserves the mailbox: a transaction from `UPGRADE` until its
//! locks are given back, `PREPARE` while it works. One slotd serves a store, so it is enough that
//! its own connections keep out of each other's way. A crash leaves nothing.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::protocol::Code;
use crate::refusal::Refusal;
use crate::store::Place;

/// What is reserved: partition and name.
type Taken = BTreeSet<(String, String)>;

/// The reservations of a store.
#[derive(Clone, Debug, Default)]
pub struct Reservations(Arc<Mutex<Taken>>);

/// A reserved mailbox, given back when dropped.
#[derive(Debug)]
pub struct Reservation {
    of: (String, String),
    reservations: Reservations,
}

impl Reservations {
    /// Reserves a mailbox.
    ///
    /// # Errors
    /// [`Code::Locked`]: another connection has it.
    pub fn take(&self, place: &Place) -> Result<Reservation, Refusal> {
        let of = (place.partition.clone(), place.mailbox.to_string());
        if !self.0.lock().insert(of.clone()) {
            let text = format!(
                "another connection to this slotd prepares or changes over mailbox {}",
                place.mailbox
            );
            return Err(Refusal::new(Code::Locked, text));
        }
        let reservations = self.clone();
        Ok(Reservation { of, reservations })
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.reservations.0.lock().remove(&self.of);
    }
}
