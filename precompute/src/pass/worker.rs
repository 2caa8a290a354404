//! What one thread of the pass does: open a mailbox, or work on a chunk of one.

use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::thread::{self, Scope};
use std::time::Duration;

use indexfile::Guid;

use super::Shared;
use super::chunk::{Chunk, Item};
use super::crew::{Crew, Duty};
use super::job::{Begun, Job, Next};
use super::queue::Work;
use super::waiting::Group;
use crate::cache::Entry;
use crate::finding::Finding;
use crate::governor::Governor;
use crate::hash::lanes::Lanes;
use crate::mailbox::{self, Mailbox};
use crate::message::{FileStat, Gate, Hashed, Hasher, MessageError, Opened};
use crate::targets::Target;

/// Counters and results that all threads share are brought up to date after so many messages,
const BATCH: usize = 16;
/// or so many bytes.
const BATCH_BYTES: u64 = 1 << 20;

/// One thread of a pass, and where it can start more.
#[derive(Clone, Copy)]
struct Worker<'scope, 'env> {
    shared: &'scope Shared<'scope>,
    scope: &'scope Scope<'scope, 'env>,
}

/// Starts as many threads as the crew has places for.
///
/// # Errors
/// The system's, if not a single one is there then.
pub fn hire_all<'scope>(
    shared: &'scope Shared<'scope>,
    scope: &'scope Scope<'scope, '_>,
) -> io::Result<()> {
    let worker = Worker { shared, scope };
    let mut started = false;
    while shared.crew.wants_one() {
        if let Err(error) = worker.hire() {
            shared.crew.left();
            return if started { Ok(()) } else { Err(error) };
        }
        started = true;
    }
    Ok(())
}

/// Tells the crew when this thread ends, however it does.
struct Leaves<'a> {
    crew: &'a Crew<Group>,
    governor: &'a Governor,
}

impl Drop for Leaves<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            // What this one was at is never done, and nobody is to wait for it: the others stop, and the panic goes on.
            self.governor.stop();
            self.crew.over();
        }
        self.crew.left();
    }
}

impl Worker<'_, '_> {
    fn hire(self) -> io::Result<()> {
        let thread = thread::Builder::new().name("precompute-pass".to_owned());
        thread.spawn_scoped(self.scope, move || self.run())?;
        Ok(())
    }

    /// Works, or finishes what others did, until there is nothing left or the governor says stop.
    fn run(self) {
        let shared = self.shared;
        let _leaves = Leaves {
            crew: &shared.crew,
            governor: shared.governor,
        };
        while let Some(duty) = shared.crew.duty() {
            match duty {
                Duty::Finish(group) => shared.place(group),
                Duty::Work => return self.until_the_end(),
            }
        }
    }

    fn until_the_end(self) {
        let shared = self.shared;
        let mut lanes = Lanes::new(shared.options.kernel);
        while shared.governor.go_on() {
            match shared.queue.take(|| shared.governor.stopped()) {
                Work::Nothing => break,
                Work::Open(target) => self.open(&target, &mut lanes),
                Work::Chunk(job, chunk) => self.work(&job, &chunk, &mut lanes),
            }
            shared.queue.done();
        }
        shared.crew.over();
    }

    fn open(self, target: &Target, lanes: &mut Lanes) {
        let shared = self.shared;
        let mailbox = match Mailbox::open(target.clone()) {
            Ok(mailbox::Opened::Mailbox(mailbox, finding)) => {
                if let Some(finding) = finding {
                    shared.report(finding);
                }
                *mailbox
            }
            Ok(mailbox::Opened::Gone) => return,
            Err(finding) => return shared.report(finding),
        };
        shared.totals.mailboxes.add(1);
        let job = match Job::begin(mailbox, shared.options, shared.window(), shared.lot) {
            Ok(Begun::Job(job)) => job,
            Ok(Begun::Nothing(messages)) => return self.nothing_to_do(target, messages),
            Err(finding) => return shared.report(finding),
        };
        let Next::Chunk(chunk) = job.next() else {
            if job.done() {
                self.leave(&job);
            }
            return;
        };
        shared.live(&job);
        // Most mailboxes are one chunk; waking everybody for those would cost more than they do.
        if !job.exhausted() {
            shared.queue.share(Arc::clone(&job));
        }
        self.work(&job, &chunk, lanes);
        // Staying with one's own mailbox keeps what the kernel counts of its directory on this core.
        while shared.governor.go_on() {
            match job.next() {
                Next::Chunk(chunk) => self.work(&job, &chunk, lanes),
                Next::Exhausted | Next::Later => break,
            }
        }
    }

