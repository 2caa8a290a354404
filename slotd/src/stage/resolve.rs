//! From old-style records to GUIDs: caches first, then the messages themselves, all or nothing.

use std::sync::atomic::{AtomicBool, Ordering};

use indexfile::{Guid, ReadError};
use precompute::hash::Kernel;
use precompute::hash::lanes::Lanes;
use precompute::message::{Gate, Hashed, Hasher, MessageError, Spool};

use super::Sources;
use crate::protocol::Code;
use crate::refusal::Refusal;
use crate::store::Place;

/// A message whose GUID is needed: UID and the size that the record has, bytes.
pub type Want = (u32, u64);

/// Where GUIDs came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resolved {
    /// Taken from a cache.
    pub cached: u32,
    /// Computed from the message.
    pub hashed: u32,
}

/// Messages that are looked for at a time.
const BATCH: usize = 8192;

/// Stops hashing when nobody wants the result any more.
#[derive(Debug)]
pub struct Until<'a>(pub &'a AtomicBool);

impl Gate for Until<'_> {
    fn go_on(&mut self) -> bool {
        !self.0.load(Ordering::Relaxed)
    }
}

/// Finds a GUID for every message that is wanted, and gives each, with its size, to `found`, in the same order. `wanted` comes in
/// ascending order of UIDs; a UID that comes twice, of both files, is one message.
///
/// # Errors
/// [`Code::NoMessage`] names the first message that is missing or has another size than its record; other codes
/// for other reasons. What `found` got by then is of no use.
pub fn resolve(
    place: &Place,
    wanted: impl Iterator<Item = Result<Want, ReadError>>,
    sources: &Sources<'_>,
    cancel: &AtomicBool,
    mut found: impl FnMut(u32, u64, &Guid) -> Result<(), Refusal>,
) -> Result<Resolved, Refusal> {
    let mut resolved = Resolved::default();
    let mut spool = None;
    let mut batch: Vec<Want> = Vec::new();
    let mut wanted = wanted.peekable();
    while let Some(want) = wanted.next() {
        let (uid, size) = want?;
        match batch.last() {
            Some((last, other)) if *last == uid && *other != size => {
                let text = format!(
                    "the records of UID {uid} in index and expunge disagree about its size"
                );
                return Err(Refusal::new(Code::Damaged, text));
            }
            Some((last, _)) if *last == uid => {}
            _ => batch.push((uid, size)),
        }
        // The same UID is not torn apart.
        let next = wanted.peek().and_then(|next| next.as_ref().ok());
        let go_on = next.is_some_and(|(next, _)| *next == uid || batch.len() < BATCH);
        if !go_on {
            let spool = match &spool {
                Some(spool) => spool,
                None => spool.insert(self::spool(place)?),
            };
            let guids = some(spool, &batch, sources, cancel, &mut resolved)?;
            for ((uid, size), guid) in batch.drain(..).zip(guids) {
                found(uid, size, &guid)?;
            }
        }
    }
    Ok(resolved)
}

/// The GUIDs of some messages, one for each.
fn some(
    spool: &Spool,
    wanted: &[Want],
    sources: &Sources<'_>,
    cancel: &AtomicBool,
    resolved: &mut Resolved,
) -> Result<Vec<Guid>, Refusal> {
    let mut guids = vec![Guid::NULL; wanted.len()];
    // Positions in `wanted`.
    let mut to_hash = Vec::new();
    for (at, (uid, size)) in wanted.iter().enumerate() {
        match from_caches(spool, *uid, *size, sources)? {
            Some(guid) => {
                guids[at] = guid;
                resolved.cached += 1;
            }
            None => to_hash.push(at),
        }
        if cancel.load(Ordering::Relaxed) {
            return Err(Refusal::new(
                Code::Expired,
                "stopped before all messages were looked at",
            ));
        }
    }
    if to_hash.is_empty() {
        return Ok(guids);
    }
    let mut first_error: Option<(u32, MessageError)> = None;
    let mut lanes = Lanes::new(Kernel::detect());
    let mut hashes: Vec<(u32, Hashed)> = Vec::with_capacity(to_hash.len());
    let sink = |uid, result| match result {
        Ok(hashed) => hashes.push((uid, hashed)),
        Err(error) => {
            if first_error.as_ref().is_none_or(|(first, _)| uid < *first) {
                first_error = Some((uid, error));
            }
        }
    };
    let uids = to_hash.iter().map(|at| wanted[*at].0);
    Hasher::new(spool, uids, sink, Until(cancel)).run(&mut lanes);
    if let Some((uid, error)) = first_error {
        let refusal = Refusal::from(error);
        return Err(Refusal::new(
            refusal.code,
            format!("UID {uid}: {}", refusal.text),
        ));
    }
    if hashes.len() != to_hash.len() {
        return Err(Refusal::new(
            Code::Expired,
            "stopped before all messages were read",
        ));
    }
    hashes.sort_unstable_by_key(|(uid, _)| *uid);
    for (at, (uid, hashed)) in to_hash.into_iter().zip(hashes) {
        check_size(spool, uid, hashed.size, wanted[at].1)?;
        guids[at] = hashed.guid;
        resolved.hashed += 1;
    }
    Ok(guids)
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

fn from_caches(
    spool: &Spool,
    uid: u32,
    size: u64,
    sources: &Sources<'_>,
) -> Result<Option<Guid>, Refusal> {
    let local = sources.local.and_then(|c| c.get(uid));
    let fetched = sources
        .fetched
        .and_then(|c| c.get(uid))
        .filter(|e| e.size == size);
    if local.is_none() && fetched.is_none() {
        return Ok(None);
    }
    let stat = spool.stat(uid).map_err(|error| {
        let refusal = Refusal::from(error);
        Refusal::new(refusal.code, format!("UID {uid}: {}", refusal.text))
    })?;
    check_size(spool, uid, stat.size, size)?;
    let local = local.filter(|e| e.still_same(&stat.stamp, stat.size));
    Ok(local.or(fetched).map(|e| e.guid))
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
