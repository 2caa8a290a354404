//! The one pool of threads: the pass, the scrub, the verification and the import run on it.
//!
//! Cold storage wants many requests in flight, a warm page cache one thread a core. Threads that
//! wait for storage leave processors idle. So a pool starts with one thread a core and doubles
//! their number while processors stay idle, up to [`Limits::threads`].
//!
//! Tasks come from a source, which is asked when a thread is free, and from other tasks. So memory
//! does not grow with the length of the source. Nothing here touches a file.

use std::collections::VecDeque;
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use crate::governor::Governor;
use crate::hash::lanes::Lanes;
use crate::hash::{Kernel, MAX_LANES};

/// How often idle processors are looked for: at first, as a small store is done in no time,
const FIRST_TICK: Duration = Duration::from_millis(5);
/// and later.
const LAST_TICK: Duration = Duration::from_millis(80);
/// No thread sleeps longer without looking whether to stop.
const NAP: Duration = Duration::from_millis(100);
/// With more delayed tasks than this a thread waits for the oldest one instead of making more.
const MAX_DELAYED: usize = 512;
/// Descriptors that are not a worker's: standard streams, a walk, what the process had before.
const FDS_ELSEWHERE: usize = 128;
/// Descriptors of one worker: a message in each lane, directories, an index, a cache, its
/// successor.
const FDS_OF_A_WORKER: usize = MAX_LANES + 8;

/// How a pool runs.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Threads, at most.
    pub threads: usize,
    /// The source is asked before tasks that others added while at most this many of those wait.
    pub source_first: usize,
    /// How long [`Pool::delay`] keeps a task.
    pub delay: Duration,
    /// The hash kernel of the workers.
    pub kernel: Kernel,
}

/// The threads could not be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot start a thread: {0}")]
pub struct PoolError(#[from] io::Error);

/// Threads unless the command line says otherwise: enough that cold storage has many requests in
/// flight (docs/benchmarks.md).
#[must_use]
pub fn default_jobs() -> usize {
    cores().saturating_mul(4).max(32)
}

fn cores() -> usize {
    // Asking takes a dozen system calls, and the default of every command needs it.
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(|| thread::available_parallelism().map_or(1, usize::from))
}

/// How many of `threads` the limit on open files allows, at least 1.
///
/// Running out of descriptors would make findings of sound messages.
fn fd_budget(limit: usize, threads: usize) -> usize {
    let allowed = limit.saturating_sub(FDS_ELSEWHERE) / FDS_OF_A_WORKER;
    threads.min(allowed).max(1)
}

/// What the workers share.
#[derive(Debug)]
pub struct Pool<T> {
    state: Mutex<State<T>>,
    /// A task was added, or the last one is done.
    changed: Condvar,
    exited: Condvar,
    /// Workers that wait for their turn at the source.
    at_source: AtomicUsize,
    limits: Limits,
}

#[derive(Debug)]
struct State<T> {
    ready: VecDeque<T>,
    /// In the order in which they are due.
    delayed: VecDeque<(Instant, T)>,
    /// The source has no more.
    exhausted: bool,
    /// Tasks in progress, which may add others.
    busy: usize,
    /// Workers that sleep until there is a task.
    idle: usize,
    /// Workers that have not exited.
    threads: usize,
}

impl<T: Send> Pool<T> {
    fn new(limits: Limits) -> Self {
        Self {
            state: Mutex::new(State {
                ready: VecDeque::new(),
                delayed: VecDeque::new(),
                exhausted: false,
                busy: 0,
                idle: 0,
                threads: 0,
            }),
            changed: Condvar::new(),
            exited: Condvar::new(),
            at_source: AtomicUsize::new(0),
            limits,
        }
    }

    /// Adds a task for whichever worker is free first.
    pub fn push(&self, task: T) {
        self.added(self.state.lock(), task);
    }

    /// The same, unless two tasks a thread wait already: then it comes back, to be done at once.
    ///
    /// # Errors
    /// The task.
    pub fn offer(&self, task: T) -> Result<(), T> {
        let state = self.state.lock();
        if state.ready.len() >= 2 * self.limits.threads {
            return Err(task);
        }
        self.added(state, task);
        Ok(())
    }

    fn added(&self, mut state: MutexGuard<'_, State<T>>, task: T) {
        state.ready.push_back(task);
        let wake = state.idle > 0;
        drop(state);
        if wake {
            self.changed.notify_one();
        }
    }

    /// Adds a task that is to wait for [`Limits::delay`] first.
    pub fn delay(&self, task: T) {
        let due = Instant::now() + self.limits.delay;
        self.state.lock().delayed.push_back((due, task));
    }

    /// The next task; `None` when all is done, or to stop.
    fn take(&self, source: &Mutex<impl Iterator<Item = T>>, governor: &Governor) -> Option<T> {
        while governor.go_on() {
            let mut state = self.state.lock();
            let now = Instant::now();
            let due = state.delayed.front().map(|(due, _)| *due);
            if due.is_some_and(|due| due <= now || state.delayed.len() > MAX_DELAYED)
                && let Some((due, task)) = state.delayed.pop_front()
            {
                state.busy += 1;
                drop(state);
                governor.sleep(due.saturating_duration_since(now));
                return Some(task);
            }
            let source_first = !state.exhausted && state.ready.len() <= self.limits.source_first;
            if !source_first && let Some(task) = state.ready.pop_front() {
                state.busy += 1;
                return Some(task);
            }
            if !state.exhausted {
                state.busy += 1;
                drop(state);
                let task = self.ask(source);
                if task.is_some() {
                    return task;
                }
                self.state.lock().exhausted = true;
                self.done();
                continue;
            }
            if state.busy == 0 && state.delayed.is_empty() {
                return None;
            }
            let nap = due.map_or(NAP, |due| due.saturating_duration_since(now).min(NAP));
            state.idle += 1;
            self.changed.wait_for(&mut state, nap);
            state.idle -= 1;
        }
        None
    }

    fn ask(&self, source: &Mutex<impl Iterator<Item = T>>) -> Option<T> {
        self.at_source.fetch_add(1, Ordering::Relaxed);
        let mut source = source.lock();
        self.at_source.fetch_sub(1, Ordering::Relaxed);
        source.next()
    }

    fn done(&self) {
        let mut state = self.state.lock();
        state.busy -= 1;
        if state.busy == 0 && state.exhausted {
            drop(state);
            self.changed.notify_all();
        }
    }

    /// Whether more threads would find nothing to do.
    fn is_short_of_work(&self) -> bool {
        let state = self.state.lock();
        state.idle > 0 || self.at_source.load(Ordering::Relaxed) > 0
    }
}

/// Counts a worker out, however it ends.
struct Exit<'a, T>(&'a Pool<T>, &'a Governor);

impl<T> Drop for Exit<'_, T> {
    fn drop(&mut self) {
        if thread::panicking() {
            // Its task is never done. The others stop, and the panic goes on.
            self.1.stop();
        }
        self.0.state.lock().threads -= 1;
        self.0.exited.notify_all();
    }
}

