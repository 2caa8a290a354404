//! A slotd in memory: mailboxes are a version and a list of GUIDs. Speaks the real protocol over
//! an in-memory stream, and can be told to fail.

mod commands;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use indexfile::Guid;
use indexfile::mailbox::MailboxName;
use parking_lot::{Mutex, MutexGuard};
use slotd::client::{Addr, Client, ClientError, Timeouts};
use slotd::protocol::{
    Code, Command, Committed, Confirmed, Digests, FileState, Found, Greeting, GuidEntry, GuidPage,
    HostStatus, Listed, MailboxFacts, Named, Odd, PartDigest, Rehash, Rehashed, Reply, Standing,
    Upgraded, UuidSource, WrongGuid,
};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use super::over::Over;
use crate::hosts::{BoxFuture, Connect};
use crate::two_phase::Side;
use commands::execute;

#[derive(Clone, Debug)]
pub struct Mailbox {
    pub version: u32,
    /// UID and what the message is.
    pub messages: Vec<(u32, u8)>,
    /// If it does not go with the name it has now.
    pub uniqueid: Option<String>,
    /// UIDs whose GUID is not the SHA-1 of the message.
    pub wrong: Vec<u32>,
    /// Of those that were, which run set them right.
    pub replaced: Vec<(u64, u32)>,
    /// What the fake of a change-over keeps.
    pub over: Over,
    locked: bool,
}

/// The unique id of a mailbox that was made under this name.
pub fn id_of(name: &str) -> String {
    format!("id of {name}")
}

/// What is to happen at a command: its word, the mailbox, how often.
#[derive(Clone, Debug)]
pub struct Fault {
    pub command: &'static str,
    pub mailbox: &'static str,
    pub times: u32,
    /// So many are let through before.
    pub after: u32,
    pub what: What,
}

#[derive(Clone, Debug)]
pub enum What {
    Refuse(Code),
    /// The connection ends before the command is executed.
    CloseBefore,
    /// The connection ends after it.
    CloseAfter,
    /// No reply, ever.
    Hang,
    /// The host goes down before the command is executed: every connection ends, and none can be
    /// made.
    GoDown,
    /// The connection ends before the command is executed, and this process has no descriptor for
    /// so many others.
    Starve(usize),
    /// The host's slotd dies before the command is executed, and comes back without the mailbox's
    /// partition.
    LosePartition,
}

#[derive(Default)]
pub struct Host {
    pub mailboxes: BTreeMap<String, Mailbox>,
    pub faults: Vec<Fault>,
    pub log: Vec<String>,
    pub down: bool,
    /// Where it is not `default`.
    pub partitions: BTreeMap<&'static str, &'static str>,
    /// Partitions that are not mounted.
    pub unmounted: Vec<&'static str>,
    /// How long an executed COMMIT says that the locks were held.
    pub held: Duration,
    /// And this for each mailbox that is locked then, as if they waited for one disk.
    pub held_each: Duration,
    /// How many mailboxes were locked at once, at most.
    pub most_locked: usize,
    /// How long each command takes.
    pub delay: Duration,
    /// And how long UPGRADE takes beyond that.
    pub work: Duration,
    /// How long a transaction waits for its next command before it ends.
    pub lease: Option<Duration>,
    pub draining: bool,
    /// Connections refused while it was down.
    pub refused: usize,
    /// What its walk meets and does not list.
    pub odd: Vec<Odd>,
    /// So many connections fail because this process has no descriptor left.
    pub starved: usize,
    /// How many connections it says it serves at once.
    pub capacity: Option<u32>,
    /// What it calls itself, if not by its side.
    pub id: Option<String>,
    /// Its slotd is of a release before `rehash=`.
    pub before_rehash: bool,
    /// What `PREFLIGHT` says of the fence; without it the slotd does not know `PREFLIGHT`.
    pub fence: Option<&'static str>,
    /// What it says of itself; without it its slotd is of a release that does not.
    pub status: Option<HostStatus>,
    /// What `COMPLETE` was answered with `OK`.
    pub complete: Option<(u32, u32)>,
}

impl Host {
    pub fn partition(&self, name: &str) -> &'static str {
        self.partitions.get(name).copied().unwrap_or("default")
    }

    fn refuses(&self, name: &str) -> Option<Reply> {
        let partition = self.partition(name);
        self.unmounted.contains(&partition).then(|| {
            let text = format!("/{partition} is not mounted, and /{partition}/spool lies on it");
            Reply::no(Code::Unmounted, text)
        })
    }

    /// Mailboxes that are locked now.
    pub fn locked(&self) -> usize {
        self.mailboxes.values().filter(|m| m.locked).count()
    }

    /// Whether a command of this kind was sent for a mailbox.
    pub fn was_asked(&self, command: &str, mailbox: &str) -> bool {
        let line = format!("{command} {mailbox}");
        let is = |l: &String| *l == line || l.starts_with(&format!("{line} "));
        self.log.iter().any(is)
    }
}

pub type Shared = Arc<Mutex<Host>>;

pub fn lock(host: &Shared) -> MutexGuard<'_, Host> {
    host.lock()
}

pub fn host(names: &[&str]) -> Shared {
    let mailbox = || Mailbox {
        version: 9,
        messages: vec![(1, 1), (2, 2), (7, 3)],
        uniqueid: None,
        wrong: Vec::new(),
        replaced: Vec::new(),
        over: Over::default(),
        locked: false,
    };
    let mailboxes = names.iter().map(|n| ((*n).to_owned(), mailbox())).collect();
    Arc::new(Mutex::new(Host {
        mailboxes,
        held: Duration::from_micros(1500),
        ..Host::default()
    }))
}

