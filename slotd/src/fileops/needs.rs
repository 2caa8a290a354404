//! What is known to be on stable storage, which is what a step of a list [needs](super::Needs).
//! Whoever executes lists asks before each step: a step that comes too early is not done.

use indexfile::FileKind;

use super::{FileOp, Role, Step};

/// What was brought to stable storage since a mailbox was locked.
#[derive(Clone, Debug, Default)]
pub struct Durable {
    /// An intent that tells recovery of what is done.
    intent: bool,
    /// The staged files that were synced.
    staged: Vec<FileKind>,
    /// Live names that were changed since their directory was synced.
    changed: Vec<FileKind>,
}

/// A step comes before what it needs: a fault of the list, or of who executes it.
#[derive(Debug, thiserror::Error)]
#[error("{what} is not on stable storage, which has to come before: {op}")]
pub struct TooEarly {
    op: FileOp,
    what: &'static str,
}

impl Durable {
    /// Whether what a step needs is there.
    ///
    /// # Errors
    /// [`TooEarly`]
    pub fn check(&self, step: Step) -> Result<(), TooEarly> {
        let Step { op, needs, .. } = step;
        let staged = match op {
            FileOp::Link(kind, Role::Unnamed | Role::New, _)
            | FileOp::Rename(kind, Role::New, _) => Some(kind),
            // Of the others Cyrus, or an earlier transaction, has taken care.
            _ => None,
        };
        let missing = if needs.intent && !self.intent {
            Some("the intent")
        } else if needs.bytes && staged.is_some_and(|kind| !self.staged.contains(&kind)) {
            Some("the file")
        } else if needs.live.is_some_and(|kind| self.changed.contains(&kind)) {
            Some("the live name before")
        } else {
            None
        };
        missing.map_or(Ok(()), |what| Err(TooEarly { op, what }))
    }

    /// Notes that an operation was done.
    pub fn note(&mut self, op: FileOp) {
        match op {
            // It begins a transaction, of which nothing else was done.
            FileOp::Intent(_) => {
                *self = Durable {
                    intent: true,
                    ..Durable::default()
                };
            }
            FileOp::SyncFile(kind, _) => self.staged.push(kind),
            FileOp::Rename(kind, ..) if op.changes_live() => self.changed.push(kind),
            FileOp::SyncDir(kind) => self.changed.retain(|changed| *changed != kind),
            FileOp::Lock(..) | FileOp::Link(..) | FileOp::Rename(..) | FileOp::Unlink(..) => {}
        }
    }
}
