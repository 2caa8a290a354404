//! The open directories of a mailbox's messages, and when they changed.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::AtFlags;

use crate::message::{MessageError, Spool};
use crate::store::{Place, Target};

/// The open message directories of a mailbox.
#[derive(Debug)]
pub(super) struct Spools {
    data: Option<Spool>,
    archive: Option<Spool>,
}

impl Spools {
    /// Opens those that are there; only a missing one is left out.
    pub(super) fn open(mailbox: &Target) -> Result<Self, MessageError> {
        let open = |place| match Spool::open(&mailbox.location(place).path()) {
            Ok(spool) => Ok(Some(spool)),
            Err(MessageError::NoSpool { .. }) => Ok(None),
            Err(error) => Err(error),
        };
        Ok(Self {
            data: open(Place::Data)?,
            archive: open(Place::Archive)?,
        })
    }

    pub(super) fn get(&self, place: Place) -> Option<&Spool> {
        match place {
            Place::Data => self.data.as_ref(),
            Place::Archive => self.archive.as_ref(),
        }
    }
}

/// When a directory last changed, ns since 1970.
pub(super) fn changed(spool: &Spool) -> Option<i64> {
    let stat = rustix::fs::statat(spool.dir(), c"", AtFlags::EMPTY_PATH).ok()?;
    let nanos = i64::try_from(stat.st_mtime_nsec).ok()?;
    stat.st_mtime.checked_mul(1_000_000_000)?.checked_add(nanos)
}

/// How long ago a time in ns since 1970 was; `None` if it is in the future.
pub(super) fn age(nanos: i64) -> Option<Duration> {
    let then = Duration::from_nanos(u64::try_from(nanos).ok()?);
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()?
        .checked_sub(then)
}
