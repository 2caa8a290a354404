//! What one thread of the pass does: open a mailbox, or hash a chunk of one.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use indexfile::Guid;

use super::chunk::{Chunk, Item};
use super::job::{Begun, Job, Next};
use super::{Pass, Task};
use crate::cache::Entry;
use crate::hash::lanes::Lanes;
use crate::mailbox::{self, Mailbox};
use crate::message::{FileStat, Gate, Hashed, Hasher, MessageError, Opened};
use crate::store::Target;
use crate::worker_pool::Pool;

/// Counters and results that all threads share are brought up to date after this many messages,
const BATCH: usize = 16;
/// or this many bytes.
const BATCH_BYTES: u64 = 1 << 20;

impl Pass<'_> {
    pub(super) fn work(&self, task: Task, pool: &Pool<Task>, lanes: &mut Lanes) {
        match task {
            Task::Mailbox(Ok(target)) => self.open(&target, pool, lanes),
            Task::Mailbox(Err(finding)) => self.report(finding),
            Task::Chunks(job) => self.chunks(&job, pool, lanes),
        }
    }

    fn open(&self, target: &Target, pool: &Pool<Task>, lanes: &mut Lanes) {
        let mailbox = match Mailbox::open(target.clone()) {
            Ok(mailbox::Opened::Mailbox(mailbox, finding)) => {
                if let Some(finding) = finding {
                    self.report(finding);
                }
                *mailbox
            }
            Ok(mailbox::Opened::Gone) => return,
            Err(finding) => return self.report(finding),
        };
        self.totals.lock().mailboxes += 1;
        let window = self.options.jobs.saturating_mul(4);
        let job = match Job::begin(mailbox, self.options, window, self.sample_seed) {
            Ok(Begun::Job(job)) => job,
            Ok(Begun::Nothing(messages)) => return self.nothing_to_do(target, messages),
            Err(finding) => return self.report(finding),
        };
        self.jobs.lock().push(Arc::clone(&job));
        self.chunks(&job, pool, lanes);
        // It has no chunk at all: else whoever took the last one has finished it.
        if job.done() {
            self.finish(&job);
        }
    }

    fn nothing_to_do(&self, target: &Target, messages: u64) {
        self.totals.lock().messages += messages;
        self.totals.lock().cached += messages;
        self.totals.lock().trusted += messages;
        self.progress(target, messages, 0);
    }

    /// Works on one mailbox as long as it has chunks: two threads that open files in one directory
    /// slow each other down, so each stays with its own while it can.
    fn chunks(&self, job: &Arc<Job>, pool: &Pool<Task>, lanes: &mut Lanes) {
        let mut offered = false;
        while self.governor.go_on() {
            match job.next() {
                Next::Chunk(chunk) => {
                    // One thread more may help. Most mailboxes are one chunk and need none.
                    if !offered && !job.exhausted() {
                        pool.push(Task::Chunks(Arc::clone(job)));
                        offered = true;
                    }
                    self.chunk(job, &chunk, lanes);
                }
                Next::Later => return pool.delay(Task::Chunks(Arc::clone(job))),
                Next::Exhausted => return,
            }
        }
    }

    /// All messages of a mailbox are done; what is left is its cache.
    fn finish(&self, job: &Arc<Job>) {
        for finding in job.finish() {
            self.report(finding);
        }
        self.jobs.lock().retain(|other| !Arc::ptr_eq(other, job));
    }

    fn chunk(&self, job: &Arc<Job>, chunk: &Chunk, lanes: &mut Lanes) {
        let spool = &job.mailbox.spool;
        let mut todo = Vec::with_capacity(chunk.items.len());
        let mut done = Vec::with_capacity(chunk.items.len());
        let mut trusted = 0;
        for Item {
            want,
            old,
            unchanged,
        } in &chunk.items
        {
            let uid = want.uid;
            if !self.governor.go_on() {
                break;
            }
            let Some(old) = old else {
                todo.push(uid);
                continue;
            };
            if *unchanged {
                trusted += 1;
                done.push(*old);
                continue;
            }
            match spool.stat(uid) {
                Ok(now) if old.still_same(&now.stamp, now.size) => done.push(*old),
                Ok(_) => todo.push(uid),
                Err(error) => failed(self, job, uid, &error),
            }
        }
        self.totals.lock().cached += done.len() as u64;
        self.totals.lock().trusted += trusted;
        chunk.extend(&mut done);
        let mut fresh = 0;
        let counted = Cell::new(0);
        // Where reading is slow on purpose, a checkpoint is to find every message.
        let batch = if self.governor.limited() { 1 } else { BATCH };
        while !todo.is_empty() {
            let sink = |uid, result: Result<Hashed, MessageError>| match result {
                Ok(Hashed { guid, size, stamp }) => {
                    fresh += 1;
                    done.push(Entry {
                        uid,
                        size,
                        stamp,
                        guid,
                    });
                    if done.len() >= batch || size >= BATCH_BYTES {
                        chunk.extend(&mut done);
                    }
                }
                Err(error) => failed(self, job, uid, &error),
            };
            let gate = PassGate {
                pass: self,
                job,
                hashed: 0,
                bytes: 0,
                counted: &counted,
            };
            todo = Hasher::new(spool, todo.into_iter(), sink, gate).run(lanes);
            if todo.is_empty() || self.governor.stopped() {
                break;
            }
            // No file of this thread is open now, so two threads cannot wait for each other.
            self.links.wait(Duration::from_millis(50));
        }
        chunk.extend(&mut done);
        let complete = !self.governor.stopped();
        self.totals.lock().messages += chunk.items.len() as u64;
        self.progress(
            &job.mailbox.target,
            (chunk.items.len() as u64).saturating_sub(counted.get()),
            0,
        );
        if job.put_back(chunk, fresh, complete) {
            self.finish(job);
        }
    }
}

