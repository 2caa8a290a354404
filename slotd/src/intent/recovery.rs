//! Settling what a crash left: finish or undo, under the mailbox's locks.
//!
//! Between the crash and now a Cyrus server may have worked on the mailbox, because the locks went
//! with the process. So a staged file is used only if it still carries, byte for byte, what the
//! live file holds, GUIDs apart; else it is removed and the work is done afresh from the live
//! files, or, if that is refused, the mailbox stays as it is as long as that is a state that Cyrus
//! reads rightly.
//!
//! New files need the SHA-1 of each message. Under the locks no more messages are read than an
//! `UPGRADE` may read ([`Budget`](crate::stage::Budget)): what is more is read first, without
//! locks, and the next attempt uses that ([`lock_settled`]).

mod files;
mod lock;

use indexfile::mailbox::MailboxName;
use indexfile::{FileKind, IndexFile, IoContext, IoError, ReadError};

use self::files::{Read, execute_all, restage};
pub use self::lock::{Attempt, Settling, lock_settled};
use super::{
    Found, Intent, IntentFile, Located, Location, Scratch, Verdict, first_syncs, verdict,
    verdict_across,
};
use crate::fileops::{Names, Old, order};
use crate::fs::{Dir, Identity};
use crate::host::Host;
use crate::lock::{LockedFile, MailboxLocks};
use crate::protocol::Code;
use crate::refusal::Refusal;
use crate::stage::{self, LEDGER_NEW_NAME, carries, cutover, new_name, old_name};

/// How one intent was settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Everything had been done, or undone, already.
    Complete,
    /// Nothing had been renamed, and what was staged is gone: `COMMIT` had not come, or is as if it
    /// had not.
    Aborted,
    /// A server has replaced the file that goes first, so nothing shows whether it had been renamed
    /// before: all stays as it is, `.OLD` too, and only what was staged is gone.
    Closed,
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
pub fn recover(host: &Host, attempt: Attempt<'_>) -> Report {
    let mut report = Report::default();
    let open = host.log.open_intents().into_iter();
    let touched = host.log.touched().into_iter();
    let mut mailboxes: Vec<(String, String)> = open
        .map(|i| (i.mailbox, i.partition))
        .chain(touched.map(|s| (s.mailbox, s.partition)))
        .collect();
    mailboxes.sort();
    mailboxes.dedup();
    settle_all(host, mailboxes, attempt, true, &mut report);
    report
}

/// Tries again what could not be settled so far ([`Host::unsettled`]), in a slotd that serves
/// meanwhile: intents only, since scratch files may by now be those of a session.
#[must_use]
pub fn recover_again(host: &Host, attempt: Attempt<'_>) -> Report {
    let mut report = Report::default();
    let failed = host.unsettled.take();
    let open = host.log.open_intents().into_iter();
    let mut left: Vec<_> = open
        .map(|i| (i.mailbox, i.partition))
        .filter(|(mailbox, _)| failed.contains(mailbox))
        .collect();
    left.dedup();
    settle_all(host, left, attempt, false, &mut report);
    report
}

