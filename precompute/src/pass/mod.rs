//! The parallel pass: every wanted message hashed once, every cache brought up to date.
//!
//! Memory is flat: few mailboxes are open at a time, each with a bounded number of chunks, and a
//! thread has one set of buffers.
//!
//! What a crash at any moment leaves: each `cyrus.sha1s` whole, old or new, with at most
//! [`Options::checkpoint`] of the work missing. Running again yields the very bytes that an
//! undisturbed run would have written. No lock of Cyrus's is taken and no other file is changed.

mod hashing;
mod job;
mod rows;
mod unchanged;
mod wanted;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use serde::Serialize;

pub(crate) use rows::Rows;
pub use wanted::{Want, Wanted};

use crate::governor::Governor;
use crate::hash::Kernel;
use crate::links::Links;
use crate::store::{Step, Target};
use crate::worker_pool::{self, Limits, PoolError, default_jobs};
use indexfile::finding::Finding;
use job::Job;

/// With this many mailboxes that have more chunks to give no further one is opened. Each may take
/// some 5 MiB of memory.
const OPEN: usize = 4;

/// How to run a pass.
#[derive(Clone, Debug)]
pub struct Options {
    /// Hash also messages whose record has a GUID that is not old-style.
    pub all_messages: bool,
    /// Look also at messages that still have the name and the inode number that the old cache has.
    pub look_at_all: bool,
    /// Threads, at most.
    pub jobs: usize,
    /// How much work a crash may lose.
    pub checkpoint: Duration,
    /// The hashing kernel.
    pub kernel: Kernel,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            all_messages: false,
            look_at_all: false,
            jobs: default_jobs(),
            checkpoint: Duration::from_secs(30),
            kernel: Kernel::detect(),
        }
    }
}

/// What a pass did.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    /// Mailboxes opened.
    pub mailboxes: u64,
    /// Messages that needed a SHA-1.
    pub messages: u64,
    /// Messages read and hashed.
    pub hashed: u64,
    /// Messages that the cache had and whose file is unchanged.
    pub cached: u64,
    /// Of these, how many were known by name and inode number, of which only a sample was looked
    /// at.
    pub trusted: u64,
    /// Messages that are further names of a file hashed already.
    pub linked: u64,
    /// Bytes hashed.
    pub bytes: u64,
    /// Findings.
    pub errors: u64,
    /// How long it took.
    pub seconds: f64,
    /// It was stopped before all was done.
    pub stopped: bool,
}

/// Receives what a pass does; called from all its threads.
pub trait Observer: Sync {
    /// Something is wrong with a mailbox or message.
    fn finding(&self, finding: Finding);
    /// This many messages of this partition were finished and bytes read.
    fn progress(&self, partition: &str, messages: u64, bytes: u64) {
        let _ = (partition, messages, bytes);
    }
}

enum Task {
    /// Open this mailbox and work on it.
    Mailbox(Step),
    /// Help with one that has more chunks.
    Chunks(Arc<Job>),
}

struct Pass<'a> {
    options: &'a Options,
    governor: &'a Governor,
    observer: &'a dyn Observer,
    links: Links,
    totals: Mutex<Summary>,
    /// See [`unchanged`]; another number each run.
    sample_seed: usize,
    /// Mailboxes in progress, for checkpoints.
    jobs: Mutex<Vec<Arc<Job>>>,
}

impl Pass<'_> {
    fn report(&self, finding: Finding) {
        self.totals.lock().errors += 1;
        self.observer.finding(finding);
    }

    fn progress(&self, target: &Target, messages: u64, bytes: u64) {
        let partition = &target.partition;
        self.observer.progress(partition, messages, bytes);
    }

    fn checkpoint(&self, interval: Duration) {
        let jobs = self.jobs.lock().clone();
        for job in jobs {
            if let Some(finding) = job.checkpoint(interval) {
                self.report(finding);
            }
        }
    }
}

/// Brings the caches of all mailboxes that `steps` yields up to date.
///
/// Ends early, with everything done so far on disk, when `governor` says stop.
///
/// # Errors
/// Only if the threads cannot be started; what is wrong with mailboxes goes to `observer`.
pub fn run(
    steps: impl Iterator<Item = Step> + Send,
    options: &Options,
    governor: &Governor,
    observer: &dyn Observer,
) -> Result<Summary, PoolError> {
    let start = Instant::now();
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let pass = Pass {
        options,
        governor,
        observer,
        links: Links::default(),
        totals: Mutex::default(),
        sample_seed: now.map_or(0, |now| now.subsec_micros() as usize),
        jobs: Mutex::default(),
    };
    let limits = Limits {
        threads: options.jobs,
        source_first: OPEN - 1,
        delay: Duration::ZERO,
        kernel: options.kernel,
    };
    let every = Duration::from_secs(1).min(options.checkpoint);
    let mut checked = start;
    let mut checkpoints = || {
        if checked.elapsed() >= every {
            pass.checkpoint(options.checkpoint);
            checked = Instant::now();
        }
    };
    let tasks = steps.map(Task::Mailbox);
    let work = |task, pool: &_, lanes: &mut _| pass.work(task, pool, lanes);
    worker_pool::run(tasks, limits, governor, &work, &mut checkpoints)?;
    // Only a run that was stopped has mailboxes left here.
    pass.checkpoint(Duration::ZERO);
    Ok(Summary {
        seconds: start.elapsed().as_secs_f64(),
        stopped: governor.stopped(),
        ..pass.totals.into_inner()
    })
}