    fn nothing_to_do(self, target: &Target, messages: u64) {
        let shared = self.shared;
        shared.totals.messages.add(messages);
        shared.totals.cached.add(messages);
        shared.totals.trusted.add(messages);
        shared.progress(target, messages, 0);
    }

    /// All of a mailbox is done but writing its cache.
    fn leave(self, job: &Arc<Job>) {
        let shared = self.shared;
        let (findings, written) = job.finish();
        for finding in findings {
            shared.report(finding);
        }
        shared.dead(job);
        let target = || job.mailbox.target.clone();
        if let Some(group) = written.and_then(|written| shared.waiting.add(target(), written)) {
            // Syncing is mostly waiting, so somebody else had better do it.
            if let Err(group) = shared.crew.hand_over(group, || self.hire().is_ok()) {
                shared.place(group);
            }
        }
    }

    fn work(self, job: &Arc<Job>, chunk: &Chunk, lanes: &mut Lanes) {
        let shared = self.shared;
        let spool = &job.mailbox.spool;
        let mut todo = Vec::with_capacity(chunk.items.len());
        let mut done = Vec::with_capacity(chunk.items.len());
        let mut known_ones = 0;
        for Item { want, old, known } in &chunk.items {
            let uid = want.uid;
            if !shared.governor.go_on() {
                break;
            }
            let Some(old) = old else {
                todo.push(uid);
                continue;
            };
            if *known {
                known_ones += 1;
                done.push(*old);
                continue;
            }
            match spool.stat(uid) {
                Ok(now) if old.still_same(&now.stamp, now.size) => done.push(*old),
                Ok(_) => todo.push(uid),
                Err(error) => failed(shared, job, uid, &error),
            }
        }
        shared.totals.cached.add(done.len() as u64);
        shared.totals.trusted.add(known_ones);
        chunk.extend(&mut done);
        let mut fresh = 0;
        let told = Cell::new(0);
        // Where reading is slow on purpose, a checkpoint is to find every message.
        let batch = if shared.governor.limited() { 1 } else { BATCH };
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
                Err(error) => failed(shared, job, uid, &error),
            };
            let gate = PassGate {
                shared,
                job,
                hashed: 0,
                bytes: 0,
                told: &told,
            };
            todo = Hasher::new(spool, todo.into_iter(), sink, gate).run(lanes);
            if todo.is_empty() || shared.governor.stopped() {
                break;
            }
            // No file of this thread is open now, so waiting for another thread's cannot lock us up.
            shared.links.wait(Duration::from_millis(50));
        }
        chunk.extend(&mut done);
        let complete = !shared.governor.stopped();
        shared.totals.messages.add(chunk.items.len() as u64);
        shared.progress(
            &job.mailbox.target,
            (chunk.items.len() as u64).saturating_sub(told.get()),
            0,
        );
        if job.put_back(chunk, fresh, complete) {
            self.leave(job);
        }
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
    /// Not yet counted in `shared`.
    hashed: u64,
    bytes: u64,
    /// Messages that `progress` was told of.
    told: &'a Cell<u64>,
}

impl PassGate<'_, '_> {
    fn flush(&mut self) {
        let (hashed, bytes) = (
            std::mem::take(&mut self.hashed),
            std::mem::take(&mut self.bytes),
        );
        self.shared.totals.hashed.add(hashed);
        self.shared.totals.bytes.add(bytes);
        self.shared
            .progress(&self.job.mailbox.target, hashed, bytes);
        self.told.set(self.told.get() + hashed);
    }
}

impl Drop for PassGate<'_, '_> {
    fn drop(&mut self) {
        self.flush();
    }
}

impl Gate for PassGate<'_, '_> {
    fn go_on(&mut self) -> bool {
        self.shared.governor.go_on()
    }

    fn read(&mut self, bytes: u64) -> bool {
        self.shared.governor.admit(bytes)
    }

    fn one_look(&mut self) -> bool {
        // A limit on reading wants to know the size first; a further name of a file that is known
        // need not be read at all.
        !self.shared.governor.limited() && !self.shared.links.met()
    }

    fn ahead(&self) -> usize {
        self.shared.room.ahead
    }

    fn opened(&mut self, _uid: u32, stat: &FileStat) -> Opened {
        let opened = self.shared.links.opened(stat);
        if matches!(opened, Opened::Known(_)) {
            self.shared.totals.linked.add(1);
        }
        opened
    }

    fn closed(&mut self, stat: &FileStat, guid: Option<Guid>) {
        self.shared.links.closed(stat, guid);
        if guid.is_some() {
            self.hashed += 1;
            self.bytes = self.bytes.saturating_add(stat.size);
            if self.hashed >= BATCH as u64 || self.bytes >= BATCH_BYTES {
                self.flush();
            }
        }
    }
}