fn settle_all(
    host: &Host,
    mailboxes: Vec<(String, String)>,
    attempt: Attempt<'_>,
    scratch_too: bool,
    report: &mut Report,
) {
    for (mailbox, partition) in mailboxes {
        match settle_mailbox(host, &mailbox, &partition, attempt, scratch_too) {
            Ok(all) => report
                .settled
                .extend(all.into_iter().map(|s| (mailbox.clone(), s))),
            Err(refusal) => {
                host.unsettled.add(mailbox.clone());
                report.failed.push((mailbox, refusal));
            }
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
    attempt: Attempt<'_>,
    scratch_too: bool,
) -> Result<Vec<Settled>, Refusal> {
    let scratch = Scratch {
        mailbox: mailbox.to_owned(),
        partition: partition.to_owned(),
    };
    let name =
        MailboxName::parse(mailbox).map_err(|e| Refusal::new(Code::NoMailbox, e.to_string()))?;
    let find = || host.store.open(&name, partition);
    let Settling {
        locks, mut settled, ..
    } = lock_settled(host, find, attempt)?;
    let Some(locks) = locks else {
        // Gone for good only if its place can be looked at: not when the partition is not in the
        // configuration any more, is not mounted, or is reached through a link.
        host.store.confirm_gone(&name, partition)?;
        if end_all(host, mailbox, partition) > 0 {
            settled.push(Settled::Complete);
        }
        host.log.clear(&scratch);
        return Ok(settled);
    };
    if scratch_too {
        remove_scratch(&locks)?;
        host.log.clear(&scratch);
    }
    Ok(settled)
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

/// The next intent of a locked mailbox that is to be settled.
fn next_open(host: &Host, locks: &MailboxLocks) -> Option<Intent> {
    let open = host.log.open_of(&locks.place.mailbox.to_string());
    open.into_iter()
        .find(|i| i.partition == locks.place.partition)
}

/// Settles it: it replaces live files, so the locks have to be taken anew.
fn settle_next(
    host: &Host,
    locks: &mut MailboxLocks,
    intent: &Intent,
    read: Option<Read>,
) -> Result<Settled, Refusal> {
    let settled = settle(locks, intent, read)?;
    tracing::warn!(mailbox = %locks.place.mailbox, ?settled, "settled what a crash left");
    host.log.end(intent.id);
    Ok(settled)
}

/// Where a file is now. `kept`: its `.OLD` is the file that was to be replaced. A live file that
/// cannot be read says nothing of what became of it, and so nothing is done.
fn at(
    locks: &MailboxLocks,
    intent: &Intent,
    file: &IntentFile,
    kept: bool,
) -> Result<Location, Refusal> {
    let kind = file.kind.into();
    let look = |locked: &LockedFile| -> Result<(Identity, u32), Refusal> {
        let path = locks.place.directory_of(kind).path_of(kind.file_name());
        let known = Identity::of(&locked.file).io_context("stat", &path)?;
        if file.old.is_some_and(|old| known.is(&old)) {
            // Whatever it holds.
            return Ok((known, intent.from));
        }
        let read = IndexFile::from_file(&locked.file, &path, kind);
        let read = read.map_err(|error| undecided(&error.into()))?;
        Ok((known, read.minor_version()))
    };
    let live = locks.file(kind).map(look).transpose()?;
    Ok(Location::of(live, kept, file, (intent.from, intent.to)))
}

fn undecided(refusal: &Refusal) -> Refusal {
    let text = format!(
        "what a crash left stays open, and its .OLD is kept, because {}",
        refusal.text
    );
    Refusal::new(refusal.code, text)
}

fn find(
    locks: &MailboxLocks,
    intent: &Intent,
    file: &IntentFile,
    kept: bool,
) -> Result<Found, Refusal> {
    let kind = file.kind.into();
    let at = at(locks, intent, file, kept)?;
    if intent.is_across() {
        return find_across(locks, intent, file, at);
    }
    let (Some(old), Some(new)) = (file.old, file.new) else {
        // Below version 12 no live name comes or goes.
        return Ok(Found {
            at,
            staged_carries: false,
            old_carries: false,
        });
    };
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
        staged_carries: at == Location::Old && both((live, old), (new_name(kind), new))?,
        old_carries: at == Location::New && both((old_name(kind), old), (live, new))?,
    })
}

/// The same of a change to version 12 or later, or back from there: each file must be, byte for
/// byte, what was prepared, or what that was made from.
fn find_across(
    locks: &MailboxLocks,
    intent: &Intent,
    file: &IntentFile,
    at: Location,
) -> Result<Found, Refusal> {
    let kind = file.kind.into();
    let place = &locks.place;
    let same = |name: &str, want: Option<Identity>, version: u32| -> Result<bool, Refusal> {
        let Some(want) = want else {
            return Ok(true);
        };
        let dir = place.directory_of(kind);
        Ok(is(dir, name, &want)? && cutover::carries(place, kind, name, version)?)
    };
    let live = kind.file_name();
    let (from, to) = (intent.from, intent.to);
    Ok(Found {
        at,
        staged_carries: at == Location::Old
            && same(live, file.old, from)?
            && same(new_name(kind), file.new, to)?,
        old_carries: at == Location::New
            && same(old_name(kind), file.old, from)?
            && same(live, file.new, to)?,
    })
}

fn settle(
    locks: &mut MailboxLocks,
    intent: &Intent,
    read: Option<Read>,
) -> Result<Settled, Refusal> {
    let files = ordered(intent);
    let kinds: Vec<FileKind> = files.iter().map(|f| f.kind.into()).collect();
    execute_all(locks, intent, &first_syncs(intent.direction, &kinds))?;
    let mut found = Vec::new();
    let mut located = Vec::new();
    for file in &files {
        let kind = file.kind.into();
        let replaced = |dir: &Dir| match &file.old {
            Some(old) => is(dir, old_name(kind), old),
            None => Ok(false),
        };
        let names = Names::look(&locks.place, (kind, file.change()), replaced)?;
        let here = find(locks, intent, file, names.old == Some(Old::Replaced))?;
        found.push(here);
        located.push(Located { names, at: here.at });
    }
    let verdict = if intent.is_across() {
        verdict_across(intent.direction, &found)
    } else {
        verdict(intent.direction, &found)
    };
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
        Verdict::Close => Ok(Settled::Closed),
        Verdict::Restage => restage(locks, intent, read),
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
    match IndexFile::from_file(&file, &path, kind) {
        Ok(file) => Ok(Some(file)),
        Err(ReadError::Io(error)) => Err(error.into()),
        // It carries nothing.
        Err(_) => Ok(None),
    }
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
