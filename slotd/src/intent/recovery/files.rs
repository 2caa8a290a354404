//! What recovery does to a mailbox's files once it is decided: the list that settles it, or new
//! files.
//!
//! All of it happens under the locks and in the order that a commit, or its way back, has. What
//! fails half-way leaves the intent open, and the next attempt begins with what it finds then.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use indexfile::{FileKind, IoContext, IoError};

use super::Settled;
use crate::commit;
use crate::failpoint;
use crate::fileops::{Change, FileOp, Role, Step, execute, name};
use crate::fs::Identity;
use crate::intent::{Direction, Intent};
use crate::lock::{MailboxLocks, wait};
use crate::protocol::{Code, Rehash, Repair, Upgrade, UuidSource, Write};
use crate::refusal::Refusal;
use crate::stage::{
    self, Budget, Incarnation, LiveFiles, PrepareOptions, Prepared, Sources, sources,
};
use crate::store::{Place, Store};

/// Locks a file that is about to be renamed over a live name, until all is settled: nobody may
/// change it before the rename is on stable storage, or a power cut would take that change back.
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

/// Does what the list says. What fails half-way leaves the intent open.
pub(super) fn execute_all(
    locks: &mut MailboxLocks,
    intent: &Intent,
    steps: &[Step],
) -> Result<(), Refusal> {
    let mut locked: Option<File> = None;
    locks.durable().note(FileOp::Intent(intent.direction));
    for step in steps {
        let done = match step.op {
            FileOp::Lock(kind, role) => {
                let file = intent.files.iter().find(|f| FileKind::from(f.kind) == kind);
                let file = file.ok_or_else(|| not_in_intent(locks, kind))?;
                let want = if role == Role::New {
                    file.new
                } else {
                    file.old
                };
                let want = want.ok_or_else(|| not_in_intent(locks, kind))?;
                locked = Some(lock_successor(locks, kind, name(kind, role), want)?);
                Ok(())
            }
            FileOp::SyncFile(kind, role) => {
                let file = locked.as_ref().ok_or_else(|| not_in_intent(locks, kind))?;
                let synced = sync_staged(file);
                synced
                    .map(|()| locks.durable().note(step.op))
                    .map_err(|error| {
                        // Final for this file; the next attempt makes a new one, or none.
                        let dir = locks.place.directory_of(kind);
                        let failed = IoError::new("sync", &dir.path_of(name(kind, role)), error);
                        dir.unlink(name(kind, role)).err().unwrap_or(failed)
                    })
            }
            _ => execute(locks, *step, None),
        };
        match done {
            Err(error) if step.best_effort => {
                tracing::warn!(mailbox = %locks.place.mailbox, "{error}");
            }
            done => done?,
        }
    }
    Ok(())
}

fn not_in_intent(locks: &MailboxLocks, kind: FileKind) -> Refusal {
    let text = format!("{}: the intent has no {kind}", locks.place.mailbox);
    Refusal::new(Code::Io, text)
}

fn sync_staged(file: &File) -> std::io::Result<()> {
    failpoint::hit("recovery.sync")?;
    file.sync_all()
}

/// The `UPGRADE` that makes new files for this intent.
fn upgrade_of(intent: &Intent) -> Upgrade {
    let (version, uuids) = match intent.direction {
        Direction::Commit if intent.uuids_old => (intent.to, UuidSource::Old),
        Direction::Commit => (intent.to, UuidSource::Auto),
        // What went down, or got old identifiers back, had true GUIDs, which the messages give
        // again.
        Direction::PutBack if intent.uuids_old || intent.to < intent.from => {
            (intent.from, UuidSource::Auto)
        }
        Direction::PutBack => (intent.from, UuidSource::Old),
    };
    Upgrade {
        version,
        uuids,
        repair: Some(Repair::Expunge),
        run: intent.run,
        by_content: false,
        // The version says nothing of what is left to do then, and a wrong GUID not that it is one.
        rehash: (intent.rehash && uuids == UuidSource::Auto).then_some(Rehash::Fix),
    }
}

