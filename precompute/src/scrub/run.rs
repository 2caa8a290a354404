//! The threads of a scrub and what they hand to each other.
//!
//! Work comes in three kinds: a mailbox to look through, some records of a large mailbox, and
//! suspects that were to be looked at again after a wait. All queues are bounded: a thread that finds
//! one full does the work itself. So memory does not depend on how many mailboxes or messages there
//! are, nor on how many of them are damaged.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::finding::Finding;
use super::look::Suspect;
use super::mailbox::{Mailbox, Spools};
use super::snapshot::Row;
use super::work::Work;
use super::{Options, Progress, Summary};
use crate::governor::Governor;
use crate::hash::Kernel;
use crate::hash::lanes::Lanes;

/// Suspects that wait for another look; beyond this a thread sits the wait out.
const MAX_WAITING: usize = 16 * 1024;
/// How long a thread without work sleeps before it looks whether to stop.
const NAP: Duration = Duration::from_millis(100);

/// Work of the kinds that threads make for each other.
pub(super) enum Job {
    /// Look through a mailbox; with how often that was tried.
    Mailbox(Arc<Mailbox>, u32),
    /// Compare records with files.
    Rows(Arc<Mailbox>, Arc<Spools>, Vec<Row>),
    /// Look again at what looked wrong.
    Suspects(Arc<Mailbox>, Vec<Suspect>),
}

impl Job {
    /// How much of [`MAX_WAITING`] it takes.
    fn weight(&self) -> usize {
        match self {
            Self::Suspects(_, suspects) => suspects.len(),
            _ => 1,
        }
    }
}

#[derive(Default)]
struct State {
    ready: VecDeque<Job>,
    /// In the order in which they are due.
    waiting: VecDeque<(Instant, Job)>,
    weight: usize,
    /// Threads that are at work and may make more of it.
    busy: usize,
    exhausted: bool,
}

/// What all threads share.
pub(super) struct Queue<I> {
    state: Mutex<State>,
    changed: Condvar,
    source: Mutex<I>,
    capacity: usize,
    settle: Duration,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The state is consistent after every statement, so a thread that panicked spoiled nothing.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<I: Iterator<Item = Result<Mailbox, Finding>>> Queue<I> {
    /// Takes the next job; `None` when all is done, or to stop.
    fn take(&self, governor: &Governor, mut report: impl FnMut(Finding)) -> Option<Job> {
        let mut state = lock(&self.state);
        loop {
            if governor.stopped() {
                return None;
            }
            if let Some(job) = state.ready.pop_front() {
                state.busy += 1;
                return Some(job);
            }
            let now = Instant::now();
            let due = state.waiting.front().map(|(due, _)| *due);
            if due.is_some_and(|due| due <= now || state.weight > MAX_WAITING)
                && let Some((due, job)) = state.waiting.pop_front()
            {
                state.weight = state.weight.saturating_sub(job.weight());
                state.busy += 1;
                drop(state);
                sleep(due.saturating_duration_since(now), governor);
                return Some(job);
            }
            if !state.exhausted {
                // While one thread walks the others may find other work.
                state.busy += 1;
                drop(state);
                let step = lock(&self.source).next();
                let job = match step {
                    Some(Ok(mailbox)) => return Some(Job::Mailbox(Arc::new(mailbox), 1)),
                    other => other,
                };
                state = lock(&self.state);
                state.busy -= 1;
                match job {
                    Some(Err(finding)) => {
                        drop(state);
                        report(finding);
                        state = lock(&self.state);
                    }
                    _ => state.exhausted = true,
                }
                self.changed.notify_all();
                continue;
            }
            if state.busy == 0 && state.waiting.is_empty() {
                return None;
            }
            let nap = due.map_or(NAP, |due| due.saturating_duration_since(now).min(NAP));
            state = self
                .changed
                .wait_timeout(state, nap)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    fn done(&self) {
        lock(&self.state).busy -= 1;
        self.changed.notify_all();
    }
}

/// Where work puts further work.
pub(super) trait Later {
    /// For another thread, or back to this one if there is enough already.
    fn share(&self, job: Job) -> Option<Job>;
    /// For after the wait.
    fn wait(&self, job: Job);
}

impl<I> Later for Queue<I> {
    fn share(&self, job: Job) -> Option<Job> {
        let mut state = lock(&self.state);
        if state.ready.len() >= self.capacity {
            return Some(job);
        }
        state.ready.push_back(job);
        drop(state);
        self.changed.notify_one();
        None
    }

    fn wait(&self, job: Job) {
        let due = Instant::now() + self.settle;
        let mut state = lock(&self.state);
        state.weight += job.weight();
        state.waiting.push_back((due, job));
    }
}

fn sleep(time: Duration, governor: &Governor) {
    let end = Instant::now() + time;
    while !governor.stopped() {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        std::thread::sleep(left.min(NAP));
    }
}

/// Scrubs `mailboxes`; every finding goes to `report`, from any thread, as soon as it is sure.
///
/// Takes no lock and writes nothing. Ends early when `governor` says stop.
pub fn run<I, R>(
    mailboxes: I,
    options: &Options,
    governor: &Governor,
    progress: &Progress,
    report: R,
) -> Summary
where
    I: Iterator<Item = Result<Mailbox, Finding>> + Send,
    R: Fn(&Finding) + Sync,
{
    let start = Instant::now();
    let jobs = options.jobs.max(1);
    let queue = Queue {
        state: Mutex::default(),
        changed: Condvar::new(),
        source: Mutex::new(mailboxes),
        capacity: 2 * jobs,
        settle: options.settle,
    };
    let report = |finding: Finding| {
        progress.found(finding.code);
        report(&finding);
    };
    let work = Work::new(options, governor, progress, &report, &queue);
    let worker = || {
        let mut lanes = Lanes::new(Kernel::detect());
        while let Some(job) = queue.take(governor, report) {
            // Also if the work panics, so that the others do not wait for ever.
            let _done = Done(&queue);
            work.run(job, &mut lanes);
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..jobs {
            // One thread less is slower, not wrong.
            drop(
                std::thread::Builder::new()
                    .name("scrub".to_owned())
                    .spawn_scoped(scope, worker),
            );
        }
        worker();
    });
    progress.summary(governor.stopped(), start.elapsed().as_secs_f64())
}

struct Done<'a, I: Iterator<Item = Result<Mailbox, Finding>>>(&'a Queue<I>);

impl<I: Iterator<Item = Result<Mailbox, Finding>>> Drop for Done<'_, I> {
    fn drop(&mut self) {
        self.0.done();
    }
}
