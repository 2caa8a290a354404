//! How many threads, and how many open files each, the limit on descriptors has room for.
//!
//! Running out of descriptors would make findings of sound messages. So a pass takes fewer threads, and each opens
//! fewer messages ahead, where the limit is low. Pure arithmetic but for asking for the limit.

use rustix::process::{Resource, getrlimit};

use crate::hash::MAX_LANES;

/// Messages that a thread opens ahead where there is room; and so many wait to be closed.
const AHEAD: usize = 16;
/// For what threads do not have: standard streams, caches that wait to be placed, a walk through the tree.
const APART: usize = 128;
/// A thread's own but for messages: directories, an index, a cache.
const OWN: usize = 4;

/// What there is room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Threads.
    pub jobs: usize,
    /// Messages that each opens ahead.
    pub ahead: usize,
}

impl Room {
    /// For at most `jobs` threads in this process.
    #[must_use]
    pub fn for_jobs(jobs: usize) -> Self {
        let limit = getrlimit(Resource::Nofile).current;
        Self::within(
            limit.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX)),
            jobs,
        )
    }

    fn within(limit: usize, jobs: usize) -> Self {
        let least = MAX_LANES + 2 + OWN;
        let usable = limit.saturating_sub(APART);
        let jobs = jobs.min(usable / least).max(1);
        let each = (usable / jobs).saturating_sub(MAX_LANES + OWN);
        Self {
            jobs,
            ahead: (each / 2).clamp(1, AHEAD),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_limit_is_exceeded_and_where_there_is_room_nothing_is_given_up() {
        for limit in (0..5_000).step_by(7) {
            for jobs in [1, 2, 16, 32, 64, 256, 1024] {
                let room = Room::within(limit, jobs);
                assert!(room.jobs >= 1 && room.jobs <= jobs && room.ahead >= 1);
                let used = room.jobs * (MAX_LANES + OWN + 2 * room.ahead) + APART;
                assert!(used <= limit || room.jobs == 1, "{limit} {jobs} {room:?}");
            }
        }
        let room = |limit, jobs| {
            let Room { jobs, ahead } = Room::within(limit, jobs);
            (jobs, ahead)
        };
        assert_eq!(room(1024, 32), (32, 10), "the usual limit");
        assert_eq!(room(4096, 32), (32, 16));
        assert_eq!(room(usize::MAX, 1024), (1024, 16));
        assert_eq!(room(256, 32), (12, 1));
    }
}
