//! The coordinator's values: its events, its actions, how it ends.
//!
//! Plain values without behaviour, all `Clone + Hash + Eq`, so that a model checker can
//! keep every state it has seen.

use std::fmt;

use super::reason::Reason;
use crate::words::words;

words! {
    /// One of the two participants; in [`Side::ALL`] in the order of locking.
    Side {
        /// The host that takes deliveries.
        Master = "master",
        /// Its copy.
        Replica = "replica",
    }
}

impl Side {
    /// Both, replica first (the order of committing and of rolling back).
    pub const REPLICA_FIRST: [Self; 2] = [Self::Replica, Self::Master];

    /// The place of this side in a two-element array: master 0, replica 1.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Master => 0,
            Self::Replica => 1,
        }
    }

    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Master => Self::Replica,
            Self::Replica => Self::Master,
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What one transaction is to do. Fixed before it starts.
#[allow(clippy::struct_excessive_bools)] // independent switches of the command line
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Plan {
    /// The index minor version wanted on both sides.
    pub to: u8,
    /// Whether the master takes part: always, but on the way back of a run that changed the replica
    /// alone.
    pub master: bool,
    /// Whether there is a replica that takes part; without one the master is the only participant.
    pub replica: bool,
    /// The one side that is to change; the other takes part to show that both are alike afterwards,
    /// and is not changed.
    pub only: Option<Side>,
    /// Bring back the GUIDs that an upgrade replaced, also where the version can hold a whole
    /// SHA-1.
    pub uuids_old: bool,
    /// Take a change-over back: a side below version 12 has nothing to do. Without it no mailbox
    /// of version 12 or later goes below 12.
    pub undo: bool,
    /// Only find out whether both sides can be brought there: everything is done up to the
    /// decision, and then rolled back on both. Nothing is recorded, and no `COMMIT` is sent.
    pub rehearse: bool,
    /// Send `PREPARE` before taking the locks.
    pub prepare: bool,
    /// Treat a UID that only one side has as a failure, not as replication lag.
    pub require_in_sync: bool,
    /// Ask for the `.OLD` files to be removed once both sides are committed.
    pub drop_old: bool,
    /// How many further attempts a decided transaction gets before it is given up.
    pub settle_attempts: u8,
    /// The journal may have lost its newest rows, and with them a decision: that there is none
    /// proves nothing.
    pub rows_lost: bool,
}

impl Plan {
    /// Whether the two sides are compared by what their messages are, and not by what these will be
    /// called. On the way down to UUIDs Cyrus itself does not see to it that both sides have the
    /// same. Where one side alone changes, that both call a message the same is what is asked.
    #[must_use]
    pub fn compares_content(&self) -> bool {
        self.only.is_none() && (self.to < FIRST_WITH_GUIDS || self.uuids_old)
    }
}

/// The lowest index version with GUIDs; the highest of Cyrus 2.3.
pub const FIRST_WITH_GUIDS: u8 = 10;
/// The lowest index version of Cyrus 2.4 and later.
pub const FIRST_OF_2_4: u8 = 12;

/// A command for one participant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// Hash and write without a lock.
    Prepare {
        /// Index minor version to stage.
        to: u8,
    },
    /// Take the mailbox's locks.
    Lock,
    /// Stage the new files.
    Upgrade {
        /// Index minor version to stage.
        to: u8,
        /// Bring the GUIDs back from the `.OLD` files.
        uuids_old: bool,
    },
    /// Rename the staged files into place.
    Commit {
        /// Keep the locks and the old inodes until [`Request::Release`] or [`Request::RollBack`].
        hold: bool,
        /// Remove the `.OLD` files.
        drop_old: bool,
    },
    /// Unlock after a held commit.
    Release {
        /// Remove the `.OLD` files.
        drop_old: bool,
    },
    /// Say whether what was locked and staged is still so. Asking keeps a transaction from ending
    /// because nobody said anything for its participant's `--max-lock`.
    Confirm,
    /// Unlink what was staged, or put the old inodes back after a held commit; then unlock.
    RollBack,
}

/// What a participant answered.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// `OK` to `PREPARE`, `COMMIT`, `RELEASE` or `ROLLBACK`.
    Done,
    /// `OK` to `LOCK`.
    Locked {
        /// The minor version of the live index.
        index: u8,
        /// The mailbox's uidvalidity; UIDs of two sides can be compared only if it is the same.
        uidvalidity: u32,
    },
    /// `OK` to `UPGRADE`.
    Staged {
        /// Whether anything was staged; `false` means the live files are as wanted already.
        changed: bool,
        /// The minor version before.
        from: u8,
        /// SHA-1 over every (UID, GUID) as it will be.
        digest: [u8; 20],
    },
    /// `OK` to `CONFIRM`.
    Confirmed {
        /// As `UPGRADE` answered it, if it is staged (or unchanged) and not committed; else `None`.
        digest: Option<[u8; 20]>,
    },
    /// To `LOCK` of a mailbox that was decided upon: the host has looked through its whole store,
    /// and no mailbox there has its unique id. That there is none of its *name* is [`Answer::No`],
    /// and proves nothing.
    Gone,
    /// `NO` or `BAD`.
    No(Refusal),
}

