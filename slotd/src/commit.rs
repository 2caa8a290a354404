//! Putting staged files in place, and back.
//!
//! Order, for an upgrade (a downgrade renames the index first, see [`order`]):
//!
//! 1. each live file gets a second name `.OLD` (an older `.OLD` steps aside as `.OLD.reguid-prev`);
//! 2. `cyrus.expunge.NEW` is renamed over `cyrus.expunge`, and its directory synced;
//! 3. `cyrus.index.NEW` is renamed over `cyrus.index`, and its directory synced.
//!
//! So the expunge file's version is never below the index's, on stable storage either. All of it happens
//! under the locks and after the intent is durable; a crash in between is settled by [`crate::intent`].

use std::fs::File;

use indexfile::{FileKind, IoError};

use crate::failpoint;
use crate::lock::MailboxLocks;
use crate::refusal::Refusal;
pub use crate::stage::previous_name;
use crate::stage::{Stage, StagedFile, new_name, old_name};

/// A rename that failed.
#[derive(Debug)]
pub struct RenameFailed {
    /// Why.
    pub refusal: Refusal,
    /// Everything is as before, staged files apart.
    pub undone: bool,
}

/// The order in which two files change their versions, so that the expunge file's is never below the index's:
/// index first on the way down, expunge first otherwise.
#[must_use]
pub fn order(index_from: u32, to: u32) -> [FileKind; 2] {
    if to < index_from {
        [FileKind::Index, FileKind::Expunge]
    } else {
        [FileKind::Expunge, FileKind::Index]
    }
}

/// How far one file has come; for undoing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    SetAside,
    Linked,
    Renamed,
}

/// Renames the staged files of a transaction over the live ones.
///
/// # Errors
/// Nothing is renamed any more, or, if `undone` is false, it is not known what is on stable storage.
pub fn rename(locks: &mut MailboxLocks, stage: &Stage) -> Result<(), RenameFailed> {
    let before = |refusal: Refusal| RenameFailed {
        refusal,
        undone: true,
    };
    locks.check().map_err(before)?;
    for staged in &stage.files {
        check_staged(locks, staged).map_err(before)?;
    }
    let mut done: Vec<(FileKind, Step)> = Vec::new();
    match rename_all(locks, stage, &mut done) {
        Ok(()) => {
            for staged in &stage.files {
                match staged.made.file.try_clone() {
                    Ok(file) => locks.add_successor(staged.kind, file),
                    // The stage, which outlives the locks' use of it, holds the lock as well.
                    Err(error) => {
                        tracing::error!(mailbox = %locks.place.mailbox, "duplicate: {error}");
                    }
                }
            }
            Ok(())
        }
        Err(error) => {
            let undone = match undo(locks, &done) {
                Ok(()) => true,
                Err(second) => {
                    tracing::error!(mailbox = %locks.place.mailbox, "undoing a failed rename: {second}");
                    false
                }
            };
            Err(RenameFailed {
                refusal: error.into(),
                undone,
            })
        }
    }
}

/// What lies under the name must be what we wrote.
fn check_staged(locks: &MailboxLocks, staged: &StagedFile) -> Result<(), Refusal> {
    let dir = locks.place.directory_of(staged.kind);
    let name = new_name(staged.kind);
    if dir.id(name)? == Some(staged.made.id) {
        return Ok(());
    }
    let text = format!(
        "{} is not what was staged any more",
        dir.path_of(name).display()
    );
    Err(Refusal::new(crate::protocol::Code::Io, text))
}

