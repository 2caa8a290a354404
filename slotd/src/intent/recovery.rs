//! Settling what a crash left: finish or undo, under the mailbox's locks.
//!
//! Between the crash and now a Cyrus server may have worked on the mailbox, because the locks went
//! with the process. So a staged file is used only if it still carries, byte for byte, what the
//! live file holds, GUIDs apart; else it is removed and the work is done afresh from the live
//! files, or, if that is refused, the mailbox stays as it is as long as that is a state that Cyrus
//! reads rightly.

mod files;

use std::sync::atomic::AtomicBool;
use std::time::Instant;

use indexfile::mailbox::MailboxName;
use indexfile::{FileKind, IndexFile, IoContext, IoError};

use self::files::{execute_all, restage};
use super::{At, Found, Intent, IntentFile, Located, Scratch, Verdict, first_syncs, verdict};
use crate::fileops::{Names, order};
use crate::fs::{Dir, Identity};
use crate::host::Host;
use crate::lock::{MailboxLocks, Patience};
use crate::protocol::Code;
use crate::refusal::Refusal;
use crate::stage::{self, LEDGER_NEW_NAME, carries, new_name, old_name};

/// How one intent was settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Everything had been done, or undone, already.
    Complete,
    /// Nothing had been renamed, and what was staged is gone: `COMMIT` had not come, or is as if it
    /// had not.
    Aborted,
    /// The missing renames were done.
    Finished,
    /// The renames that had been done were taken back.
    Undone,
    /// The mailbox was changed meanwhile: new files were made from the live ones.
    Restaged,
    /// The mailbox was changed meanwhile, and new files could not be made: it stays in step enough
    /// for Cyrus.
    Left,
}

/// What recovery did, for people.
#[derive(Debug, Default)]
pub struct Report {
    /// Mailboxes settled, and how.
    pub settled: Vec<(String, Settled)>,
    /// Mailboxes that could not be settled, and why.
    pub failed: Vec<(String, Refusal)>,
}

/// Settles every open intent of a host. What fails stays open for the next time.
#[must_use]
pub fn recover(host: &Host, wait: std::time::Duration) -> Report {
    let mut report = Report::default();
    let touched = host
        .log
        .touched()
        .into_iter()
        .map(|s| (s.mailbox, s.partition));
    let mut mailboxes: Vec<(String, String)> = host
        .log
        .open_intents()
        .into_iter()
        .map(|i| (i.mailbox, i.partition))
        .chain(touched)
        .collect();
    mailboxes.sort();
    mailboxes.dedup();
    settle_all(host, mailboxes, wait, true, &mut report);
    report
}

/// Tries again what could not be settled, in a slotd that serves meanwhile: intents only, since
/// scratch files may by now be those of a session.
#[must_use]
pub fn recover_again(host: &Host, failed: &[String], wait: std::time::Duration) -> Report {
    let mut report = Report::default();
    let left = host.log.open_intents().into_iter();
    let mut left: Vec<_> = left
        .filter(|i| failed.contains(&i.mailbox))
        .map(|i| (i.mailbox, i.partition))
        .collect();
    left.dedup();
    settle_all(host, left, wait, false, &mut report);
    report
}

fn settle_all(
    host: &Host,
    mailboxes: Vec<(String, String)>,
    wait: std::time::Duration,
    scratch_too: bool,
    report: &mut Report,
) {
    for (mailbox, partition) in mailboxes {
        match settle_mailbox(host, &mailbox, &partition, wait, scratch_too) {
            Ok(all) => report
                .settled
                .extend(all.into_iter().map(|s| (mailbox.clone(), s))),
            Err(refusal) => report.failed.push((mailbox, refusal)),
        }
    }
    if let Err(error) = host.log.flush() {
        tracing::error!("{error}");
    }
}

fn settle_mailbox(
    host: &Host,
    mailbox: &str,
    partition: &str,
    wait: std::time::Duration,
    scratch_too: bool,
) -> Result<Vec<Settled>, Refusal> {
    let never = AtomicBool::new(false);
    let scratch = Scratch {
        mailbox: mailbox.to_owned(),
        partition: partition.to_owned(),
    };
    let name =
        MailboxName::parse(mailbox).map_err(|e| Refusal::new(Code::NoMailbox, e.to_string()))?;
    let mut all = Vec::new();
    // One intent a round: settling it replaces live files, so the locks are taken anew.
    loop {
        // Gone for good only if its place can be looked at: not when the partition is not in the
        // configuration any more, is not mounted, or is reached through a link.
        let Some(place) = host.store.open(&name, partition)? else {
            host.store.gone(&name, partition)?;
            if end_all(host, mailbox, partition) > 0 {
                all.push(Settled::Complete);
            }
            host.log.clear(&scratch);
            return Ok(all);
        };
        let patience = Patience {
            deadline: Instant::now() + wait,
            cancel: &never,
        };
        let mut locks = host.lock(place, patience)?;
        if let Some(settled) = settle_next(host, &mut locks)? {
            all.push(settled);
            continue;
        }
        if scratch_too {
            remove_scratch(&locks)?;
            host.log.clear(&scratch);
        }
        return Ok(all);
    }
}

/// Removes scratch files that a killed slotd left.
fn remove_scratch(locks: &MailboxLocks) -> Result<(), Refusal> {
    stage::remove_strays(locks)?;
    stage::remove_stale(&locks.place)
}

