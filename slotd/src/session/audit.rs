//! `VERIFY`, without locks, and `CLEAN`, under them.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use indexfile::check::{Findings, Severity, check_index, check_pair};
use indexfile::sha1s::FILE_NAME;
use indexfile::{FileKind, Guid, IndexFile, ReadError};
use precompute::hash::Kernel;
use precompute::hash::lanes::Lanes;
use precompute::message::{Hasher, MessageError};
use rustix::fs::FileType;

use super::Session;
use super::ahead::READ_IN_LOCK;
use super::{not_locked, open_unlocked};
use crate::fs::{Dir, OpenError};
use crate::intent::recovery::{self, Attempt};
use crate::lock::{MailboxLocks, wait};
use crate::protocol::{Clean, Cleaned, Code, GuidEntry, Reply, Verified, Verify};
use crate::refusal::Refusal;
use crate::stage::{
    LEDGER_NAME, LEDGER_NEW_NAME, Listing, Until, new_name, old_name, prepared_name, previous_name,
    sources, spool,
};
use crate::store::Place;

/// Messages that are compared at a time.
const BATCH: usize = 4096;

/// What is wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Bad {
    Guid,
    Missing,
    Size,
    Unreadable,
}

impl Bad {
    fn word(self) -> &'static str {
        match self {
            Bad::Guid => "guid",
            Bad::Missing => "missing",
            Bad::Size => "size",
            Bad::Unreadable => "unreadable",
        }
    }
}

impl Session {
    pub(super) fn verify(&self, verify: &Verify) -> Result<Reply, Refusal> {
        let place = self.host.store.find(&verify.of)?;
        let (index, expunge) = open_unlocked(&self.host.store, &place)?;
        let mut verified = Verified {
            index: index.minor_version(),
            expunge: expunge.as_ref().map(IndexFile::minor_version),
            messages: index.num_records() + expunge.as_ref().map_or(0, IndexFile::num_records),
            checked: 0,
            old: 0,
            bad: 0,
            list: Vec::new(),
            findings: findings(&index, expunge.as_ref()),
            digest: Guid::NULL,
            uniqueid: sources::uniqueid_of(&place)?,
        };
        let listing = Listing::of([Some(index), expunge].into_iter().flatten())?;
        verified.digest = listing.summed()?.digester.finish();
        let mut wanted = 0_u32;
        for entry in listing.from(0)? {
            let old = entry?.guid.is_old_style();
            verified.old += u32::from(old);
            wanted += u32::from(!old);
        }
        // Spread evenly over the mailbox.
        let step = match verify.sample {
            Some(0) => return Ok(Reply::Ok(verified.to_fields())),
            Some(sample) => wanted.div_ceil(sample).max(1),
            None => 1,
        };
        let mut sample = listing
            .from(0)?
            .filter(|e| e.as_ref().map_or(true, |e| !e.guid.is_old_style()))
            .step_by(step as usize);
        let mut bad: Vec<(u32, Bad)> = Vec::new();
        loop {
            let some = sample.by_ref().take(BATCH);
            let some = some.collect::<Result<Vec<GuidEntry>, ReadError>>()?;
            if some.is_empty() {
                break;
            }
            verified.checked += self.compare(&place, &some, &mut bad)?;
        }
        if !bad.is_empty() {
            // It may have been expunged and cleaned up while we read.
            let (index, expunge) = open_unlocked(&self.host.store, &place)?;
            let now = Listing::of([Some(index), expunge].into_iter().flatten())?;
            bad.sort_unstable();
            let mut still = Vec::new();
            let mut at = 0;
            for entry in now.from(0)? {
                let uid = entry?.uid;
                while bad.get(at).is_some_and(|(bad, _)| *bad < uid) {
                    at += 1;
                }
                while let Some(bad) = bad.get(at).filter(|(bad, _)| *bad == uid) {
                    still.push(*bad);
                    at += 1;
                }
            }
            bad = still;
        }
        verified.bad = u32::try_from(bad.len()).unwrap_or(u32::MAX);
        let list = bad.iter().take(Verified::MAX);
        verified.list = list
            .map(|(uid, why)| format!("{uid}:{}", why.word()))
            .collect();
        Ok(Reply::Ok(verified.to_fields()))
    }

