//! Cached entries against the message files: everything is read and hashed again.
//!
//! An entry whose file has changed since (stamp or size differ) or is gone is stale: no harm, it
//! will not be used. An entry whose file is unchanged and has another SHA-1 is wrong, which means
//! that either the cache or the message has rotted. Nothing is written.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::Serialize;

use crate::cache::{self, Cache, CacheError, Entry, Found};
use crate::governor::Governor;
use crate::hash::Kernel;
use crate::hash::lanes::Lanes;
use crate::mailbox::{Mailbox, Opened, cache_finding};
use crate::message::{Hashed, MessageError};
use crate::pass::Observer;
use crate::store::Step;
use crate::throttle::{ReadCounts, Throttle};
use crate::worker_pool::{self, Limits, PoolError};
use indexfile::finding::{Code, Finding};

/// How many entries a thread takes at a time.
const CHUNK: usize = 256;

/// What was verified.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    /// Mailboxes opened.
    pub mailboxes: u64,
    /// Mailboxes that have a cache of their own.
    pub caches: u64,
    /// Entries looked at.
    pub entries: u64,
    /// Entries that are the SHA-1 of their unchanged file.
    pub right: u64,
    /// Entries whose file has changed or is gone.
    pub stale: u64,
    /// Entries that are not the SHA-1 of their unchanged file.
    pub wrong: u64,
    /// Bytes read.
    pub bytes: u64,
    /// How long it took.
    pub seconds: f64,
    /// It was stopped before all was done.
    pub stopped: bool,
}

/// Verifies the caches of all mailboxes that `steps` yields, on at most `jobs` threads.
///
/// # Errors
/// Only if the threads cannot be started; what is wrong goes to `observer`.
pub fn run(
    steps: impl Iterator<Item = Step> + Send,
    jobs: usize,
    governor: &Governor,
    observer: &dyn Observer,
) -> Result<Summary, PoolError> {
    let start = Instant::now();
    let totals = Mutex::new(Summary::default());
    let chunks = steps
        .filter_map(|step| open(step, &totals, observer))
        .flat_map(|open| chunks(open, observer));
    let work = |(open, entries): (Arc<Open>, Vec<Entry>), _: &_, lanes: &mut _| {
        verify(&open, &entries, lanes, &totals, governor, observer);
    };
    let limits = Limits {
        threads: jobs,
        source_first: 0,
        delay: Duration::ZERO,
        kernel: Kernel::detect(),
    };
    worker_pool::run(chunks, limits, governor, &work, &mut || {})?;
    Ok(Summary {
        seconds: start.elapsed().as_secs_f64(),
        stopped: governor.stopped(),
        ..totals.into_inner()
    })
}

struct Open {
    mailbox: Mailbox,
    cache: Cache,
}

fn open(step: Step, totals: &Mutex<Summary>, observer: &dyn Observer) -> Option<Arc<Open>> {
    let mailbox = match step.and_then(Mailbox::open) {
        Ok(Opened::Mailbox(mailbox, finding)) => {
            if let Some(finding) = finding {
                observer.finding(finding);
            }
            *mailbox
        }
        Ok(Opened::Vanished) => return None,
        Err(finding) => {
            observer.finding(finding);
            return None;
        }
    };
    totals.lock().mailboxes += 1;
    match mailbox.cache() {
        Ok(Found::Good(cache)) => {
            totals.lock().caches += 1;
            Some(Arc::new(Open { mailbox, cache }))
        }
        Ok(Found::Absent | Found::Foreign) => None,
        Ok(Found::Damaged(error)) => {
            let name = &mailbox.target.mailbox;
            let path = mailbox.index_dir().path_of(cache::FILE_NAME);
            observer.finding(Finding::new(name, Code::WrongEntry, path, &error));
            None
        }
        Err(error) => {
            observer.finding(cache_finding(&mailbox.target, &error));
            None
        }
    }
}

fn chunks(
    open: Arc<Open>,
    observer: &dyn Observer,
) -> impl Iterator<Item = (Arc<Open>, Vec<Entry>)> {
    let mut next = 0;
    std::iter::from_fn(move || {
        let some = open.cache.iter().skip(next).take(CHUNK);
        let entries = some.collect::<Result<Vec<Entry>, CacheError>>();
        let entries = entries.unwrap_or_else(|error| {
            let (name, path) = (&open.mailbox.target.mailbox, open.cache.path().to_owned());
            observer.finding(Finding::new(name, Code::WrongEntry, path, &error));
            Vec::new()
        });
        next += entries.len();
        (!entries.is_empty()).then(|| (Arc::clone(&open), entries))
    })
}

fn verify(
    open: &Open,
    entries: &[Entry],
    lanes: &mut Lanes,
    totals: &Mutex<Summary>,
    governor: &Governor,
    observer: &dyn Observer,
) {
    let by_uid: HashMap<u32, &Entry> = entries.iter().map(|entry| (entry.uid, entry)).collect();
    let name = &open.mailbox.target.mailbox;
    let sink = |uid: u32, result: Result<Hashed, MessageError>| {
        let Some(entry) = by_uid.get(&uid) else {
            return;
        };
        totals.lock().entries += 1;
        match result {
            Ok(now) if !entry.still_same(&now.stamp, now.size) => totals.lock().stale += 1,
            Ok(now) if now.guid == entry.guid => totals.lock().right += 1,
            Ok(now) => {
                totals.lock().wrong += 1;
                let path = open.mailbox.spool.path_of(uid);
                let why = format!(
                    "{}: the cache has {}, the unchanged file gives {}",
                    path.display(),
                    entry.guid,
                    now.guid
                );
                observer.finding(Finding::new(name, Code::WrongEntry, path, &why));
            }
            Err(MessageError::Missing { .. }) => totals.lock().stale += 1,
            Err(error) => observer.finding(error.finding(name)),
        }
    };
    let throttle = Throttle {
        governor,
        links: None,
        single_stat: false,
        count: &|counts: ReadCounts| totals.lock().bytes += counts.bytes,
    };
    // What is another file by now, and may be as long as can be, is not read.
    let stale = |entry: &&Entry| {
        let now = open.mailbox.spool.stat(entry.uid);
        now.is_ok_and(|now| !entry.still_same(&now.stamp, now.size))
    };
    let (stale, same): (Vec<&Entry>, Vec<&Entry>) = entries.iter().partition(stale);
    let stale = stale.len() as u64;
    {
        let mut totals = totals.lock();
        totals.entries += stale;
        totals.stale += stale;
    }
    let uids = same.iter().map(|entry| entry.uid).collect();
    throttle.hash(&open.mailbox.spool, uids, lanes, sink);
}
