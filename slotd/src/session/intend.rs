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

use indexfile::IoContext;

use super::not_locked;
use super::{Open, Session};
use crate::aside::Aside;
use crate::fs::Identity;
use crate::host::Host;
use crate::intent::{Begun, Direction, Intent, IntentFile, LogError};
use crate::lock::MailboxLocks;
use crate::protocol::{Code, Rehash};
use crate::refusal::Refusal;
use crate::stage::{self, Prepared};

/// An intent that is being brought to stable storage.
#[derive(Debug)]
pub(super) struct OnItsWay {
    intent: Intent,
    begun: Begun,
    durable: Aside<Result<(), LogError>>,
}

impl OnItsWay {
    fn begin(host: &Arc<Host>, intent: Intent) -> Result<OnItsWay, LogError> {
        let begun = host.log.start(intent.clone())?;
        let host = Arc::clone(host);
        let durable = Aside::begin(move || host.log.wait(begun));
        Ok(OnItsWay {
            intent,
            begun,
            durable,
        })
    }

    /// Returns when it is there.
    fn arrive(self) -> Result<(), Refusal> {
        match self.durable.join() {
            Some(result) => result.map_err(Refusal::from),
            None => Err(Refusal::new(
                Code::Io,
                "the sync of the intent log ended badly",
            )),
        }
    }
}

impl Session {
    /// Begins the intent of what was prepared, if anything was. What fails here fails again at
    /// `UPGRADE`, which tells.
    pub(super) fn intend_early(&mut self, from: u32) {
        let Some(open) = &mut self.open else { return };
        let prepared = self.prepared.as_ref();
        let fits = |p: &&Prepared| p.fits(&open.locks.place, p.wants(), &open.of) && p.has_files();
        let Some(prepared) = prepared.filter(fits) else {
            return;
        };
        let Ok((files, uuids_old)) = prepared.successors() else {
            return;
        };
        let files = files
            .into_iter()
            .map(|(kind, new)| intent_file(&open.locks, kind, new));
        let Ok(files) = files.collect() else { return };
        let intent = Intent {
            id: 0,
            mailbox: open.locks.place.mailbox.to_string(),
            partition: open.locks.place.partition.clone(),
            from,
            to: prepared.wants().version,
            direction: Direction::Commit,
            drop_old: false,
            uuids_old,
            rehash: prepared.wants().rehash == Some(Rehash::Fix),
            run: prepared.wants().run,
            files,
        };
        open.early = OnItsWay::begin(&self.host, intent).ok();
    }

    /// Brings the staged files and the intent that tells recovery of them to stable storage, all at
    /// once, and only then gives the files their names: so whatever a crash leaves is found.
    pub(super) fn intend(&mut self, changed: bool) -> Result<bool, Refusal> {
        if !changed {
            return Ok(false);
        }
        let host = Arc::clone(&self.host);
        let Some(Open {
            locks,
            stage: Some(stage),
            intent: id,
            early,
            ..
        }) = &mut self.open
        else {
            return Err(not_locked());
        };
        let intent = intent_of(locks, stage, Direction::Commit, self.upgrade.run)?;
        let on_its_way = match early.take() {
            Some(early) if early.intent == intent => early,
            other => {
                if let Some(other) = other {
                    host.log.end(other.begun.id);
                }
                OnItsWay::begin(&host, intent)?
            }
        };
        // Ended, should anything fail from here on.
        *id = Some(on_its_way.begun.id);
        let synced = stage.sync(locks);
        locks.mark("sync");
        // Whatever became of the files: nothing is ended that is still under way.
        let durable = on_its_way.arrive();
        locks.mark("intent");
        synced?;
        durable?;
        stage.name(locks)?;
        locks.mark("link");
        Ok(true)
    }

    /// Makes it durable that the way is back.
    pub(super) fn intend_back(&self) -> Result<(), Refusal> {
        let Some(Open {
            locks,
            stage: Some(stage),
            intent: id,
            ..
        }) = &self.open
        else {
            return Err(not_locked());
        };
        let intent = Intent {
            id: id.unwrap_or(0),
            ..intent_of(locks, stage, Direction::PutBack, self.upgrade.run)?
        };
        self.host.log.begin(intent)?;
        Ok(())
    }

    /// Removes the staged files. If that fails, or is not known to be durable, the intent stays
    /// open for the next `LOCK`.
    pub(super) fn unstage(&mut self) {
        let Some(open) = &mut self.open else { return };
        let Some(stage) = open.stage.take() else {
            return;
        };
        if stage.remove(&open.locks).is_err() {
            open.intent = None;
        }
    }

    /// Notes that an intent which came to nothing is settled; to be called under the locks. The
    /// result is for [`let_go`], after them.
    pub(super) fn abandon_early(host: &Host, open: &mut Open) -> Option<OnItsWay> {
        let early = open.early.take()?;
        host.log.end(early.begun.id);
        Some(early)
    }
}

/// Waits until nothing is under way any more.
pub(super) fn let_go(early: Option<OnItsWay>) {
    // The log that has failed says so to whoever needs it.
    let _ = early.map(OnItsWay::arrive);
}

fn intent_file(
    locks: &MailboxLocks,
    kind: indexfile::FileKind,
    new: Identity,
) -> Result<IntentFile, Refusal> {
    let live = locks.file(kind).ok_or_else(not_locked)?;
    let old = known(locks, kind, &live.file)?;
    let kind = kind.into();
    Ok(IntentFile { kind, old, new })
}

fn known(
    locks: &MailboxLocks,
    kind: indexfile::FileKind,
    file: &File,
) -> Result<Identity, Refusal> {
    let path = locks.place.directory_of(kind).path_of(kind.file_name());
    Ok(Identity::of(file).io_context("stat", &path)?)
}

fn intent_of(
    locks: &MailboxLocks,
    stage: &stage::Stage,
    direction: Direction,
    run: u64,
) -> Result<Intent, Refusal> {
    let file =
        |f: &stage::StagedFile| intent_file(locks, f.kind, known(locks, f.kind, &f.made.file)?);
    Ok(Intent {
        id: 0,
        mailbox: locks.place.mailbox.to_string(),
        partition: locks.place.partition.clone(),
        from: stage.report.from,
        to: stage.report.to,
        direction,
        drop_old: false,
        uuids_old: stage.uuids_old,
        rehash: stage.rehash == Some(Rehash::Fix),
        run,
        files: stage.files.iter().map(file).collect::<Result<_, _>>()?,
    })
}
