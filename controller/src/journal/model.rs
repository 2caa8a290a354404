//! The journal's words: mailboxes, attempts and the changes made to them.

use indexfile::mailbox::MailboxName;

use super::runs::{RunId, RunSpec, Verb};
use crate::two_phase::{Open, Reason, Side};
use crate::words::words;

/// Names a mailbox of a run; ascending over all runs. `MailboxId(0)` is before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MailboxId(pub i64);

/// A mailbox to be taken on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its name.
    pub name: MailboxName,
    /// Its partition on the master, where the list has it.
    pub partition: Option<String>,
    /// Whether a person asked for this very mailbox, so that its absence is an error.
    pub named: bool,
    /// In a rollback, the version each side is brought back to; `None` leaves a side alone.
    pub back: [Option<u8>; 2],
    /// In a rollback, the mailbox's unique id on each side when it was changed; `None` if not
    /// known.
    pub uniqueids: [Option<String>; 2],
}

impl Candidate {
    /// A mailbox of which no more than its name is known.
    #[must_use]
    pub fn new(name: MailboxName, named: bool) -> Self {
        Self {
            name,
            partition: None,
            named,
            back: [None; 2],
            uniqueids: [None, None],
        }
    }
}

words! {
    /// Where a mailbox stands, as the table has it.
    State {
        /// To be done, perhaps again.
        Pending = "pending",
        /// Decided, and not known to be committed on both sides: an open transaction.
        Decided = "decided",
        /// Decided, and being taken back: an open transaction.
        Reversing = "reversing",
        /// Done: every side is at the version wanted.
        Upgraded = "upgraded",
        /// Nothing was to do.
        Unchanged = "unchanged",
        /// In a rehearsal: it would be brought there on every side, and is as before.
        Rehearsed = "rehearsed",
        /// As before; the reason is kept.
        RolledBack = "rolled_back",
        /// Listed by the master's slotd and deleted by its owner before its turn came.
        Gone = "gone",
    }
}

impl State {
    /// Whether it is an open transaction.
    #[must_use]
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Decided | Self::Reversing)
    }
}

/// A mailbox of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its id.
    pub id: MailboxId,
    /// Its name.
    pub name: MailboxName,
    /// Its partition on the master, where known.
    pub partition: Option<String>,
    /// Whether a person asked for it by name.
    pub named: bool,
    /// In a rollback, the version each side is brought back to.
    pub back: [Option<u8>; 2],
    /// Where it stands.
    pub state: State,
    /// Finished attempts.
    pub attempts: u32,
    /// Why the last attempt failed, if it did.
    pub reason: Option<Reason>,
    /// Whose failure it was.
    pub side: Option<Side>,
    /// The failure in words.
    pub detail: String,
    /// An open transaction that could not be settled so far.
    pub in_doubt: bool,
    /// What the last attempt amounted to.
    pub figures: Figures,
    /// When it ended, milliseconds since 1970.
    pub finished_ms: Option<i64>,
    /// Its unique id on master and replica when it was last decided upon, or, in a rollback, when
    /// it was changed; `None` if not known.
    pub uniqueids: [Option<String>; 2],
}

impl Row {
    /// When its last attempt ended, milliseconds since 1970; none if it is to be begun again.
    #[must_use]
    pub fn ended_ms(&self) -> Option<i64> {
        self.finished_ms.filter(|_| self.state != State::Pending)
    }

    /// Whether it is decided and waits, not in doubt, for a partition that is not mounted.
    #[must_use]
    pub fn waits(&self) -> bool {
        self.state.is_open() && !self.in_doubt && self.reason == Some(Reason::Unmounted)
    }
}

/// Whose journal it is: a pair's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// By which the slotds know its coordinator.
    pub id: String,
    /// The stores of master and replica that it belongs to; `None` until a run began there.
    pub hosts: [Option<String>; 2],
    /// Rises each time another controller takes the pair over; `None` where only one controller can
    /// have the journal open.
    pub epoch: Option<u64>,
    /// Its newest rows may be missing, as after a standby took over: that there is no decision
    /// proves nothing then.
    pub rows_lost: bool,
}

/// A transaction to be settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenTransaction {
    /// The mailbox.
    pub row: Row,
    /// Its run.
    pub run: RunId,
    /// What the run was to reach.
    pub spec: RunSpec,
    /// What was decided.
    pub open: Open,
}

/// A mailbox that is to be worked on, as a run's queue has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Its id.
    pub id: MailboxId,
    /// Its name.
    pub name: MailboxName,
    /// Its partition on the master, where known.
    pub partition: Option<String>,
    /// Whether a person asked for it by name.
    pub named: bool,
    /// In a rollback, the version each side is brought back to.
    pub back: [Option<u8>; 2],
    /// As the row has them.
    pub uniqueids: [Option<String>; 2],
}

