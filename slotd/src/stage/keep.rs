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
//! `PREPARE` does nearly all of it in advance ([`PreparedLedger`]), into a file without a name.
//! Left under the locks is to check that the `.OLD` files are still the same, and to note which
//! files are replaced by which run.

use indexfile::{FileKind, IoContext, IoError, ReadError, Record};

use super::ledger::{self, Head, Kept, Ledger, Replaced, Writer, Written, WrongKept, place_of};
use super::live::NameStat;
use super::old::{Backups, has};
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
    prepared: Option<PreparedLedger>,
    note: Note<'_>,
) -> Result<(), Refusal> {
    let place = &locks.place;
    let index = locks.file(FileKind::Index);
    let like = index.ok_or_else(|| Refusal::new(Code::State, "cyrus.index is not locked"))?;
    let replaced = what_is_replaced(locks, work)?;
    if let Some(prepared) = prepared
        && prepared.of == *work
        && prepared.stats == source_stats(place)?
    {
        let Some(mut file) = prepared.file else {
            return Ok(()); // Nothing would be lost.
        };
        file.head.set_replaced(replaced);
        return file.put(place, &like.file);
    }
    let Some(mut file) = merged(place, live, identities, work, Some(note))?.file() else {
        return Ok(());
    };
    file.head.set_replaced(replaced);
    file.put(place, &like.file)
}

/// `cyrus.uuids` as `PREPARE` made it, complete but for what is replaced.
#[derive(Debug)]
pub(super) struct PreparedLedger {
    of: Work,
    stats: Vec<Option<NameStat>>,
    /// None where nothing would be lost.
    file: Option<Written>,
}

impl PreparedLedger {
    /// Does all that can be done without locks. `None` where a file cannot be made without a name.
    ///
    /// # Errors
    /// As of [`keep`].
    pub(super) fn of(
        place: &Place,
        live: &LiveFiles,
        identities: &Identities,
        work: Work,
    ) -> Result<Option<PreparedLedger>, Refusal> {
        let stats = source_stats(place)?;
        let file = match merged(place, live, identities, &work, None)? {
            Merged::Nothing => None,
            Merged::File(file) => Some(file),
            Merged::NotNameless => return Ok(None),
        };
        file.iter().try_for_each(|file| file.sync(place))?;
        Ok(Some(PreparedLedger {
            of: work,
            stats,
            file,
        }))
    }
}

/// What stat says of the files that it is made from, besides the live ones.
fn source_stats(place: &Place) -> Result<Vec<Option<NameStat>>, IoError> {
    let mut stats = vec![NameStat::of(&place.index, ledger::FILE_NAME)?];
    for kind in [FileKind::Index, FileKind::Expunge] {
        for name in [old_name(kind), previous_name(kind)] {
            stats.push(NameStat::of(place.directory_of(kind), name)?);
        }
    }
    Ok(stats)
}

/// Which files go, and by which run.
fn what_is_replaced(locks: &MailboxLocks, work: &Work) -> Result<[Option<Replaced>; 2], IoError> {
    let mut all = [None; 2];
    for kind in &work.replaces {
        let Some(locked) = locks.file(*kind) else {
            continue;
        };
        let path = locks.place.directory_of(*kind).path_of(kind.file_name());
        let file = Identity::of(&locked.file).io_context("stat", &path)?;
        let run = work.run;
        all[place_of(*kind)] = Some(Replaced { file, run });
    }
    Ok(all)
}

/// What is kept already, and what only the `.OLD` files have.
#[derive(Debug)]
enum Merged {
    /// Nothing would be lost.
    Nothing,
    /// All of it.
    File(Written),
    /// It would need a file with a name, and may not make one.
    NotNameless,
}

impl Merged {
    fn file(self) -> Option<Written> {
        match self {
            Merged::File(file) => Some(file),
            Merged::Nothing | Merged::NotNameless => None,
        }
    }
}