fn failed(pass: &Pass<'_>, job: &Job, uid: u32, error: &MessageError) {
    match error {
        MessageError::Missing { .. } => job.missing(uid),
        error => pass.report(error.finding(&job.mailbox.target.mailbox)),
    }
}

/// Ties the reading of messages to governor, links and counters.
struct PassGate<'a, 'b> {
    pass: &'a Pass<'b>,
    job: &'a Job,
    /// Not yet counted in `pass`.
    hashed: u64,
    bytes: u64,
    /// Messages that `progress` has counted.
    counted: &'a Cell<u64>,
}

impl PassGate<'_, '_> {
    fn flush(&mut self) {
        let (hashed, bytes) = (
            std::mem::take(&mut self.hashed),
            std::mem::take(&mut self.bytes),
        );
        self.pass.totals.lock().hashed += hashed;
        self.pass.totals.lock().bytes += bytes;
        self.pass.progress(&self.job.mailbox.target, hashed, bytes);
        self.counted.set(self.counted.get() + hashed);
    }
}

impl Drop for PassGate<'_, '_> {
    fn drop(&mut self) {
        self.flush();
    }
}

impl Gate for PassGate<'_, '_> {
    fn go_on(&mut self) -> bool {
        self.pass.governor.go_on()
    }

    fn read(&mut self, bytes: u64) -> bool {
        self.pass.governor.admit(bytes)
    }

    fn one_look(&mut self) -> bool {
        // A limit on reading wants to know the size first; a further name of a file that is known
        // need not be read at all.
        !self.pass.governor.limited() && !self.pass.links.met()
    }

    fn opened(&mut self, _uid: u32, stat: &FileStat) -> Opened {
        let opened = self.pass.links.opened(stat);
        if matches!(opened, Opened::Known(_)) {
            self.pass.totals.lock().linked += 1;
        }
        opened
    }

    fn closed(&mut self, stat: &FileStat, guid: Option<Guid>) {
        self.pass.links.closed(stat, guid);
        if guid.is_some() {
            self.hashed += 1;
            self.bytes = self.bytes.saturating_add(stat.size);
            if self.hashed >= BATCH as u64 || self.bytes >= BATCH_BYTES {
                self.flush();
            }
        }
    }
}
