//! A slotd in memory: mailboxes are a version and a list of GUIDs. Speaks the real protocol over
//! an in-memory stream, and can be told to fail.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use indexfile::Guid;
use indexfile::mailbox::MailboxName;
use parking_lot::{Mutex, MutexGuard};
use slotd::client::{Addr, Client, ClientError, Timeouts};
use slotd::protocol::{
    Code, Command, Committed, Confirmed, Digests, FileState, Found, Greeting, GuidEntry, GuidPage,
    Listed, MailboxFacts, Named, Odd, PartDigest, Rehash, Rehashed, Reply, Standing, Upgraded,
    UuidSource, WrongGuid,
};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use super::over::{self, Over};
use crate::hosts::{BoxFuture, Connect};
use crate::two_phase::Side;

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
    let fault = host.faults.iter_mut().find(|f| {
        f.command == command.name() && (f.mailbox == mailbox || f.mailbox == "*") && f.times > 0
    });
    let what = fault.map(|f| {
        f.times -= 1;
        f.what.clone()
    });
    match what {
        Some(What::Refuse(code)) => {
            if command.name() == "LOCK" || code == Code::Expired {
                session.unlock(host);
            }
            (Reply::no(code, "as told"), false, false)
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

fn guid(message: u8, version: u32) -> Guid {
    let mut bytes = [0; 20];
    bytes[0] = message;
    if version >= 10 {
        bytes[19] = message;
    }
    Guid::from_bytes(bytes)
}

fn by_uniqueid(host: &Host, uniqueid: &str) -> Reply {
    let is = |(name, mailbox): &(&String, &Mailbox)| {
        let id = mailbox.uniqueid.clone().unwrap_or_else(|| id_of(name));
        id == uniqueid
    };
    let found = host.mailboxes.iter().find(is);
    let found = found.map(|(name, _)| Named {
        mailbox: MailboxName::parse(name).expect("a name"),
        partition: Some(host.partition(name).to_owned()),
    });
    let found = found.map_or(Found::Nowhere, Found::At);
    Reply::Ok(found.to_fields())
}

#[allow(clippy::too_many_lines)] // one arm a command
fn execute(host: &mut Host, session: &mut Session, side: Side, command: &Command) -> Reply {
    let state = || Reply::no(Code::State, "not now");
    match command {
        Command::Hello | Command::Register { .. } => Reply::Ok(
            Greeting {
                version: "1".to_owned(),
                protocol: slotd::protocol::PROTOCOL_VERSION,
                host_id: host.id.clone().unwrap_or_else(|| format!("host-{side}")),
                draining: host.draining,
                capacity: host.capacity,
                rehash: !host.before_rehash,
                ..Greeting::default()
            }
            .to_fields(),
        ),
        Command::List(range) => {
            let after = range
                .after
                .as_ref()
                .map(|n| n.mailbox.to_string())
                .unwrap_or_default();
            let rest: Vec<&String> = host.mailboxes.keys().filter(|n| **n > after).collect();
            let partition = rest.first().map_or("default", |n| host.partition(n));
            let names = rest.into_iter().take(2);
            let names: Vec<_> = names
                .take_while(|n| host.partition(n) == partition)
                .map(|n| MailboxName::parse(n).expect("a name"))
                .collect();
            let next = names.last().cloned().map(Named::new);
            let odd = std::mem::take(&mut host.odd);
            Reply::Ok(
                Listed {
                    names,
                    partition: partition.to_owned(),
                    next,
                    odd: odd.len() as u64,
                    odd_list: odd,
                    twice: Vec::new(),
                }
                .to_fields(),
            )
        }
        Command::Lock(lock) => {
            let name = lock.of.mailbox.to_string();
            if let Some(refusal) = host.refuses(&name) {
                return refusal;
            }
            let on = host.partition(&name);
            let asked = lock.of.partition.as_deref();
            if host.mailboxes.contains_key(&name) && asked.is_some_and(|asked| asked != on) {
                return Reply::no(Code::Elsewhere, format!("it is on partition {on}"));
            }
            let locked = host.locked();
            let lease = host.lease.unwrap_or(Duration::from_secs(5));
            let Some(mailbox) = host.mailboxes.get_mut(&name) else {
                return Reply::no(Code::NoMailbox, format!("no mailbox {name}"));
            };
            if mailbox.locked {
                return Reply::no(Code::Locked, "another session");
            }
            mailbox.locked = true;
            host.most_locked = host.most_locked.max(locked + 1);
            let uniqueid = mailbox.uniqueid.clone();
            let uniqueid = uniqueid.unwrap_or_else(|| id_of(&name));
            session.mailbox = Some(name);
            Reply::Ok(
                MailboxFacts {
                    mailbox: lock.of.mailbox.clone(),
                    partition: "default".to_owned(),
                    uniqueid,
                    uidvalidity: 1,
                    index: mailbox.version,
                    expunge: None,
                    exists: u32::try_from(mailbox.messages.len()).unwrap_or(0),
                    expunged: 0,
                    old: Some(0),
                }
                .to_fields()
                .with("max_lock_ms", lease.as_millis()),
            )
        }
        Command::Preflight | Command::Verify(_) | Command::Complete(_) | Command::Prepare(_)
            if host.fence.is_some() =>
        {
            over::execute(host, command)
        }
        Command::Status(of) if host.fence.is_some() => over::status(host, of),
        Command::Status(of) => {
            let name = of.mailbox.as_str();
            let there = host.mailboxes.contains_key(name);
            let answer = || {
                if there {
                    Reply::Ok(slotd::protocol::Fields::new())
                } else {
                    Reply::no(Code::NoMailbox, format!("no mailbox {name}"))
                }
            };
            host.refuses(name).unwrap_or_else(answer)
        }
        Command::Find(find) => by_uniqueid(host, &find.uniqueid),
        Command::Quit | Command::Leave => Reply::Ok(slotd::protocol::Fields::new()),
        _ => match session.mailbox.clone() {
            Some(name) if host.mailboxes.contains_key(&name) => {
                in_session(host, session, &name, command)
            }
            _ => state(),
        },
    }
}

#[allow(clippy::too_many_lines)] // one arm a command
fn in_session(host: &mut Host, session: &mut Session, name: &str, command: &Command) -> Reply {
    let Some(mailbox) = host.mailboxes.get_mut(name) else {
        return Reply::no(Code::NoMailbox, "gone");
    };
    let target = session.staged.unwrap_or(mailbox.version);
    let count = u32::try_from(mailbox.messages.len()).unwrap_or(0);
    let committed = Committed {
        held: host.held,
        waited: Duration::ZERO,
    }
    .to_fields();
    match command {
        Command::Upgrade(upgrade)
            if let Some(refusal) = over::refuses(host.fence, mailbox, upgrade.version) =>
        {
            refusal
        }
        Command::Upgrade(upgrade) => {
            let report = upgrade.rehash == Some(Rehash::Report);
            let to = if report {
                mailbox.version
            } else {
                upgrade.version
            };
            let mut wrong = mailbox.wrong.clone();
            if upgrade.rehash == Some(Rehash::Fix) {
                wrong.clear();
            } else if upgrade.uuids == UuidSource::Old && to >= 10 {
                let of_run = mailbox.replaced.iter().filter(|(r, _)| *r == upgrade.run);
                wrong = of_run.map(|(_, uid)| *uid).collect();
            }
            let changed = to != mailbox.version || wrong != mailbox.wrong;
            let found = upgrade.rehash.map(|_| Rehashed {
                wrong: u32::try_from(mailbox.wrong.len()).unwrap_or(0),
                gone: 0,
                list: mailbox
                    .wrong
                    .iter()
                    .map(|uid| WrongGuid {
                        uid: *uid,
                        has: Guid::from_bytes([0xab; 20]),
                        is: guid(1, 10),
                    })
                    .collect(),
            });
            session.staged = Some(to);
            session.wrong = Some((wrong, upgrade.run));
            let mut sum = [0u8; 20];
            for (uid, message) in &mailbox.messages {
                sum[(*uid % 20) as usize] ^= message.wrapping_mul(31) ^ 1;
            }
            session.digest = Some(Guid::from_bytes(sum));
            Reply::Ok(
                Upgraded {
                    index: if changed {
                        FileState::Staged
                    } else {
                        FileState::Unchanged
                    },
                    expunge: FileState::None,
                    from: mailbox.version,
                    to: upgrade.version,
                    messages: count,
                    altered: if changed { count } else { 0 },
                    cached: u32::from(changed),
                    hashed: if changed { count - 1 } else { 0 },
                    restored: 0,
                    cut: 0,
                    prepared: false,
                    lost_modseqs: 0,
                    left_group: None,
                    digest: Guid::from_bytes(sum),
                    rehash: found,
                }
                .to_fields(),
            )
        }
        Command::Guids(range) => {
            let rest = mailbox
                .messages
                .iter()
                .filter(|(uid, _)| *uid >= range.from && *uid <= range.to.unwrap_or(u32::MAX));
            let entries: Vec<_> = rest
                .take(2)
                .map(|(uid, message)| GuidEntry {
                    uid: *uid,
                    guid: guid(*message, target),
                    size: 5,
                })
                .collect();
            let last = entries.last().map_or(0, |e| e.uid);
            let next = mailbox
                .messages
                .iter()
                .map(|(uid, _)| *uid)
                .find(|uid| *uid > last && *uid <= range.to.unwrap_or(u32::MAX));
            Reply::Ok(GuidPage { entries, next }.to_fields())
        }
        Command::Digests(range) => {
            let part = |(from, to)| {
                let within = mailbox
                    .messages
                    .iter()
                    .filter(|(uid, _)| (from..=to).contains(uid));
                let mut sum = [0u8; 20];
                for (uid, message) in within.clone() {
                    sum[(*uid % 20) as usize] ^= message.wrapping_mul(31) ^ 1;
                }
                PartDigest {
                    count: u32::try_from(within.count()).unwrap_or(0),
                    digest: Guid::from_bytes(sum),
                }
            };
            let parts = range.pieces().map(part).collect();
            Reply::Ok(Digests { parts }.to_fields())
        }
        Command::Confirm => {
            let digest = session.digest;
            let state = match (session.held.as_ref(), digest) {
                (Some(_), _) => Standing::Held,
                (None, Some(_)) => Standing::Staged,
                (None, None) => Standing::Locked,
            };
            Reply::Ok(Confirmed { state, digest }.to_fields())
        }
        Command::Commit(commit) => {
            let before = (mailbox.version, mailbox.wrong.clone());
            mailbox.version = target;
            if let Some((wrong, run)) = session.wrong.take() {
                let right = mailbox.wrong.iter().filter(|uid| !wrong.contains(uid));
                mailbox.replaced.extend(right.map(|uid| (run, *uid)));
                mailbox.wrong = wrong;
            }
            if commit.hold {
                session.held = Some(before);
            } else {
                session.unlock(host);
            }
            Reply::Ok(committed)
        }
        Command::Release { .. } if session.held.is_some() => {
            session.unlock(host);
            Reply::Ok(committed)
        }
        Command::Rollback => {
            if let Some((version, wrong)) = session.held.take() {
                mailbox.version = version;
                mailbox.wrong = wrong;
            }
            session.unlock(host);
            Reply::Ok(slotd::protocol::Fields::new())
        }
        _ => Reply::no(Code::State, "not now"),
    }
}
