//! What one thread of the pass does: open a mailbox, or work on a chunk of one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indexfile::Guid;

use super::Shared;
use super::job::{Chunk, Job, Next};
use super::queue::Work;
use crate::cache::Entry;
use crate::finding::{Code, Finding};
use crate::hash::lanes::Lanes;
use crate::mailbox::{self, Mailbox};
use crate::message::{FileStat, Gate, Hashed, Hasher, MessageError, Opened};
use crate::targets::Target;

/// Works until there is nothing left or the governor says stop.
pub fn run(shared: &Shared<'_>) {
    let mut lanes = Lanes::new(shared.options.kernel);
    loop {
        if !shared.governor.go_on() {
            return;
        }
        match shared.queue.take(|| shared.governor.stopped()) {
            Work::Nothing => return,
            Work::Open(target) => open(shared, target, &mut lanes),
            Work::Chunk(job, chunk) => work(shared, &job, &chunk, &mut lanes),
        }
        shared.queue.done();
    }
}

fn open(shared: &Shared<'_>, target: Target, lanes: &mut Lanes) {
    let name = target.mailbox.clone();
    let mailbox = match Mailbox::open(target) {
        Ok(mailbox::Opened::Mailbox(mailbox, finding)) => {
            if let Some(finding) = finding {
                shared.report(finding);
            }
            *mailbox
        }
        Ok(mailbox::Opened::Gone) => return,
        Err(finding) => return shared.report(finding),
    };
    shared.count(&shared.totals.mailboxes, 1);
    let path = mailbox.index_path();
    let job = match Job::new(mailbox, shared.options.all_messages, shared.window()) {
        Ok(job) => Arc::new(job),
        Err(error) => return shared.report(Finding::new(&name, Code::Cache, path, &error)),
    };
    match job.next() {
        Next::Chunk(chunk) => {
            shared.live(&job);
            // Most mailboxes are one chunk; waking everybody for those would cost more than they do.
            if !job.exhausted() {
                shared.queue.share(Arc::clone(&job));
            }
            work(shared, &job, &chunk, lanes);
        }
        Next::Exhausted | Next::Later => {
            if job.done() {
                finish(shared, &job);
            }
        }
    }
}

fn finish(shared: &Shared<'_>, job: &Arc<Job>) {
    for finding in job.finish() {
        shared.report(finding);
    }
    shared.dead(job);
}

fn work(shared: &Shared<'_>, job: &Arc<Job>, chunk: &Chunk, lanes: &mut Lanes) {
    let spool = &job.mailbox.spool;
    let mut todo = Vec::new();
    let mut cached = 0;
    for (want, old) in &chunk.items {
        let uid = want.uid;
        if !shared.governor.go_on() {
            break;
        }
        let Some(old) = old else {
            todo.push(uid);
            continue;
        };
        match spool.stat(uid) {
            Ok(now) if old.still_same(&now.stamp, now.size) => {
                chunk.push(*old);
                cached += 1;
            }
            Ok(_) => todo.push(uid),
            Err(error) => failed(shared, job, uid, &error),
        }
    }
    shared.count(&shared.totals.cached, cached);
    let fresh = AtomicU64::new(0);
    loop {
        let sink = |uid, result: Result<Hashed, MessageError>| match result {
            Ok(Hashed { guid, size, stamp }) => {
                fresh.fetch_add(1, Ordering::Relaxed);
                chunk.push(Entry {
                    uid,
                    size,
                    stamp,
                    guid,
                });
            }
            Err(error) => failed(shared, job, uid, &error),
        };
        let gate = PassGate { shared, job };
        let aside = Hasher::new(spool, todo.into_iter(), sink, gate).run(lanes);
        if aside.is_empty() || shared.governor.stopped() {
            break;
        }
        // No file of this thread is open now, so waiting for another thread's cannot lock us up.
        shared.links.wait(Duration::from_millis(50));
        todo = aside;
    }
    let complete = !shared.governor.stopped();
    shared.count(&shared.totals.messages, chunk.items.len() as u64);
    shared.progress(job, chunk.items.len() as u64, 0);
    if job.put_back(chunk, fresh.into_inner(), complete) {
        finish(shared, job);
    }
}

fn failed(shared: &Shared<'_>, job: &Job, uid: u32, error: &MessageError) {
    match error {
        MessageError::Missing { .. } => job.missing(uid),
        error => shared.report(Finding::of_message(&job.mailbox.target.mailbox, error)),
    }
}

/// Ties the reading of messages to governor, links and counters.
struct PassGate<'a, 'b> {
    shared: &'a Shared<'b>,
    job: &'a Job,
}

impl Gate for PassGate<'_, '_> {
    fn go_on(&mut self) -> bool {
        self.shared.governor.go_on()
    }

    fn read(&mut self, bytes: u64) -> bool {
        self.shared.governor.admit(bytes)
    }

    fn opened(&mut self, _uid: u32, stat: &FileStat) -> Opened {
        let opened = self.shared.links.opened(stat);
        if matches!(opened, Opened::Known(_)) {
            self.shared.count(&self.shared.totals.linked, 1);
        }
        opened
    }

    fn closed(&mut self, stat: &FileStat, guid: Option<Guid>) {
        self.shared.links.closed(stat, guid);
        if guid.is_some() {
            self.shared.count(&self.shared.totals.hashed, 1);
            self.shared.count(&self.shared.totals.bytes, stat.size);
            self.shared.progress(self.job, 0, stat.size);
        }
    }
}
