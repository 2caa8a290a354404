//! The parallel pass: every wanted message of every mailbox hashed once, every cache brought up to date.
//!
//! [`run`] has threads of its own, more than cores where cold storage wants many requests in flight (see
//! [`crew`]). Memory is flat: a bounded queue of mailboxes, bounded windows of chunks, one
//! set of buffers a thread; indexes and caches are file mappings.
//!
//! What a crash at any moment leaves: each `cyrus.sha1s` whole, old or new, with at most
//! [`Options::checkpoint`] of the work missing. Running again yields the very bytes that an
//! undisturbed run would have written. No lock of Cyrus's is taken and no other file is changed.

mod chunk;
mod crew;
mod job;
mod known;
mod queue;
mod room;
mod rows;
mod waiting;
mod wanted;
mod worker;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::counter::Counter;
use crate::finding::Finding;
use crate::governor::Governor;
use crate::hash::Kernel;
use crate::links::Links;
use crate::targets::Target;
use crate::targets::walk::Step;
pub use wanted::{Want, Wanted};

use crew::{Crew, Meter};
use job::Job;
use queue::Queue;
use room::Room;
use waiting::{Group, PATIENCE, Waiting};

/// So often it is looked whether threads wait for storage: at first, as a small store is done in no time,
const FIRST_TICK: Duration = Duration::from_millis(5);
/// and later.
const LAST_TICK: Duration = Duration::from_millis(80);

/// How a pass is to be run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Hash also messages whose record has a GUID that is not old-style.
    pub all_messages: bool,
    /// Look also at messages that still have the name and the inode number that the old cache has.
    pub look_at_all: bool,
    /// Threads, at most: as many as cores begin, the others come when these wait for storage.
    pub jobs: usize,
    /// How much work may be lost in a crash.
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

/// Threads if nothing else is said: enough that cold storage has many requests in flight (the numbers
/// that were measured are in `docs/benchmarks.md`).
#[must_use]
pub fn default_jobs() -> usize {
    cores().saturating_mul(4).max(32)
}

fn cores() -> usize {
    // The system is asked once: it takes a dozen reads, and every command has this in its default.
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// Another number each run.
fn lot() -> usize {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.subsec_micros() as usize)
}

/// What a pass did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// Mailboxes opened.
    pub mailboxes: u64,
    /// Messages that needed a SHA-1.
    pub messages: u64,
    /// Messages read and hashed.
    pub hashed: u64,
    /// Messages that the cache had and whose file is unchanged.
    pub cached: u64,
    /// Of these, how many were known by name and inode number, of which only a sample was looked at.
    pub trusted: u64,
    /// Messages that are further names of a file hashed already.
    pub linked: u64,
    /// Bytes hashed.
    pub bytes: u64,
    /// Findings.
    pub errors: u64,
    /// How long it took.
    pub elapsed: Duration,
    /// It was stopped before all was done.
    pub stopped: bool,
}

/// Gets to know what a pass does while it does it; called from all its threads.
pub trait Observer: Sync {
    /// Something is wrong with a mailbox or message.
    fn finding(&self, finding: Finding);
    /// So many messages were finished and bytes read, in this partition.
    fn progress(&self, partition: &str, messages: u64, bytes: u64) {
        let _ = (partition, messages, bytes);
    }
}

/// The threads could not be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot start {jobs} threads: {source}")]
pub struct PoolError {
    jobs: usize,
    source: std::io::Error,
}

/// A pool of our own with `jobs` threads.
///
/// # Errors
/// If the system does not give us that many.
pub fn pool(jobs: usize) -> Result<rayon::ThreadPool, PoolError> {
    let jobs = jobs.max(1);
    rayon::ThreadPoolBuilder::new()
        .num_threads(jobs)
        .thread_name(|i| format!("precompute-{i}"))
        .build()
        .map_err(|error| PoolError {
            jobs,
            source: std::io::Error::other(error),
        })
}

#[derive(Debug, Default)]
struct Totals {
    mailboxes: Counter,
    messages: Counter,
    hashed: Counter,
    cached: Counter,
    trusted: Counter,
    linked: Counter,
    bytes: Counter,
    errors: Counter,
}

