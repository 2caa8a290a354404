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
use precompute::nice;
use rustix::time::{ClockId, clock_gettime};

use super::found_guids::FoundGuids;
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

/// What stat says of the directory of the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirStat {
    id: FileId,
    /// Nanoseconds since 1970.
    modified: i64,
    changed: i64,
    /// It had not changed in the same tick of the clock: another change will look different.
    settled: bool,
}

impl DirStat {
    /// Now.
    ///
    /// # Errors
    /// The system's.
    pub fn now(place: &Place) -> Result<DirStat, Refusal> {
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
        Ok(DirStat {
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
    pub fn now_settled(place: &Place, wait: bool) -> Result<DirStat, Refusal> {
        let stat = DirStat::now(place)?;
        if stat.settled || !wait {
            return Ok(stat);
        }
        std::thread::sleep(Duration::from_nanos(TICK.unsigned_abs()));
        DirStat::now(place)
    }

    /// Whether no name in the directory can have been made, removed or replaced between the two.
    #[must_use]
    pub fn proves(&self, later: &DirStat) -> bool {
        self.settled
            && (self.id, self.modified, self.changed) == (later.id, later.modified, later.changed)
    }
}

/// Watches the directory of the messages from a moment on.
#[derive(Debug)]
pub struct MessageWatch {
    stat: DirStat,
    /// `None` in a small mailbox, and where nothing can be watched.
    watch: Option<Watch>,
}

/// Which messages have to be looked at again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recheck {
    /// All of them.
    All,
    /// These. None of the others can have changed.
    These(BTreeSet<u32>),
}

impl MessageWatch {
    /// From now on, in a mailbox of `messages` messages: to be called before they are read.
    ///
    /// # Errors
    /// The system's.
    pub fn begin(place: &Place, messages: usize) -> Result<MessageWatch, Refusal> {
        let large = messages > ALWAYS;
        // The watch first: what happens between the two is noticed by both.
        let watch = if large {
            Watch::begin(&place.data)
        } else {
            None
        };
        let stat = DirStat::now_settled(place, large)?;
        Ok(MessageWatch { stat, watch })
    }

    /// Whether all `messages` messages are looked at under the locks, and no name in their
    /// directory was made, removed or replaced since it began: then few can be left to be read.
    ///
    /// # Errors
    /// The system's.
    pub fn is_enough(&self, place: &Place, messages: usize) -> Result<bool, Refusal> {
        Ok(messages <= ALWAYS && self.stat.proves(&DirStat::now(place)?))
    }

    /// Which of the mailbox's `messages` messages have to be looked at again.
    ///
    /// # Errors
    /// The system's.
    pub fn to_recheck(&self, place: &Place, messages: usize) -> Result<Recheck, Refusal> {
        if messages <= ALWAYS {
            return Ok(Recheck::All);
        }
        let now = DirStat::now(place)?;
        // After the look: a change that the look shows has been noted by then.
        let changes = self.watch.as_ref().and_then(Watch::changes);
        Ok(decide(
            self.stat.proves(&now),
            self.watch.is_some(),
            changes,
        ))
    }
}

/// `proven`: by its times no name in the directory was made, removed or replaced.
/// `changes`: what was noted, if it was `watched` and the changes could be listed.
fn decide(proven: bool, watched: bool, changes: Option<Changes>) -> Recheck {
    match changes {
        None if proven && !watched => Recheck::These(BTreeSet::new()),
        Some(changes) if proven || changes.names => Recheck::These(changes.uids),
        // Something changed unnoticed, or too much to list.
        _ => Recheck::All,
    }
}

/// Looks at the messages again that were found, all or some, forgets those that are not what they
/// were, and returns their UIDs.
///
/// # Errors
/// What was found cannot be read back.
pub fn recheck(
    found: &mut FoundGuids,
    spool: &Spool,
    which: &Recheck,
) -> Result<BTreeSet<u32>, Refusal> {
    let mut changed = BTreeSet::new();
    let mut look = |uid, file| {
        nice::give_way();
        // One that is gone, or cannot be looked at, is missed when a record of it is: then it is
        // said why.
        let now = spool.stat(uid).ok();
        let now = now.map(|now| mark::of_file(now.device, now.size, &now.stamp));
        if now != Some(file) {
            changed.insert(uid);
        }
    };
    match which {
        Recheck::All => found.each(look)?,
        Recheck::These(uids) => {
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

    fn stat(modified: i64, settled: bool) -> DirStat {
        DirStat {
            id: FileId { dev: 1, ino: 2 },
            modified,
            changed: modified,
            settled,
        }
    }

    #[test]
    fn a_directory_that_changed_in_the_tick_of_the_look_proves_nothing() {
        assert!(stat(5, true).proves(&stat(5, true)));
        assert!(!stat(5, true).proves(&stat(6, true)));
        assert!(!stat(5, false).proves(&stat(5, true)), "the racy case");
        let mut other = stat(5, true);
        other.id.ino = 3;
        assert!(!stat(5, true).proves(&other));
    }

    #[test]
    fn what_the_times_show_and_nobody_noted_means_all() {
        let noted = |names, uids: &[u32]| {
            let uids = uids.iter().copied().collect();
            Some(Changes { uids, names })
        };
        let these = |uids: &[u32]| Recheck::These(uids.iter().copied().collect());
        assert_eq!(decide(true, false, None), these(&[]));
        assert_eq!(decide(true, true, noted(false, &[7])), these(&[7]));
        assert_eq!(decide(false, true, noted(true, &[7, 8])), these(&[7, 8]));
        let strangers = noted(true, &[]);
        assert_eq!(decide(false, true, strangers), these(&[]));
        assert_eq!(decide(false, true, noted(false, &[])), Recheck::All);
        assert_eq!(decide(false, true, noted(false, &[7])), Recheck::All);
        assert_eq!(decide(false, false, None), Recheck::All);
        assert_eq!(decide(true, true, None), Recheck::All, "too much to tell");
        assert_eq!(decide(false, true, None), Recheck::All);
    }
}