impl From<Row> for Job {
    fn from(row: Row) -> Self {
        // Listed on two partitions: the host is asked for the name alone, and refuses it while both
        // are there.
        let partition = match row.reason {
            Some(Reason::TwoPlaces) => None,
            _ => row.partition,
        };
        Self {
            id: row.id,
            name: row.name,
            partition,
            named: row.named,
            back: row.back,
            uniqueids: row.uniqueids,
        }
    }
}

/// Which mailboxes of a run a page shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// All.
    All,
    /// Those in one state.
    In(State),
}

/// What an attempt amounted to. Counts are of the master where both sides have them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Records of index and expunge file.
    pub messages: u64,
    /// GUIDs that were replaced, both sides.
    pub altered: u64,
    /// GUIDs taken from cyrus.sha1s, both sides.
    pub cached: u64,
    /// GUIDs computed, both sides.
    pub hashed: u64,
    /// UIDs that one side alone has.
    pub lag: u64,
    /// How long the locks were held on each side, in microseconds.
    pub lock_us: [Option<u64>; 2],
}

impl Figures {
    /// How long the locks of the host that held them longer were held, in microseconds.
    #[must_use]
    pub fn longest_lock_us(&self) -> Option<u64> {
        self.lock_us.iter().flatten().copied().max()
    }
}

words! {
    /// How an attempt ended, as the table has it.
    Ended {
        /// Done.
        Upgraded = "upgraded",
        /// Nothing was to do.
        Unchanged = "unchanged",
        /// As before, and it would be done.
        Rehearsed = "rehearsed",
        /// As before, and not to be tried again in this run.
        RolledBack = "rolled_back",
        /// As before, and to be tried again.
        Again = "again",
        /// The mailbox was deleted meanwhile.
        Gone = "gone",
        /// Still open; a human must look.
        InDoubt = "in_doubt",
        /// Still open; it is finished once its partition is mounted.
        Waits = "waits",
    }
}

impl Ended {
    /// The mailbox's state after it; `None` leaves it as it is.
    #[must_use]
    pub const fn state(self) -> Option<State> {
        match self {
            Self::Upgraded => Some(State::Upgraded),
            Self::Unchanged => Some(State::Unchanged),
            Self::Rehearsed => Some(State::Rehearsed),
            Self::RolledBack => Some(State::RolledBack),
            Self::Again => Some(State::Pending),
            Self::Gone => Some(State::Gone),
            Self::InDoubt | Self::Waits => None,
        }
    }

    /// What has become of a mailbox by it, for a person.
    #[must_use]
    pub const fn said(self, verb: Verb) -> &'static str {
        match self {
            Self::Upgraded | Self::Rehearsed => verb.done(),
            Self::Unchanged => verb.nothing_to_do(),
            Self::RolledBack => verb.failed(),
            Self::Again => "to be tried again",
            Self::Gone => "gone",
            Self::InDoubt => "IN DOUBT",
            Self::Waits => "decided, and waits for its partition",
        }
    }
}

/// One attempt at a mailbox, when it is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Milliseconds since 1970.
    pub started_ms: i64,
    /// Milliseconds since 1970.
    pub finished_ms: i64,
    /// How it ended.
    pub ended: Ended,
    /// Why it failed, if it did.
    pub reason: Option<Reason>,
    /// Whose failure it was.
    pub side: Option<Side>,
    /// The failure in words.
    pub detail: String,
    /// What it amounted to.
    pub figures: Figures,
}

/// A change to one mailbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The decision to commit.
    Decide {
        /// Which mailbox.
        mailbox: MailboxId,
        /// Versions before, where something is to change.
        before: [Option<u8>; 2],
    },
    /// The mailbox's unique id on each host, noted just before the decision.
    Identify {
        /// Which mailbox.
        mailbox: MailboxId,
        /// Master's and replica's; `None` if it has none.
        uniqueids: [Option<String>; 2],
    },
    /// One side is known to be committed.
    Forward {
        /// Which mailbox.
        mailbox: MailboxId,
        /// Which side.
        side: Side,
    },
    /// The decision is being taken back.
    Reverse {
        /// Which mailbox.
        mailbox: MailboxId,
    },
    /// An attempt is over.
    Finish {
        /// Which mailbox.
        mailbox: MailboxId,
        /// How.
        attempt: Attempt,
    },
    /// What was rolled back, or is gone, is to be tried again, by order of the operator.
    Requeue {
        /// Which mailbox.
        mailbox: MailboxId,
    },
}
