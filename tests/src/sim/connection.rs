//! One connection to a slotd of the simulation: what comes on it, and what goes back.

use std::time::Duration;

use controller::journal::{Journal, MailboxId};
use indexfile::mailbox::MailboxName;
use slotd::protocol::{
    Code, Command, Complete, Completed, Fields, Greeting, PROTOCOL_VERSION, Reply, Revoked,
    Upgrade, UuidSource,
};
use slotd::transaction::{Ending, Event, State};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::time::{Instant, sleep, sleep_until};
use turmoil::net::TcpStream;

use super::answers::{self, Records};
use super::host::STEP;
use super::op::{Failing, Op};
use super::site::Wanted;
use super::world::{World, locked, name_of};

/// How long a transaction may wait for its controller's next command.
pub(super) const MAX_LOCK: Duration = Duration::from_millis(600);
/// How long `LOCK` may queue.
const LOCK_WAIT: Duration = Duration::from_millis(250);

/// One connection; its transaction is on the site of the mailbox that was locked last.
pub(super) struct Connection {
    world: World,
    side: usize,
    mailbox: Option<(usize, u8)>,
    asked: Option<Command>,
    deadline: Instant,
    lock_until: Instant,
    /// What the dry run of `COMPLETE` has seen: how many mailboxes, and how often the mark had been
    /// removed.
    seen: Option<(u32, u64)>,
    /// Its number among all connections.
    number: u64,
    /// `REGISTER` is answered once no older coordinator changes anything.
    registers: bool,
}

impl Drop for Connection {
    fn drop(&mut self) {
        locked(&self.world).epochs.forget(self.number);
    }
}

impl Connection {
    pub(super) fn new(world: World, side: usize) -> Self {
        let now = Instant::now();
        let number = locked(&world).epochs.number();
        Self {
            number,
            registers: false,
            world,
            side,
            mailbox: None,
            asked: None,
            deadline: now,
            lock_until: now,
            seen: None,
        }
    }

