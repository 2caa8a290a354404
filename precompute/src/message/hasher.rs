//! Messages of one spool into the lanes: open, read, look again, and once more if it changed.
//!
//! The plain way is to look before and after; where the gate allows it, one look is tried first
//! ([`super::single_stat`]).

use std::os::fd::OwnedFd;
use std::time::Duration;

use super::file::{FirstPart, Part};
use super::settle::Settle;
use super::single_stat::{Batches, Clocks};
use super::{FileStat, Hashed, MessageError, MessageFile, Spool};
use crate::hash::Digest;
use crate::hash::lanes::{Filled, Lanes, Source, run};
use indexfile::Guid;

/// How often a message that changes under our eyes is read again.
const ATTEMPTS: u32 = 4;
/// The clocks are read again after this many messages with one look.
const BATCH: usize = 32;

/// What the pass wants to know or decide while messages are read; all of it optional.
pub trait Gate {
    /// Before a message is opened; `false` stops.
    fn go_on(&mut self) -> bool {
        true
    }
    /// Before `bytes` are read (a rate limit sleeps here); `false` stops.
    fn read(&mut self, bytes: u64) -> bool {
        let _ = bytes;
        true
    }
    /// Whether a message may be read before it is looked at, and its size therefore be unknown to
    /// [`Gate::read`], which is not called then.
    fn single_stat(&mut self) -> bool {
        false
    }
    /// What the clocks say now.
    fn clocks(&mut self) -> Clocks {
        Clocks::now()
    }
    /// The file is open: may we read it, or is its SHA-1 known or being computed elsewhere?
    fn opened(&mut self, uid: u32, stat: &FileStat) -> Admission {
        let _ = (uid, stat);
        Admission::Read
    }
    /// A file that [`Gate::opened`] let through is done: `Some` with its SHA-1, `None` without.
    fn closed(&mut self, stat: &FileStat, guid: Option<Guid>) {
        let _ = (stat, guid);
    }
    /// Sleeps until a fresh file may be read.
    fn settle(&mut self, rest: Duration) {
        std::thread::sleep(rest);
    }
}

/// What [`Gate::opened`] decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Read and hash it.
    Read,
    /// It is a further name of a file whose SHA-1 is this.
    Known(Guid),
    /// Another thread is at the same file: it is put aside, and given back by [`Hasher::run`].
    Deferred,
}

/// No limits, no links.
#[derive(Clone, Copy, Debug)]
pub struct NoGate;
impl Gate for NoGate {}

/// Hashes messages of one [`Spool`] on one thread, as many at a time as there are lanes.
pub struct Hasher<'a, I, S, G> {
    spool: &'a Spool,
    uids: std::iter::Fuse<I>,
    sink: S,
    gate: G,
    settle: Settle,
    /// UIDs, how often they were read in the plain way, and the file where it is open already.
    again: Vec<(u32, u32, Option<OwnedFd>)>,
    deferred: Vec<u32>,
    batches: Batches,
    /// Hashed, with one look, in a batch that is not over.
    pending: Vec<(u32, FileStat, Guid)>,
    stopped: bool,
}

/// A message in a lane.
#[derive(Debug)]
pub struct InLane {
    uid: u32,
    /// How often it was read in the plain way, this time included.
    attempt: u32,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Open, nothing read: to be looked at once; and a time from before it was opened.
    Unread(OwnedFd, i64),
    /// It was looked at, and [`Gate::opened`] said to read it.
    Reading(MessageFile),
    /// Something failed while it was read.
    Error(MessageFile, MessageError),
    /// Its SHA-1 is known after all.
    Known(Hashed),
    /// Another thread is at it.
    Deferred,
    /// One look proved nothing.
    TwoLooks(OwnedFd),
    /// Never between two calls.
    Taken,
}