/// Merges both. `note` as of [`Writer::begin`].
fn merged(
    place: &Place,
    live: &LiveFiles,
    identities: &Identities,
    work: &Work,
    note: Option<Note<'_>>,
) -> Result<Merged, Refusal> {
    let backups = match Backups::of(place, &live.index) {
        Ok(backups) => backups,
        // `uuids=cut` is what the refusal advises when the others cannot be read.
        Err(_) if identities.cuts => return Ok(Merged::Nothing),
        Err(refusal) => return Err(refusal),
    };
    let was = backups.ledger.as_ref();
    if was.is_none() && backups.old_files.is_empty() && identities.rehash.is_none() {
        return Ok(Merged::Nothing);
    }
    let wrong = identities.rehash.is_some() || was.is_some_and(Ledger::has_wrong);
    let begin = || {
        let head = Head {
            uniqueid: sources::uniqueid_of(place)?,
            uidvalidity: live.index.header().uidvalidity(),
            replaced: was.map(|was| was.head.replaced).unwrap_or_default(),
        };
        Writer::begin(place, head, wrong, note)
    };
    // Seldom is there anything to keep: no file is made before there is.
    let mut writer: Option<Writer<'_>> = None;
    let merge = Merge {
        backups: &backups,
        identities,
        work,
    };
    let mut records = live.by_uid()?.peekable();
    while let Some(first) = records.next() {
        let (kind, record) = first?;
        let uid = record.uid();
        let mut one = merge.begin(uid)?;
        merge.add(&mut one, kind, &record)?;
        // The same UID may be in both files.
        let same = |next: &Result<(FileKind, Record<'_>), ReadError>| {
            next.as_ref().is_ok_and(|(_, record)| record.uid() == uid)
        };
        while let Some(next) = records.next_if(same) {
            let (kind, record) = next?;
            merge.add(&mut one, kind, &record)?;
        }
        // Of messages that are gone for good nothing is kept.
        let kept = one.kept.filter(|_| one.is_there);
        let wrong = if one.fits { &one.wrong[..] } else { &[] };
        if kept.is_some() || !wrong.is_empty() {
            let writer = match &mut writer {
                Some(writer) => writer,
                none => match begin()? {
                    Some(begun) => none.insert(begun),
                    None => return Ok(Merged::NotNameless),
                },
            };
            writer.keep(uid, kept.as_ref(), wrong)?;
        }
    }
    if writer.is_none() && was.is_none() {
        return Ok(Merged::Nothing);
    }
    Ok(
        match writer.map_or_else(begin, |writer| Ok(Some(writer)))? {
            Some(writer) => Merged::File(writer.finish()?),
            None => Merged::NotNameless,
        },
    )
}

/// What the entries of one UID are made from.
struct Merge<'a> {
    backups: &'a Backups,
    identities: &'a Identities,
    work: &'a Work,
}

/// What is kept of one UID.
#[derive(Debug)]
struct One {
    kept: Option<Kept>,
    /// That is of a message that is there.
    is_there: bool,
    wrong: Vec<WrongKept>,
    /// Those are.
    fits: bool,
}

impl Merge<'_> {
    fn begin(&self, uid: u32) -> Result<One, IoError> {
        let ledger = self.backups.ledger.as_ref();
        Ok(One {
            kept: ledger.map_or(Ok(None), |ledger| ledger.kept(uid))?,
            is_there: false,
            wrong: ledger.map_or(Ok(Vec::new()), |ledger| ledger.wrong(uid))?,
            fits: false,
        })
    }

    fn add(&self, one: &mut One, kind: FileKind, record: &Record<'_>) -> Result<(), Refusal> {
        let goes = self.work.replaces.contains(&kind);
        one.fits |= one.wrong.iter().any(|wrong| wrong.fits(record));
        if goes && self.identities.rehash.is_some() && !record.guid().is_old_style() {
            let is = self.identities.decide(record)?.guid;
            if is != record.guid().padded() {
                let wrong = WrongKept::of(record, self.work.run);
                // Those of another message that had the UID are of no use to anybody.
                one.wrong.retain(|kept| kept.fits(record));
                if !one.wrong.contains(&wrong) {
                    one.wrong.push(wrong);
                }
                one.fits = true;
            }
        }
        one.is_there |= one.kept.is_some_and(|kept| kept.old.fits(record));
        for file in &self.backups.old_files {
            let old = file.by_uid.get(record.uid())?;
            let Some(old) = old.filter(|old| old.fits(record)) else {
                continue;
            };
            let ledger = self.backups.ledger.as_ref();
            let by = ledger.and_then(|ledger| ledger.run_of(file.kind, file.file));
            if has(record.guid().padded(), &old) {
                continue; // It is not replaced, or is in the `.OLD` file that comes.
            }
            if one.is_there {
                if let (Some(kept), Some(by)) = (&mut one.kept, by) {
                    kept.run = by;
                }
            } else if !goes || !gets_it_back(self.identities, record, &old)? {
                let run = by.unwrap_or(0);
                one.kept = Some(Kept { old, run });
                one.is_there = true;
            }
        }
        Ok(())
    }
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
