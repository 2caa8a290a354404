//! What is to become of an open intent, decided from what was found; no I/O, so that the model
//! checker of the tests crate drives this very code.

use super::{Direction, IntentFile};
use crate::fileops::is_over;
use crate::fs::Identity;

/// Where one file of an intent is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Location {
    /// The live file is the one that was to be replaced.
    Old,
    /// The live file is the staged one.
    New,
    /// The live file is a third one, and the staged one was never live; or all was done, and its
    /// `.OLD` was removed since.
    Other,
    /// The live file is a third one, and may have taken the place of the staged one: every
    /// `EXPUNGE` renames a new index. `.OLD` is then the only copy of what was replaced.
    Rewritten,
}

impl Location {
    /// Where a file is, from the identity and the version of the live one. `kept` says that `.OLD`
    /// is the file that was to be replaced; `versions` are those of the index before and after.
    ///
    /// The identity of the staged file is not enough: Cyrus opens a leftover `.NEW` with `O_TRUNC`
    /// and renames it, and the inode that was ours is then live with another content. Nor is the
    /// version, as Cyrus may write the same. But `.OLD` is linked before the first rename, in the
    /// same directory: without that link there was no rename.
    #[must_use]
    pub fn of(
        live: Option<(Identity, u32)>,
        kept: bool,
        file: &IntentFile,
        versions: (u32, u32),
    ) -> Location {
        let (over_before, over_after) = (is_over(versions.0), is_over(versions.1));
        // No server that reads the file before writes version 10: this needs no other proof, and
        // there is none once `.OLD` was removed.
        let kept_or_sure = kept || file.old.is_none() || (over_before && !over_after);
        match (live, &file.old, &file.new) {
            (Some((id, _)), Some(old), _) if id.is(old) => Location::Old,
            (Some((id, version)), _, Some(new))
                if id.is(new) && version == versions.1 && kept_or_sure =>
            {
                Location::New
            }
            (None, None, _) => Location::Old,
            (None, Some(_), None) if kept => Location::New,
            (_, Some(_), _) if !kept => Location::Other,
            // Of the servers before: those after a change-over do not write such a version.
            (Some((_, version)), Some(_), Some(_))
                if over_before != over_after && is_over(version) == over_before =>
            {
                Location::Other
            }
            _ => Location::Rewritten,
        }
    }
}

/// What was found of one file of an intent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Found {
    /// Where it is.
    pub at: Location,
    /// If it is [`Location::Old`]: the staged file is there and still carries what the live one
    /// holds.
    pub staged_carries: bool,
    /// If it is [`Location::New`]: `.OLD` is there and the live file still carries what that
    /// holds.
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
    /// Nothing is to be done that could be proved right: Cyrus has replaced the file that goes
    /// first, and perhaps all had been done before that.
    Close,
    /// Make new files from the live ones.
    Restage,
}

