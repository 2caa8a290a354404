//! A slotd of the simulation: the real wire, the real machine, a disk that forgets.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use controller::journal::memory::MemoryJournal;
use controller::journal::{Journal, MailboxId};
use indexfile::Guid;
use indexfile::mailbox::MailboxName;
use slotd::protocol::{
    Code, Command, Committed, Confirmed, DigestRange, Digests, Fields, FileState, Greeting,
    GuidEntry, GuidPage, GuidRange, MailboxFacts, PROTOCOL_VERSION, PartDigest, Reply, Standing,
    Upgrade, Upgraded, UuidSource,
};
use slotd::transaction::{Answer, Ending, Event, State};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::time::{Instant, sleep, sleep_until};
use turmoil::net::{TcpListener, TcpStream};

use super::disk::{Disk, Name, Role, Which};
use super::image::Image;
use super::mail::{Mail, Record};
use super::op::Op;
use super::site::{Fault, LIVE, Site, Wanted};

/// The port of every slotd.
pub const PORT: u16 = 1109;

/// How long each op takes.
const STEP: Duration = Duration::from_millis(3);
/// How long a transaction may wait for its controller's next command.
const MAX_LOCK: Duration = Duration::from_millis(600);
/// How long until what the start could not settle is tried again.
const PAUSE: Duration = Duration::from_millis(200);
/// How long `LOCK` may queue.
const LOCK_WAIT: Duration = Duration::from_millis(250);

/// Everything that outlives processes: what lies on disks, the journal, the dice, the findings.
pub struct Shared {
    /// By mailbox and side.
    pub sites: Vec<[Site<Mail>; 2]>,
    /// The controller's journal.
    pub journal: Arc<MemoryJournal>,
    /// Every choice of the simulation comes from here.
    pub dice: fastrand::Rng,
    /// How likely an op is to fail, in thousandths.
    pub fault_rate: u32,
    /// What went wrong; the first counts.
    pub broken: Option<String>,
    /// What happened, for the reader of a failing seed.
    pub story: Vec<String>,
    /// Commands served.
    pub served: u64,
    /// Hosts were given their peer's SHA-1s.
    pub peer_hashes: bool,
    /// How often a host said that its peer says otherwise of a message.
    pub differ_seen: u64,
}

/// Shared between the hosts of one simulation.
pub type World = Arc<Mutex<Shared>>;

/// The lock on everything.
pub fn locked(world: &World) -> MutexGuard<'_, Shared> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Notes what happened.
    pub fn tell(&mut self, what: impl FnOnce() -> String) {
        let now = turmoil::sim_elapsed().unwrap_or_default();
        self.story
            .push(format!("{:>7.3} {}", now.as_secs_f64(), what()));
    }

    /// Notes that a promise is broken.
    pub fn violate(&mut self, what: &str) {
        self.tell(|| format!("VIOLATED: {what}"));
        self.broken.get_or_insert_with(|| what.to_owned());
    }

    fn chance(&mut self, thousandths: u32) -> bool {
        self.dice.u32(0..1000) < thousandths
    }

    /// What must hold of a mailbox at every instant, and after a power cut at this one, however it
    /// falls.
    pub fn check(&mut self, m: usize, side: usize) {
        let site = &self.sites[m][side];
        let holds = |disk: &Disk<Mail>| (site.is_kept(disk), site.is_in_order(disk));
        let mut found = holds(&site.disk);
        for cut in site.disk.cuts() {
            let (kept, order) = holds(&cut);
            found = (found.0 && kept, found.1 && order);
        }
        match found {
            (false, _) => self.violate("something that an owner wrote is lost"),
            (_, false) => self.violate("index and expunge file are out of order"),
            _ => {}
        }
    }
}

/// The name of a mailbox by its number.
#[must_use]
pub fn name_of(m: usize) -> MailboxName {
    MailboxName::parse(&format!("user.u{m}")).unwrap_or_else(|_| unreachable!("a plain name"))
}