struct Shared<'a> {
    options: &'a Options,
    governor: &'a Governor,
    observer: &'a dyn Observer,
    queue: Queue,
    crew: Crew<Group>,
    room: Room,
    waiting: Waiting,
    links: Links,
    totals: Totals,
    /// Says which messages are the sample that is looked at; see [`known`].
    lot: usize,
    /// Mailboxes in work, for checkpoints.
    jobs: Mutex<Vec<Arc<Job>>>,
}

impl Shared<'_> {
    fn report(&self, finding: Finding) {
        self.totals.errors.add(1);
        self.observer.finding(finding);
    }

    fn progress(&self, target: &Target, messages: u64, bytes: u64) {
        let partition = &target.roots.partition;
        self.observer.progress(partition, messages, bytes);
    }

    fn window(&self) -> usize {
        self.room.jobs.saturating_mul(4)
    }

    /// Whether those who work wait for storage, and there may be more of them.
    fn threads_wait(&self, meter: &mut Meter) -> bool {
        let Some(working) = self.crew.can_grow() else {
            return false;
        };
        // Who waits for work, for a limit on reading or for the end of a pause needs no help.
        if self.queue.waits() || self.governor.limited() || self.governor.paused() {
            meter.restart();
            return false;
        }
        meter.waits(working)
    }

    fn jobs(&self) -> MutexGuard<'_, Vec<Arc<Job>>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn live(&self, job: &Arc<Job>) {
        self.jobs().push(Arc::clone(job));
    }

    fn dead(&self, job: &Arc<Job>) {
        self.jobs().retain(|other| !Arc::ptr_eq(other, job));
    }

    fn place(&self, group: Group) {
        for finding in self.waiting.place(group) {
            self.report(finding);
        }
    }

    fn checkpoint(&self, interval: Duration) {
        let jobs = self.jobs().clone();
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
    let room = Room::for_jobs(options.jobs);
    let shared = Shared {
        options,
        governor,
        observer,
        queue: Queue::default(),
        crew: Crew::new(room.jobs, cores()),
        room,
        waiting: Waiting::default(),
        links: Links::default(),
        totals: Totals::default(),
        lot: lot(),
        jobs: Mutex::default(),
    };
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        worker::hire_all(&shared, scope).map_err(|source| PoolError {
            jobs: room.jobs,
            source,
        })?;
        scope.spawn(|| {
            for step in steps {
                let more = match step {
                    Ok(target) => shared.queue.push(target, || governor.stopped()),
                    Err(finding) => {
                        shared.report(finding);
                        !governor.stopped()
                    }
                };
                if !more {
                    break;
                }
            }
            shared.queue.close();
        });
        let clock = scope.spawn(|| {
            let mut meter = Meter::new(cores());
            let mut tick = FIRST_TICK;
            let mut looked = Instant::now();
            while !over.load(Ordering::Acquire) {
                let full = shared.crew.can_grow().is_none();
                let look = Duration::from_secs(1).min(options.checkpoint);
                std::thread::park_timeout(if full { look } else { tick });
                tick = (tick * 2).min(LAST_TICK);
                if shared.threads_wait(&mut meter) {
                    shared.crew.grow();
                    // Those that cannot be started are not missed.
                    let _ = worker::hire_all(&shared, scope);
                }
                shared.place(shared.waiting.longer_than(PATIENCE));
                if looked.elapsed() >= look {
                    shared.checkpoint(options.checkpoint);
                    looked = Instant::now();
                }
            }
        });
        shared.crew.wait_until_all_left();
        over.store(true, Ordering::Release);
        clock.thread().unpark();
        Ok(())
    })?;
    shared.place(shared.waiting.longer_than(Duration::ZERO));
    // Only a run that was stopped has mailboxes left here.
    shared.checkpoint(Duration::ZERO);
    let totals = &shared.totals;
    Ok(Summary {
        mailboxes: totals.mailboxes.get(),
        messages: totals.messages.get(),
        hashed: totals.hashed.get(),
        cached: totals.cached.get(),
        trusted: totals.trusted.get(),
        linked: totals.linked.get(),
        bytes: totals.bytes.get(),
        errors: totals.errors.get(),
        elapsed: start.elapsed(),
        stopped: governor.stopped(),
    })
}