fn rename_all(
    locks: &MailboxLocks,
    stage: &Stage,
    done: &mut Vec<(FileKind, Step)>,
) -> Result<(), IoError> {
    let kinds = order(stage.report.from, stage.report.to);
    let kinds: Vec<FileKind> = kinds
        .into_iter()
        .filter(|k| stage.file(*k).is_some())
        .collect();
    for &kind in &kinds {
        let dir = locks.place.directory_of(kind);
        point("commit.link", dir)?;
        if dir.stat(old_name(kind))?.is_some() {
            dir.rename(old_name(kind), previous_name(kind))?;
            done.push((kind, Step::SetAside));
        }
        dir.link(kind.file_name(), old_name(kind))?;
        done.push((kind, Step::Linked));
    }
    locks.mark("link");
    for &kind in &kinds {
        let dir = locks.place.directory_of(kind);
        point("commit.rename", dir)?;
        dir.rename(new_name(kind), kind.file_name())?;
        done.push((kind, Step::Renamed));
        locks.mark("rename");
        point("commit.renamed", dir)?;
        dir.sync()?;
        locks.mark("sync_dir");
    }
    point("commit.done", &locks.place.index)
}

fn point(name: &'static str, dir: &crate::fs::Dir) -> Result<(), IoError> {
    failpoint::hit(name).map_err(|e| IoError::new("commit in", dir.path(), e))
}

/// Takes back, in the opposite order, what [`rename_all`] got done.
fn undo(locks: &MailboxLocks, done: &[(FileKind, Step)]) -> Result<(), IoError> {
    for &(kind, step) in done.iter().rev() {
        let dir = locks.place.directory_of(kind);
        match step {
            // Over the live name: the new file is gone, the old one is back with its own inode.
            Step::Renamed => {
                dir.rename(old_name(kind), kind.file_name())?;
                dir.sync()?;
            }
            // If it was renamed this is gone already.
            Step::Linked => {
                dir.unlink(old_name(kind))?;
            }
            Step::SetAside => dir.rename(previous_name(kind), old_name(kind))?,
        }
    }
    Ok(())
}

/// Puts the very same old files back, after a `COMMIT hold`.
///
/// # Errors
/// The system's. The intent then stays open.
pub fn put_back(locks: &MailboxLocks, stage: &Stage) -> Result<(), Refusal> {
    let mut kinds = order(stage.report.from, stage.report.to);
    kinds.reverse();
    for kind in kinds {
        let Some(staged) = stage.file(kind) else {
            continue;
        };
        let dir = locks.place.directory_of(kind);
        if dir.id(old_name(kind))? != Some(staged.from) {
            let path = dir.path_of(old_name(kind));
            let text = format!(
                "{} is not the file that was replaced; nothing to put back",
                path.display()
            );
            return Err(Refusal::new(crate::protocol::Code::Io, text));
        }
        point("commit.put_back", dir)?;
        dir.rename(old_name(kind), kind.file_name())?;
        restore_previous(locks, kind)?;
        dir.sync()?;
    }
    Ok(())
}

fn restore_previous(locks: &MailboxLocks, kind: FileKind) -> Result<(), IoError> {
    let dir = locks.place.directory_of(kind);
    if dir.stat(previous_name(kind))?.is_some() {
        dir.rename(previous_name(kind), old_name(kind))?;
    }
    Ok(())
}

/// Settles the `.OLD` files of a committed transaction: the new ones stay and older ones go, or all go.
/// What fails is logged: these names mean nothing to Cyrus, and `CLEAN` takes them too.
///
/// Gives handles of the files whose names went: a large file's blocks are freed when the last one is closed, which
/// can wait until the locks are given back.
pub fn keep_old(
    locks: &MailboxLocks,
    kinds: impl IntoIterator<Item = FileKind>,
    drop_old: bool,
) -> Vec<File> {
    let mut gone = Vec::new();
    for kind in kinds {
        let dir = locks.place.directory_of(kind);
        let mut names = vec![previous_name(kind)];
        if drop_old {
            names.push(old_name(kind));
        }
        for name in names {
            gone.extend(dir.open_file(name, false).ok());
            if let Err(error) = dir.unlink(name) {
                tracing::warn!(mailbox = %locks.place.mailbox, "{error}");
            }
        }
    }
    gone
}
