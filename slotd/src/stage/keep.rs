//! What would be lost with a commit is kept first: identifiers that only a `.OLD` file has, which the commit replaces.
//!
//! To be called under the locks when the new files are written, before anything of them has a name. It leaves a complete
//! `cyrus.uuids` on stable storage, or, where nothing would be lost, none: a mailbox's first upgrade needs none, as the `.OLD` files it
//! leaves have everything. A commit that does not come after it does no harm: it says what was, not what is.

use std::collections::HashSet;

use indexfile::{FileKind, IoContext, Record};

use super::ledger::{Kept, Replaced, place_of};
use super::old::{Beside, has};
use super::{Identities, LiveFiles, Note, sources};
use crate::fs::Identity;
use crate::lock::MailboxLocks;
use crate::protocol::Code;
use crate::refusal::Refusal;

/// Keeps what `run` (its token; 0 if not known) would destroy by replacing these files.
///
/// # Errors
/// It cannot be kept, or what was kept before cannot be read: the mailbox is refused.
pub(super) fn keep(
    locks: &MailboxLocks,
    live: &LiveFiles,
    identities: &Identities,
    run: u64,
    replaces: &[FileKind],
    note: Note<'_>,
) -> Result<(), Refusal> {
    let place = &locks.place;
    let Beside { ledger, replaced } = match Beside::of(place, &live.index) {
        Ok(beside) => beside,
        // Who asks for cut UUIDs has been told that the others cannot be read, and does without.
        Err(refusal) if refusal.code == Code::Damaged && identities.cuts => return Ok(()),
        Err(refusal) => return Err(refusal),
    };
    let (was, mut ledger) = (ledger.clone(), ledger.unwrap_or_default());
    let mut there = HashSet::new();
    for source in live.each() {
        let goes = replaces.contains(&source.kind());
        for record in source.records() {
            let record = record?;
            let uid = record.uid();
            if ledger
                .entries
                .get(&uid)
                .is_some_and(|k| k.old.fits(&record))
            {
                there.insert(uid);
            }
            for file in &replaced {
                let Some(old) = file.by_uid.get(&uid).filter(|old| old.fits(&record)) else {
                    continue;
                };
                let by = was.as_ref().and_then(|l| l.run_of(file.kind, file.file));
                if has(record.guid().padded(), old) {
                    continue; // It is not replaced, or is in the `.OLD` file that comes.
                }
                if there.contains(&uid) {
                    let kept = ledger.entries.get_mut(&uid);
                    kept.into_iter()
                        .zip(by)
                        .for_each(|(kept, by)| kept.run = by);
                } else if !goes || !gets_it_back(identities, &record, old)? {
                    let kept = Kept {
                        old: *old,
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
    if was.is_none() && ledger.entries.is_empty() {
        return Ok(());
    }
    ledger.uniqueid = sources::uniqueid_of(place)?;
    ledger.uidvalidity = live.index.header().uidvalidity();
    for kind in replaces {
        let Some(locked) = locks.file(*kind) else {
            continue;
        };
        let path = place.directory_of(*kind).path_of(kind.file_name());
        let file = Identity::of(&locked.file).io_context("stat", &path)?;
        ledger.replaced[place_of(*kind)] = Some(Replaced { file, run });
    }
    let like = locks
        .file(FileKind::Index)
        .ok_or_else(|| Refusal::new(Code::State, "cyrus.index is not locked"))?;
    ledger.put(place, &like.file, note)
}

/// Whether the new file has it again.
fn gets_it_back(
    identities: &Identities,
    record: &Record<'_>,
    old: &super::old::OldUuid,
) -> Result<bool, Refusal> {
    let identity = identities.decide(record)?;
    Ok(identity.restored && has(identity.guid, old))
}