    /// Compares some messages with their records; returns how many, and adds those that differ to
    /// `bad`.
    fn compare(
        &self,
        place: &Place,
        entries: &[GuidEntry],
        bad: &mut Vec<(u32, Bad)>,
    ) -> Result<u32, Refusal> {
        let spool = spool(place)?;
        let by_uid: HashMap<u32, &GuidEntry> = entries.iter().map(|e| (e.uid, e)).collect();
        let mut uids: Vec<u32> = by_uid.keys().copied().collect();
        uids.sort_unstable();
        let mut checked = 0;
        let sink = |uid: u32, result: Result<precompute::message::Hashed, MessageError>| {
            checked += 1;
            let entry = by_uid.get(&uid);
            let why = match result {
                Ok(hashed) if entry.is_some_and(|e| e.size != hashed.size) => Bad::Size,
                Ok(hashed) if entry.is_some_and(|e| e.guid != hashed.guid) => Bad::Guid,
                Ok(_) => return,
                Err(MessageError::Missing { .. }) => Bad::Missing,
                Err(_) => Bad::Unreadable,
            };
            bad.push((uid, why));
        };
        let cancel = &self.control.cancel;
        Hasher::new(&spool, uids.iter().copied(), sink, Until(cancel, None))
            .run(&mut Lanes::new(Kernel::detect()));
        if cancel.load(Ordering::Relaxed) {
            return Err(Refusal::new(Code::Expired, "VERIFY was cut short"));
        }
        Ok(checked)
    }

    pub(super) fn clean(&self, clean: &Clean) -> Result<Reply, Refusal> {
        if self.transaction.is_open() {
            return Err(Refusal::new(
                Code::State,
                "CLEAN takes locks of its own: end the transaction first",
            ));
        }
        // A half-done commit needs its `.NEW` and `.OLD`.
        let attempt = Attempt {
            wait: self.host.options.default_wait,
            read: Some(READ_IN_LOCK),
            cancel: &self.control.cancel,
        };
        let find = || self.host.store.find(&clean.of).map(Some);
        let settling = recovery::lock_settled(&self.host, find, attempt)?;
        let locks = settling.locks.ok_or_else(not_locked)?;
        Ok(Reply::Ok(remove(&locks, clean.dry_run)?.to_fields()))
    }
}

/// Removes what is ours. All of it is looked at first: a mailbox that is refused has lost nothing.
fn remove(locks: &MailboxLocks, dry_run: bool) -> Result<Cleaned, Refusal> {
    let mut ours: Vec<(&Dir, &str)> = Vec::new();
    ours.extend([FILE_NAME, LEDGER_NAME, LEDGER_NEW_NAME].map(|name| (&*locks.place.index, name)));
    for kind in [FileKind::Index, FileKind::Expunge] {
        let dir = locks.place.directory_of(kind);
        ours.extend(
            [new_name(kind), old_name(kind), previous_name(kind)].map(|name| (&**dir, name)),
        );
        // One that is locked belongs to a PREPARE under way.
        let stale = match dir.open_file(prepared_name(kind), true) {
            Ok(file) => wait::try_lock(&file).unwrap_or(false),
            Err(OpenError::Missing { .. }) => false,
            Err(error) => return Err(error.into()),
        };
        ours.extend(stale.then_some((&**dir, prepared_name(kind))));
    }
    let mut cleaned = Cleaned::default();
    let mut found = Vec::new();
    for (dir, name) in ours {
        let Some(stat) = dir.stat(name)? else {
            continue;
        };
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            let path = dir.path_of(name);
            let text = format!("{} is no regular file, so none of ours", path.display());
            return Err(Refusal::new(Code::Damaged, format!("{text}; move it away")));
        }
        cleaned.files.push(name.to_owned());
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        cleaned.bytes = cleaned.bytes.saturating_add(size);
        found.push((dir, name));
    }
    for (dir, name) in found.into_iter().filter(|_| !dry_run) {
        dir.unlink(name)?;
    }
    Ok(cleaned)
}

/// What `indexfile check` finds in the two files, as `FILE:CODE`, each once; notes of what is
/// normal left out.
pub(super) fn findings(index: &IndexFile, expunge: Option<&IndexFile>) -> Vec<String> {
    let mut findings = Findings::new();
    check_index(index, &mut findings);
    if let Some(expunge) = expunge {
        check_index(expunge, &mut findings);
        check_pair(index, expunge, &mut findings);
    }
    findings
        .counts()
        .filter(|(code, ..)| code.severity() > Severity::Note)
        .map(|(code, path, _)| {
            let file = path
                .file_name()
                .map(|n| n.to_string_lossy().into_owned())
                .unwrap_or_default();
            format!("{file}:{}", code.name())
        })
        .collect()
}
