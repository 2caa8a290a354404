//! One connection's work: from a command to its reply, by driving the state machine.
//!
//! Blocking: the server calls it off the reactor. At most one mailbox is locked at a time. Whatever
//! happens to the connection, [`Session::end`] leaves nothing locked and nothing staged.

mod ahead;
mod audit;
mod drive;
mod facts;
mod find;
mod inquire;
mod intend;
mod list;
mod preflight;

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use indexfile::IndexFile;

use crate::host::Host;
use crate::intent::Scratch;
use crate::lock::MailboxLocks;
use crate::protocol::{
    Code, Command, Committed, Fields, Greeting, PROTOCOL_VERSION, Reply, Upgrade,
};
use crate::refusal::Refusal;
use crate::stage::{Expected, Incarnation, LiveFiles, Note, Prepared, Stage};
use crate::store::{Place, Store};
use crate::transaction::{Ending, Event, Transaction};

/// How the server tells a session at work that its work is not wanted any more.
#[derive(Debug, Default)]
pub struct Control {
    /// Looked at by whatever waits or works.
    pub cancel: AtomicBool,
    why: AtomicU8,
}

/// Why a session's work was cut short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The connection is closed.
    Disconnected,
    /// It took too long.
    Expired,
}

impl Control {
    /// Stops the work under way as soon as it looks.
    pub fn cut(&self, why: Cut) {
        let value = match why {
            Cut::Disconnected => 1,
            Cut::Expired => 2,
        };
        self.why.store(value, Ordering::Relaxed);
        self.cancel.store(true, Ordering::Relaxed);
    }

    /// The work it was meant for is over.
    pub fn clear(&self) {
        self.why.store(0, Ordering::Relaxed);
        self.cancel.store(false, Ordering::Relaxed);
    }

    /// Whether and why.
    #[must_use]
    pub fn why(&self) -> Option<Cut> {
        match self.why.load(Ordering::Relaxed) {
            1 => Some(Cut::Disconnected),
            2 => Some(Cut::Expired),
            _ => None,
        }
    }
}

/// The mailbox that is locked.
#[derive(Debug)]
struct Open {
    locks: MailboxLocks,
    of: Incarnation,
    expected: Option<Expected>,
    stage: Option<Stage>,
    intent: Option<u64>,
    /// Of the files of `PREPARE`, before it is known that these will be staged.
    early: Option<intend::OnItsWay>,
    renamed: bool,
}

/// One connection's state.
#[derive(Debug)]
pub struct Session {
    host: Arc<Host>,
    control: Arc<Control>,
    transaction: Transaction,
    open: Option<Open>,
    /// What `LOCK` and `UPGRADE` ask for, while the state machine decides whether they may.
    lock: Option<crate::protocol::Lock>,
    upgrade: Upgrade,
    /// What the action that ended last has to say.
    good: Option<Reply>,
    refusal: Option<Refusal>,
    committed: Committed,
    /// What the locks were held for, as in the answer to `COMMIT`.
    laps: String,
    walker: Option<list::Walker>,
    prepared: Option<Prepared>,
    /// The mailboxes in which this session may have scratch files.
    touched: Vec<Scratch>,
    coordinator: Coordinator,
    /// What a walk for a unique id could not look into.
    hidden: Option<String>,
}

/// For whom a session works.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Coordinator {
    /// Nobody yet.
    Nobody,
    /// Somebody who gave no journal, while something is held.
    Unnamed,
    /// The coordinator with this journal.
    Of(String),
}

