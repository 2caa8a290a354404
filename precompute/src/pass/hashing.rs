//! What one thread of the pass does: open a mailbox, or hash a chunk of one.

use std::cell::Cell;
use std::sync::Arc;

use super::job::{Begun, Item, Job};
use super::{Pass, Task};
use crate::cache::Entry;
use crate::hash::lanes::{LANE_BYTES, Lanes};
use crate::mailbox::{self, Mailbox};
use crate::message::{Hashed, MessageError};
use crate::store::Target;
use crate::throttle::{ReadCounts, Throttle};
use crate::worker_pool::Pool;

/// Results go to the job after this many messages,
const BATCH: usize = 16;
/// or after a message of this many bytes.
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
            Ok(mailbox::Opened::Vanished) => return,
            Err(finding) => return self.report(finding),
        };
        self.totals.lock().mailboxes += 1;
        let job = match Job::begin(mailbox, self.options, self.sample_seed) {
            Ok(Begun::Job(job)) => job,
            Ok(Begun::Nothing(messages)) => return self.nothing_to_do(target, messages),
            Err(finding) => return self.report(finding),
        };
        self.jobs.lock().push(Arc::clone(&job));
        self.chunks(&job, pool, lanes);
        // It has no chunk at all; otherwise the thread with the last one has finished it.
        if job.done() {
            self.finish(&job);
        }
    }

    fn nothing_to_do(&self, target: &Target, messages: u64) {
        let mut totals = self.totals.lock();
        totals.messages += messages;
        totals.cached += messages;
        totals.trusted += messages;
        drop(totals);
        self.progress(target, messages, 0);
    }

    /// Works on one mailbox as long as it has chunks: two threads that open files in one directory
    /// slow each other down, so each stays with its own while it can.
    fn chunks(&self, job: &Arc<Job>, pool: &Pool<Task>, lanes: &mut Lanes) {
        let mut offered = false;
        while self.governor.go_on()
            && let Some(chunk) = job.next()
        {
            // One thread more may help. Most mailboxes are one chunk and need none.
            if !offered && !job.exhausted() {
                pool.push(Task::Chunks(Arc::clone(job)));
                offered = true;
            }
            self.chunk(job, &chunk, lanes);
            if job.chunk_done(!self.governor.stopped()) {
                self.finish(job);
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

    fn chunk(&self, job: &Job, chunk: &[Item], lanes: &mut Lanes) {
        let mut todo = Vec::with_capacity(chunk.len());
        let mut done = Vec::with_capacity(chunk.len());
        let mut trusted = 0;
        for item in chunk {
            if !self.governor.go_on() {
                break;
            }
            match item.old {
                None => todo.push(&item.want),
                Some(old) if item.unchanged => {
                    trusted += 1;
                    done.push((item.slot, old));
                }
                Some(old) => match job.mailbox.spool.stat(item.want.uid) {
                    Ok(now) if old.still_same(&now.stamp, now.size) => done.push((item.slot, old)),
                    Ok(_) => todo.push(&item.want),
                    Err(error) => self.failed(job, item.want.uid, &error),
                },
            }
        }
        let mut totals = self.totals.lock();
        totals.cached += done.len() as u64;
        totals.trusted += trusted;
        totals.messages += chunk.len() as u64;
        drop(totals);
        job.put(&mut done, 0);
        // The last messages run with fewer and fewer lanes, so these should be small. A
        // stricter order would only make a disk seek.
        todo.sort_by_key(|want| want.size <= LANE_BYTES as u64);
        let left = Cell::new(chunk.len() as u64);
        self.hash(
            job,
            chunk,
            todo.iter().map(|want| want.uid).collect(),
            &left,
            lanes,
        );
        self.progress(&job.mailbox.target, left.get(), 0);
    }

    /// Hashes `uids` of a chunk; `left` is the number of messages that progress has not counted.
    fn hash(&self, job: &Job, chunk: &[Item], uids: Vec<u32>, left: &Cell<u64>, lanes: &mut Lanes) {
        let mut done = Vec::new();
        // Where reading is slow on purpose, a checkpoint is to find every message.
        let batch = if self.governor.limited() { 1 } else { BATCH };
        let sink = |uid, result: Result<Hashed, MessageError>| match result {
            Ok(Hashed { guid, size, stamp }) => {
                let at = chunk.binary_search_by_key(&uid, |item| item.want.uid);
                let Some(item) = at.ok().and_then(|at| chunk.get(at)) else {
                    return;
                };
                let entry = Entry {
                    uid,
                    size,
                    stamp,
                    guid,
                };
                done.push((item.slot, entry));
                if done.len() >= batch || size >= BATCH_BYTES {
                    let fresh = done.len();
                    job.put(&mut done, fresh);
                }
            }
            Err(error) => self.failed(job, uid, &error),
        };
        let count = |counts: ReadCounts| {
            let mut totals = self.totals.lock();
            totals.hashed += counts.hashed;
            totals.bytes += counts.bytes;
            totals.linked += counts.linked;
            drop(totals);
            left.set(left.get().saturating_sub(counts.hashed));
            self.progress(&job.mailbox.target, counts.hashed, counts.bytes);
        };
        let throttle = Throttle {
            governor: self.governor,
            links: Some(&self.links),
            single_stat: true,
            count: &count,
        };
        throttle.hash(&job.mailbox.spool, uids, lanes, sink);
        let fresh = done.len();
        job.put(&mut done, fresh);
    }

    fn failed(&self, job: &Job, uid: u32, error: &MessageError) {
        match error {
            MessageError::Missing { .. } => job.missing(uid),
            error => self.report(error.finding(&job.mailbox.target.mailbox)),
        }
    }
}