/// Does `work` with every task, on several threads, until none is left or `governor` says stop.
///
/// `background` is called every few milliseconds, on the calling thread.
///
/// # Errors
/// If not a single thread can be started. Fewer than wanted are no error.
pub fn run<T: Send>(
    source: impl Iterator<Item = T> + Send,
    limits: Limits,
    governor: &Governor,
    work: &(dyn Fn(T, &Pool<T>, &mut Lanes) + Sync),
    background: &mut dyn FnMut(),
) -> Result<(), PoolError> {
    let fds = getrlimit(Resource::Nofile).current;
    let fds = fds.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
    let threads = fd_budget(fds, limits.threads);
    let pool = Pool::new(Limits { threads, ..limits });
    let source = Mutex::new(source.fuse());
    let worker = || {
        let _exit = Exit(&pool, governor);
        let mut lanes = Lanes::new(limits.kernel);
        while let Some(task) = pool.take(&source, governor) {
            work(task, &pool, &mut lanes);
            pool.done();
        }
    };
    thread::scope(|scope| {
        let spawn = || {
            pool.state.lock().threads += 1;
            let thread = thread::Builder::new().name("precompute".to_owned());
            thread
                .spawn_scoped(scope, worker)
                .map(drop)
                .inspect_err(|_| {
                    pool.state.lock().threads -= 1;
                })
        };
        let mut wanted = cores().min(threads);
        let mut started = 0;
        let mut meter = Meter::new();
        let mut tick = FIRST_TICK;
        loop {
            while started < wanted {
                match spawn() {
                    Ok(()) => started += 1,
                    Err(error) if started == 0 => return Err(error.into()),
                    // Fewer are slower, not wrong.
                    Err(_) => (wanted, started) = (started, threads),
                }
            }
            let mut state = pool.state.lock();
            if state.threads == 0 {
                return Ok(());
            }
            pool.exited.wait_for(&mut state, tick);
            drop(state);
            tick = (tick * 2).min(LAST_TICK);
            background();
            if started < threads {
                let held = pool.is_short_of_work() || governor.limited() || governor.paused();
                if meter.processors_idle(wanted) && !held {
                    wanted = wanted.saturating_mul(2).min(threads);
                }
            }
        }
    })
}