/// Why a participant said `NO`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Refusal {
    /// The class.
    pub reason: Reason,
    /// The participant's sentence.
    pub text: String,
}

/// Why and where a transaction failed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Failure {
    /// Whose failure it was; `None` when it lies between the two or in the controller.
    pub side: Option<Side>,
    /// The class.
    pub reason: Reason,
    /// One sentence.
    pub text: String,
}

impl Failure {
    /// A failure of one side, or of none.
    #[must_use]
    pub fn new(side: impl Into<Option<Side>>, reason: Reason, text: impl Into<String>) -> Self {
        Self {
            side: side.into(),
            reason,
            text: text.into(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(side) = self.side {
            write!(f, "{side}: ")?;
        }
        write!(f, "{} ({})", self.text, self.reason)
    }
}

/// What the lists of two sides say when the digests differ.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Comparison {
    /// UIDs that both have and that carry different GUIDs.
    pub differing: u64,
    /// There may be more of them: enough were found to say that the sides differ.
    pub at_least: bool,
    /// The first few of them, spelled out for a person.
    pub examples: String,
    /// UIDs that only the master has.
    pub master_only: u64,
    /// UIDs that only the replica has.
    pub replica_only: u64,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// Begin, or take up after a restart.
    Start,
    /// The reply to the last command sent to that side.
    Reply(Side, Answer),
    /// The connection to that side is gone, or could not be made, or was dropped by the driver
    /// because its deadline passed. Whether the command in flight was executed is not known.
    Lost(Side, String),
    /// The two lists were compared ([`Action::Compare`]).
    Compared(Comparison),
    /// What [`Action::Record`] asked for is durable.
    Recorded,
    /// It could not be made durable (or nobody knows whether it is).
    RecordFailed(String),
    /// It was not written: the journal says that another coordinator has taken over.
    TakenOver(String),
    /// The time of [`Action::Wait`] is over.
    Waited,
    /// Some time has passed, of which a participant ends a transaction of its own accord after a
    /// few. The machine asks for a [`Request::Confirm`] of each side that has locks and waits for
    /// the other.
    Tick,
    /// The operator asks for an end at once: whatever is not decided is rolled back.
    Abort,
}

/// Something to do. For each `Send`, `Compare`, `Record` and `Wait` the driver owes one event.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Send a command; owed: `Reply` or `Lost` of that side.
    Send(Side, Request),
    /// Close the connection; nothing is owed, and a reply still under way is to be dropped.
    Disconnect(Side),
    /// Fetch both lists and compare them; owed: `Compared`, or `Reply(side, No)`, or `Lost`.
    Compare,
    /// Make this durable (fsync) and only then report `Recorded`; or `RecordFailed`.
    Record(Entry),
    /// Write this down some time; nothing is owed.
    Note(Entry),
    /// Pause before settling attempt number `attempt` (1 is the first); owed: `Waited`.
    Wait {
        /// Grows by one with each pause.
        attempt: u8,
    },
    /// Tell the operator, loudly: a human must look.
    Alert(Failure),
    /// The transaction is over; the machine will do no more.
    Finished(Outcome),
}

/// A line of the decision log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Entry {
    /// The decision to commit. `before` is each side's version where something was staged.
    Decided {
        /// Master's and replica's version before; `None` where nothing is to change.
        before: [Option<u8>; 2],
    },
    /// A decision that the journal may have lost counts as made: see [`Plan::rows_lost`]. Once both
    /// sides are staged alike it is made again.
    Assumed,
    /// That side is known to be committed.
    Forward(Side),
    /// One side cannot be brought forward: both are to be as before.
    Reversing,
}

/// How a transaction ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Every side is at the version wanted, and something was changed.
    Upgraded,
    /// Every side was so already.
    Unchanged,
    /// In a rehearsal: every side had staged what is wanted, both alike, and is as it was before.
    Rehearsed,
    /// Every side is as it was before.
    RolledBack(Failure),
    /// The sides may differ, and this could not be healed now.
    InDoubt(Failure),
    /// Another coordinator has taken over, which a side said: nothing more is known here, and
    /// nothing more is asked. What is open is settled by that one.
    TakenOver(Failure),
}