/// slotd on one host: recovers, then serves until it is killed.
///
/// # Errors
/// The simulated network's.
pub async fn slotd(world: World, side: usize) -> turmoil::Result {
    let mailboxes = locked(&world).sites.len();
    for m in 0..mailboxes {
        recover(&world, m, side).await;
    }
    // What could not be settled is tried again while it serves.
    let again = Arc::clone(&world);
    tokio::task::spawn_local(async move {
        for m in 0..mailboxes {
            while locked(&again).sites[m][side].log.open().is_some() {
                sleep(PAUSE).await;
                recover(&again, m, side).await;
            }
        }
    });
    let listener = TcpListener::bind(("0.0.0.0", PORT)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        let world = Arc::clone(&world);
        tokio::task::spawn_local(async move {
            let mut connection = Connection::new(world, side);
            connection.serve(stream).await;
        });
    }
}

/// Settles one mailbox, or fails to.
async fn recover(world: &World, m: usize, side: usize) {
    locked(world).sites[m][side].begin_recovery();
    // It waits for locks, for as long as it takes here.
    while locked(world).sites[m][side].starter.is_some() {
        sleep(STEP).await;
        let mut all = locked(world);
        let rate = all.fault_rate;
        let fault = all.chance(rate);
        let site = &mut all.sites[m][side];
        let op = site.starter.as_ref().and_then(|s| s.ops.front().copied());
        let busy = op == Some(Op::TakeLocks) && site.lock.is_some();
        if !busy {
            let how = op.filter(|o| fault && *o != Op::TakeLocks);
            let how = how.and_then(|o| o.failings().first().copied());
            site.step_recovery(how);
            all.tell(|| format!("host {side} mailbox {m}: recovery {op:?} {how:?}"));
            all.check(m, side);
        }
    }
}

/// One connection; its transaction is on the site of the mailbox that was locked last.
struct Connection {
    world: World,
    side: usize,
    mailbox: Option<(usize, u8)>,
    asked: Option<Command>,
    deadline: Instant,
    lock_until: Instant,
}

impl Connection {
    fn new(world: World, side: usize) -> Self {
        let now = Instant::now();
        Self {
            world,
            side,
            mailbox: None,
            asked: None,
            deadline: now,
            lock_until: now,
        }
    }

    async fn serve(&mut self, stream: TcpStream) {
        let mut stream = BufReader::new(stream);
        let mut line = Vec::new();
        let mut open = true;
        loop {
            let busy = self.is_busy();
            if !open && !busy {
                break;
            }
            let timed = self.is_open() && !busy;
            tokio::select! {
                biased;
                read = stream.read_until(b'\n', &mut line), if open => {
                    if !matches!(read, Ok(n) if n > 0) || !line.ends_with(b"\n") {
                        open = false;
                        self.event(Event::Disconnect);
                    } else {
                        let reply = self.command(&line);
                        line.clear();
                        if let Some(reply) = reply {
                            open &= stream.write_all(reply.to_line().as_bytes()).await.is_ok();
                        }
                    }
                }
                () = sleep(STEP), if busy => {
                    if let Some(reply) = self.step() {
                        open &= stream.write_all(reply.to_line().as_bytes()).await.is_ok();
                    }
                }
                () = sleep_until(self.deadline), if timed => self.event(Event::Expire),
            }
        }
        if let Some((m, id)) = self.mailbox {
            locked(&self.world).sites[m][self.side].forget(id);
        }
    }

    fn is_busy(&self) -> bool {
        let all = locked(&self.world);
        self.mailbox
            .is_some_and(|(m, id)| all.sites[m][self.side].next_op(id).is_some())
    }

    fn is_open(&self) -> bool {
        let all = locked(&self.world);
        let session = self
            .mailbox
            .and_then(|(m, id)| all.sites[m][self.side].session(id).cloned());
        session.is_some_and(|s| s.tx.is_open())
    }

    fn event(&mut self, event: Event) {
        if let Some((m, id)) = self.mailbox {
            let mut all = locked(&self.world);
            all.sites[m][self.side].tell(id, event);
            let side = self.side;
            all.tell(|| format!("host {side} mailbox {m}: {event:?}"));
        }
    }

