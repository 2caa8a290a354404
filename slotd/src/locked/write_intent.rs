//! The intent of a transaction: written as soon as its files are known, durable before any of them
//! has a name.
//!
//! What `PREPARE` made is known when the locks are held, so the intent is on its way to stable
//! storage while the controller reads `LOCK`'s answer and while the live files are compared. Else
//! it sets out when the new files are complete, beside their own syncs. If it turns out to be about
//! other files it is ended, and another is begun. A crash leaves an open intent of which nothing
//! was renamed, which recovery closes.

use std::fs::File;
use std::sync::Arc;

use indexfile::{FileKind, IoContext};

use crate::blocking_task::BlockingTask;
use crate::fs::Identity;
use crate::host::Host;
use crate::intent::{Direction, Intent, IntentFile, LogError, PendingIntent};
use crate::lock::MailboxLocks;
use crate::protocol::{Code, Rehash};
use crate::refusal::Refusal;
use crate::stage::{Prepared, Stage};

/// An intent that is being brought to stable storage.
#[derive(Debug)]
pub(super) struct WriteIntent {
    intent: Intent,
    pending: PendingIntent,
    durable: BlockingTask<Result<(), LogError>>,
}

impl WriteIntent {
    pub(super) fn begin(host: &Arc<Host>, intent: Intent) -> Result<WriteIntent, LogError> {
        let pending = host.log.start(intent.clone())?;
        let host = Arc::clone(host);
        let durable = BlockingTask::begin(move || host.log.wait(pending));
        Ok(WriteIntent {
            intent,
            pending,
            durable,
        })
    }

    /// Its id in the log.
    pub(super) fn id(&self) -> u64 {
        self.pending.id
    }

    /// Whether it is this one, ids apart.
    pub(super) fn is(&self, intent: &Intent) -> bool {
        self.intent == *intent
    }

    /// Returns when it is on stable storage.
    pub(super) fn wait(self) -> Result<(), Refusal> {
        let lost = || Refusal::new(Code::Io, "the sync of the intent log ended badly");
        Ok(self.durable.join().ok_or_else(lost)??)
    }
}

/// Of what was prepared, in a mailbox whose index is of version `from`.
pub(super) fn of_prepared(
    locks: &MailboxLocks,
    prepared: &Prepared,
    from: u32,
) -> Result<Intent, Refusal> {
    let successors = prepared.successors().io_context("stat", locks.place.path());
    let (files, uuids_old) = successors?;
    let want = prepared.wants();
    Ok(Intent {
        uuids_old,
        rehash: want.rehash == Some(Rehash::Fix),
        run: want.run,
        ..of(
            locks,
            (from, want.version),
            files.into_iter().map(|(kind, new)| Ok((kind, Some(new)))),
        )?
    })
}

/// Of what is staged.
pub(super) fn of_stage(
    locks: &MailboxLocks,
    stage: &Stage,
    direction: Direction,
    run: u64,
) -> Result<Intent, Refusal> {
    // In the order in which they are prepared.
    let kinds = [FileKind::Index, FileKind::Expunge].into_iter();
    let files = kinds
        .filter(|kind| stage.change(*kind).is_some())
        .map(|kind| {
            let new = stage
                .file(kind)
                .map(|f| identity(locks, kind, &f.made.file));
            Ok((kind, new.transpose()?))
        });
    Ok(Intent {
        direction,
        uuids_old: stage.uuids_old,
        rehash: stage.rehash == Some(Rehash::Fix),
        run,
        ..of(locks, (stage.report.from, stage.report.to), files)?
    })
}

/// Of these files, each to take the place of the one that is locked, or of none.
fn of(
    locks: &MailboxLocks,
    (from, to): (u32, u32),
    files: impl Iterator<Item = Result<(FileKind, Option<Identity>), Refusal>>,
) -> Result<Intent, Refusal> {
    let file = |file: Result<(FileKind, Option<Identity>), Refusal>| {
        let (kind, new) = file?;
        let live = locks.file(kind);
        if kind == FileKind::Index && live.is_none() {
            return Err(Refusal::new(Code::State, format!("{kind} is not locked")));
        }
        let old = live.map(|live| identity(locks, kind, &live.file));
        let old = old.transpose()?;
        let kind = kind.into();
        Ok::<_, Refusal>(IntentFile { kind, old, new })
    };
    Ok(Intent {
        id: 0,
        mailbox: locks.place.mailbox.to_string(),
        partition: locks.place.partition.clone(),
        from,
        to,
        direction: Direction::Commit,
        drop_old: false,
        uuids_old: false,
        rehash: false,
        run: 0,
        files: files.map(file).collect::<Result<_, _>>()?,
    })
}

fn identity(locks: &MailboxLocks, kind: FileKind, file: &File) -> Result<Identity, Refusal> {
    let path = locks.place.directory_of(kind).path_of(kind.file_name());
    Ok(Identity::of(file).io_context("stat", &path)?)
}