pub struct Net {
    pub hosts: [Option<Shared>; 2],
}

impl Connect for Net {
    fn connect(&self, side: Side) -> BoxFuture<'_, Result<Client, ClientError>> {
        let host = self.hosts[side.index()].clone().expect("in scope");
        let addr = Addr::Tcp {
            host: side.to_string(),
            port: 1,
        };
        Box::pin(async move {
            let mut locked = lock(&host);
            if locked.starved > 0 {
                locked.starved -= 1;
                let source = rustix::io::Errno::MFILE.into();
                return Err(ClientError::Connect { addr, source });
            }
            if locked.down {
                locked.refused += 1;
                let source = std::io::ErrorKind::ConnectionRefused.into();
                return Err(ClientError::Connect { addr, source });
            }
            drop(locked);
            let (ours, theirs) = tokio::io::duplex(1 << 20);
            tokio::spawn(serve(host, side, theirs));
            let timeouts = Timeouts {
                connect: Duration::from_secs(1),
                call: Duration::from_millis(300),
                work: Duration::from_secs(1),
            };
            Ok(Client::from_stream(Box::new(ours), addr, timeouts))
        })
    }

    fn address(&self, side: Side) -> Option<String> {
        self.hosts[side.index()].as_ref().map(|_| side.to_string())
    }
}

#[derive(Default)]
struct Session {
    mailbox: Option<String>,
    staged: Option<u32>,
    /// Which UIDs are wrong afterwards, and of which run that is.
    wrong: Option<(Vec<u32>, u64)>,
    held: Option<(u32, Vec<u32>)>,
    digest: Option<Guid>,
}

impl Session {
    fn unlock(&mut self, host: &mut Host) {
        if let Some(mailbox) = self
            .mailbox
            .take()
            .and_then(|name| host.mailboxes.get_mut(&name))
        {
            mailbox.locked = false;
        }
        *self = Self::default();
    }
}

/// Reads a line, however long it takes; a transaction that waits for it may end meanwhile.
async fn read(
    stream: &mut BufReader<tokio::io::DuplexStream>,
    line: &mut String,
    session: &mut Session,
    shared: &Shared,
) -> bool {
    let lease = lock(shared).lease.filter(|_| session.mailbox.is_some());
    let reading = stream.read_line(line);
    tokio::pin!(reading);
    if let Some(lease) = lease {
        match tokio::time::timeout(lease, &mut reading).await {
            Ok(read) => return read.is_ok_and(|n| n > 0),
            Err(_) => session.unlock(&mut lock(shared)),
        }
    }
    reading.await.is_ok_and(|n| n > 0)
}

async fn serve(shared: Shared, side: Side, stream: tokio::io::DuplexStream) {
    let mut stream = BufReader::new(stream);
    let mut session = Session::default();
    let mut line = String::new();
    while read(&mut stream, &mut line, &mut session, &shared).await {
        let command = Command::parse(line.as_bytes()).expect("the client writes commands");
        let delay = {
            let host = lock(&shared);
            let works = matches!(command, Command::Upgrade(_));
            host.delay + if works { host.work } else { Duration::ZERO }
        };
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let (reply, close, hang) = {
            let mut host = lock(&shared);
            if host.down {
                break;
            }
            let text = line.trim_end().to_owned();
            host.log.push(text);
            execute_with_faults(&mut host, &mut session, side, &command)
        };
        if hang {
            // Never an answer; the session ends when the other side closes.
            while stream.read_line(&mut line).await.is_ok_and(|n| n > 0) {}
            break;
        }
        if close
            || stream
                .get_mut()
                .write_all(reply.to_line().as_bytes())
                .await
                .is_err()
        {
            break;
        }
        line.clear();
    }
    // Uncommitted: rolled back. Held: released as committed.
    session.unlock(&mut lock(&shared));
}

fn execute_with_faults(
    host: &mut Host,
    session: &mut Session,
    side: Side,
    command: &Command,
) -> (Reply, bool, bool) {
    let mailbox = match command {
        Command::Lock(lock) => lock.of.mailbox.to_string(),
        Command::Verify(verify) => verify.of.mailbox.to_string(),
        Command::Prepare(prepare) => prepare.of.mailbox.to_string(),
        _ => session.mailbox.clone().unwrap_or_default(),
    };
    let word = match command {
        Command::Complete(complete) if complete.dry_run => "COMPLETE dry_run",
        _ => command.name(),
    };
    let fault = host
        .faults
        .iter_mut()
        .find(|f| f.command == word && (f.mailbox == mailbox || f.mailbox == "*") && f.times > 0);
    let what = fault.and_then(|f| {
        if f.after > 0 {
            f.after -= 1;
            return None;
        }
        f.times -= 1;
        Some(f.what.clone())
    });
    match what {
        Some(What::Refuse(code)) => {
            if command.name() == "LOCK" || code == Code::Expired {
                session.unlock(host);
            }
            (Reply::no(code, "as set"), false, false)
        }
        Some(What::CloseBefore) => (Reply::Bad(String::new()), true, false),
        Some(What::Starve(times)) => {
            host.starved = times;
            (Reply::Bad(String::new()), true, false)
        }
        Some(What::GoDown) => {
            host.down = true;
            (Reply::Bad(String::new()), true, false)
        }
        Some(What::LosePartition) => {
            let partition = host.partition(&mailbox);
            host.unmounted.push(partition);
            (Reply::Bad(String::new()), true, false)
        }
        Some(What::Hang) => (Reply::Bad(String::new()), false, true),
        Some(What::CloseAfter) => (execute(host, session, side, command), true, false),
        None => (execute(host, session, side, command), false, false),
    }
}