impl<'a, I, S, G> Hasher<'a, I, S, G>
where
    I: Iterator<Item = u32>,
    S: FnMut(u32, Result<Hashed, MessageError>),
    G: Gate,
{
    /// Prepares to hash `uids`.
    pub fn new(spool: &'a Spool, uids: I, sink: S, gate: G) -> Self {
        Self {
            spool,
            uids: uids.fuse(),
            sink,
            gate,
            settle: Settle::default(),
            again: Vec::new(),
            deferred: Vec::new(),
            batches: Batches::default(),
            pending: Vec::with_capacity(BATCH),
            stopped: false,
        }
    }

    /// Hashes all of them, and returns those that [`Gate::opened`] put aside.
    ///
    /// When the gate says stop, messages not yet begun are not mentioned to the sink at all.
    pub fn run(mut self, lanes: &mut Lanes) -> Vec<u32> {
        loop {
            run(&mut self, lanes);
            self.end_batch();
            // A message may turn out to have changed when the lanes had no more to begin.
            if self.stopped || self.again.is_empty() {
                return self.deferred;
            }
        }
    }

    /// If one look may be enough: a time before now.
    fn single_stat(&mut self) -> Option<i64> {
        if !self.gate.single_stat() || self.spool.local_times().is_none() {
            return None;
        }
        let gate = &mut self.gate;
        self.batches.before(|| gate.clocks())
    }

    /// Opens the message, unless it is, and looks at it; `None` if it is done with, one way or
    /// another.
    fn begin_plainly(&mut self, uid: u32, attempt: u32, open: Option<OwnedFd>) -> Option<InLane> {
        let open = open.map_or_else(|| self.spool.open_message(uid), Ok);
        let file = match open.and_then(|fd| MessageFile::new(fd, || self.spool.path_of(uid))) {
            Ok(file) => file,
            Err(error) => {
                (self.sink)(uid, Err(error));
                return None;
            }
        };
        match self.gate.opened(uid, file.stat()) {
            Admission::Read => {}
            Admission::Known(guid) => {
                let FileStat { size, stamp, .. } = *file.stat();
                (self.sink)(uid, Ok(Hashed { guid, size, stamp }));
                return None;
            }
            Admission::Deferred => {
                self.deferred.push(uid);
                return None;
            }
        }
        if let Some(rest) = self.settle.wait(&file.stat().stamp) {
            self.gate.settle(rest);
            // What the stamp says must be from after the wait.
            if file.unchanged() != Ok(true) {
                self.changed(uid, attempt, file.stat());
                return None;
            }
        }
        Some(InLane {
            uid,
            attempt,
            state: State::Reading(file),
        })
    }

    /// The file is not what it was: try again from the name, or give up.
    fn changed(&mut self, uid: u32, attempt: u32, stat: &FileStat) {
        self.gate.closed(stat, None);
        if attempt < ATTEMPTS {
            self.again.push((uid, attempt + 1, None));
        } else {
            let path = self.spool.path_of(uid);
            (self.sink)(uid, Err(MessageError::Unstable { path }));
        }
    }

    /// Reads the first part of a message and looks at it.
    fn first_part(
        &mut self,
        uid: u32,
        fd: OwnedFd,
        before: i64,
        buffer: &mut [u8],
    ) -> (State, Filled) {
        let device = self.spool.local_times().unwrap_or_default();
        let looked = FirstPart::read(fd, buffer).and_then(|part| part.stat_after(before, device));
        let (file, part) = match looked {
            Ok(looked) => looked,
            Err(fd) => return (State::TwoLooks(fd), Filled::Failed),
        };
        match self.gate.opened(uid, file.stat()) {
            Admission::Read => (State::Reading(file), filled(part)),
            Admission::Known(guid) => {
                let FileStat { size, stamp, .. } = *file.stat();
                let hashed = Hashed { guid, size, stamp };
                (State::Known(hashed), Filled::Failed)
            }
            Admission::Deferred => (State::Deferred, Filled::Failed),
        }
    }

    /// Reads the next part of a message that was looked at.
    fn next_part(&mut self, uid: u32, mut file: MessageFile, buffer: &mut [u8]) -> (State, Filled) {
        let path = || self.spool.path_of(uid);
        if !self.gate.read(file.left().min(buffer.len() as u64)) {
            self.stopped = true;
            let error = MessageError::Stopped { path: path() };
            return (State::Error(file, error), Filled::Failed);
        }
        match file.fill(buffer) {
            Ok(part) => (State::Reading(file), filled(part)),
            Err(errno) => {
                let error = MessageError::of(path(), "read", errno);
                (State::Error(file, error), Filled::Failed)
            }
        }
    }

    /// Hands on what one look was enough for, unless the clock was set back meanwhile.
    fn end_batch(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let good = self.batches.end(self.gate.clocks());
        let mut pending = std::mem::take(&mut self.pending);
        for (uid, stat, guid) in pending.drain(..) {
            self.finished(uid, 0, &stat, good.then_some(guid));
        }
        self.pending = pending;
    }

    fn finished(&mut self, uid: u32, attempt: u32, stat: &FileStat, guid: Option<Guid>) {
        let Some(guid) = guid else {
            return self.changed(uid, attempt, stat);
        };
        self.gate.closed(stat, Some(guid));
        let FileStat { size, stamp, .. } = *stat;
        (self.sink)(uid, Ok(Hashed { guid, size, stamp }));
    }
}

