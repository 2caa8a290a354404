//! Operations of a list, done by directory handle; and the look at the names that a list is made
//! from.

use indexfile::{FileKind, IoError};

use super::{FileOp, Names, Old, Role, name};
use crate::fs::Dir;
use crate::store::Place;

/// Does one operation that needs no handle of a file.
///
/// # Errors
/// The system's; or that it does need one.
pub(crate) fn execute(place: &Place, op: FileOp) -> Result<(), IoError> {
    let dir = place.directory_of(op.kind());
    match op {
        FileOp::Rename(kind, from, to) => dir.rename(name(kind, from), name(kind, to)),
        FileOp::Unlink(kind, role) => dir.unlink(name(kind, role)).map(drop),
        FileOp::SyncDir(_) => dir.sync(),
        FileOp::Link(kind, from, to) if from != Role::Unnamed => {
            dir.link(name(kind, from), name(kind, to))
        }
        FileOp::Link(..) | FileOp::Lock(..) | FileOp::SyncFile(..) => {
            let no_handle = std::io::ErrorKind::InvalidInput.into();
            Err(IoError::new(
                "work without a handle in",
                dir.path(),
                no_handle,
            ))
        }
    }
}

impl Names {
    /// Looks at what lies under the names of a file. `replaced` tells of `.OLD` whether it is the
    /// file that the transaction replaces.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn look<E: From<IoError>>(
        place: &Place,
        kind: FileKind,
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
            old,
            prev: there(Role::Prev)?,
        })
    }
}
