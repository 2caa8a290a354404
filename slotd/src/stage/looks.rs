//! Whether the messages that were hashed before the locks were taken are still those.
//!
//! A GUID is written only if its message was looked at since it last could change. A look at each message of a giant mailbox
//! takes too long under the locks, so it is taken just before, and under the locks the directory of the messages tells
//! whether a name in it was made, removed or replaced meanwhile: each of these sets its times. Then all messages are looked at again
//! after all. In a mailbox of up to [`ALWAYS`] messages they are in any case.
//!
//! What the directory does not tell is a file that is written over in place, in a larger mailbox, between the last look
//! and the locks: some milliseconds. No mail server does that; `cp` over a message may, and so may who writes through
//! another name (hard link) of the file.

use std::collections::BTreeSet;
use std::time::Duration;

use indexfile::IoContext as _;
use precompute::message::Spool;
use rustix::time::{ClockId, clock_gettime};

use super::found::Found;
use super::mark;
use crate::fs::FileId;
use crate::refusal::Refusal;
use crate::store::Place;

/// So many messages are all looked at under the locks: that takes a millisecond or two.
pub const ALWAYS: usize = 2000;

const SECOND: i64 = 1_000_000_000;
/// The longest tick of the clock that files get their times from (`CONFIG_HZ=100`), twice; nanoseconds.
const TICK: i64 = 20_000_000;

/// What the directory of the messages looked like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirLook {
    id: FileId,
    /// Nanoseconds since 1970.
    modified: i64,
    changed: i64,
    /// It had not changed in the same tick of the clock: another change will look different.
    settled: bool,
}

impl DirLook {
    /// Now.
    ///
    /// # Errors
    /// The system's.
    pub fn now(place: &Place) -> Result<DirLook, Refusal> {
        let stat = rustix::fs::fstat(&*place.data).map_err(std::io::Error::from);
        let stat = stat.io_context("look at", &place.data_path)?;
        let time = |seconds: i64, nanos: i64| seconds.saturating_mul(SECOND).saturating_add(nanos);
        let nanos = |n| i64::try_from(n).unwrap_or_default();
        let modified = time(stat.st_mtime, nanos(stat.st_mtime_nsec));
        let changed = time(stat.st_ctime, nanos(stat.st_ctime_nsec));
        let now = clock_gettime(ClockId::Realtime);
        let age = time(now.tv_sec, now.tv_nsec).saturating_sub(modified.max(changed));
        // Some file systems keep whole seconds only.
        let coarse = modified % SECOND == 0 && changed % SECOND == 0;
        let tick = if coarse { SECOND + TICK } else { TICK };
        Ok(DirLook {
            id: FileId::from(&stat),
            modified,
            changed,
            settled: age >= tick,
        })
    }

    /// The same, after a tick of the clock if it has just changed and `wait` allows that.
    ///
    /// # Errors
    /// The system's.
    pub fn before_looks(place: &Place, wait: bool) -> Result<DirLook, Refusal> {
        let look = DirLook::now(place)?;
        if look.settled || !wait {
            return Ok(look);
        }
        std::thread::sleep(Duration::from_nanos(TICK.unsigned_abs()));
        DirLook::now(place)
    }

    /// Whether no name in the directory can have been made, removed or replaced between the two.
    #[must_use]
    pub fn proves(&self, later: &DirLook) -> bool {
        self.settled
            && (self.id, self.modified, self.changed) == (later.id, later.modified, later.changed)
    }
}

/// Looks at all messages that were found, forgets those that are not what they were, and tells their UIDs.
///
/// # Errors
/// What was found cannot be read back.
pub fn look_again(found: &mut Found, spool: &Spool) -> Result<BTreeSet<u32>, Refusal> {
    let mut changed = BTreeSet::new();
    found.each(|uid, file| {
        // One that is gone, or cannot be looked at, is missed when a record of it is: then it is said why.
        let now = spool.stat(uid).ok();
        let now = now.map(|now| mark::of_file(now.device, now.size, &now.stamp));
        if now != Some(file) {
            changed.insert(uid);
        }
    })?;
    for uid in &changed {
        found.forget(*uid);
    }
    Ok(changed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(modified: i64, settled: bool) -> DirLook {
        DirLook {
            id: FileId { dev: 1, ino: 2 },
            modified,
            changed: modified,
            settled,
        }
    }

    #[test]
    fn a_directory_that_changed_in_the_tick_of_the_look_proves_nothing() {
        assert!(look(5, true).proves(&look(5, true)));
        assert!(!look(5, true).proves(&look(6, true)));
        assert!(!look(5, false).proves(&look(5, true)), "the racy case");
        let mut other = look(5, true);
        other.id.ino = 3;
        assert!(!look(5, true).proves(&other));
    }
}