    /// Reads a command; a reply comes at once or when the machine has one.
    fn command(&mut self, line: &[u8]) -> Option<Reply> {
        locked(&self.world).served += 1;
        let command = match Command::parse(line) {
            Ok(command) => command,
            Err(error) => {
                locked(&self.world).violate("a line that is no command");
                return Some(error.to_reply());
            }
        };
        self.deadline = Instant::now() + MAX_LOCK;
        self.asked = Some(command.clone());
        match command {
            Command::Hello | Command::Register { .. } => {
                let greeting = Greeting {
                    version: "simulated".to_owned(),
                    protocol: PROTOCOL_VERSION,
                    host_id: format!("host-{}", self.side),
                    ..Greeting::default()
                };
                return Some(Reply::Ok(greeting.to_fields()));
            }
            Command::Lock(lock) => {
                let mailboxes = locked(&self.world).sites.len();
                let Some(m) = (0..mailboxes).find(|m| name_of(*m) == lock.of.mailbox) else {
                    return Some(Reply::no(Code::NoMailbox, "no such mailbox"));
                };
                self.lock_until = Instant::now() + LOCK_WAIT;
                if !self.is_open() {
                    self.move_to(m);
                }
                self.event(Event::Lock);
            }
            Command::Upgrade(upgrade) => self.upgrade(upgrade),
            Command::Guids(range) => return Some(self.guids(range)),
            Command::Digests(range) => return Some(self.digests(range)),
            Command::Confirm => self.event(Event::Confirm),
            Command::Commit(commit) => {
                self.judge_commit();
                self.event(Event::Commit(Ending {
                    hold: commit.hold,
                    drop_old: commit.drop_old,
                }));
            }
            Command::Release { drop_old } => self.event(Event::Release { drop_old }),
            Command::Rollback => self.event(Event::Rollback),
            Command::Prepare(prepare) => return Some(self.prepare(&prepare.of.mailbox)),
            Command::Leave => return Some(Reply::Ok(Fields::new())),
            _ => return Some(Reply::no(Code::Unsupported, "not simulated")),
        }
        if self.mailbox.is_none() {
            return Some(Reply::no(Code::State, "no mailbox is locked"));
        }
        None
    }

    /// Hosts that were given their peer's SHA-1s compare them before any lock.
    fn prepare(&mut self, mailbox: &MailboxName) -> Reply {
        let mut all = locked(&self.world);
        let mailboxes = all.sites.len();
        let m = (0..mailboxes).find(|m| name_of(*m) == *mailbox);
        if let Some(m) = m.filter(|m| all.peer_hashes && peer_differs(&all.sites[*m])) {
            let side = self.side;
            all.tell(|| format!("host {side} mailbox {m}: the peer says otherwise"));
            all.differ_seen += 1;
            return Reply::no(Code::Differs, "the peer says otherwise of a message");
        }
        Reply::Ok(Fields::new())
    }

    fn move_to(&mut self, m: usize) {
        let mut all = locked(&self.world);
        if let Some((old, id)) = self.mailbox.take() {
            all.sites[old][self.side].forget(id);
        }
        self.mailbox = Some((m, all.sites[m][self.side].connect()));
    }

    /// A `COMMIT` may come only when the decision would survive the controller's death.
    fn judge_commit(&self) {
        let Some((m, _)) = self.mailbox else { return };
        let mut all = locked(&self.world);
        let durable = all.journal.after_crash();
        // Of any run: what an earlier one left in doubt is settled at the start of the next.
        let open = durable.open_transactions(MailboxId(0), u32::MAX);
        let decided = open.is_ok_and(|open| open.iter().any(|o| o.row.name == name_of(m)));
        if !decided {
            all.violate("COMMIT came and the decision is not durable");
        }
        if all.peer_hashes && peer_differs(&all.sites[m]) {
            all.violate("COMMIT came where a peer says otherwise of a message");
        }
    }