/// A mailbox that was removed meanwhile has nothing to settle; gives how many intents it had.
fn end_all(host: &Host, mailbox: &str, partition: &str) -> usize {
    let mut ended = 0;
    for intent in host
        .log
        .open_of(mailbox)
        .into_iter()
        .filter(|i| i.partition == partition)
    {
        tracing::warn!(mailbox, "its intent is settled: the mailbox is gone");
        host.log.end(intent.id);
        ended += 1;
    }
    ended
}

/// Settles one open intent of a locked mailbox; gives how many were: take the locks anew if any.
///
/// # Errors
/// It could not be settled and the mailbox is in a state that nobody should touch.
pub fn settle_open(host: &Host, locks: &mut MailboxLocks) -> Result<usize, Refusal> {
    Ok(usize::from(settle_next(host, locks)?.is_some()))
}

fn settle_next(host: &Host, locks: &mut MailboxLocks) -> Result<Option<Settled>, Refusal> {
    let mailbox = locks.place.mailbox.to_string();
    let mine = host
        .log
        .open_of(&mailbox)
        .into_iter()
        .find(|i| i.partition == locks.place.partition);
    let Some(intent) = mine else { return Ok(None) };
    let settled = settle(locks, &intent)?;
    tracing::warn!(%mailbox, ?settled, "settled what a crash left");
    host.log.end(intent.id);
    Ok(Some(settled))
}

/// Where a file is now. A live file that cannot be read is nobody's.
fn at(locks: &MailboxLocks, intent: &Intent, file: &IntentFile) -> Result<At, IoError> {
    let kind = file.kind.into();
    let live = locks.file(kind).map(|locked| {
        let path = locks.place.directory_of(kind).path_of(kind.file_name());
        let read = IndexFile::from_file(&locked.file, &path, kind);
        let known = Identity::of(&locked.file).io_context("stat", &path)?;
        Ok::<_, IoError>((known, read.map_or(0, |f| f.minor_version())))
    });
    let live = live.transpose()?;
    Ok(At::of(live, file, (intent.from, intent.to)))
}

fn find(locks: &MailboxLocks, intent: &Intent, file: &IntentFile) -> Result<Found, Refusal> {
    let kind = file.kind.into();
    let at = at(locks, intent, file)?;
    let both = |one: (&str, Identity), other: (&str, Identity)| -> Result<bool, Refusal> {
        let one = open(locks, kind, one.0, one.1)?;
        let other = open(locks, kind, other.0, other.1)?;
        match one.zip(other) {
            Some((one, other)) => Ok(carries(&one, &other)?),
            None => Ok(false),
        }
    };
    let live = kind.file_name();
    Ok(Found {
        at,
        staged_carries: at == At::Old && both((live, file.old), (new_name(kind), file.new))?,
        old_carries: at == At::New && both((old_name(kind), file.old), (live, file.new))?,
    })
}

fn settle(locks: &mut MailboxLocks, intent: &Intent) -> Result<Settled, Refusal> {
    let files = ordered(intent);
    let kinds: Vec<FileKind> = files.iter().map(|f| f.kind.into()).collect();
    execute_all(locks, intent, &first_syncs(intent.direction, &kinds))?;
    let mut found = Vec::new();
    let mut located = Vec::new();
    for file in &files {
        let here = find(locks, intent, file)?;
        found.push(here);
        let replaced = |dir: &Dir| is(dir, old_name(file.kind.into()), &file.old);
        located.push(Located {
            names: Names::look(&locks.place, file.kind.into(), replaced)?,
            at: here.at,
        });
    }
    let verdict = verdict(intent.direction, &found);
    if verdict != Verdict::Finish {
        locks.place.index.unlink(LEDGER_NEW_NAME)?;
    }
    // Also of a file that the intent is not about.
    let strays = stage::strays(&locks.place)?;
    let drop_old = intent.drop_old;
    let steps = super::settle::settle(verdict, intent.direction, &located, &strays, drop_old);
    execute_all(locks, intent, &steps)?;
    match verdict {
        Verdict::Complete => Ok(Settled::Complete),
        Verdict::Finish => Ok(Settled::Finished),
        Verdict::PutBack => Ok(Settled::Undone),
        Verdict::Abort => Ok(Settled::Aborted),
        Verdict::Restage => restage(locks, intent),
    }
}

fn open(
    locks: &MailboxLocks,
    kind: FileKind,
    name: &str,
    want: Identity,
) -> Result<Option<IndexFile>, Refusal> {
    let dir = locks.place.directory_of(kind);
    if dir.identity(name)?.is_none() {
        return Ok(None);
    }
    let file = dir.open_file(name, false)?;
    let path = dir.path_of(name);
    if !Identity::of(&file).io_context("stat", &path)?.is(&want) {
        return Ok(None);
    }
    Ok(IndexFile::from_file(&file, &path, kind).ok())
}

/// Whether that file lies under this name.
fn is(dir: &Dir, name: &str, want: &Identity) -> Result<bool, IoError> {
    Ok(dir.identity(name)?.is_some_and(|found| found.is(want)))
}

fn ordered(intent: &Intent) -> Vec<IntentFile> {
    let kinds = order(intent.from, intent.to);
    let of = |kind: FileKind| {
        intent
            .files
            .iter()
            .copied()
            .find(move |f| FileKind::from(f.kind) == kind)
    };
    kinds.into_iter().filter_map(of).collect()
}
