//! `VERIFY`: the GUIDs of a mailbox against its messages.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use indexfile::{Guid, HeaderField, IndexFile, ReadError};
use precompute::hash::Kernel;
use precompute::hash::lanes::Lanes;
use precompute::message::{Hasher, MessageError};

use super::live_digest::live_digest;
use super::status::findings;
use crate::host::Host;
use crate::protocol::{Code, GuidEntry, Verified, Verify};
use crate::refusal::Refusal;
use crate::stage::{CancelGate, Listing, LiveFiles, sources, spool};
use crate::store::Place;

/// Messages that are compared at a time.
const BATCH: usize = 4096;
/// Bad ones that are kept before the mailbox is looked at again.
const KEPT: usize = 16 * BATCH;

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

/// `VERIFY`.
///
/// # Errors
/// The mailbox, or a file of it, cannot be read; or `cancel` was set.
pub fn verify(host: &Host, verify: &Verify, cancel: &AtomicBool) -> Result<Verified, Refusal> {
    let place = host.store.find(&verify.of)?;
    let live = LiveFiles::without_locks(&host.store, &place)?;
    let expunge = live.expunge.as_ref();
    let header = sources::header_of(&place)?;
    let mut verified = Verified {
        index: live.index.minor_version(),
        expunge: expunge.map(IndexFile::minor_version),
        messages: live.num_records(),
        checked: 0,
        old: 0,
        bad: 0,
        list: Vec::new(),
        findings: findings(host, &place, &live)?,
        digest: Guid::NULL,
        uniqueid: header.uniqueid.clone(),
        sync_crc: sync_crc(&live.index),
        live: live_digest(&live.index, &header)?,
    };
    let listing = Listing::of(live.into_each())?;
    verified.digest = listing.summed()?.digester.finish();
    let mut wanted = 0_u32;
    for entry in listing.from(0)? {
        let old = entry?.guid.is_old_style();
        verified.old += u32::from(old);
        wanted += u32::from(!old);
    }
    // Spread evenly over the mailbox.
    let step = match verify.sample {
        Some(0) => return Ok(verified),
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
        verified.checked += compare(&place, &some, &mut bad, cancel)?;
        if bad.len() >= KEPT {
            count(host, &place, &mut bad, &mut verified)?;
        }
    }
    count(host, &place, &mut bad, &mut verified)?;
    Ok(verified)
}

/// Counts the bad ones that are records still: a message may have been expunged and cleaned up
/// while we read. The first of all are listed, and none is kept.
fn count(
    host: &Host,
    place: &Place,
    bad: &mut Vec<(u32, Bad)>,
    verified: &mut Verified,
) -> Result<(), Refusal> {
    if bad.is_empty() {
        return Ok(());
    }
    let now = LiveFiles::without_locks(&host.store, place)?;
    let now = Listing::of(now.into_each())?;
    bad.sort_unstable();
    let mut left = bad.iter().peekable();
    for entry in now.from(0)? {
        let uid = entry?.uid;
        while left.next_if(|(bad, _)| *bad < uid).is_some() {}
        while let Some((uid, why)) = left.next_if(|(bad, _)| *bad == uid) {
            verified.bad = verified.bad.saturating_add(1);
            if verified.list.len() < Verified::MAX {
                verified.list.push(format!("{uid}:{}", why.word()));
            }
        }
    }
    bad.clear();
    Ok(())
}

/// What replication compares, of version 12 and later.
fn sync_crc(index: &IndexFile) -> Option<u32> {
    let crc = index.header().get(HeaderField::SyncCrc)?;
    u32::try_from(crc).ok()
}

/// Compares some messages with their records; returns how many, and adds those that differ to
/// `bad`.
fn compare(
    place: &Place,
    entries: &[GuidEntry],
    bad: &mut Vec<(u32, Bad)>,
    cancel: &AtomicBool,
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
    Hasher::new(&spool, uids.iter().copied(), sink, CancelGate(cancel, None))
        .run(&mut Lanes::new(Kernel::detect()));
    if cancel.load(Ordering::Relaxed) {
        return Err(Refusal::new(Code::Expired, "VERIFY was cut short"));
    }
    Ok(checked)
}