    fn upgrade(&mut self, upgrade: Upgrade) {
        let Some((m, id)) = self.mailbox else { return };
        let to = u8::try_from(upgrade.version).unwrap_or(u8::MAX);
        let wanted = Wanted {
            to,
            uuids_old: match upgrade.uuids {
                UuidSource::Old => true,
                UuidSource::Auto => to < 10,
                UuidSource::Cut => false,
            },
        };
        locked(&self.world).sites[m][self.side].tell_upgrade(id, wanted);
    }

    /// Does the next op of the transaction, or lets it fail.
    fn step(&mut self) -> Option<Reply> {
        let (m, id) = self.mailbox?;
        let mut all = locked(&self.world);
        let rate = all.fault_rate;
        let fault = all.chance(rate);
        let which = all.dice.usize(0..8);
        let site = &mut all.sites[m][self.side];
        let op = *site.next_op(id)?;
        let how = if op == Op::TakeLocks {
            if !site.may_step(id) && Instant::now() < self.lock_until {
                return None;
            }
            (!site.may_step(id)).then_some(super::op::Failing::Clean)
        } else {
            let ways: Vec<_> = op
                .failings()
                .iter()
                .filter(|w| **w != super::op::Failing::Damaged)
                .collect();
            ways.get(which % ways.len().max(1))
                .filter(|_| fault)
                .map(|w| **w)
        };
        let answer = match how {
            None => site.step(id),
            Some(how) => site.fail(id, how),
        };
        let side = self.side;
        all.tell(|| format!("host {side} mailbox {m} session {id}: {op:?} {how:?} {answer:?}"));
        all.check(m, side);
        answer.map(|answer| self.reply(&all.sites[m][side], id, answer))
    }

    fn reply(&self, site: &Site<Mail>, id: u8, answer: Answer) -> Reply {
        let session = site.session(id);
        match (answer, &self.asked) {
            (Answer::Ok, Some(Command::Lock(lock))) => {
                let [index, expunge] = LIVE.map(|name| site.disk.read(name));
                let count =
                    |f: Option<&Mail>| f.map_or(0, |f| u32::try_from(f.records.len()).unwrap_or(0));
                let facts = MailboxFacts {
                    mailbox: lock.of.mailbox.clone(),
                    partition: "default".to_owned(),
                    uniqueid: "u".to_owned(),
                    uidvalidity: 7,
                    index: index.map_or(0, |i| i.version.into()),
                    expunge: expunge.map(|e| e.version.into()),
                    exists: count(index),
                    expunged: count(expunge),
                    old: None,
                };
                let lease = MAX_LOCK.as_millis();
                Reply::Ok(facts.to_fields().with("max_lock_ms", lease))
            }
            (Answer::Ok, Some(Command::Confirm)) => Reply::Ok(confirmed(site, id).to_fields()),
            (Answer::Ok, Some(Command::Upgrade(_))) => {
                let wanted = session.map_or(
                    Wanted {
                        to: 10,
                        uuids_old: false,
                    },
                    |s| s.wanted,
                );
                Reply::Ok(upgraded(site, wanted).to_fields())
            }
            (Answer::Ok | Answer::Already, _) => Reply::Ok(Committed::default().to_fields()),
            (Answer::Failed, _) => match session.and_then(|s| s.fault) {
                Some(Fault::Locked) => Reply::no(Code::Locked, "somebody has it"),
                Some(Fault::Damaged) => Reply::no(Code::Damaged, "damaged"),
                Some(Fault::Differs) => Reply::no(Code::Differs, "the peer says otherwise"),
                _ => Reply::no(Code::Io, "injected"),
            },
            (Answer::Expired, _) => Reply::no(Code::Expired, "too long"),
            (Answer::State, _) => Reply::no(Code::State, "no"),
            (Answer::TooLate, _) => Reply::no(Code::TooLate, "committed"),
        }
    }

