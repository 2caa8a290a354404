//! Whether the messages that were hashed before the locks were taken are still those.
//!
//! A GUID is written only if its message was looked at since it last could change. A look at each
//! message of a giant mailbox takes too long under the locks, so it is taken just before. Under the
//! locks only those are looked at again that changed since: the kernel names them
//! ([`super::watch`]). The directory's times, which change with every name that is made, removed or
//! replaced, must agree with what it says. Where they do not, and where nothing could be watched,
//! all messages are looked at again. In a mailbox of up to [`ALWAYS`] messages all are in any case.
//!
//! What goes unnoticed in a larger mailbox, in the milliseconds between the last look and the
//! locks, is a message that is written in place through another name (hard link), through a
//! writable mapping, or by another host of a network file system. No mail server does any of it.

use std::collections::BTreeSet;
use std::time::Duration;

use indexfile::IoContext as _;
use precompute::message::Spool;
use rustix::time::{ClockId, clock_gettime};

use super::found::Found;
use super::mark;
use super::watch::{Changes, Watch};
use crate::fs::FileId;
use crate::refusal::Refusal;
use crate::store::Place;

/// So many messages are all looked at under the locks: that takes a millisecond or two.
pub const ALWAYS: usize = 2000;

const SECOND: i64 = 1_000_000_000;
/// The longest tick of the clock that files get their times from (`CONFIG_HZ=100`), twice;
/// nanoseconds.
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

/// The directory of the messages from a moment on.
#[derive(Debug)]
pub struct Since {
    look: DirLook,
    /// `None` in a small mailbox, and where nothing can be watched.
    watch: Option<Watch>,
}

/// Which messages have to be looked at again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Again {
    /// All of them.
    All,
    /// These. None of the others can have changed.
    These(BTreeSet<u32>),
}

impl Since {
    /// From now on, in a mailbox of so many messages: to be called before they are looked at.
    ///
    /// # Errors
    /// The system's.
    pub fn now(place: &Place, messages: usize) -> Result<Since, Refusal> {
        let large = messages > ALWAYS;
        // The watch first: what happens between the two is noticed by both.
        let watch = if large {
            Watch::begin(&place.data)
        } else {
            None
        };
        let look = DirLook::before_looks(place, large)?;
        Ok(Since { look, watch })
    }

    /// Which of so many messages have to be looked at again.
    ///
    /// # Errors
    /// The system's.
    pub fn again(&self, place: &Place, messages: usize) -> Result<Again, Refusal> {
        if messages <= ALWAYS {
            return Ok(Again::All);
        }
        let now = DirLook::now(place)?;
        // After the look: a change that the look shows has been noted by then.
        let changes = self.watch.as_ref().and_then(Watch::changes);
        Ok(decide(
            self.look.proves(&now),
            self.watch.is_some(),
            changes,
        ))
    }
}

/// `proven`: by its times no name in the directory was made, removed or replaced.
/// `changes`: what was noted, if it was `watched` and could be told one by one.
fn decide(proven: bool, watched: bool, changes: Option<Changes>) -> Again {
    match changes {
        None if proven && !watched => Again::These(BTreeSet::new()),
        Some(changes) if proven || changes.names => Again::These(changes.uids),
        // Something was done that nobody noted, or more than can be told one by one.
        _ => Again::All,
    }
}

/// Looks at the messages again that were found, all or some, forgets those that are not what they
/// were, and returns their UIDs.
///
/// # Errors
/// What was found cannot be read back.
pub fn look_again(
    found: &mut Found,
    spool: &Spool,
    which: &Again,
) -> Result<BTreeSet<u32>, Refusal> {
    let mut changed = BTreeSet::new();
    let mut look = |uid, file| {
        // One that is gone, or cannot be looked at, is missed when a record of it is: then it is
        // said why.
        let now = spool.stat(uid).ok();
        let now = now.map(|now| mark::of_file(now.device, now.size, &now.stamp));
        if now != Some(file) {
            changed.insert(uid);
        }
    };
    match which {
        Again::All => found.each(look)?,
        Again::These(uids) => {
            for uid in uids {
                if let Some(known) = found.get(*uid)? {
                    look(*uid, known.file);
                }
            }
        }
    }
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

    #[test]
    fn what_the_times_show_and_nobody_noted_means_all() {
        let noted = |names, uids: &[u32]| {
            let uids = uids.iter().copied().collect();
            Some(Changes { uids, names })
        };
        let these = |uids: &[u32]| Again::These(uids.iter().copied().collect());
        assert_eq!(decide(true, false, None), these(&[]));
        assert_eq!(decide(true, true, noted(false, &[7])), these(&[7]));
        assert_eq!(decide(false, true, noted(true, &[7, 8])), these(&[7, 8]));
        let strangers = noted(true, &[]);
        assert_eq!(decide(false, true, strangers), these(&[]));
        assert_eq!(decide(false, true, noted(false, &[])), Again::All);
        assert_eq!(decide(false, true, noted(false, &[7])), Again::All);
        assert_eq!(decide(false, false, None), Again::All);
        assert_eq!(decide(true, true, None), Again::All, "too much to tell");
        assert_eq!(decide(false, true, None), Again::All);
    }
}
