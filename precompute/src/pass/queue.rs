//! What the threads of a pass take their work from: a bounded queue of mailboxes, and those in work.
//!
//! A thread opens a mailbox while few are open, and stays with it; else it takes a chunk of one that is
//! in work. So one huge mailbox gets all threads in the end, few mailboxes are open at a time, and
//! mostly a core has a directory to itself: two that open files in one at a time slow each other down.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::chunk::Chunk;
use super::job::{Job, Next};
use crate::targets::Target;

/// How many mailboxes wait at most.
const QUEUE: usize = 256;
/// With so many mailboxes that have more chunks to give, no further one is opened. Each may take some
/// 5 MiB of memory.
const OPEN: usize = 4;
/// Nobody sleeps longer without looking around.
const NAP: Duration = Duration::from_millis(100);

/// The queue.
#[derive(Debug, Default)]
pub struct Queue {
    inner: Mutex<Inner>,
    /// There is something to do, or no more will come.
    work: Condvar,
    /// There is room for another mailbox.
    room: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    targets: VecDeque<Target>,
    closed: bool,
    /// Mailboxes that still have chunks to give.
    jobs: VecDeque<Arc<Job>>,
    /// Threads that are at something which may bring more work.
    busy: usize,
    /// Threads that sleep until there is work. Waking nobody is a system call too.
    idle: usize,
    /// Whether `push` sleeps until there is room.
    full: bool,
}

/// What a thread is to do.
#[derive(Debug)]
pub enum Work {
    /// Open this mailbox.
    Open(Target),
    /// Work on this piece.
    Chunk(Arc<Job>, Arc<Chunk>),
    /// There is no more.
    Nothing,
}

impl Queue {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a mailbox, waiting for room; `false` if `stop` says so first.
    pub fn push(&self, target: Target, stop: impl Fn() -> bool) -> bool {
        let mut inner = self.inner();
        while inner.targets.len() >= QUEUE {
            if stop() {
                return false;
            }
            inner.full = true;
            let waited = self.room.wait_timeout(inner, NAP);
            inner = waited.unwrap_or_else(PoisonError::into_inner).0;
            inner.full = false;
        }
        inner.targets.push_back(target);
        let wake = inner.idle > 0;
        drop(inner);
        if wake {
            self.work.notify_one();
        }
        true
    }

    /// No more mailboxes will be pushed.
    pub fn close(&self) {
        self.inner().closed = true;
        self.work.notify_all();
    }

    /// Offers the chunks of a mailbox to all threads.
    pub fn share(&self, job: Arc<Job>) {
        self.inner().jobs.push_back(job);
        self.work.notify_all();
    }

    /// Waits for something to do. Each answer but `Nothing` is to be followed by [`Queue::done`].
    pub fn take(&self, stop: impl Fn() -> bool) -> Work {
        let mut inner = self.inner();
        loop {
            if stop() {
                return Work::Nothing;
            }
            if inner.jobs.len() < OPEN
                && let Some(target) = self.target(&mut inner)
            {
                return Work::Open(target);
            }
            if let Some((job, chunk)) = chunk(&mut inner) {
                inner.busy += 1;
                return Work::Chunk(job, chunk);
            }
            // None of them has one to give now.
            if let Some(target) = self.target(&mut inner) {
                return Work::Open(target);
            }
            if inner.closed && inner.busy == 0 && inner.jobs.is_empty() {
                self.work.notify_all();
                return Work::Nothing;
            }
            inner.idle += 1;
            let waited = self.work.wait_timeout(inner, NAP);
            inner = waited.unwrap_or_else(PoisonError::into_inner).0;
            inner.idle -= 1;
        }
    }

    /// Whether somebody sleeps until there is work.
    pub fn waits(&self) -> bool {
        self.inner().idle > 0
    }

    /// A mailbox to open.
    fn target(&self, inner: &mut Inner) -> Option<Target> {
        let target = inner.targets.pop_front()?;
        inner.busy += 1;
        // Not for every one, or the two sides would wake each other for each.
        if inner.full && inner.targets.len() <= QUEUE / 2 {
            self.room.notify_one();
        }
        Some(target)
    }

    /// What [`Queue::take`] gave is done.
    pub fn done(&self) {
        let mut inner = self.inner();
        inner.busy = inner.busy.saturating_sub(1);
        let wake = inner.idle > 0 && (inner.busy == 0 || !inner.jobs.is_empty());
        drop(inner);
        if wake {
            self.work.notify_all();
        }
    }
}

/// The next chunk of any mailbox in work; those that have no more leave the queue.
fn chunk(inner: &mut Inner) -> Option<(Arc<Job>, Arc<Chunk>)> {
    let mut i = 0;
    while let Some(job) = inner.jobs.get(i) {
        match job.next() {
            Next::Chunk(chunk) => return Some((Arc::clone(job), chunk)),
            Next::Later => i += 1,
            Next::Exhausted => {
                inner.jobs.remove(i);
            }
        }
    }
    None
}
