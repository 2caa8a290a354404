//! The journals that the suite runs against.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Arm, Stores, begin_with, spec};
use crate::journal::model::{Change, MailboxId};
use crate::journal::{Durability, Journal, RunSpec};
use crate::two_phase::Side;

/// The journal of the only pair.
pub(super) struct Only<S> {
    stores: S,
    journal: Arc<dyn Journal>,
}

impl<S: Stores> Only<S> {
    fn of(stores: S) -> Self {
        let journal = stores.store().pair("").unwrap();
        Self { stores, journal }
    }
}

impl<S: Stores> Arm for Only<S> {
    fn new() -> Self {
        Self::of(S::new())
    }
    fn journal(&self) -> &dyn Journal {
        self.journal.as_ref()
    }
    fn crash(&self) -> Self {
        Self::of(self.stores.crash())
    }
    fn spec(&self) -> RunSpec {
        spec()
    }
}

/// The journal of one pair of a fleet, while another pair is at work.
pub(super) struct InFleet<S> {
    stores: S,
    journal: Arc<dyn Journal>,
    other: Arc<dyn Journal>,
    /// The other pair's mailboxes.
    mailboxes: Vec<MailboxId>,
    calls: AtomicUsize,
}

impl<S: Stores> InFleet<S> {
    fn of(stores: S) -> Self {
        let [other, journal] = ["a", "b"].map(|name| stores.store().pair(name).unwrap());
        let (_, mailboxes) = begin_with(
            other.as_ref(),
            &fleet_spec(),
            &["user.a", "user.b", "user.c", "user.u3", "user.new"],
        );
        Self {
            stores,
            journal,
            other,
            mailboxes,
            calls: AtomicUsize::new(0),
        }
    }
}

fn fleet_spec() -> RunSpec {
    RunSpec {
        pairs: "a,b".to_owned(),
        ..spec()
    }
}

impl<S: Stores> Arm for InFleet<S> {
    fn new() -> Self {
        Self::of(S::new())
    }
    /// At each call something happens on the other pair.
    fn journal(&self) -> &dyn Journal {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let mailbox = self.mailboxes[call / 2 % self.mailboxes.len()];
        let change = if call.is_multiple_of(2) {
            let before = [Some(7), Some(7)];
            Change::Decide { mailbox, before }
        } else {
            let side = Side::Master;
            Change::Forward { mailbox, side }
        };
        drop(self.other.submit(change, Durability::Lazy));
        self.journal.as_ref()
    }
    fn crash(&self) -> Self {
        Self::of(self.stores.crash())
    }
    fn spec(&self) -> RunSpec {
        fleet_spec()
    }
}
