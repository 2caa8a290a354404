//! The locks of a mailbox on which nothing is open: what a crash left is settled first.
//!
//! `LOCK`, `CLEAN` and recovery itself come by here, so nobody sees a half-done rename. Settling
//! changes which files are live, so the locks are taken anew after each intent. Messages that have
//! to be read for it, and are more than may be read under the locks, are read between two attempts
//! and without locks. A crash leaves the intent open.

use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use super::files::{Read, read};
use super::{Settled, next_open, settle_next};
use crate::host::Host;
use crate::lock::{MailboxLocks, Patience};
use crate::protocol::Code;
use crate::refusal::Refusal;
use crate::store::Place;

/// How often messages are read before it is given up: each time because, when the locks were taken,
/// there were again too many that nobody had read.
const READS: u32 = 3;

/// What the locks of one mailbox may take.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// How long to wait for the locks, in all.
    pub wait: Duration,
    /// How long messages may be read before the locks; `None` is as long as it takes.
    pub read: Option<Duration>,
    /// Ends the waiting and the reading.
    pub cancel: &'a AtomicBool,
}

/// A mailbox's locks, and what was settled on the way.
#[derive(Debug)]
pub struct Settling {
    /// `None` if the mailbox is not there.
    pub locks: Option<MailboxLocks>,
    /// In order.
    pub settled: Vec<Settled>,
    /// How long other holders of the locks were waited for.
    pub waited: Duration,
}

/// Locks a mailbox on which nothing is open. `find` gives its directories, anew for each attempt.
///
/// # Errors
/// It cannot be locked; or what is open cannot be settled, and stays so. [`Code::Expired`] if there
/// is more to read for that than `attempt` allows.
pub fn lock_settled(
    host: &Host,
    find: impl Fn() -> Result<Option<Place>, Refusal>,
    attempt: Attempt<'_>,
) -> Result<Settling, Refusal> {
    let mut done = Settling {
        locks: None,
        settled: Vec::new(),
        waited: Duration::ZERO,
    };
    let mut reads = 0;
    let mut before: Option<Read> = None;
    loop {
        let Some(place) = find()? else {
            return Ok(done);
        };
        let patience = Patience {
            deadline: Instant::now() + attempt.wait.saturating_sub(done.waited),
            cancel: attempt.cancel,
        };
        let mut locks = host.lock(place.clone(), patience)?;
        done.waited += locks.waited();
        let Some(intent) = next_open(host, &locks) else {
            done.locks = Some(locks);
            return Ok(done);
        };
        let settled = settle_next(host, &mut locks, &intent, before.take());
        drop(locks);
        let may_read = reads < READS && attempt.read != Some(Duration::ZERO);
        let settled = match settled {
            Err(refusal) if refusal.code == Code::Expired && may_read => {
                reads += 1;
                let stop = attempt.read.map(|read| Instant::now() + read);
                read(&host.store, &place, &intent, stop, attempt.cancel)
                    .map(|read| before = Some(read))
            }
            settled => settled.map(|how| done.settled.push(how)),
        };
        settled.map_err(|refusal| {
            host.unsettled.add(place.mailbox.to_string());
            stays_open(refusal)
        })?;
    }
}

/// Says of what there was too much to read.
fn stays_open(refusal: Refusal) -> Refusal {
    if refusal.code != Code::Expired {
        return refusal;
    }
    let text = format!(
        "a rename that a crash cut short stays open, and is tried again: {}",
        refusal.text
    );
    Refusal::new(refusal.code, text)
}
