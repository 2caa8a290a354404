//! From old-style records to GUIDs: caches first, then the messages themselves, all or nothing.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use indexfile::{Guid, ReadError, Record};
use precompute::hash::Kernel;
use precompute::hash::lanes::Lanes;
use precompute::message::{Gate, Hashed, Hasher, MessageError, Spool};

use super::Sources;
use crate::protocol::Code;
use crate::refusal::Refusal;
use crate::store::Place;

/// The messages whose GUIDs are needed: UID and the size that the record has.
#[derive(Debug, Default)]
pub struct Wanted {
    sizes: HashMap<u32, u64>,
    /// Two records of one UID that disagree about the size: one of them is wrong.
    clash: Option<u32>,
}

impl Wanted {
    /// Of these records.
    ///
    /// # Errors
    /// One cannot be read.
    pub fn of<'a>(
        records: impl Iterator<Item = Result<Record<'a>, ReadError>>,
    ) -> Result<Wanted, ReadError> {
        let mut wanted = Wanted::default();
        for record in records {
            let record = record?;
            let size = record.size();
            if wanted
                .sizes
                .insert(record.uid(), size)
                .is_some_and(|other| other != size)
            {
                wanted.clash.get_or_insert(record.uid());
            }
        }
        Ok(wanted)
    }

    /// How many messages.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sizes.len()
    }

    /// None.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sizes.is_empty()
    }
}

/// GUIDs by UID, and where they came from.
#[derive(Debug, Default)]
pub struct Resolved {
    /// Size and GUID: one for each message that was wanted.
    pub guids: HashMap<u32, (u64, Guid)>,
    /// Taken from a cache.
    pub cached: u32,
    /// Computed from the message.
    pub hashed: u32,
}

/// Stops hashing when nobody wants the result any more.
#[derive(Debug)]
pub struct Until<'a>(pub &'a AtomicBool);

impl Gate for Until<'_> {
    fn go_on(&mut self) -> bool {
        !self.0.load(Ordering::Relaxed)
    }
}

/// Finds a GUID for every message that is wanted.
///
/// # Errors
/// [`Code::NoMessage`] names the first message that is missing or has another size than its record; other codes
/// for other reasons. Never a part of the answer.
pub fn resolve(
    place: &Place,
    wanted: &Wanted,
    sources: &Sources<'_>,
    cancel: &AtomicBool,
) -> Result<Resolved, Refusal> {
    let mut resolved = Resolved::default();
    if wanted.is_empty() {
        return Ok(resolved);
    }
    if let Some(uid) = wanted.clash {
        let text = format!("the records of UID {uid} in index and expunge disagree about its size");
        return Err(Refusal::new(Code::Damaged, text));
    }
    let spool = spool(place)?;
    let mut uids: Vec<u32> = wanted.sizes.keys().copied().collect();
    uids.sort_unstable();
    let mut to_hash = Vec::new();
    for uid in uids {
        let size = wanted.sizes[&uid];
        match from_caches(&spool, uid, size, sources)? {
            Some(guid) => {
                resolved.guids.insert(uid, (size, guid));
                resolved.cached += 1;
            }
            None => to_hash.push(uid),
        }
        if cancel.load(Ordering::Relaxed) {
            return Err(Refusal::new(
                Code::Expired,
                "stopped before all messages were looked at",
            ));
        }
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
    Hasher::new(&spool, to_hash.iter().copied(), sink, Until(cancel)).run(&mut lanes);
    if let Some((uid, error)) = first_error {
        let refusal = Refusal::from(error);
        return Err(Refusal::new(
            refusal.code,
            format!("UID {uid}: {}", refusal.text),
        ));
    }
    for (uid, hashed) in hashes {
        check_size(&spool, uid, hashed.size, wanted.sizes[&uid])?;
        resolved.guids.insert(uid, (hashed.size, hashed.guid));
        resolved.hashed += 1;
    }
    if resolved.guids.len() != wanted.len() {
        return Err(Refusal::new(
            Code::Expired,
            "stopped before all messages were read",
        ));
    }
    Ok(resolved)
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
