//! The words the coordinator speaks: what it is told, what it asks for, how it ends.
//!
//! Plain values without behaviour, all `Clone + Hash + Eq`, so that a model checker can
//! keep every state it has seen.

use std::fmt;

/// One of the two participants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// The host that takes deliveries.
    Master,
    /// Its copy.
    Replica,
}

impl Side {
    /// Both, master first (the order of locking).
    pub const ALL: [Self; 2] = [Self::Master, Self::Replica];
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

    /// `master` or `replica`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Master => "master",
            Self::Replica => "replica",
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
    /// Bring back the GUIDs that an upgrade replaced, also where the version has room for a whole
    /// SHA-1.
    pub uuids_old: bool,
    /// Send `PREPARE` before taking the locks.
    pub prepare: bool,
    /// Treat a UID that only one side has as a failure, not as replication lag.
    pub require_in_sync: bool,
    /// Ask for the `.OLD` files to be removed once both sides are committed.
    pub drop_old: bool,
    /// How many further attempts a decided transaction gets before it is given up.
    pub settle_attempts: u8,
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

/// The lowest index version with GUIDs.
pub(super) const FIRST_WITH_GUIDS: u8 = 10;

/// A command for one participant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// Work ahead without a lock.
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

/// The class of a failure: what `retry` and `report` sort by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// Another process held a lock for the whole wait.
    Locked,
    /// The slotd takes no new transactions: it is shutting down.
    Draining,
    /// The slotd serves as many connections as it can already.
    Full,
    /// No connection, or it broke, or no reply in time.
    HostAway,
    /// The partition is not mounted.
    Unmounted,
    /// No space left.
    NoSpace,
    /// An input or output error.
    Io,
    /// The slotd had ended the transaction by itself (its `--max-lock`).
    Expired,
    /// A UID is on one side only, and `--require-in-sync` was given.
    OutOfSync,
    /// No such mailbox.
    NoMailbox,
    /// It is on another partition than the list says.
    Elsewhere,
    /// It is on more than one partition.
    TwoPlaces,
    /// Its header or index is not there, and something of it is: it is being made, renamed or
    /// deleted, or it is damaged.
    Incomplete,
    /// An index, header or expunge file is damaged or of an unknown kind.
    Damaged,
    /// A version that slotd does not write, or a mailbox that is not Cyrus 2.3's any more.
    Unsupported,
    /// A message file is missing.
    NoMessage,
    /// Not permitted.
    Denied,
    /// The two sides disagree about a message.
    Differs,
    /// What has this name on the two hosts is not the same mailbox.
    OtherMailbox,
    /// One side alone was to change, and that would make the two differ.
    OneSided,
    /// An answer that does not fit the question.
    Protocol,
    /// The controller itself lacks something: open files, memory, ports.
    Local,
    /// The decision could not be written.
    Journal,
    /// The operator stopped the run.
    Interrupted,
    /// A Cyrus of 2.4 or later, or nobody knows which, serves the store: our locks would protect
    /// nothing.
    Served,
    /// Another coordinator is at work on the host.
    Busy,
    /// GUIDs are not the SHA-1s of their messages, and were only to be reported.
    WrongGuid,
}

impl Reason {
    /// Every class.
    pub const ALL: [Self; 27] = [
        Self::Locked,
        Self::Draining,
        Self::Full,
        Self::HostAway,
        Self::Unmounted,
        Self::NoSpace,
        Self::Io,
        Self::Expired,
        Self::OutOfSync,
        Self::NoMailbox,
        Self::Elsewhere,
        Self::TwoPlaces,
        Self::Incomplete,
        Self::Damaged,
        Self::Unsupported,
        Self::NoMessage,
        Self::Denied,
        Self::Differs,
        Self::OtherMailbox,
        Self::OneSided,
        Self::Protocol,
        Self::Local,
        Self::Journal,
        Self::Interrupted,
        Self::Served,
        Self::Busy,
        Self::WrongGuid,
    ];