/// Distinguishes threads that wait from threads that compute, by the processor time of this
/// process.
#[derive(Debug)]
struct Meter {
    since: (Instant, Duration),
}

impl Meter {
    fn new() -> Self {
        Self {
            since: (Instant::now(), processor_time()),
        }
    }

    /// Whether `threads` threads left processors idle since the last call.
    fn processors_idle(&mut self, threads: usize) -> bool {
        let (began, used) = std::mem::replace(&mut self.since, Self::new().since);
        let usable = u32::try_from(threads.min(cores())).unwrap_or(u32::MAX);
        idle(
            self.since.0 - began,
            self.since.1.saturating_sub(used),
            usable,
        )
    }
}

/// More than a quarter of the processor time that could have been used was not.
fn idle(elapsed: Duration, used: Duration, usable: u32) -> bool {
    used < elapsed.saturating_mul(usable) / 4 * 3
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    fn limits(threads: usize, source_first: usize) -> Limits {
        Limits {
            threads,
            source_first,
            delay: Duration::from_millis(3),
            kernel: Kernel::detect(),
        }
    }

    #[test]
    fn every_task_is_done_once_wherever_it_came_from() {
        for (threads, source_first) in [(1, 0), (2, 4), (9, 0)] {
            let (sum, count) = (AtomicU64::new(0), AtomicU64::new(0));
            let work = |(depth, n): (u32, u64), pool: &Pool<(u32, u64)>, _: &mut Lanes| {
                sum.fetch_add(n, Ordering::Relaxed);
                count.fetch_add(1, Ordering::Relaxed);
                match depth {
                    0 => {}
                    1 => pool.delay((0, n)),
                    2 => pool.push((1, n)),
                    _ => {
                        // A task that comes back is done here.
                        let more = (0..3).filter_map(|_| pool.offer((2, n)).err());
                        more.for_each(|task| pool.push(task));
                    }
                }
            };
            let source = (1..=100).map(|n| (3, n));
            let governor = Governor::new(None);
            let limits = limits(threads, source_first);
            run(source, limits, &governor, &work, &mut || {}).expect("threads");
            // Each number itself, and three times in each of three further steps.
            assert_eq!(count.into_inner(), 100 * 10, "{threads} threads");
            assert_eq!(sum.into_inner(), 5050 * 10);
        }
    }

    #[test]
    fn a_stop_ends_an_endless_source() {
        let governor = Governor::new(None);
        let work = |n: u64, _: &Pool<u64>, _: &mut Lanes| {
            if n == 50 {
                governor.stop();
            }
        };
        run(0.., limits(3, 0), &governor, &work, &mut || {}).expect("threads");
    }

    #[test]
    fn idle_processors_start_threads_up_to_the_limit() {
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let work = |_: u32, _: &Pool<u32>, _: &mut Lanes| {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            thread::sleep(Duration::from_millis(10));
            now.fetch_sub(1, Ordering::SeqCst);
        };
        let (governor, jobs) = (Governor::new(None), 2 * cores() + 1);
        run(0..2000, limits(jobs, 0), &governor, &work, &mut || {}).expect("threads");
        assert_eq!(most.into_inner(), jobs);
        let ms = Duration::from_millis;
        assert!(idle(ms(10), ms(14), 2) && !idle(ms(10), ms(16), 2));
        assert!(!idle(ms(10), ms(9), 1), "one thread on two cores");
    }

    #[test]
    fn the_limit_on_open_files_is_kept_and_uses_as_many_threads_as_it_allows() {
        for limit in (0..5_000).step_by(7) {
            for jobs in [1, 2, 16, 32, 64, 256, 1024] {
                let threads = fd_budget(limit, jobs);
                assert!(threads >= 1 && threads <= jobs);
                let used = threads * FDS_OF_A_WORKER + FDS_ELSEWHERE;
                assert!(used <= limit || threads == 1, "{limit} {jobs}");
            }
        }
        assert_eq!(
            (fd_budget(1024, 32), fd_budget(usize::MAX, 1024)),
            (32, 1024)
        );
    }
}