impl Session {
    /// A fresh connection's.
    #[must_use]
    pub fn new(host: Arc<Host>) -> Session {
        Session {
            host,
            control: Arc::new(Control::default()),
            transaction: Transaction::new(),
            open: None,
            lock: None,
            upgrade: Upgrade::default(),
            good: None,
            refusal: None,
            committed: Committed::default(),
            laps: String::new(),
            walker: None,
            prepared: None,
            touched: Vec::new(),
            coordinator: Coordinator::Nobody,
            hidden: None,
        }
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

    /// Does what a command says and gives the reply.
    #[must_use]
    pub fn handle(&mut self, command: Command) -> Reply {
        let reply = match command {
            Command::Hello => Ok(Reply::Ok(self.greeting(None).to_fields())),
            Command::Preflight => Ok(self.preflight()),
            Command::Register { journal } => self.register(journal),
            Command::Leave => self.leave(),
            Command::Find(find) => self.find(&find),
            Command::Quit => {
                self.end();
                Ok(Reply::Ok(Fields::new()))
            }
            Command::Lock(_) | Command::Prepare(_) if self.host.is_draining() => Err(Refusal::new(
                Code::Draining,
                "slotd is stopping and takes no new mailbox",
            )),
            Command::Lock(_) | Command::Prepare(_) | Command::Clean(_)
                if let Err(refusal) = self.enter() =>
            {
                Err(refusal)
            }
            Command::Lock(lock) => {
                self.lock = Some(lock);
                Ok(self.drive(Event::Lock))
            }
            Command::Upgrade(upgrade) => {
                self.upgrade = upgrade;
                Ok(self.drive(Event::Upgrade))
            }
            Command::Commit(commit) => {
                let ending = Ending {
                    hold: commit.hold,
                    drop_old: commit.drop_old,
                };
                Ok(self.drive(Event::Commit(ending)))
            }
            Command::Release { drop_old } => Ok(self.drive(Event::Release { drop_old })),
            Command::Rollback => Ok(self.drive(Event::Rollback)),
            Command::Confirm => Ok(self.confirm()),
            Command::Guids(range) => self.guids(range),
            Command::Digests(range) => self.digests(range),
            Command::List(range) => self.list(&range),
            Command::Sha1s(range) => self.sha1s(&range),
            Command::Prepare(prepare) => self.prepare(&prepare),
            Command::Status(named) => self.status(&named),
            Command::Verify(verify) => self.verify(&verify),
            Command::Clean(clean) => self.clean(&clean),
        };
        self.exit();
        reply.unwrap_or_else(|refusal| refusal.to_reply())
    }

    fn greeting(&self, left: Option<String>) -> Greeting {
        Greeting {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            protocol: PROTOCOL_VERSION,
            host_id: self.host.host_id.clone(),
            draining: self.host.is_draining(),
            failed: self.host.log.usable_now().is_err(),
            capacity: Some(self.host.capacity()),
            served: self.host.served.served().as_str().to_owned(),
            stopped: self.host.served.is_stopped(),
            rehash: true,
            left,
        }
    }

    /// This connection is one of the coordinator with that journal.
    fn register(&mut self, journal: String) -> Result<Reply, Refusal> {
        let known = match &self.coordinator {
            Coordinator::Of(known) => Some(known.clone()),
            _ => None,
        };
        if known.is_some_and(|known| known != journal) || self.transaction.is_open() {
            let text = "this connection works for somebody already";
            return Err(Refusal::new(Code::State, text));
        }
        self.disown();
        let left = self.host.coordinators.register(&journal)?;
        self.coordinator = Coordinator::Of(journal);
        Ok(Reply::Ok(self.greeting(left).to_fields()))
    }

    fn leave(&mut self) -> Result<Reply, Refusal> {
        match &self.coordinator {
            Coordinator::Of(journal) => self.host.coordinators.leave(journal)?,
            _ => return Err(Refusal::new(Code::State, "LEAVE comes after REGISTER")),
        }
        Ok(Reply::Ok(Fields::new()))
    }

    /// Before anything is held.
    fn enter(&mut self) -> Result<(), Refusal> {
        if self.coordinator == Coordinator::Nobody {
            self.host.coordinators.enter()?;
            self.coordinator = Coordinator::Unnamed;
        }
        Ok(())
    }

    /// Somebody without a journal counts only while something is held.
    fn exit(&mut self) {
        let holds = self.transaction.is_open() || self.prepared.is_some();
        if self.coordinator == Coordinator::Unnamed && !holds {
            self.disown();
        }
    }

    fn disown(&mut self) {
        match std::mem::replace(&mut self.coordinator, Coordinator::Nobody) {
            Coordinator::Of(journal) => self.host.coordinators.gone(&journal),
            Coordinator::Unnamed => self.host.coordinators.exit(),
            Coordinator::Nobody => {}
        }
    }

    /// Does work that may have to make scratch files under names: that there may be some is noted
    /// before the first.
    fn noting<T>(
        &mut self,
        place: &Place,
        work: impl FnOnce(&mut Session, Note<'_>) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let host = Arc::clone(&self.host);
        // Also where nothing will be noted: with a log that has failed nothing can be committed,
        // and what is staged could be taken for what an intent speaks of that did get to the disk.
        host.log.usable_now()?;
        let scratch = Scratch {
            mailbox: place.mailbox.to_string(),
            partition: place.partition.clone(),
        };
        let known = self.touched.contains(&scratch);
        let noted = Cell::new(false);
        let result = work(self, &|| {
            if !known && !noted.get() {
                host.log.touch(&scratch)?;
                noted.set(true);
            }
            Ok(())
        });
        if noted.get() {
            self.touched.push(scratch);
        }
        result
    }

    /// Notes that there are none any more.
    fn clear_scratch(&mut self) {
        if self.open.is_none() && self.prepared.is_none() {
            for scratch in self.touched.drain(..) {
                self.host.log.clear(&scratch);
            }
        }
    }

    /// The transaction's time is over.
    pub fn expire(&mut self) {
        let _ = self.drive(Event::Expire);
        self.exit();
    }

    /// The connection is closed.
    pub fn end(&mut self) {
        let _ = self.drive(Event::Disconnect);
        self.prepared = None;
        self.clear_scratch();
        self.disown();
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.end();
    }
}

/// Opens index and expunge as they are now, without locks: for looking only.
fn open_unlocked(store: &Store, place: &Place) -> Result<(IndexFile, Option<IndexFile>), Refusal> {
    let gone = || store.why_not_there(&place.mailbox, &place.partition);
    let live = LiveFiles::look(place)?.ok_or_else(gone)?;
    Ok((live.index, live.expunge))
}

fn not_locked() -> Refusal {
    Refusal::new(Code::State, "no mailbox is staged")
}
