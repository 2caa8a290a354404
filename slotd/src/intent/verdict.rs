//! What is to become of an open intent, decided from what was found; no I/O, so that the model
//! checker of the tests crate drives this very code.

use super::{Direction, IntentFile};
use crate::fs::Identity;

/// Where one file of an intent is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Location {
    /// The live file is the one that was to be replaced.
    Old,
    /// The live file is the staged one.
    New,
    /// Cyrus has replaced it since.
    Other,
}

impl Location {
    /// Where a file is, from the identity and the version of the live one. `versions` are those of
    /// the index before and after.
    ///
    /// The version counts too: Cyrus opens a leftover `.NEW` with `O_TRUNC` and renames it, and the
    /// inode that was ours is then live with another content.
    #[must_use]
    pub fn of(live: Option<(Identity, u32)>, file: &IntentFile, versions: (u32, u32)) -> Location {
        match (live, &file.old, &file.new) {
            (Some((id, _)), Some(old), _) if id.is(old) => Location::Old,
            (Some((id, version)), _, Some(new)) if id.is(new) && version == versions.1 => {
                Location::New
            }
            (None, None, _) => Location::Old,
            (None, _, None) => Location::New,
            _ => Location::Other,
        }
    }
}

/// What was found of one file of an intent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Found {
    /// Where it is.
    pub at: Location,
    /// If it is [`At::Old`]: the staged file is there and still carries what the live one holds.
    pub staged_carries: bool,
    /// If it is [`At::New`]: `.OLD` is there and the live file still carries what that holds.
    pub old_carries: bool,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It is done already.
    Complete,
    /// Do the renames that are missing.
    Finish,
    /// Take the renames back that are done.
    PutBack,
    /// Nothing was renamed and nothing will be.
    Abort,
    /// Make new files from the live ones.
    Restage,
}

/// Decides. What was ordered is finished, or taken back, only where it is provably the same still.
#[must_use]
pub fn verdict(direction: Direction, files: &[Found]) -> Verdict {
    let all = |at| files.iter().all(|f| f.at == at);
    let (can_finish, can_put_back) = (can_finish(files), can_put_back(files));
    match direction {
        Direction::Commit if all(Location::New) => Verdict::Complete,
        Direction::PutBack if all(Location::Old) => Verdict::Complete,
        // The intent comes before `COMMIT`: the first rename is what tells that it was ordered. A
        // coordinator that did order it, and got no answer, comes back.
        Direction::Commit if files.iter().all(|f| f.at != Location::New) => Verdict::Abort,
        Direction::Commit if can_finish => Verdict::Finish,
        Direction::PutBack if can_put_back => Verdict::PutBack,
        _ => Verdict::Restage,
    }
}

/// The same of a change to version 12 or later, or back from there. Nothing can be made anew from
/// half of it, but either way is a whole one: what cannot be finished is taken back, and what
/// cannot be taken back is finished.
#[must_use]
pub fn verdict_across(direction: Direction, files: &[Found]) -> Verdict {
    match verdict(direction, files) {
        Verdict::Restage if can_put_back(files) => Verdict::PutBack,
        Verdict::Restage if can_finish(files) => Verdict::Finish,
        verdict => verdict,
    }
}

fn can_finish(files: &[Found]) -> bool {
    files.iter().all(|f| match f.at {
        Location::New => true,
        Location::Old => f.staged_carries,
        Location::Other => false,
    })
}

fn can_put_back(files: &[Found]) -> bool {
    files.iter().all(|f| match f.at {
        Location::Old => true,
        Location::New => f.old_carries,
        Location::Other => false,
    })
}
