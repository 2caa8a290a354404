//! One connection's work: from a command to its reply, by driving the state machine.
//!
//! Blocking: the server calls it off the reactor. At most one mailbox is locked at a time. Whatever
//! happens to the connection, [`Session::end`] leaves nothing locked and nothing staged.

mod background;
mod drive;
mod member;

use std::sync::Arc;
use std::time::Instant;

use indexfile::mailbox::MailboxName;

pub use crate::control::{CancelReason, Control};

use background::Background;
use member::Member;

use crate::audit;
use crate::complete::{self, Seen};
use crate::coordinators::taken_over;
use crate::host::Host;
use crate::locked::{self, LockedMailbox};
use crate::peer::Who;
use crate::protocol::{
    Code, Command, Commit, Committed, Confirmed, Fields, Lock, Precompute, Reply, Standing, Upgrade,
};
use crate::queries::{self, BadRoots, Walker};
use crate::refusal::Refusal;
use crate::stage::Listing;
use crate::transaction::{Ending, Event, State, Transaction};

/// One connection's state.
#[derive(Debug)]
pub struct Session {
    host: Arc<Host>,
    control: Arc<Control>,
    member: Member,
    who: Who,
    transaction: Transaction,
    mailbox: Option<LockedMailbox>,
    background: Background,
    /// What `LOCK` and `UPGRADE` ask for, while the state machine decides whether they may.
    lock: Option<Lock>,
    upgrade: Upgrade,
    /// What the action that ended last has to say.
    good: Option<Fields>,
    refusal: Option<Refusal>,
    /// How long the last mailbox was locked, and what for, as in the answer to `COMMIT`.
    committed: (Committed, String),
    /// The locks that the command under way gave back, and how long they were held.
    given_back: Option<Committed>,
    /// The option that bounds what took too long.
    expired_by: &'static str,
    /// Where `LIST` and `FIND` are.
    walker: Option<Walker>,
    /// What a walk for a unique id could not look into.
    unseen: Option<String>,
    /// What the dry run of `COMPLETE` has seen.
    seen: Option<Seen>,
}

impl Session {
    /// A fresh connection's.
    #[must_use]
    pub fn new(host: Arc<Host>) -> Session {
        let control = Arc::new(Control::default());
        Session {
            member: Member::default(),
            who: Who::default(),
            transaction: Transaction::new(),
            mailbox: None,
            background: Background::new(&host, &control),
            host,
            control,
            lock: None,
            upgrade: Upgrade::default(),
            good: None,
            refusal: None,
            committed: (Committed::default(), String::new()),
            given_back: None,
            expired_by: "--max-lock",
            walker: None,
            unseen: None,
            seen: None,
        }
    }

    /// The same of a connection whose other end is known.
    #[must_use]
    pub fn of(host: Arc<Host>, who: Who) -> Session {
        let mut session = Session::new(host);
        session.who = who;
        session
    }

    /// Who is at the other end.
    #[must_use]
    pub fn who(&self) -> &Who {
        &self.who
    }

    /// By which the server cuts work short.
    #[must_use]
    pub fn control(&self) -> Arc<Control> {
        Arc::clone(&self.control)
    }

    /// The host it works on.
    #[must_use]
    pub fn host(&self) -> Arc<Host> {
        Arc::clone(&self.host)
    }

