//! What settles an intent, as a list of file operations. Pure; made of the pieces of
//! [`crate::fileops`].

use indexfile::FileKind;

use super::{Direction, Intent, IntentFile, Location, Verdict};
use crate::fileops::{Change, FileOp, List, Names, Old, Role, Step, is_over};

/// A file of an intent, and where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Located {
    /// What lies under its names.
    pub names: Names,
    /// What the live one is.
    pub at: Location,
}

impl IntentFile {
    /// What becomes of the live name.
    #[must_use]
    pub fn change(&self) -> Change {
        Change::of(self.old.is_some(), self.new.is_some())
    }
}

impl Intent {
    /// Whether it is to version 12 or later, or back from there.
    #[must_use]
    pub fn is_across(&self) -> bool {
        is_over(self.from.max(self.to))
    }
}

/// What comes first. What the dead process renamed can be seen, and is perhaps not on stable
/// storage yet; the file that goes first comes first, so that no power cut can leave the index
/// newer than the expunge file. `kinds` come in the order of [`crate::fileops::order`].
#[must_use]
pub fn first_syncs(direction: Direction, kinds: &[FileKind]) -> Vec<Step> {
    let mut list = List::default();
    let mut sync = |kind: &FileKind| list.sync_dir(*kind);
    match direction {
        Direction::Commit => kinds.iter().for_each(&mut sync),
        Direction::PutBack => kinds.iter().rev().for_each(&mut sync),
    }
    list.steps
}

/// What the verdict orders. `files` come in the order of [`crate::fileops::order`]; `strays` are
/// the kinds of which there is a `.NEW`. After [`Verdict::Restage`] new files are made and put in
/// place as any others.
#[must_use]
pub fn settle(
    verdict: Verdict,
    direction: Direction,
    files: &[Located],
    strays: &[FileKind],
    drop_old: bool,
) -> Vec<Step> {
    let mut list = List::default();
    if verdict != Verdict::Finish {
        // Of a later transaction, perhaps, which died before its own intent; they are nobody's.
        list.unstage(strays.iter().copied());
    }
    match (verdict, direction) {
        (Verdict::Complete, Direction::Commit) => keep_old(&mut list, files, drop_old),
        (Verdict::Finish, _) => {
            for file in files {
                finish(&mut list, *file);
            }
            keep_old(&mut list, files, drop_old);
        }
        (Verdict::PutBack, _) => {
            for file in files.iter().rev() {
                let Names { kind, change, .. } = file.names;
                if file.at == Location::New {
                    if change != Change::Add {
                        list.lock(kind, Role::Old);
                    }
                    list.change_back(kind, change);
                }
                list.sync_dir(kind);
            }
            let added =
                |file: &&Located| file.names.change == Change::Add && file.at == Location::New;
            list.unstage(files.iter().filter(added).map(|file| file.names.kind));
            restore_old_names(&mut list, files);
        }
        (Verdict::Complete, Direction::PutBack) | (Verdict::Abort, _) => {
            restore_old_names(&mut list, files);
        }
        (Verdict::Close | Verdict::Restage, _) => old_comes_back(&mut list, verdict, files),
    }
    list.steps
}

/// What stepped aside for a `.OLD` that is not there comes back. Where nothing else follows, a name
/// of the live file goes, too; any other `.OLD` may be the only copy of what was replaced.
fn old_comes_back(list: &mut List, verdict: Verdict, files: &[Located]) {
    for file in by_kind(files) {
        let Names {
            kind,
            mut old,
            prev,
            ..
        } = file.names;
        let names_live = old == Some(Old::Replaced) && file.at == Location::Old;
        if verdict == Verdict::Close && names_live {
            list.unlink(kind, Role::Old);
            old = None;
        }
        if prev && old.is_none() {
            list.rename(kind, Role::Prev, Role::Old);
        }
    }
}

fn finish(list: &mut List, file: Located) {
    let Names { kind, change, .. } = file.names;
    if file.at != Location::Old {
        list.sync_dir(kind);
        return;
    }
    if change != Change::Remove {
        list.lock(kind, Role::New);
        // It was synced before the first rename. Where a file system keeps no birth times this may
        // be a later one with the same number and the same content, of a slotd that was killed
        // before its sync.
        list.sync_file(kind, Role::New);
    }
    // The crash may have come before or after `.OLD` was linked.
    if file.names.old != Some(Old::Replaced) {
        list.keep_live(file.names);
    }
    list.change(file.names);
}

/// Index, then expunge.
fn by_kind(files: &[Located]) -> impl Iterator<Item = &Located> {
    let of = |kind| files.iter().find(move |f| f.names.kind == kind);
    [FileKind::Index, FileKind::Expunge]
        .into_iter()
        .filter_map(of)
}

/// As they are once the files of `finish` are in place.
fn keep_old(list: &mut List, files: &[Located], drop_old: bool) {
    let after = |file: &Located| {
        let aside = file.at == Location::Old
            && file.names.old == Some(Old::Earlier)
            && file.names.change != Change::Add;
        Names {
            prev: file.names.prev || aside,
            old: file
                .names
                .old
                .or(Some(Old::Replaced).filter(|_| file.at == Location::Old)),
            ..file.names
        }
    };
    let files: Vec<Names> = by_kind(files).map(after).collect();
    list.keep_old(&files, drop_old);
}

/// Nothing is replaced, so `.OLD` must not name the live file, and what stepped aside comes back.
fn restore_old_names(list: &mut List, files: &[Located]) {
    for file in by_kind(files) {
        let Names {
            kind, old, prev, ..
        } = file.names;
        let went_back = list
            .steps
            .iter()
            .any(|s| s.op == FileOp::Rename(kind, Role::Old, Role::Live));
        // Both are names of one file: a rename would do nothing, so it is removed.
        if old == Some(Old::Replaced) && !went_back {
            list.unlink(kind, Role::Old);
        }
        match old {
            _ if !prev => {}
            // It is of an earlier recovery, which was complete but for the removal of this name.
            Some(Old::Earlier) => list.unlink(kind, Role::Prev),
            Some(Old::Replaced) | None => list.rename(kind, Role::Prev, Role::Old),
        }
    }
}
