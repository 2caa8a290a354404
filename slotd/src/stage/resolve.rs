//! From old-style records to GUIDs: the cache first, then the messages themselves, all or nothing.
//!
//! Each message is looked at before anything is read: one that has not the size of its record,
//! however large, is refused at once. Under the locks no more is read than a [`Budget`] allows.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use indexfile::{ReadError, Record};
use precompute::hash::Kernel;
use precompute::hash::lanes::Lanes;
use precompute::message::{FileStat, Gate, Hashed, Hasher, MessageError, Spool};
use precompute::nice;

use super::Sources;
use super::found_guids::FoundGuid;
use super::mark::{self, Mark};
use crate::protocol::Code;
use crate::refusal::Refusal;
use crate::store::Place;

/// A message whose GUID is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Want {
    /// Of the record.
    pub uid: u32,
    /// That the record has, bytes.
    pub size: u64,
    /// Of the record.
    pub record: Mark,
    /// That it is gone is no failure.
    pub may_be_gone: bool,
}

impl Want {
    /// That of a record.
    #[must_use]
    pub fn of(record: &Record<'_>) -> Want {
        Want {
            uid: record.uid(),
            size: record.size(),
            record: mark::of_record(record),
            may_be_gone: false,
        }
    }
}

/// Where GUIDs came from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolved {
    /// Taken from a cache.
    pub cached: u32,
    /// Computed from the message.
    pub hashed: u32,
    /// Those that are gone and may be: UID, and the mark of the record.
    pub gone: Vec<(u32, Mark)>,
}

/// Messages that are looked for at a time.
const BATCH: usize = 8192;

/// Stops hashing when the result is not wanted any more.
#[derive(Debug)]
pub struct CancelGate<'a>(pub &'a AtomicBool, pub Option<Instant>);

impl Gate for CancelGate<'_> {
    fn go_on(&mut self) -> bool {
        nice::give_way();
        !self.0.load(Ordering::Relaxed) && self.1.is_none_or(|until| Instant::now() < until)
    }
}

/// Finds a GUID for every message that is wanted, and gives it to `found`, in the same order.
/// `wanted` comes in ascending order of UIDs; a UID that comes twice, of both files, is one
/// message.
///
/// # Errors
/// [`Code::NoMessage`] names the first message that is missing or has another size than its record,
/// [`Code::Differs`] one of which a peer says something else; [`Code::Expired`] if there is too
/// much to read; other codes for other reasons. What `found` got by then is of no use.
pub fn resolve(
    place: &Place,
    wanted: impl Iterator<Item = Result<Want, ReadError>>,
    sources: &Sources<'_>,
    cancel: &AtomicBool,
    mut found: impl FnMut(u32, &FoundGuid) -> Result<(), Refusal>,
) -> Result<Resolved, Refusal> {
    let mut resolved = Resolved::default();
    let mut spool = None;
    let mut batch: Vec<Want> = Vec::new();
    let mut wanted = wanted.peekable();
    while let Some(want) = wanted.next() {
        let want = want?;
        match batch.last() {
            Some(last) if last.uid == want.uid && last.size != want.size => {
                let text = format!(
                    "the records of UID {} in index and expunge disagree about its size",
                    want.uid
                );
                return Err(Refusal::new(Code::Damaged, text));
            }
            Some(last) if last.uid == want.uid && last.record != want.record => {
                let text = format!(
                    "the records of UID {} in index and expunge are not of one message",
                    want.uid
                );
                return Err(Refusal::new(Code::Damaged, text));
            }
            Some(last) if last.uid == want.uid => {}
            _ => batch.push(want),
        }
        // The same UID is not torn apart.
        let next = wanted.peek().and_then(|next| next.as_ref().ok());
        let go_on = next.is_some_and(|next| next.uid == want.uid || batch.len() < BATCH);
        if !go_on {
            let spool = match &spool {
                Some(spool) => spool,
                None => spool.insert(self::spool(place)?),
            };
            let known = some(spool, &batch, sources, cancel, &mut resolved)?;
            for (uid, known) in known {
                found(uid, &known)?;
            }
            batch.clear();
        }
    }
    Ok(resolved)
}

