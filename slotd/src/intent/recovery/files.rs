//! What recovery does to a mailbox's files once it is decided: finish, take back, or make new ones.
//!
//! All of it happens under the locks and in the order that a commit, or its way back, has. What fails half-way leaves the intent
//! open, and the next attempt begins with what it finds then.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use indexfile::{FileKind, IoContext, IoError};

use super::{Settled, at, is, ordered};
use crate::commit::{self, previous_name};
use crate::failpoint;
use crate::fs::Identity;
use crate::intent::{At, Direction, Intent};
use crate::lock::{MailboxLocks, wait};
use crate::protocol::{Code, Rehash, Repair, Upgrade, UuidSource};
use crate::refusal::Refusal;
use crate::stage::{self, LiveFiles, Sources, new_name, old_name, sources};

/// Locks a file that is about to be renamed over a live name, until all is settled: nobody may change it before
/// the rename is on stable storage, or a power cut would take that change back.
fn lock_successor(
    locks: &mut MailboxLocks,
    kind: FileKind,
    name: &str,
    want: Identity,
) -> Result<File, Refusal> {
    let dir = Arc::clone(locks.place.directory_of(kind));
    let path = dir.path_of(name);
    let file = dir.open_file(name, true)?;
    let id = Identity::of(&file).io_context("stat", &path)?;
    if !id.is(&want) || !wait::try_lock(&file).io_context("lock", &path)? {
        let text = format!("{} is in use by somebody else", path.display());
        return Err(Refusal::new(Code::Locked, text));
    }
    let same = file.try_clone().io_context("duplicate", &path)?;
    locks.add_successor(kind, file);
    Ok(same)
}

pub(super) fn finish(locks: &mut MailboxLocks, intent: &Intent) -> Result<(), Refusal> {
    for file in ordered(intent) {
        let kind = FileKind::from(file.kind);
        let dir = Arc::clone(locks.place.directory_of(kind));
        if at(locks, intent, &file)? == At::Old {
            let staged = lock_successor(locks, kind, new_name(kind), file.new)?;
            // It was synced before the first rename. Where a file system keeps no birth times this may be
            // a later one with the same number and the same content, of a slotd that was killed before its sync.
            if let Err(error) = sync_staged(&staged) {
                // Final for this file; the next attempt makes a new one, or none.
                dir.unlink(new_name(kind))?;
                return Err(IoError::new("sync", &dir.path_of(new_name(kind)), error).into());
            }
            // The crash may have come before or after `.OLD` was linked.
            if !is(&dir, old_name(kind), &file.old)? {
                if dir.stat(old_name(kind))?.is_some() {
                    dir.rename(old_name(kind), previous_name(kind))?;
                }
                dir.link(kind.file_name(), old_name(kind))?;
            }
            dir.rename(new_name(kind), kind.file_name())?;
        }
        dir.sync()?;
    }
    commit::keep_old(
        locks,
        intent.files.iter().map(|f| f.kind.into()),
        intent.drop_old,
    );
    Ok(())
}

fn sync_staged(file: &File) -> std::io::Result<()> {
    failpoint::hit("recovery.sync")?;
    file.sync_all()
}

pub(super) fn put_back(locks: &mut MailboxLocks, intent: &Intent) -> Result<(), Refusal> {
    for file in ordered(intent).into_iter().rev() {
        let kind = FileKind::from(file.kind);
        let dir = Arc::clone(locks.place.directory_of(kind));
        if at(locks, intent, &file)? == At::New {
            lock_successor(locks, kind, old_name(kind), file.old)?;
            dir.rename(old_name(kind), kind.file_name())?;
        }
        dir.sync()?;
    }
    restore_old_names(locks, intent)?;
    Ok(())
}

/// Nothing is replaced, so `.OLD` must not name the live file, and what stepped aside comes back.
pub(super) fn restore_old_names(locks: &MailboxLocks, intent: &Intent) -> Result<(), IoError> {
    for file in &intent.files {
        let kind = FileKind::from(file.kind);
        let dir = locks.place.directory_of(kind);
        // Both are names of one file: a rename would do nothing, so it is removed.
        if is(dir, old_name(kind), &file.old)? {
            dir.unlink(old_name(kind))?;
        }
        if dir.stat(previous_name(kind))?.is_none() {
            continue;
        }
        if dir.stat(old_name(kind))?.is_none() {
            dir.rename(previous_name(kind), old_name(kind))?;
        } else {
            // `.OLD` is of an earlier recovery, which was complete but for the removal of this name.
            dir.unlink(previous_name(kind))?;
        }
    }
    Ok(())
}

/// Index and expunge are not in step and the staged file is of no use any more: new files from the live ones.
pub(super) fn restage(locks: &mut MailboxLocks, intent: &Intent) -> Result<Settled, Refusal> {
    let live = LiveFiles::of(locks)?;
    let (version, uuids) = match intent.direction {
        Direction::Commit if intent.uuids_old => (intent.to, UuidSource::Old),
        Direction::Commit => (intent.to, UuidSource::Auto),
        // What went down, or got old identifiers back, had true GUIDs, which the messages give again.
        Direction::PutBack if intent.uuids_old || intent.to < intent.from => {
            (intent.from, UuidSource::Auto)
        }
        Direction::PutBack => (intent.from, UuidSource::Old),
    };
    let want = Upgrade {
        version,
        uuids,
        repair: Some(Repair::Expunge),
        run: intent.run,
        by_content: false,
        // The version says nothing of what is left to do then, and a wrong GUID not that it is one.
        rehash: (intent.rehash && uuids == UuidSource::Auto).then_some(Rehash::Fix),
    };
    let uniqueid = sources::uniqueid_of(&locks.place)?;
    let local = sources::open_local(&locks.place, &uniqueid, live.index.header().uidvalidity());
    let sources = Sources {
        local: local.as_ref(),
        ..Sources::default()
    };
    let never = AtomicBool::new(false);
    // The intent is open, and so recovery would find them under any name.
    let noted = || Ok(());
    let staged = stage::stage(locks, &live, want, &sources, &never, &noted);
    let staged =
        staged.and_then(
            |mut stage| match stage.sync(locks).and_then(|()| stage.name(locks)) {
                Ok(()) => Ok(stage),
                Err(error) => {
                    stage.remove(locks)?;
                    Err(error.into())
                }
            },
        );
    let failed = match staged {
        Ok(stage) => match commit::rename(locks, &stage) {
            Ok(()) => {
                // Of both files: the crash may have come when one was done and what stepped aside for it was not yet gone.
                commit::keep_old(locks, [FileKind::Expunge, FileKind::Index], intent.drop_old);
                return Ok(Settled::Restaged);
            }
            // Half-way is no state to be left in: the intent stays open.
            Err(failed) if !failed.undone => return Err(failed.refusal),
            Err(failed) => {
                stage.remove(locks)?;
                failed.refusal
            }
        },
        Err(refusal) => refusal,
    };
    // Cyrus reads an expunge file that is newer than its index rightly; then the coordinator can go on.
    live.check(None).map_err(|_| failed.clone())?;
    tracing::error!(mailbox = %locks.place.mailbox, "left as it is, which Cyrus reads rightly: {failed}");
    Ok(Settled::Left)
}
