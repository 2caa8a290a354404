//! One client, or the replication, in a process of its own: POSIX locks belong to a process.
//!
//! A client does one thing after another, each due at a fixed time whatever became of the one
//! before. The latency of a STORE is from when it was due until after its unlock: who waits for a
//! lock delays what it was to do next, and that counts too. It says `ready`, waits for a line,
//! works for as long as asked, and says what it found in one line of JSON. If it is killed, it
//! leaves what a killed imapd leaves.

use std::io::{self, BufRead, Write};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use stores::cyrus23::agent;
use stores::cyrus23::session::Session;

use crate::run::Histogram;

/// Name of the hidden subcommand under which this program is a client.
pub const SUBCOMMAND: &str = "bench-client";
/// The first argument of a client.
pub(super) const CLIENT: &str = "client";
/// The first argument of what replicates; the others are those of [`agent::run`].
pub(super) const FEED: &str = "feed";
/// What a client says once its mailboxes are open.
pub(super) const READY: &str = "ready";

/// Of a hundred things that a client does: STOREs, and deliveries; the others read a message.
const STORES: u32 = 70;
const DELIVERIES: u32 = 5;

/// What a client did.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Sampled {
    /// Latencies of its STOREs, microseconds.
    pub stores: Histogram,
    /// What each of them waited for the lock, microseconds.
    pub waits: Histogram,
    /// Messages that it delivered.
    pub deliveries: u64,
    /// Messages that it read.
    pub reads: u64,
}

impl Sampled {
    /// Nothing yet.
    pub fn new() -> Self {
        Self {
            stores: Histogram::new(),
            waits: Histogram::new(),
            deliveries: 0,
            reads: 0,
        }
    }

    /// Adds what another one did.
    pub fn merge(&mut self, other: &Self) {
        self.stores.merge(&other.stores);
        self.waits.merge(&other.waits);
        self.deliveries += other.deliveries;
        self.reads += other.reads;
    }
}

/// An open mailbox, and the messages that this client knows of.
struct Mailbox {
    session: Session,
    uids: Vec<u32>,
}

/// Is a client, or what replicates; the arguments are those after the parent's number.
///
/// # Errors
/// Bad arguments, or the first operation that failed.
pub fn be_client(args: &[String], input: &mut dyn BufRead, out: &mut dyn Write) -> io::Result<()> {
    match args {
        [what, rest @ ..] if what == FEED => agent::run(rest),
        [what, spec, seed, every, lasts] if what == CLIENT => {
            let duration = |text: &str| text.parse().map(Duration::from_micros);
            let seed = seed.parse().map_err(io::Error::other)?;
            let every = duration(every).map_err(io::Error::other)?;
            let lasts = duration(lasts).map_err(io::Error::other)?;
            let mut mailboxes = open(Path::new(spec))?;
            writeln!(out, "{READY}")?;
            out.flush()?;
            if input.read_line(&mut String::new())? == 0 {
                return Ok(()); // nobody wants it any more
            }
            let sampled = work(&mut mailboxes, seed, every, lasts)?;
            serde_json::to_writer(&mut *out, &sampled)?;
            writeln!(out)?;
            out.flush()
        }
        _ => Err(io::Error::other("arguments of a client are expected")),
    }
}

fn open(spec: &Path) -> io::Result<Vec<Mailbox>> {
    let open = |(dirs, log): (stores::Dirs, std::path::PathBuf)| {
        let mut session = Session::open(&dirs, &log, false)?;
        let uids = session.uids()?;
        Ok(Mailbox { session, uids })
    };
    let mailboxes: io::Result<Vec<Mailbox>> = agent::places(spec)?.into_iter().map(open).collect();
    let mailboxes = mailboxes?;
    if mailboxes.iter().all(|mailbox| mailbox.uids.is_empty()) {
        return Err(io::Error::other("no mailbox has a message"));
    }
    Ok(mailboxes)
}

fn work(
    mailboxes: &mut [Mailbox],
    seed: u64,
    every: Duration,
    lasts: Duration,
) -> io::Result<Sampled> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut sampled = Sampled::new();
    let begun = Instant::now();
    // Clients do not work in step.
    let mut due = every.mul_f64(random.f64());
    while due < lasts {
        if let Some(early) = due.checked_sub(begun.elapsed()) {
            thread::sleep(early);
        }
        let n = random.usize(0..mailboxes.len());
        let Mailbox { session, uids } = &mut mailboxes[n];
        let what = random.u32(0..100);
        match random.choice(uids.iter()).copied() {
            Some(uid) if what < STORES => {
                session.waited = Duration::ZERO;
                // Any flags but \Deleted: nobody expunges here.
                if session.store(uid, random.u32(0..16) & !4, None)? {
                    sampled
                        .stores
                        .add(micros(begun.elapsed().saturating_sub(due)));
                    sampled.waits.add(micros(session.waited));
                }
            }
            Some(uid) if what >= STORES + DELIVERIES => {
                sampled.reads += u64::from(session.fetch(uid)?);
            }
            _ => {
                uids.push(session.append(&agent::message(&mut random), None)?);
                sampled.deliveries += 1;
            }
        }
        due += every;
    }
    Ok(sampled)
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