/// What was read of a mailbox's messages before its locks were taken, or why they cannot be read.
pub(super) type Read = Result<Prepared, Refusal>;

/// Reads the messages whose SHA-1 settling this intent needs, without locks.
///
/// # Errors
/// [`Code::Expired`]: it was stopped.
pub(super) fn read(
    store: &Store,
    place: &Place,
    intent: &Intent,
    stop: Option<Instant>,
    cancel: &AtomicBool,
) -> Result<Read, Refusal> {
    let how = PrepareOptions {
        want: upgrade_of(intent),
        write: Write::Never,
        stop,
    };
    let noted = || Ok(());
    match stage::prepare(store, place, None, how, cancel, &noted) {
        Err(refusal) if refusal.code == Code::Expired => Err(refusal),
        read => Ok(read),
    }
}

/// Index and expunge are not in step and the staged file is of no use any more: new files from the
/// live ones. `before` is what was read before the locks were taken, if that was needed.
pub(super) fn restage(
    locks: &mut MailboxLocks,
    intent: &Intent,
    before: Option<Read>,
) -> Result<Settled, Refusal> {
    if intent.is_across() {
        let text = format!(
            "{}: a change between versions {} and {} was cut short, and a server has written to \
             its files since: what is new in cyrus.index or cyrus.expunge is in no other file. \
             Start no server, and look at both beside their .OLD",
            locks.place.mailbox, intent.from, intent.to
        );
        return Err(Refusal::new(Code::Damaged, text));
    }
    let live = LiveFiles::of(locks)?;
    let want = upgrade_of(intent);
    let never = AtomicBool::new(false);
    // The intent is open, and so recovery would find them under any name.
    let noted = || Ok(());
    let of = Incarnation::of(&locks.place, &live.index)?;
    let (before, unreadable) = match before {
        Some(Ok(prepared)) => (Some(prepared), None),
        Some(Err(refusal)) => (None, Some(refusal)),
        None => (None, None),
    };
    let staged = if let Some(prepared) = before.filter(|p| p.fits(&locks.place, want, &of)) {
        prepared.stage(locks, &live, want, &never, &noted)
    } else {
        let local = sources::open_local(&locks.place, &of);
        let budget = Budget::new();
        let sources = Sources {
            local: local.as_ref(),
            ..Sources::default()
        };
        stage::stage(locks, &live, want, &sources.within(&budget), &never, &noted)
    };
    let staged = staged.and_then(|mut stage| match stage.give_names(locks, None) {
        Ok(()) => Ok(stage),
        Err(refusal) => {
            stage.remove(locks)?;
            Err(refusal)
        }
    });
    let failed = match staged {
        Ok(stage) => match commit::rename(locks, &stage) {
            Ok(()) => {
                // Of both files: the crash may have come when one was done and what stepped aside
                // for it was not yet gone.
                let both = [FileKind::Expunge, FileKind::Index].map(|kind| (kind, Change::Replace));
                commit::keep_old(locks, both, intent.drop_old);
                return Ok(Settled::Restaged);
            }
            // Half-way is no state to be left in: the intent stays open.
            Err(failed) if !failed.undone => return Err(failed.refusal),
            Err(failed) => {
                stage.remove(locks)?;
                failed.refusal
            }
        },
        // Too many messages to be read under the locks. They can be read before, unless that has
        // shown already that some cannot be read at all.
        Err(refusal) if refusal.code == Code::Expired => unreadable.ok_or(refusal)?,
        // What may pass is tried again, and the intent stays open until then.
        Err(refusal) if matches!(refusal.code, Code::NoSpace | Code::Io | Code::Locked) => {
            return Err(refusal);
        }
        Err(refusal) => refusal,
    };
    // Cyrus reads an expunge file that is newer than its index rightly; then the coordinator can go
    // on.
    live.check(None).map_err(|_| failed.clone())?;
    tracing::error!(mailbox = %locks.place.mailbox, "left as it is, which Cyrus reads rightly: {failed}");
    Ok(Settled::Left)
}