/// Decides. What was ordered is finished, or taken back, only where it is provably the same still.
/// `files` come in the order of [`crate::fileops::order`].
#[must_use]
pub fn verdict(direction: Direction, files: &[Found]) -> Verdict {
    let all = |at| files.iter().all(|f| f.at == at);
    let (can_finish, can_put_back) = (can_finish(files), can_put_back(files));
    match direction {
        Direction::Commit if all(Location::New) => Verdict::Complete,
        Direction::PutBack if all(Location::Old) => Verdict::Complete,
        // The intent comes before `COMMIT`: the first rename is what tells that it was ordered. A
        // coordinator that did order it, and got no answer, comes back.
        Direction::Commit if files.iter().all(|f| f.at != Location::New) => {
            // The one that goes first is as it was, so the others were not renamed either.
            if files.first().is_none_or(|f| f.at == Location::Old) {
                Verdict::Abort
            } else {
                Verdict::Close
            }
        }
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
    let ends = files.first().zip(files.last()).map(|(a, b)| (a.at, b.at));
    match verdict(direction, files) {
        // The first file may have changed and the second not.
        Verdict::Close if ends.is_some_and(|(first, _)| first == Location::Rewritten) => {
            Verdict::Restage
        }
        Verdict::Restage if can_put_back(files) => Verdict::PutBack,
        Verdict::Restage if can_finish(files) => Verdict::Finish,
        // The last rename was done, so the first was; that one's `.OLD` went after both.
        Verdict::Restage
            if direction == Direction::Commit && ends == Some((Location::Other, Location::New)) =>
        {
            Verdict::Complete
        }
        verdict => verdict,
    }
}

fn can_finish(files: &[Found]) -> bool {
    files.iter().all(|f| match f.at {
        Location::New => true,
        Location::Old => f.staged_carries,
        Location::Other | Location::Rewritten => false,
    })
}

fn can_put_back(files: &[Found]) -> bool {
    files.iter().all(|f| match f.at {
        Location::Old => true,
        Location::New => f.old_carries,
        Location::Other | Location::Rewritten => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intent::Kind;
    use Location::{New, Old, Other, Rewritten};

    fn id(ino: u64) -> Identity {
        Identity {
            dev: 1,
            ino,
            born: None,
        }
    }

    /// Inode 1 is replaced by 2; 3 is a server's.
    fn at(live: Option<(u64, u32)>, kept: bool, versions: (u32, u32)) -> Location {
        let file = IntentFile {
            kind: Kind::Index,
            old: Some(id(1)),
            new: Some(id(2)),
        };
        let live = live.map(|(ino, version)| (id(ino), version));
        Location::of(live, kept, &file, versions)
    }

    #[test]
    fn without_the_link_before_it_there_was_no_rename() {
        for (live, versions, kept, not_kept) in [
            ((1, 9), (9, 10), Old, Old),
            ((2, 10), (9, 10), New, Other),
            ((2, 10), (10, 10), New, Other),
            ((2, 9), (9, 10), Rewritten, Other),
            ((3, 9), (9, 10), Rewritten, Other),
            ((3, 10), (9, 10), Rewritten, Other),
            ((3, 10), (10, 9), Rewritten, Other),
            ((2, 16), (10, 16), New, Other),
            ((3, 16), (10, 16), Rewritten, Other),
            // A 2.3 server does not write over an index of version 16, nor the other way about.
            ((3, 10), (10, 16), Other, Other),
            ((2, 10), (16, 10), New, New),
            ((3, 10), (16, 10), Rewritten, Other),
            ((3, 16), (16, 10), Other, Other),
        ] {
            let what = format!("{live:?} {versions:?}");
            assert_eq!(at(Some(live), true, versions), kept, "{what}");
            assert_eq!(at(Some(live), false, versions), not_kept, "{what}");
        }
    }

    #[test]
    fn a_name_that_goes_or_comes_is_known_by_its_old_file_or_by_the_staged_one() {
        let mut file = IntentFile {
            kind: Kind::Expunge,
            old: Some(id(1)),
            new: None,
        };
        let gone = |kept, file: &IntentFile| Location::of(None, kept, file, (10, 16));
        assert_eq!([true, false].map(|kept| gone(kept, &file)), [New, Other]);
        (file.old, file.new) = (None, Some(id(2)));
        let added = |live: Option<u64>| {
            let live = live.map(|ino| (id(ino), 10));
            Location::of(live, false, &file, (16, 10))
        };
        let found = [None, Some(2), Some(3)].map(added);
        assert_eq!(found, [Old, New, Rewritten]);
    }

    fn found(at: Location) -> Found {
        Found {
            at,
            staged_carries: at == Old,
            old_carries: at == New,
        }
    }

    #[test]
    fn nothing_was_renamed_only_if_the_first_file_is_as_it_was() {
        use Verdict::{Abort, Close, Complete, Restage};
        let commit = Direction::Commit;
        for (files, below, across) in [
            (&[Old][..], Abort, Abort),
            (&[Old, Old], Abort, Abort),
            (&[Old, Rewritten], Abort, Abort),
            (&[Other], Close, Close),
            (&[Other, Old], Close, Close),
            (&[Other, Rewritten], Close, Close),
            (&[Rewritten], Close, Restage),
            (&[Rewritten, Old], Close, Restage),
            (&[Rewritten, Rewritten], Close, Restage),
            (&[New, Rewritten], Restage, Restage),
            (&[New, Other], Restage, Restage),
            (&[Rewritten, New], Restage, Restage),
            (&[Other, New], Restage, Complete),
            (&[New, New], Complete, Complete),
        ] {
            let all: Vec<Found> = files.iter().copied().map(found).collect();
            assert_eq!(verdict(commit, &all), below, "{files:?}");
            assert_eq!(verdict_across(commit, &all), across, "{files:?}");
            let back = verdict(Direction::PutBack, &all);
            assert!(!matches!(back, Abort | Close), "{files:?}");
        }
    }
}
