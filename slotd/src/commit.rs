//! Putting staged files in place, and back: the lists of [`crate::fileops`], executed by directory
//! handle.
//!
//! All of it happens under the locks and after the intent is durable; a crash in between is settled
//! by [`crate::intent`]. So the expunge file's version is never below the index's, on stable
//! storage either.

use std::fs::File;

use indexfile::{FileKind, IoError};

use crate::failpoint;
use crate::fileops::{self, Change, FileOp, Names, Step, execute, name};
use crate::intent::Direction;
use crate::lock::MailboxLocks;
use crate::refusal::Refusal;
use crate::stage::{Stage, StagedFile, new_name, old_name};

/// A rename that failed.
#[derive(Debug)]
pub struct RenameFailed {
    /// Why.
    pub refusal: Refusal,
    /// Everything is as before, staged files apart.
    pub undone: bool,
}

/// Renames the staged files of a transaction over the live ones.
///
/// # Errors
/// Nothing is renamed any more, or, if `undone` is false, it is not known what is on stable
/// storage.
pub fn rename(locks: &mut MailboxLocks, stage: &Stage) -> Result<(), RenameFailed> {
    let before = |refusal: Refusal| RenameFailed {
        refusal,
        undone: true,
    };
    locks.check().map_err(before)?;
    for staged in &stage.files {
        check_staged(locks, staged).map_err(before)?;
    }
    let mut done = Vec::new();
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
                    tracing::error!(mailbox = %locks.place.mailbox, "undoing a failed rename: \
                        {second}");
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

fn rename_all(locks: &MailboxLocks, stage: &Stage, done: &mut Vec<FileOp>) -> Result<(), IoError> {
    let names = |change| Names::look(&locks.place, change, |_| Ok::<_, IoError>(false));
    let files = stage.changes().map(names).collect::<Result<Vec<_>, _>>()?;
    let list = fileops::commit(&files);
    for (at, step) in list.iter().enumerate() {
        let op = &step.op;
        let point = match op {
            FileOp::Link(..) => Some("commit.link"),
            FileOp::Rename(..) if op.changes_live() => Some("commit.rename"),
            FileOp::SyncDir(_) => Some("commit.renamed"),
            _ => None,
        };
        execute_at(point, locks, *step)?;
        done.push(*op);
        match op {
            FileOp::Rename(..) if op.changes_live() => locks.mark("rename"),
            FileOp::SyncDir(_) => locks.mark("sync_dir"),
            _ if list[at + 1].op.changes_live() => locks.mark("link"),
            _ => {}
        }
    }
    hit("commit.done", &locks.place.index)
}

fn hit(name: &'static str, dir: &crate::fs::Dir) -> Result<(), IoError> {
    failpoint::hit(name).map_err(|e| IoError::new("commit in", dir.path(), e))
}

fn execute_at(
    point: Option<&'static str>,
    locks: &MailboxLocks,
    step: Step,
) -> Result<(), IoError> {
    if let (Some(point), Some(kind)) = (point, step.op.kind()) {
        hit(point, locks.place.directory_of(kind))?;
    }
    execute(locks, step, None)
}

/// Takes back, in the opposite order, what [`rename_all`] got done.
fn undo(locks: &MailboxLocks, done: &[FileOp]) -> Result<(), IoError> {
    let steps = fileops::undo(done);
    steps
        .into_iter()
        .try_for_each(|step| execute(locks, step, None))
}

/// Puts the very same old files back, after a `COMMIT hold`. `intent` makes it durable that the way
/// is back.
///
/// # Errors
/// The system's. The intent then stays open.
pub fn put_back(
    locks: &MailboxLocks,
    stage: &Stage,
    intent: impl Fn(Direction) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    let look = |change| Names::look(&locks.place, change, |_| Ok::<_, IoError>(true));
    let files = stage.changes().map(look).collect::<Result<Vec<_>, _>>()?;
    for step in fileops::put_back(&files) {
        match step.op {
            FileOp::Intent(direction) => {
                intent(direction)?;
                locks.durable().note(step.op);
                check_replaced(locks, stage)?;
            }
            FileOp::Rename(..) if step.op.changes_live() => {
                execute_at(Some("commit.put_back"), locks, step)?;
            }
            _ => execute(locks, step, None)?,
        }
    }
    Ok(())
}

/// `.OLD` must be what was replaced.
fn check_replaced(locks: &MailboxLocks, stage: &Stage) -> Result<(), Refusal> {
    for (kind, _) in stage.changes() {
        let (dir, name) = (locks.place.directory_of(kind), old_name(kind));
        let replaced = stage.replaced(kind);
        if replaced.is_some() && dir.id(name)? != replaced {
            let path = dir.path_of(name);
            let text = format!(
                "{} is not the file that was replaced; nothing to put back",
                path.display()
            );
            return Err(Refusal::new(crate::protocol::Code::Io, text));
        }
    }
    Ok(())
}

/// Settles the `.OLD` files of a committed transaction: the new ones stay and older ones go, or all
/// go. What fails is logged: these names mean nothing to Cyrus, and `CLEAN` takes them too.
///
/// Gives handles of the files whose names went: a large file's blocks are freed when the last one
/// is closed, which can wait until the locks are given back.
pub fn keep_old(
    locks: &MailboxLocks,
    changes: impl IntoIterator<Item = (FileKind, Change)>,
    drop_old: bool,
) -> Vec<File> {
    let look = |change| Names::look(&locks.place, change, |_| Ok::<_, IoError>(true));
    let files: Vec<Names> = changes
        .into_iter()
        .filter_map(|change| {
            let names = look(change);
            let log = |error| tracing::warn!(mailbox = %locks.place.mailbox, "{error}");
            names.map_err(log).ok()
        })
        .collect();
    let mut unlinked = Vec::new();
    for step in fileops::keep_old(&files, drop_old) {
        if let FileOp::Unlink(kind, role) = step.op {
            let dir = locks.place.directory_of(kind);
            unlinked.extend(dir.open_file(name(kind, role), false).ok());
        }
        if let Err(error) = execute(locks, step, None) {
            tracing::warn!(mailbox = %locks.place.mailbox, "{error}");
        }
    }
    unlinked
}