    fn digests(&self, range: DigestRange) -> Reply {
        let Some(records) = self.staged_records() else {
            return Reply::no(Code::State, "nothing");
        };
        let part = |(from, to)| {
            let records: std::collections::BTreeMap<u32, Record> = records
                .range(from..=to)
                .map(|(uid, r)| (*uid, *r))
                .collect();
            let count = u32::try_from(records.len()).unwrap_or(0);
            let part = Mail {
                version: 10,
                records,
                expunged: None,
            };
            PartDigest {
                count,
                digest: Guid::from_bytes(part.digest()),
            }
        };
        let parts = range.pieces().map(part).collect();
        Reply::Ok(Digests { parts }.to_fields())
    }

    /// What both files will hold, if the session has staged anything.
    fn staged_records(&self) -> Option<std::collections::BTreeMap<u32, Record>> {
        let (m, id) = self.mailbox?;
        let all = locked(&self.world);
        let site = &all.sites[m][self.side];
        let session = site.session(id)?;
        let staged = matches!(session.tx.state(), State::Staged { .. });
        staged.then(|| merged(site, session.wanted))
    }

    fn guids(&self, range: GuidRange) -> Reply {
        let Some(records) = self.staged_records() else {
            return Reply::no(Code::State, "nothing");
        };
        let to = range.to.unwrap_or(u32::MAX);
        // Two a page, so that there are pages.
        let mut rest = records.range(range.from..=to.max(range.from));
        let page: Vec<_> = rest.by_ref().take(2).collect();
        let entry = |(uid, r): &(&u32, &Record)| GuidEntry {
            uid: **uid,
            guid: r.guid(),
            size: 1,
        };
        let page = GuidPage {
            entries: page.iter().map(entry).collect(),
            next: rest.next().map(|(uid, _)| *uid),
        };
        Reply::Ok(page.to_fields())
    }
}

/// Whether a message that both hosts have is not the same on both.
#[must_use]
pub fn peer_differs(sites: &[Site<Mail>; 2]) -> bool {
    let [one, other] = [&sites[0], &sites[1]].map(|site| site.disk.read(LIVE[0]));
    one.zip(other).is_some_and(|(one, other)| {
        let both = one
            .records
            .iter()
            .filter_map(|(uid, r)| Some((r, other.records.get(uid)?)));
        both.into_iter().any(|(a, b)| a.body != b.body)
    })
}

/// How the transaction stands.
fn confirmed(site: &Site<Mail>, id: u8) -> Confirmed {
    let session = site.session(id);
    let state = session.map_or(State::Idle, |s| s.tx.state());
    let standing = match state {
        State::Staged { changed: true } => Standing::Staged,
        State::Staged { changed: false } => Standing::Unchanged,
        State::Held { .. } => Standing::Held,
        State::Refused => Standing::Refused,
        _ => Standing::Locked,
    };
    let staged = session.filter(|_| matches!(state, State::Staged { .. }));
    Confirmed {
        state: standing,
        digest: staged.map(|s| upgraded(site, s.wanted).digest),
    }
}

/// The records of both files as they are after the upgrade.
fn merged(site: &Site<Mail>, wanted: Wanted) -> std::collections::BTreeMap<u32, Record> {
    let both = Which::ALL
        .into_iter()
        .filter_map(|file| site.rewritten(file, wanted));
    both.flat_map(|mail| mail.records).collect()
}

fn upgraded(site: &Site<Mail>, wanted: Wanted) -> Upgraded {
    let state = |file| {
        if site.disk.has(Name::new(file, Role::New)) {
            FileState::Staged
        } else if site.disk.has(Name::new(file, Role::Live)) {
            FileState::Unchanged
        } else {
            FileState::None
        }
    };
    let records = merged(site, wanted);
    let whole = Mail {
        version: wanted.to,
        records,
        expunged: None,
    };
    Upgraded {
        index: state(Which::Index),
        expunge: state(Which::Expunge),
        from: site.disk.read(LIVE[0]).map_or(0, |i| i.version.into()),
        to: wanted.to.into(),
        messages: u32::try_from(whole.records.len()).unwrap_or(0),
        altered: 0,
        cached: 0,
        hashed: 0,
        restored: 0,
        cut: 0,
        prepared: false,
        lost_modseqs: 0,
        left_group: None,
        digest: Guid::from_bytes(whole.digest()),
        rehash: None,
    }
}
