//! Where a transaction stands, and what is known of each side.

use super::reason::Reason;
use super::types::{Answer, Failure, Outcome, Refusal, Request, Side};

/// What is known about the files of one side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Position {
    /// Nothing is known that holds now.
    Unknown,
    /// As before the transaction.
    Old,
    /// `COMMIT` was answered with `NO`; a rollback has to confirm that it is as before.
    Refused,
    /// At the version wanted.
    Forward,
    /// The mailbox does not exist there any more, so there is nothing to differ.
    Gone,
}

/// What the connection to one side holds, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Session {
    /// No lock.
    Idle,
    /// Locks, and perhaps staged files.
    Locked,
    /// Committed, with the locks and the old inodes kept.
    Held,
}

/// One side of the transaction.
#[allow(clippy::struct_excessive_bools)] // independent facts
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct SideState {
    pub(super) in_scope: bool,
    pub(super) position: Position,
    pub(super) session: Session,
    /// The command whose reply is owed.
    pub(super) awaiting: Option<Request>,
    /// The reply to a [`Request::Confirm`] that only keeps the transaction alive is owed; what
    /// `awaiting` has is sent when it is there.
    pub(super) keeping: bool,
    /// Version before, if something was staged when the decision was taken.
    pub(super) before: Option<u8>,
    /// On the way back: the index is as before, whatever else is not.
    pub(super) index_before: bool,
    pub(super) uidvalidity: u32,
    /// Whether the attempt under way locks this side.
    pub(super) in_attempt: bool,
    pub(super) staged: Option<(bool, u8, [u8; 20])>,
    /// It said that the files that were replaced are gone, as was asked for.
    pub(super) dropped: bool,
}

/// What is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Direction {
    Undecided,
    Forward,
    Back,
}

/// What follows once no session holds anything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum After {
    Finish(Outcome),
    Pause,
    Undo,
    /// Removing the files that were replaced.
    DropOld,
    /// It counts as decided, and this kept it from its end.
    Assume(Failure),
}

/// Where the transaction stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Phase {
    New,
    Preparing,
    Locking(Side),
    Upgrading,
    Comparing,
    /// Asking both sides whether they still hold what they staged.
    Confirming,
    Deciding,
    /// Waiting for `Entry::Assumed` to be durable.
    Assuming,
    Committing(Side),
    Releasing,
    /// Removing the files that were replaced, on that side.
    Dropping(Side),
    /// Rolling back (or releasing) what the sessions still hold, replica first.
    Clearing(After),
    /// Waiting for `Entry::Reversing` to be durable.
    Reversing,
    /// Bringing that side back.
    Undoing(Side),
    Pausing,
    Finished,
}

/// A decided transaction as the journal has it after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Open {
    /// `Entry::Reversing` was recorded.
    pub reversing: bool,
    /// `before` of `Entry::Decided`.
    pub before: [Option<u8>; 2],
    /// Sides noted as forward.
    pub forward: [bool; 2],
}

/// A refusal with its side.
pub(super) fn refused(side: Side, refusal: Refusal) -> Failure {
    Failure::new(side, refusal.reason, refusal.text)
}

/// A mailbox that is nowhere on that side.
pub(super) fn deleted(side: Side) -> Failure {
    Failure::new(
        side,
        Reason::NoMailbox,
        "the mailbox was deleted by its owner: none there has its unique id",
    )
}

/// A refusal, or an answer that does not fit the question.
pub(super) fn unexpected(side: Side, answer: Answer, command: &str) -> Failure {
    match answer {
        Answer::No(refusal) => refused(side, refusal),
        _ => Failure::new(
            side,
            Reason::Protocol,
            format!("an answer that does not fit {command}"),
        ),
    }
}
