//! What would be lost with a commit is kept first: identifiers that only a `.OLD` file has, which
//! the commit replaces.
//!
//! The same of wrong GUIDs that `rehash=fix` replaces: those are kept whether or not a `.OLD` file
//! has them, with the run.
//!
//! To be called under the locks when the new files are written, before anything of them has a name.
//! It leaves a complete `cyrus.uuids` on stable storage, or, where nothing would be lost, none: a
//! mailbox's first upgrade needs none, as the `.OLD` files it leaves have everything. A commit that
//! does not come after it does no harm: it says what was, not what is.
//!
//! `PREPARE` does nearly all of it ahead ([`Ahead`]), into a file without a name: what is left
//! under the locks is to see that the `.OLD` files are the same still, and to say which files are
//! replaced by which run.

use std::collections::HashSet;

use indexfile::{FileKind, IoContext, IoError, Record};

use super::ledger::{self, Kept, Ledger, Replaced, place_of};
use super::live::Look;
use super::old::{Beside, has};
use super::{Identities, LiveFiles, Note, old_name, previous_name, sources};
use crate::fs::Identity;
use crate::lock::MailboxLocks;
use crate::protocol::Code;
use crate::refusal::Refusal;
use crate::store::Place;

/// What is done by one `UPGRADE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Work {
    /// The run, by its token; 0 if not known.
    pub(super) run: u64,
    /// The files that are replaced.
    pub(super) replaces: Vec<FileKind>,
}

/// Keeps what `work` would destroy.
///
/// # Errors
/// It cannot be kept, or what was kept before cannot be read: the mailbox is refused.
pub(super) fn keep(
    locks: &MailboxLocks,
    live: &LiveFiles,
    identities: &Identities,
    work: &Work,
    ahead: Option<Ahead>,
    note: Note<'_>,
) -> Result<(), Refusal> {
    let place = &locks.place;
    let index = locks.file(FileKind::Index);
    let like = index.ok_or_else(|| Refusal::new(Code::State, "cyrus.index is not locked"))?;
    if let Some(ahead) = ahead
        && ahead.of == *work
        && ahead.looks == looks(place)?
    {
        let Some(mut file) = ahead.file else {
            return Ok(()); // Nothing would be lost.
        };
        say_what_is_replaced(&mut file.head, locks, work)?;
        return file.put(place, &like.file);
    }
    let Some(mut ledger) = merged(place, live, identities, work)? else {
        return Ok(());
    };
    say_what_is_replaced(&mut ledger, locks, work)?;
    ledger.put(place, &like.file, note)
}

/// The same done by `PREPARE`.
#[derive(Debug)]
pub(super) struct Ahead {
    of: Work,
    looks: Vec<Option<Look>>,
    /// None where nothing would be lost.
    file: Option<ledger::Ahead>,
}

impl Ahead {
    /// Does all that can be done without locks. `None` where a file cannot be made without a name.
    ///
    /// # Errors
    /// As of [`keep`].
    pub(super) fn of(
        place: &Place,
        live: &LiveFiles,
        identities: &Identities,
        work: Work,
    ) -> Result<Option<Ahead>, Refusal> {
        let looks = looks(place)?;
        let file = match merged(place, live, identities, &work)? {
            Some(ledger) => match ledger.ahead(place)? {
                Some(file) => Some(file),
                None => return Ok(None),
            },
            None => None,
        };
        Ok(Some(Ahead {
            of: work,
            looks,
            file,
        }))
    }
}

/// How everything looks that it is made from, besides the live files.
fn looks(place: &Place) -> Result<Vec<Option<Look>>, IoError> {
    let mut looks = vec![Look::of(&place.index, ledger::FILE_NAME)?];
    for kind in [FileKind::Index, FileKind::Expunge] {
        for name in [old_name(kind), previous_name(kind)] {
            looks.push(Look::of(place.directory_of(kind), name)?);
        }
    }
    Ok(looks)
}

fn say_what_is_replaced(
    ledger: &mut Ledger,
    locks: &MailboxLocks,
    work: &Work,
) -> Result<(), IoError> {
    for kind in &work.replaces {
        let Some(locked) = locks.file(*kind) else {
            continue;
        };
        let path = locks.place.directory_of(*kind).path_of(kind.file_name());
        let file = Identity::of(&locked.file).io_context("stat", &path)?;
        let run = work.run;
        ledger.replaced[place_of(*kind)] = Some(Replaced { file, run });
    }
    Ok(())
}

/// What is kept already and what only the `.OLD` files have; `None` if that is nothing.
fn merged(
    place: &Place,
    live: &LiveFiles,
    identities: &Identities,
    work: &Work,
) -> Result<Option<Ledger>, Refusal> {
    let Beside { ledger, replaced } = match Beside::of(place, &live.index) {
        Ok(beside) => beside,
        // Who asks for cut UUIDs has been told that the others cannot be read, and does without.
        Err(refusal) if refusal.code == Code::Damaged && identities.cuts => return Ok(None),
        Err(refusal) => return Err(refusal),
    };
    let (was, mut ledger) = (ledger.clone(), ledger.unwrap_or_default());
    let mut there = HashSet::new();
    let mut fits = HashSet::new();
    for source in live.each() {
        let goes = work.replaces.contains(&source.kind());
        for record in source.records() {
            let record = record?;
            let uid = record.uid();
            fits.extend(ledger.fits_wrong(&record).then_some(uid));
            if goes && identities.rehash.is_some() && !record.guid().is_old_style() {
                let is = identities.decide(&record)?.guid;
                if is != record.guid().padded() {
                    ledger.keep_wrong(&record, work.run);
                    fits.insert(uid);
                }
            }
            if ledger
                .entries
                .get(&uid)
                .is_some_and(|k| k.old.fits(&record))
            {
                there.insert(uid);
            }
            for file in &replaced {
                let Some(old) = file.by_uid.get(uid).filter(|old| old.fits(&record)) else {
                    continue;
                };
                let by = was.as_ref().and_then(|l| l.run_of(file.kind, file.file));
                if has(record.guid().padded(), &old) {
                    continue; // It is not replaced, or is in the `.OLD` file that comes.
                }
                if there.contains(&uid) {
                    let kept = ledger.entries.get_mut(&uid);
                    kept.into_iter()
                        .zip(by)
                        .for_each(|(kept, by)| kept.run = by);
                } else if !goes || !gets_it_back(identities, &record, &old)? {
                    let kept = Kept {
                        old,
                        run: by.unwrap_or(0),
                    };
                    ledger.entries.insert(uid, kept);
                    there.insert(uid);
                }
            }
        }
    }
    // Of messages that are gone for good nothing is kept.
    ledger.entries.retain(|uid, _| there.contains(uid));
    ledger.wrong.retain(|uid, _| fits.contains(uid));
    if was.is_none() && ledger.entries.is_empty() && ledger.wrong.is_empty() {
        return Ok(None);
    }
    ledger.uniqueid = sources::uniqueid_of(place)?;
    ledger.uidvalidity = live.index.header().uidvalidity();
    Ok(Some(ledger))
}

/// Whether the new file has it again.
fn gets_it_back(
    identities: &Identities,
    record: &Record<'_>,
    old: &super::old_uuid::OldUuid,
) -> Result<bool, Refusal> {
    let identity = identities.decide(record)?;
    Ok(identity.restored && has(identity.guid, old))
}