    /// The word used in the journal, in reports and on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Locked => "locked",
            Self::Draining => "draining",
            Self::Full => "full",
            Self::HostAway => "host_away",
            Self::Unmounted => "unmounted",
            Self::NoSpace => "no_space",
            Self::Io => "io",
            Self::Expired => "expired",
            Self::OutOfSync => "out_of_sync",
            Self::NoMailbox => "no_mailbox",
            Self::Elsewhere => "elsewhere",
            Self::TwoPlaces => "two_places",
            Self::Incomplete => "incomplete",
            Self::Damaged => "damaged",
            Self::Unsupported => "unsupported",
            Self::NoMessage => "no_message",
            Self::Denied => "denied",
            Self::Differs => "differs",
            Self::OtherMailbox => "other_mailbox",
            Self::Local => "local",
            Self::OneSided => "one_sided",
            Self::Protocol => "protocol",
            Self::Journal => "journal",
            Self::Interrupted => "interrupted",
            Self::Served => "served",
            Self::Busy => "busy",
            Self::WrongGuid => "wrong_guid",
        }
    }

    /// The class with this word, if there is one.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|r| r.as_str() == word)
    }

    /// Whether waiting alone can make it go away.
    #[must_use]
    pub const fn may_pass(self) -> bool {
        matches!(
            self,
            Self::Locked
                | Self::Draining
                | Self::Full
                | Self::Elsewhere
                | Self::HostAway
                | Self::Unmounted
                | Self::NoSpace
                | Self::Io
                | Self::Expired
                | Self::OutOfSync
                | Self::Incomplete
                | Self::Local
                | Self::Busy
        )
    }

    /// Whether nothing is wrong with the mailbox or its disk: somebody, or something, only has to
    /// be waited for.
    #[must_use]
    pub const fn only_waits(self) -> bool {
        matches!(
            self,
            Self::Locked
                | Self::Draining
                | Self::Full
                | Self::HostAway
                | Self::Unmounted
                | Self::OutOfSync
                | Self::Local
                | Self::Journal
                | Self::Interrupted
                | Self::Busy
        )
    }

    /// What an operator can do about it, one sentence.
    #[must_use]
    pub const fn advice(self) -> &'static str {
        match self {
            Self::Locked => "another process kept the mailbox locked; retry when it is quieter",
            Self::Draining => "the slotd was shutting down; start it again and retry",
            Self::Full => {
                "the slotd serves no more connections; use a lower --parallel, then retry"
            }
            Self::HostAway => "the slotd did not answer; see that it runs, then retry",
            Self::Unmounted => "mount the partition, then retry",
            Self::NoSpace => "free space on that partition, then retry",
            Self::Io => "look at the disk and the kernel log before you retry",
            Self::Expired => {
                "the transaction took longer than slotd's --max-lock; run precompute first, or raise it"
            }
            Self::OutOfSync => "let replication catch up, then retry",
            Self::NoMailbox => "that host has no such mailbox; compare the mailbox lists",
            Self::Elsewhere => "it was moved to another partition after it was listed; run again",
            Self::TwoPlaces => {
                "one of the two is a stale copy (`ctl_mboxlist -d` knows which): move it away, or give --partition"
            }
            Self::Incomplete => {
                "cyrus.header or cyrus.index is missing: a RENAME or DELETE under way would be over by now; run \
                 `indexfile check`, restore or remove what is left, then retry"
            }
            Self::Unsupported => {
                "reguid does not write that version, or the mailbox is one of Cyrus 2.4 or later; leave it out"
            }
            Self::Damaged => {
                "run `indexfile check` on the mailbox and repair it, then retry it by name"
            }
            Self::NoMessage => {
                "a message file is gone; restore it or reconstruct the mailbox, then retry it by name"
            }
            Self::Denied => "slotd lacks a permission; run it as the owner of the mail store",
            Self::Differs => {
                "one side's message is damaged; compare the two files, repair, then retry it by name"
            }
            Self::OtherMailbox => {
                "replication has to make the replica's mailbox the master's again (`sync_client -u` or -m), then retry it \
                 by name"
            }
            Self::Local => {
                "this controller ran out of open files or the like; use a lower --parallel or raise `ulimit -n`, then retry"
            }
            Self::OneSided => {
                "the run had changed one host alone; `downgrade --to` or `upgrade` brings both to one version"
            }
            Self::Protocol => {
                "controller and slotd do not understand each other; use the same release on all hosts"
            }
            Self::Journal => {
                "the journal could not be written; free space or repair its disk, then run again"
            }
            Self::Interrupted => "the run was stopped; run again to go on",
            Self::Served => {
                "stop the server and start slotd with --server-stopped, or leave the mailbox to its own reconstruct -V"
            }
            Self::Busy => "let the other coordinator end, then retry",
            Self::WrongGuid => {
                "if the messages are what they should be, `controller upgrade --rehash=fix` makes their GUIDs right on both \
                 hosts; a message that is damaged is to be restored first"
            }
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
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
    /// Every side is as it was before.
    RolledBack(Failure),
    /// The sides may differ, and this could not be healed now.
    InDoubt(Failure),
}
