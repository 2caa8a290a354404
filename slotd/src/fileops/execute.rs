//! Operations of a list, done by directory handle; and the look at the names that a list is made
//! from.

use std::fs::File;

use indexfile::{FileKind, IoError};

use super::{Change, FileOp, Names, Old, Role, Step, name};
use crate::fs::Dir;
use crate::lock::MailboxLocks;
use crate::store::Place;

/// Does one step, once what it needs is on stable storage. `file` is the staged file, for a first
/// name.
///
/// # Errors
/// The system's; or that the step comes too early, or is not one of a name.
pub(crate) fn execute(
    locks: &MailboxLocks,
    step: Step,
    file: Option<&File>,
) -> Result<(), IoError> {
    let kind = step.op.kind().unwrap_or(FileKind::Index);
    let dir = locks.place.directory_of(kind);
    let refused = |error| IoError::new("change names in", dir.path(), error);
    let early = locks.durable().check(step);
    early.map_err(|early| refused(std::io::Error::other(early)))?;
    match (step.op, file) {
        (FileOp::Link(kind, Role::Unnamed, to), Some(file)) => {
            dir.give_name(file, name(kind, to))?;
        }
        (FileOp::Link(kind, from, to), _) if from != Role::Unnamed => {
            dir.link(name(kind, from), name(kind, to))?;
        }
        (FileOp::Rename(kind, from, to), _) => dir.rename(name(kind, from), name(kind, to))?,
        (FileOp::Unlink(kind, role), _) => {
            dir.unlink(name(kind, role))?;
        }
        (FileOp::SyncDir(_), _) => dir.sync()?,
        _ => return Err(refused(std::io::ErrorKind::InvalidInput.into())),
    }
    locks.durable().note(step.op);
    Ok(())
}

impl Names {
    /// Looks at what lies under the names of a file. `replaced` tells of `.OLD` whether it is the
    /// file that the transaction replaces.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn look<E: From<IoError>>(
        place: &Place,
        (kind, change): (FileKind, Change),
        replaced: impl FnOnce(&Dir) -> Result<bool, E>,
    ) -> Result<Names, E> {
        let dir = place.directory_of(kind);
        let there = |role| Ok::<_, IoError>(dir.stat(name(kind, role))?.is_some());
        let old = match (there(Role::Old)?, replaced(dir)?) {
            (false, _) => None,
            (true, true) => Some(Old::Replaced),
            (true, false) => Some(Old::Earlier),
        };
        Ok(Names {
            kind,
            change,
            old,
            prev: there(Role::Prev)?,
        })
    }
}