fn filled(part: Part) -> Filled {
    match part {
        Part::More => Filled::More,
        Part::Last(n) => Filled::Last(n),
        Part::Shrunk => Filled::Failed,
    }
}

impl<I, S, G> Source for Hasher<'_, I, S, G>
where
    I: Iterator<Item = u32>,
    S: FnMut(u32, Result<Hashed, MessageError>),
    G: Gate,
{
    type Message = InLane;

    fn next(&mut self) -> Option<InLane> {
        loop {
            if self.stopped || !self.gate.go_on() {
                self.stopped = true;
                return None;
            }
            if let Some((uid, attempt, open)) = self.again.pop() {
                if let Some(message) = self.begin_plainly(uid, attempt, open) {
                    return Some(message);
                }
                continue;
            }
            let uid = self.uids.next()?;
            let Some(before) = self.single_stat() else {
                if let Some(message) = self.begin_plainly(uid, 1, None) {
                    return Some(message);
                }
                continue;
            };
            match self.spool.open_message(uid) {
                Ok(fd) => {
                    return Some(InLane {
                        uid,
                        attempt: 0,
                        state: State::Unread(fd, before),
                    });
                }
                Err(error) => (self.sink)(uid, Err(error)),
            }
        }
    }

    fn fill(&mut self, message: &mut InLane, buffer: &mut [u8]) -> Filled {
        let file = match std::mem::replace(&mut message.state, State::Taken) {
            State::Unread(fd, before) => {
                let (state, filled) = self.first_part(message.uid, fd, before, buffer);
                message.state = state;
                return filled;
            }
            State::Reading(file) => file,
            other => {
                message.state = other;
                return Filled::Failed;
            }
        };
        let (state, filled) = self.next_part(message.uid, file, buffer);
        message.state = state;
        filled
    }

    fn done(&mut self, message: InLane, digest: Digest) {
        let State::Reading(file) = message.state else {
            return; // only what was filled to the end is done
        };
        let guid = Guid::from_bytes(digest);
        let (uid, stat) = (message.uid, *file.stat());
        match file.unchanged() {
            Ok(true) if message.attempt == 0 => {
                // The first look came after bytes were read: it needs the clock's word as well.
                self.pending.push((uid, stat, guid));
                if self.pending.len() >= BATCH {
                    self.end_batch();
                }
            }
            Ok(same) => self.finished(uid, message.attempt, &stat, same.then_some(guid)),
            Err(errno) => {
                let path = self.spool.path_of(uid);
                self.gate.closed(&stat, None);
                (self.sink)(uid, Err(MessageError::of(path, "look at", errno)));
            }
        }
    }

    fn failed(&mut self, message: InLane) {
        let uid = message.uid;
        match message.state {
            State::Error(file, error) => {
                self.gate.closed(file.stat(), None);
                // Stopped is no finding: the message simply was not done.
                if !matches!(error, MessageError::Stopped { .. }) {
                    (self.sink)(uid, Err(error));
                }
            }
            State::Reading(file) => self.changed(uid, message.attempt, file.stat()),
            State::Known(hashed) => (self.sink)(uid, Ok(hashed)),
            State::Deferred => self.deferred.push(uid),
            State::TwoLooks(fd) | State::Unread(fd, _) => self.again.push((uid, 1, Some(fd))),
            State::Taken => self.again.push((uid, 1, None)),
        }
    }
}