    /// Whether a mailbox is locked: then the server's clock runs.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.transaction.is_open()
    }

    /// Whether the connection is a coordinator's, or has something prepared.
    #[must_use]
    pub fn is_engaged(&self) -> bool {
        self.member.seat().is_some() || self.has_prepared()
    }

    /// Whether something is prepared.
    #[must_use]
    pub fn has_prepared(&self) -> bool {
        self.background.prepared.is_some()
    }

    /// Whether a command looks at nothing but the state of the transaction: it is answered sooner
    /// than handed to another thread.
    #[must_use]
    pub fn answers_at_once(&self, command: &Command) -> bool {
        matches!(command, Command::Confirm) && self.control.fenced().is_none()
    }

    /// Does what a command says and gives the reply.
    #[must_use]
    pub fn handle(&mut self, command: Command) -> Reply {
        self.heed_fence();
        let began = Instant::now();
        let line = audit::has_line(&command).then(|| (command.name(), command.to_string()));
        let mailbox = command.mailbox().or_else(|| self.locked_mailbox());
        let mailbox = mailbox.map(ToString::to_string);
        self.given_back = None;
        let reply = self.perform(command);
        self.exit();
        let reply = reply.unwrap_or_else(|refusal| refusal.to_reply());
        let reply = match (self.control.fenced(), &reply) {
            // What was cut short for that.
            (Some(epoch), Reply::No { .. }) => taken_over(epoch).to_reply(),
            _ => reply,
        };
        if let Some((name, text)) = line {
            let about = self.about(mailbox.as_deref());
            let held = self.given_back;
            audit::command(about, (name, &text), began.elapsed(), &reply, held);
        }
        reply
    }

    fn locked_mailbox(&self) -> Option<&MailboxName> {
        self.mailbox.as_ref().map(|locked| &locked.place().mailbox)
    }

    /// For a line of the audit.
    fn about<'a>(&'a self, mailbox: Option<&'a str>) -> audit::About<'a> {
        audit::About {
            who: &self.who,
            journal: self.member.journal(),
            mailbox,
        }
    }

    /// Ends an open transaction without a command, and says so.
    fn end_transaction(&mut self, event: Event, why: &str) {
        let what = match self.transaction.state() {
            State::Held { .. } => "RELEASE",
            _ => "ROLLBACK",
        };
        let mailbox = self.locked_mailbox().map(ToString::to_string);
        self.given_back = None;
        let _ = self.drive(event);
        if mailbox.is_some() {
            let held = self.given_back;
            audit::ended(self.about(mailbox.as_deref()), (what, why), held);
        }
    }

    /// Ends everything, as a closed connection does, if a higher epoch keeps this one's coordinator
    /// out.
    pub fn heed_fence(&mut self) {
        if self.control.fenced().is_some() {
            self.end();
            self.control.clear();
        }
    }

    /// What changes live files: only while no higher epoch forbids it, and none is answered before
    /// it is over.
    fn change(&mut self, event: Event) -> Result<Reply, Refusal> {
        let host = Arc::clone(&self.host);
        let _change = host.coordinators.begin_change(self.member.seat())?;
        Ok(self.drive(event))
    }

    fn perform(&mut self, command: Command) -> Result<Reply, Refusal> {
        if let Some(epoch) = self.control.fenced().filter(|_| !command.only_looks()) {
            return Err(taken_over(epoch));
        }
        let (host, cancel) = (&*self.host, &self.control.cancel);
        let fields = match command {
            Command::Lock(lock) => {
                self.may_hold(lock.epoch)?;
                self.lock = Some(lock);
                return Ok(self.drive(Event::Lock));
            }
            Command::Upgrade(upgrade) => {
                self.upgrade = upgrade;
                return Ok(self.drive(Event::Upgrade));
            }
            Command::Commit(Commit { hold, drop_old }) => {
                return self.change(Event::Commit(Ending { hold, drop_old }));
            }
            Command::Release { drop_old } => return self.change(Event::Release { drop_old }),
            Command::Rollback => return self.change(Event::Rollback),
            Command::Confirm => return Ok(self.confirm()),
            Command::Quit => {
                self.end();
                Fields::new()
            }
            Command::Hello => queries::hello(host, None).to_fields(),
            Command::Register { journal, epoch } => {
                let open = self.is_open();
                let (all, control) = (&self.host.coordinators, &self.control);
                let left = self.member.register(all, (journal, epoch), open, control)?;
                queries::hello(&self.host, left).to_fields()
            }
            Command::Leave => {
                self.member.leave(&host.coordinators)?;
                Fields::new()
            }
            Command::Host => queries::host(host)?.to_fields(),
            Command::Drain(drain) => host.drained.begin(&drain)?.to_fields(),
            Command::Kick => host.drained.kick()?.to_fields(),
            Command::Undrain => host.drained.end()?.to_fields(),
            Command::Preflight => queries::preflight(host).to_fields(),
            Command::List(range) => {
                queries::page(&host.store, &mut self.walker, &range, BadRoots::Listed)?.to_fields()
            }
            Command::Find(find) => {
                let walk = (&mut self.walker, &mut self.unseen);
                queries::find(host, walk, &find)?.to_fields()
            }
            Command::Status(named) => queries::status(host, &named)?.to_fields(),
            Command::HostStatus => {
                let status = queries::host_status(host).to_fields();
                status.with_all(queries::out_of_service(host))
            }
            Command::Verify(verify) => queries::verify(host, &verify, cancel)?.to_fields(),
            Command::Sha1s(range) => queries::sha1s(host, &range)?.to_fields(),
            Command::Guids(range) => queries::guids(self.staged("GUIDS")?, range)?.to_fields(),
            Command::Digests(range) => {
                queries::digests(self.staged("DIGESTS")?, range)?.to_fields()
            }
            Command::Precompute(Precompute::Ask) => host.pass.progress().to_fields(),
            Command::Precompute(Precompute::Stop) => host.pass.stop().to_fields(),
            Command::Precompute(Precompute::Start(limits)) => {
                if host.is_draining() {
                    let text = "slotd is stopping and begins no pass";
                    return Err(Refusal::new(Code::Draining, text));
                }
                host.pass.start(host.store.conf(), limits)?.to_fields()
            }
            Command::Prepare(prepare) => {
                self.may_hold(prepare.epoch)?;
                let locked = self.mailbox.is_some();
                self.background.prepare(&prepare, locked)?.to_fields()
            }
            Command::Complete(complete) => {
                self.member.enter(&host.coordinators, &self.control)?;
                let _change = host.coordinators.begin_change(self.member.seat())?;
                let seen = self.seen.take();
                let (completed, seen) = complete::complete(host, &complete, seen, cancel)?;
                self.seen = seen;
                completed.to_fields()
            }
            Command::Revoke => {
                self.member.enter(&host.coordinators, &self.control)?;
                let _change = host.coordinators.begin_change(self.member.seat())?;
                complete::revoke(host)?.to_fields()
            }
            Command::Clean(clean) => {
                self.member.enter(&host.coordinators, &self.control)?;
                if self.transaction.is_open() {
                    return Err(Refusal::new(
                        Code::State,
                        "CLEAN takes locks of its own: end the transaction first",
                    ));
                }
                let _change = host.coordinators.begin_change(self.member.seat())?;
                locked::clean(host, &clean, cancel)?.to_fields()
            }
        };
        Ok(Reply::Ok(fields))
    }

    /// Before a mailbox is locked or prepared.
    fn may_hold(&mut self, epoch: Option<u64>) -> Result<(), Refusal> {
        if self.host.is_draining() {
            let text = "slotd is stopping and takes no new mailbox";
            return Err(Refusal::new(Code::Draining, text));
        }
        let all = &self.host.coordinators;
        match epoch {
            Some(epoch) => all.raise(self.member.seat(), epoch),
            None => self.member.enter(all, &self.control),
        }
    }

    /// Once nothing is held any more.
    fn exit(&mut self) {
        if !self.transaction.is_open() && self.background.prepared.is_none() {
            self.member.exit(&self.host.coordinators);
        }
    }

    fn staged(&self, question: &str) -> Result<&Listing, Refusal> {
        let listing = self.mailbox.as_ref().and_then(LockedMailbox::listing);
        listing.unwrap_or_else(|| {
            let text = format!("{question} comes after UPGRADE");
            Err(Refusal::new(Code::State, text))
        })
    }

    /// Whether the transaction stands. That it was asked is enough to keep it from ending for want
    /// of commands.
    fn confirm(&mut self) -> Reply {
        let state = match self.transaction.state() {
            State::Refused => Standing::Refused,
            State::Staged { changed: true } => Standing::Staged,
            State::Staged { changed: false } => Standing::Unchanged,
            State::Held { .. } => Standing::Held,
            // Of these only the first is confirmed.
            State::Locked
            | State::Idle
            | State::Locking
            | State::Staging
            | State::Renaming(_)
            | State::Undoing => Standing::Locked,
        };
        let staged = self.mailbox.as_ref().and_then(LockedMailbox::staged);
        let digest = staged.map(|report| report.digest);
        self.good = Some(Confirmed { state, digest }.to_fields());
        let reply = self.drive(Event::Confirm);
        self.good = None;
        reply
    }

    /// Notes that there are no scratch files any more.
    fn clear_scratch(&mut self) {
        if self.mailbox.is_none() && self.background.prepared.is_none() {
            self.background.scratch.clear();
        }
    }

    /// The transaction's time is over.
    pub fn expire(&mut self) {
        self.expired_by = "--max-lock";
        self.end_transaction(Event::Expire, "expired");
        self.exit();
    }

    /// The connection is closed.
    pub fn end(&mut self) {
        let why = match self.control.fenced() {
            Some(_) => "taken-over",
            None => "closed",
        };
        self.end_transaction(Event::Disconnect, why);
        self.background.prepared = None;
        self.clear_scratch();
        self.member.end(&self.host.coordinators);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.end();
    }
}