/// What is known of some messages, of each one that is there, by UID.
fn some(
    spool: &Spool,
    wanted: &[Want],
    sources: &Sources<'_>,
    cancel: &AtomicBool,
    resolved: &mut Resolved,
) -> Result<Vec<(u32, FoundGuid)>, Refusal> {
    let mut known: Vec<(u32, FoundGuid)> = Vec::with_capacity(wanted.len());
    // Positions in `known`.
    let mut to_hash = Vec::new();
    let mut sizes = Vec::with_capacity(wanted.len());
    let mut bytes = 0_u64;
    for want in wanted {
        nice::give_way();
        let Some(stat) = look(spool, want)? else {
            resolved.gone.push((want.uid, want.record));
            continue;
        };
        let cached = sources.local.and_then(|c| c.get(want.uid));
        let cached = cached.filter(|e| e.still_same(&stat.stamp, stat.size));
        if cached.is_none() {
            to_hash.push((known.len(), stat.device));
            bytes = bytes.saturating_add(stat.size);
        }
        let found = FoundGuid {
            guid: cached.map_or(indexfile::Guid::NULL, |e| e.guid),
            record: want.record,
            file: mark::of_file(stat.device, stat.size, &stat.stamp),
        };
        known.push((want.uid, found));
        sizes.push(want.size);
        if cancel.load(Ordering::Relaxed) {
            return Err(Refusal::new(
                Code::Expired,
                "stopped before all messages were looked at",
            ));
        }
    }
    let counted = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    resolved.cached += counted(known.len() - to_hash.len());
    if !to_hash.is_empty() {
        if let Some(budget) = sources.budget {
            budget.take(to_hash.len(), bytes)?;
        }
        let uids = to_hash.iter().map(|(at, _)| known[*at].0);
        let hashes = hash(spool, uids, &CancelGate(cancel, sources.until()))?;
        if hashes.len() != to_hash.len() {
            return Err(Refusal::new(
                Code::Expired,
                "stopped before all messages were read",
            ));
        }
        resolved.hashed += counted(hashes.len());
        for ((at, device), (uid, hashed)) in to_hash.into_iter().zip(hashes) {
            check_size(spool, uid, hashed.size, sizes[at])?;
            known[at].1.guid = hashed.guid;
            known[at].1.file = mark::of_file(device, hashed.size, &hashed.stamp);
        }
    }
    if let Some(expected) = sources.expected {
        for ((uid, known), size) in known.iter().zip(&sizes) {
            expected.check(*uid, *size, &known.guid)?;
        }
    }
    Ok(known)
}

/// Reads messages, in ascending order of UID; fewer if it was stopped.
fn hash(
    spool: &Spool,
    uids: impl Iterator<Item = u32>,
    until: &CancelGate<'_>,
) -> Result<Vec<(u32, Hashed)>, Refusal> {
    let mut first_error: Option<(u32, MessageError)> = None;
    let mut lanes = Lanes::new(Kernel::detect());
    let mut hashes: Vec<(u32, Hashed)> = Vec::new();
    let sink = |uid, result| match result {
        Ok(hashed) => hashes.push((uid, hashed)),
        Err(error) => {
            if first_error.as_ref().is_none_or(|(first, _)| uid < *first) {
                first_error = Some((uid, error));
            }
        }
    };
    Hasher::new(spool, uids, sink, CancelGate(until.0, until.1)).run(&mut lanes);
    if let Some((uid, error)) = first_error {
        return Err(of_uid(uid, error));
    }
    hashes.sort_unstable_by_key(|(uid, _)| *uid);
    Ok(hashes)
}

fn of_uid(uid: u32, error: MessageError) -> Refusal {
    let refusal = Refusal::from(error);
    Refusal::new(refusal.code, format!("UID {uid}: {}", refusal.text))
}

/// The directory of the messages.
///
/// # Errors
/// There are no descriptors left.
pub fn spool(place: &Place) -> Result<Spool, Refusal> {
    let fd = rustix::io::fcntl_dupfd_cloexec(place.data.as_ref(), 0)
        .map_err(|e| indexfile::IoError::new("open", &place.data_path, e.into()))?;
    Ok(Spool::from_fd(fd, place.data_path.clone()))
}

/// The message file of a record, which must have the record's size; `None` if it is gone and may
/// be.
fn look(spool: &Spool, want: &Want) -> Result<Option<FileStat>, Refusal> {
    let stat = match spool.stat(want.uid) {
        Err(MessageError::Missing { .. }) if want.may_be_gone => return Ok(None),
        stat => stat.map_err(|e| of_uid(want.uid, e))?,
    };
    check_size(spool, want.uid, stat.size, want.size)?;
    Ok(Some(stat))
}

fn check_size(spool: &Spool, uid: u32, on_disk: u64, record: u64) -> Result<(), Refusal> {
    if on_disk == record {
        return Ok(());
    }
    let path = spool.path_of(uid);
    let text = format!(
        "UID {uid}: {} has {on_disk} bytes, its record says {record}",
        path.display()
    );
    Err(Refusal::new(Code::NoMessage, text))
}
