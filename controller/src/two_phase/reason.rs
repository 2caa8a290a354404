//! The classes of failures, in one table: what each is called, whether it passes by itself, and
//! what an operator can do about it.

use std::fmt;

/// What kind of failure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Waiting alone can make it go away.
    MayPass,
    /// Nothing is wrong with the mailbox or its disk: a person or a process only has to be waited
    /// for.
    OnlyWaits,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $word:literal $($kind:ident)* => $advice:literal;)*) => {
        /// The class of a failure: what `retry` and `report` sort by.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason {
            $($(#[$doc])* $name,)*
        }

        impl Reason {
            /// Every class.
            pub const ALL: [Self; [$($word),*].len()] = [$(Self::$name),*];

            /// The word used in the journal, in reports and on the command line.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)*
                }
            }

            fn kinds(self) -> &'static [Kind] {
                match self {
                    $(Self::$name => &[$(Kind::$kind),*],)*
                }
            }

            /// What an operator can do about it, one sentence.
            #[must_use]
            pub const fn advice(self) -> &'static str {
                match self {
                    $(Self::$name => $advice,)*
                }
            }
        }
    };
}

reasons! {
    /// Another process held a lock for the whole wait.
    Locked = "locked" MayPass OnlyWaits =>
        "another process kept the mailbox locked; retry when it is quieter";
    /// The slotd takes no new transactions: it is shutting down.
    Draining = "draining" MayPass OnlyWaits =>
        "the slotd was shutting down; start it again and retry";
    /// The slotd serves as many connections as it can already.
    Full = "full" MayPass OnlyWaits =>
        "the slotd serves no more connections; use a lower --parallel, then retry";
    /// No connection, or it broke, or no reply in time.
    HostAway = "host_away" MayPass OnlyWaits =>
        "the slotd did not answer; see that it runs, then retry";
    /// The partition is not mounted.
    Unmounted = "unmounted" MayPass OnlyWaits =>
        "mount the partition, or set it online where it was set offline, then retry";
    /// The operator set a mount of the host to failover.
    Failover = "failover" OnlyWaits =>
        "the other host's mail is believed: once both have the same again, `slotd mount state \
         MOUNT online` on that host, then give the same command again";
    /// No space left.
    NoSpace = "no_space" MayPass =>
        "free space on that partition, then retry";
    /// An input or output error.
    Io = "io" MayPass =>
        "look at the disk and the kernel log before you retry";
    /// The slotd had ended the transaction by itself (its `--max-lock`).
    Expired = "expired" MayPass =>
        "the transaction took longer than slotd's --max-lock; run precompute first, or raise it";
    /// A UID is on one side only, and `--require-in-sync` was given.
    OutOfSync = "out_of_sync" MayPass OnlyWaits =>
        "let replication catch up, then retry";
    /// No such mailbox.
    NoMailbox = "no_mailbox" =>
        "that host has no such mailbox; compare the mailbox lists";
    /// It is on another partition than the list says.
    Elsewhere = "elsewhere" MayPass =>
        "it was moved to another partition after it was listed; run again";
    /// It is on more than one partition.
    TwoPlaces = "two_places" =>
        "one of the two is a stale copy (`ctl_mboxlist -d` knows which): move it away, or \
         give --partition";
    /// Its header or index is not there, and something of it is: it is being made, renamed or
    /// deleted, or it is damaged.
    Incomplete = "incomplete" MayPass =>
        "cyrus.header or cyrus.index is missing: a RENAME or DELETE under way would be over \
         by now; run `indexfile check`, restore or remove what is left, then retry";
    /// An index, header or expunge file is damaged or of an unknown kind.
    Damaged = "damaged" =>
        "run `indexfile check` on the mailbox and repair it, then retry it by name";
    /// A version that slotd does not write, or not from what the mailbox has now.
    Unsupported = "unsupported" =>
        "reguid does not write that version, or not from what the mailbox has now: its text says \
         why, and what comes first; else leave it out";
    /// A message file is missing, or has another size than its record says.
    NoMessage = "no_message" =>
        "a message file is gone, or has not the size in its record: restore it or reconstruct \
         the mailbox, then retry it by name";
    /// Not permitted.
    Denied = "denied" =>
        "slotd lacks a permission; run it as the owner of the mail store";
    /// The two sides disagree about a message.
    Differs = "differs" =>
        "one side's message is damaged; compare the two files, repair, then retry it by name";
    /// What has this name on the two hosts is not the same mailbox.
    OtherMailbox = "other_mailbox" =>
        "replication has to make the replica's mailbox the master's again (`sync_client -u` \
         or -m), then retry it by name";
    /// What has its name is another mailbox than the one that is to be taken back, or it has
    /// another name and a later run changed it there.
    Superseded = "superseded" =>
        "only what the run itself changed is taken back; `controller downgrade --to N NAME` or \
         `upgrade NAME` brings what has that name now to another version";
    /// One side alone was to change, and that would make the two differ.
    OneSided = "one_sided" =>
        "the run had changed one host alone; `downgrade --to` or `upgrade` brings both to one \
         version";
    /// An answer that does not fit the question.
    Protocol = "protocol" =>
        "controller and slotd do not understand each other; use the same release on all hosts";
    /// The controller itself lacks something: open files, memory, ports.
    Local = "local" MayPass OnlyWaits =>
        "this controller ran out of open files or the like; use a lower --parallel or raise \
         `ulimit -n`, then retry";
    /// The decision could not be written.
    Journal = "journal" OnlyWaits =>
        "the journal could not be written; free space or repair its disk, then run again";
    /// The operator stopped the run.
    Interrupted = "interrupted" OnlyWaits =>
        "the run was stopped; run again to go on";
    /// A Cyrus of 2.4 or later, or nobody knows which, serves the store: our locks would protect
    /// nothing.
    Served = "served" =>
        "stop the server and start slotd with --server-stopped, or leave the mailbox to its \
         own reconstruct -V";
    /// The change-over needs the fence, and it does not stand on that host.
    Unfenced = "unfenced" OnlyWaits =>
        "stop all that can open the store and make CONFIGDIRECTORY/msg/shutdown on both hosts, \
         then give the same command again, or `controller recover` where something is in doubt";
    /// Another controller has taken the pair over, with a higher epoch.
    Fenced = "fenced" OnlyWaits =>
        "another controller has taken over, and settles what is open; start this one again only \
         if that one is to end";
    /// Another coordinator is at work on the host.
    Busy = "busy" MayPass OnlyWaits =>
        "let the other coordinator end, then retry";
    /// GUIDs are not the SHA-1s of their messages, and were only to be reported.
    WrongGuid = "wrong_guid" =>
        "if the messages are what they should be, `controller upgrade --rehash=fix` makes \
         their GUIDs right on both hosts; a message that is damaged is to be restored first";
}

impl Reason {
    /// The class with this word, if there is one.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|r| r.as_str() == word)
    }

    /// Whether waiting alone can make it go away.
    #[must_use]
    pub fn may_pass(self) -> bool {
        self.kinds().contains(&Kind::MayPass)
    }

    /// Whether nothing is wrong with the mailbox or its disk: a person or a process only has to be
    /// waited for.
    #[must_use]
    pub fn only_waits(self) -> bool {
        self.kinds().contains(&Kind::OnlyWaits)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
