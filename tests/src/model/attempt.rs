//! The controller's side of one mailbox: its coordinator, and what the journal has of it.

use super::Config;
use controller::two_phase::{Coordinator, Entry, Open, Plan};

/// How a transaction ended, without the words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// Both forward.
    Upgraded,
    /// Nothing to do.
    Unchanged,
    /// Both as before.
    RolledBack,
    /// A human must look.
    InDoubt,
    /// Another coordinator has it.
    TakenOver,
}

/// The coordinator of one mailbox, and what its driver owes it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::struct_excessive_bools)] // independent facts
pub struct Runner {
    /// The machine.
    pub machine: Coordinator,
    /// A reply (or a loss) is owed.
    pub owed: [bool; 2],
    /// To be made durable.
    pub record: Option<Entry>,
    /// Lists are to be compared.
    pub compare: bool,
    /// It pauses.
    pub wait: bool,
    /// It is over.
    pub end: Option<End>,
    /// By side: it was asked since its `LOCK` whether it holds what it staged, and it did.
    pub confirmed: [bool; 2],
    /// It learned before any decision that a peer says otherwise of a message.
    pub differs: bool,
    /// A human was called.
    pub(super) alerted: bool,
}

/// The journal's rows of one mailbox.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[allow(clippy::struct_excessive_bools)] // independent facts
pub struct Row {
    /// The durable decision, and what is known of it for sure.
    pub decided: Option<Open>,
    /// Written, not synced.
    pub notes: Vec<Entry>,
    /// Written as over; not synced.
    pub closed: Option<End>,
    /// Pauses since the coordinator started.
    pub pauses: u8,
    /// The operator asked for an end.
    pub aborted: bool,
    /// The way back could not be recorded.
    pub unrecorded: bool,
    /// Once decided it was not found under its name.
    pub missed: bool,
    /// Once decided a peer said otherwise of a message.
    pub differed: bool,
    /// The database has lost its newest rows at a failover.
    pub lost: bool,
}

impl Row {
    /// One of a mailbox of which nothing is known.
    #[must_use]
    pub fn new(lost: bool) -> Self {
        Self {
            lost,
            ..Self::default()
        }
    }

    /// What goes on with it.
    pub(super) fn machine(&self, config: &Config) -> Coordinator {
        let plan = Plan {
            rows_lost: self.lost,
            ..config.plan.clone()
        };
        match self.decided.filter(|_| self.closed.is_none()) {
            Some(open) => Coordinator::resume(plan, open),
            None => Coordinator::new(plan),
        }
    }
}

impl Runner {
    pub(super) fn new(machine: Coordinator, end: Option<End>) -> Self {
        Self {
            machine,
            owed: [false; 2],
            record: None,
            compare: false,
            wait: false,
            end,
            confirmed: [false; 2],
            differs: false,
            alerted: false,
        }
    }
}
