//! Messages of one spool into the lanes: open, read, look again, and once more if it changed.

use std::time::Duration;

use super::file::Part;
use super::settle::Settle;
use super::{FileStat, Hashed, MessageError, MessageFile, Spool};
use crate::hash::Digest;
use crate::hash::lanes::{Feed, Filled, Lanes, run};
use indexfile::Guid;

/// How often a message that changes under our eyes is read again.
const ATTEMPTS: u32 = 4;

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
    /// The file is open: may we read it, or is its SHA-1 known or being computed elsewhere?
    fn opened(&mut self, uid: u32, stat: &FileStat) -> Opened {
        let _ = (uid, stat);
        Opened::Read
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
pub enum Opened {
    /// Read and hash it.
    Read,
    /// It is a further name of a file whose SHA-1 is this.
    Known(Guid),
    /// Another thread is at the same file: it is put aside, and given back by [`Hasher::run`].
    Aside,
}

/// No limits, no links.
#[derive(Clone, Copy, Debug)]
pub struct NoGate;
impl Gate for NoGate {}

/// Takes the results.
pub trait Sink {
    /// One message is done, or cannot be.
    fn message(&mut self, uid: u32, result: Result<Hashed, MessageError>);
}

impl<F: FnMut(u32, Result<Hashed, MessageError>)> Sink for F {
    fn message(&mut self, uid: u32, result: Result<Hashed, MessageError>) {
        self(uid, result);
    }
}

/// Hashes messages of one [`Spool`] on one thread, as many at a time as there are lanes.
pub struct Hasher<'a, I, S, G> {
    spool: &'a Spool,
    uids: std::iter::Fuse<I>,
    sink: S,
    gate: G,
    settle: Settle,
    again: Vec<(u32, u32)>,
    aside: Vec<u32>,
    stopped: bool,
}

/// A message in a lane.
#[derive(Debug)]
pub struct InLane {
    uid: u32,
    attempt: u32,
    file: MessageFile,
    error: Option<MessageError>,
}

impl<'a, I, S, G> Hasher<'a, I, S, G>
where
    I: Iterator<Item = u32>,
    S: Sink,
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
            aside: Vec::new(),
            stopped: false,
        }
    }

    /// Hashes all of them, and returns those that [`Gate::opened`] put aside.
    ///
    /// When the gate says stop, messages not yet begun are not mentioned to the sink at all.
    pub fn run(mut self, lanes: &mut Lanes) -> Vec<u32> {
        loop {
            run(&mut self, lanes);
            // A message may turn out to have changed when the lanes had no more to begin.
            if self.stopped || self.again.is_empty() {
                return self.aside;
            }
        }
    }

    /// Opens the message; `None` if it is done with, one way or another.
    fn begin(&mut self, uid: u32, attempt: u32) -> Option<InLane> {
        let file = match self.spool.open_message(uid) {
            Ok(file) => file,
            Err(error) => {
                self.sink.message(uid, Err(error));
                return None;
            }
        };
        match self.gate.opened(uid, file.stat()) {
            Opened::Read => {}
            Opened::Known(guid) => {
                let FileStat { size, stamp, .. } = *file.stat();
                self.sink.message(uid, Ok(Hashed { guid, size, stamp }));
                return None;
            }
            Opened::Aside => {
                self.aside.push(uid);
                return None;
            }
        }
        let message = InLane {
            uid,
            attempt,
            file,
            error: None,
        };
        if let Some(rest) = self.settle.wait(&message.file.stat().stamp) {
            self.gate.settle(rest);
            // What the stamp says must be from after the wait.
            if message.file.unchanged() != Ok(true) {
                self.changed(&message);
                return None;
            }
        }
        Some(message)
    }

    /// The file is not what it was: try again from the name, or give up.
    fn changed(&mut self, message: &InLane) {
        self.gate.closed(message.file.stat(), None);
        if message.attempt < ATTEMPTS {
            self.again.push((message.uid, message.attempt + 1));
        } else {
            let path = self.spool.path_of(message.uid);
            self.sink
                .message(message.uid, Err(MessageError::Unstable { path }));
        }
    }
}

impl<I, S, G> Feed for Hasher<'_, I, S, G>
where
    I: Iterator<Item = u32>,
    S: Sink,
    G: Gate,
{
    type Message = InLane;

    fn next(&mut self) -> Option<InLane> {
        loop {
            if self.stopped || !self.gate.go_on() {
                self.stopped = true;
                return None;
            }
            let (uid, attempt) = match self.again.pop() {
                Some(again) => again,
                None => (self.uids.next()?, 1),
            };
            if let Some(message) = self.begin(uid, attempt) {
                return Some(message);
            }
        }
    }

    fn fill(&mut self, message: &mut InLane, buffer: &mut [u8]) -> Filled {
        let left = message.file.left().min(buffer.len() as u64);
        if !self.gate.read(left) {
            self.stopped = true;
            message.error = Some(MessageError::Stopped {
                path: self.spool.path_of(message.uid),
            });
            return Filled::Failed;
        }
        match message.file.fill(buffer) {
            Ok(Part::More) => Filled::More,
            Ok(Part::Last(n)) => Filled::Last(n),
            Ok(Part::Shrunk) => Filled::Failed,
            Err(errno) => {
                let path = self.spool.path_of(message.uid);
                message.error = Some(MessageError::of(path, "read", errno));
                Filled::Failed
            }
        }
    }

    fn done(&mut self, message: InLane, digest: Digest) {
        match message.file.unchanged() {
            Ok(true) => {
                let guid = Guid::from_bytes(digest);
                self.gate.closed(message.file.stat(), Some(guid));
                let FileStat { size, stamp, .. } = *message.file.stat();
                self.sink
                    .message(message.uid, Ok(Hashed { guid, size, stamp }));
            }
            Ok(false) => self.changed(&message),
            Err(errno) => {
                let path = self.spool.path_of(message.uid);
                self.gate.closed(message.file.stat(), None);
                self.sink
                    .message(message.uid, Err(MessageError::of(path, "look at", errno)));
            }
        }
    }

    fn failed(&mut self, mut message: InLane) {
        match message.error.take() {
            Some(error) => {
                self.gate.closed(message.file.stat(), None);
                // Stopped is no finding: the message simply was not done.
                if !matches!(error, MessageError::Stopped { .. }) {
                    self.sink.message(message.uid, Err(error));
                }
            }
            None => self.changed(&message),
        }
    }
}
