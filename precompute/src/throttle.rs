//! Reading messages within the limits of a run: what the pass, the scrub and the verification have
//! in common. Only reads.

use std::time::Duration;

use indexfile::Guid;

use crate::governor::Governor;
use crate::hash::lanes::Lanes;
use crate::links::Links;
use crate::message::{Admission, FileStat, Gate, Hashed, Hasher, MessageError, Spool};

/// [`Throttle::count`] is called after this many messages,
const BATCH: u64 = 16;
/// or this many bytes.
const BATCH_BYTES: u64 = 1 << 20;

/// Messages that were read, or need not be.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReadCounts {
    /// Messages read and hashed.
    pub hashed: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Further names of a file hashed already.
    pub linked: u64,
}

/// How to read.
#[derive(Clone, Copy)]
pub struct Throttle<'a> {
    /// Stop, pause and rate.
    pub governor: &'a Governor,
    /// Files with several names; `None`: each name is read.
    pub links: Option<&'a Links>,
    /// One look at a message may be enough ([`crate::message::single_stat`]).
    pub single_stat: bool,
    /// Takes what was counted since the last call.
    pub count: &'a dyn Fn(ReadCounts),
}

impl Throttle<'_> {
    /// Hashes `uids` and gives each to `sink`; those not begun before a stop are left out.
    pub fn hash(
        self,
        spool: &Spool,
        mut uids: Vec<u32>,
        lanes: &mut Lanes,
        mut sink: impl FnMut(u32, Result<Hashed, MessageError>),
    ) {
        while !uids.is_empty() && !self.governor.stopped() {
            let gate = Counting {
                throttle: self,
                counts: ReadCounts::default(),
            };
            uids = Hasher::new(spool, uids.into_iter(), &mut sink, gate).run(lanes);
            if let (Some(links), false) = (self.links, uids.is_empty()) {
                // Another thread reads these under another name. No file of this thread is open
                // now, so two threads cannot wait for each other.
                links.wait(Duration::from_millis(50));
            }
        }
    }
}

struct Counting<'a> {
    throttle: Throttle<'a>,
    counts: ReadCounts,
}

impl Drop for Counting<'_> {
    fn drop(&mut self) {
        (self.throttle.count)(self.counts);
    }
}

impl Gate for Counting<'_> {
    fn go_on(&mut self) -> bool {
        self.throttle.governor.go_on()
    }

    fn read(&mut self, bytes: u64) -> bool {
        self.throttle.governor.admit(bytes)
    }

    fn single_stat(&mut self) -> bool {
        // A limit on reading needs the size first; a further name of a file that is known need not
        // be read at all.
        let Throttle {
            governor,
            links,
            single_stat,
            ..
        } = self.throttle;
        single_stat && !governor.limited() && !links.is_some_and(Links::met)
    }

    fn opened(&mut self, _uid: u32, stat: &FileStat) -> Admission {
        let links = self.throttle.links;
        let opened = links.map_or(Admission::Read, |links| links.opened(stat));
        self.counts.linked += u64::from(matches!(opened, Admission::Known(_)));
        opened
    }

    fn closed(&mut self, stat: &FileStat, guid: Option<Guid>) {
        if let Some(links) = self.throttle.links {
            links.closed(stat, guid);
        }
        if guid.is_some() {
            self.counts.hashed += 1;
            self.counts.bytes = self.counts.bytes.saturating_add(stat.size);
            if self.counts.hashed >= BATCH || self.counts.bytes >= BATCH_BYTES {
                (self.throttle.count)(std::mem::take(&mut self.counts));
            }
        }
    }
}