    pub(super) async fn serve(&mut self, stream: TcpStream) {
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
                () = sleep(STEP), if self.registers && !busy => {
                    if locked(&self.world).may_answer(self.number) {
                        self.registers = false;
                        let line = self.greeting().to_line();
                        open &= stream.write_all(line.as_bytes()).await.is_ok();
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
        let kept_out = locked(&self.world).epochs.refusal(self.number);
        if kept_out.is_some() && command != Command::Hello {
            return kept_out;
        }
        self.deadline = Instant::now() + MAX_LOCK;
        self.asked = Some(command.clone());
        match command {
            Command::Register {
                journal,
                epoch: Some(epoch),
            } => {
                let admitted = locked(&self.world).admit(self.side, self.number, (&journal, epoch));
                self.registers = admitted.is_ok();
                return admitted.err();
            }
            Command::Hello | Command::Register { .. } => return Some(self.greeting()),
            Command::Lock(lock) => {
                let Some(m) = locked(&self.world).find(&lock.of.mailbox) else {
                    return Some(Reply::no(Code::NoMailbox, "no such mailbox"));
                };
                self.lock_until = Instant::now() + LOCK_WAIT;
                if !self.is_open() {
                    self.move_to(m);
                }
                self.event(Event::Lock);
            }
            Command::Upgrade(upgrade) => self.upgrade(upgrade),
            Command::Guids(range) => return Some(self.of_staged(|all| answers::guids(all, range))),
            Command::Digests(range) => {
                return Some(self.of_staged(|all| answers::digests(all, range)));
            }
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
            Command::Preflight => {
                let fence = locked(&self.world).fence[self.side];
                return Some(Reply::Ok(answers::preflight(fence).to_fields()));
            }
            Command::List(_) => {
                let mailboxes = locked(&self.world).sites.len();
                return Some(Reply::Ok(answers::listed(mailboxes).to_fields()));
            }
            Command::Verify(verify) => return Some(self.verify(&verify.of.mailbox)),
            Command::Complete(want) => return Some(self.complete(want)),
            Command::Revoke => {
                let mut all = locked(&self.world);
                let revoked = Revoked {
                    removed: all.complete[self.side].remove(),
                    file: answers::COMPLETE.to_owned(),
                };
                return Some(Reply::Ok(revoked.to_fields()));
            }
            _ => return Some(Reply::no(Code::Unsupported, "not simulated")),
        }
        if self.mailbox.is_none() {
            return Some(Reply::no(Code::State, "no mailbox is locked"));
        }
        None
    }

    fn greeting(&self) -> Reply {
        let greeting = Greeting {
            version: "simulated".to_owned(),
            protocol: PROTOCOL_VERSION,
            host_id: format!("host-{}", self.side),
            ..Greeting::default()
        };
        Reply::Ok(greeting.to_fields())
    }

    /// Hosts that were given their peer's SHA-1s compare them before any lock.
    fn prepare(&mut self, mailbox: &MailboxName) -> Reply {
        let mut all = locked(&self.world);
        let m = all.find(mailbox);
        if let Some(m) = m.filter(|m| all.peer_hashes && answers::peer_differs(&all.sites[*m])) {
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
        let at = (m, all.sites[m][self.side].connect());
        self.mailbox = Some(at);
        all.epochs.moves_to(self.number, at);
    }

    /// A `COMMIT` may come only when the decision would survive the controller's death.
    fn judge_commit(&self) {
        let Some((m, _)) = self.mailbox else { return };
        let mut all = locked(&self.world);
        let durable = all.journal.after_crash();
        // Of any run: what an earlier one left in doubt is settled at the start of the next.
        let open = durable.open_transactions(MailboxId(0), u32::MAX);
        let decided = open.is_ok_and(|open| open.iter().any(|o| o.row.name == name_of(m)));
        // The row of a controller that is late may be lost by now.
        if !decided && all.several.failovers == 0 {
            all.violate("COMMIT came and the decision is not durable");
        }
        if all.peer_hashes && answers::peer_differs(&all.sites[m]) {
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
        let side = self.side;
        let op = *all.sites[m][side].next_op(id)?;
        all.judge_fence(side, self.number, op);
        let crosses = matches!(op, Op::WriteNew | Op::BeginRename);
        let crosses = crosses && all.sites[m][side].crosses(id);
        let unfenced = crosses && !all.guard(side);
        let site = &mut all.sites[m][side];
        let how = if unfenced {
            Some(Failing::Unfenced)
        } else if op == Op::TakeLocks {
            if !site.may_step(id) && Instant::now() < self.lock_until {
                return None;
            }
            (!site.may_step(id)).then_some(Failing::Clean)
        } else {
            let ways: Vec<_> = op
                .failings()
                .iter()
                .filter(|w| **w != Failing::Damaged)
                .collect();
            ways.get(which % ways.len().max(1))
                .filter(|_| fault)
                .map(|w| **w)
        };
        let answer = match how {
            None => site.step(id),
            Some(how) => site.fail(id, how),
        };
        all.tell(|| format!("host {side} mailbox {m} session {id}: {op:?} {how:?} {answer:?}"));
        all.check(m, side);
        let asked = self.asked.as_ref();
        answer.map(|answer| answers::reply(&all.sites[m][side], m, id, (answer, asked)))
    }

    /// `VERIFY`.
    fn verify(&self, mailbox: &MailboxName) -> Reply {
        let all = locked(&self.world);
        match all.find(mailbox) {
            Some(m) => Reply::Ok(answers::verified(&all.sites[m][self.side], m).to_fields()),
            None => Reply::no(Code::NoMailbox, "no such mailbox"),
        }
    }

    /// `COMPLETE`.
    fn complete(&mut self, want: Complete) -> Reply {
        let side = self.side;
        let mut all = locked(&self.world);
        let removals = all.complete[side].removals;
        let since = match self.seen.take() {
            _ if want.dry_run => removals,
            Some((mailboxes, since)) if mailboxes == want.mailboxes => since,
            _ => return Reply::no(Code::State, "no dry run"),
        };
        if let Err(why) = all.is_complete(side, want.mailboxes) {
            if !want.dry_run {
                all.complete[side].remove();
            }
            return why;
        }
        let mailboxes = want.mailboxes;
        if want.dry_run {
            self.seen = Some((mailboxes, since));
        } else if since == removals {
            all.complete[side].there = true;
            all.tell(|| format!("host {side} is called complete"));
            (0..all.sites.len()).for_each(|m| all.check(m, side));
        } else {
            return Reply::no(Code::State, "it was revoked since");
        }
        let file = (!want.dry_run).then(|| answers::COMPLETE.to_owned());
        Reply::Ok(Completed { mailboxes, file }.to_fields())
    }

    /// The answer about the records that both files will have, if the session has staged anything.
    fn of_staged(&self, tell: impl Fn(&Records) -> Reply) -> Reply {
        let staged = || {
            let (m, id) = self.mailbox?;
            let all = locked(&self.world);
            let site = &all.sites[m][self.side];
            let session = site.session(id)?;
            let staged = matches!(session.tx.state(), State::Staged { .. });
            staged.then(|| answers::merged(site, session.wanted))
        };
        staged().map_or_else(|| Reply::no(Code::State, "nothing"), |all| tell(&all))
    }
}
