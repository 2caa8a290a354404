//! One mailbox on one host: the sessions that want it, its lock, its files, its intent log.
//!
//! The decisions are made by [`slotd::transaction::Transaction`], the code that production runs.
//! What is here does the machine's actions, one [`Op`] at a time, on a [`Disk`] that forgets;
//! between any two of them the process may die or the power go.

use std::collections::VecDeque;

use slotd::fileops::{Change, FileOp};
use slotd::transaction::{Answer, Event, Transaction};

use super::disk::{Disk, Name, Role, Which};
use super::image::{Guids, Image};
use super::intent::{Log, is_over};
use super::op::{Failing, Op, Outcome};
use super::recover::STARTER;

/// A rule that is broken on purpose, to see that it is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mutation {
    /// The controller goes on before its decision is durable.
    DecideLate,
    /// `ROLLBACK` of a held commit releases it.
    ReleaseInsteadOfRollback,
    /// Recovery renames a staged file without looking whether it still carries what is live.
    StaleNewAtRecovery,
    /// Recovery does not sync the directories first.
    RecoveryWithoutSync,
    /// A commit does not sync the directory.
    CommitWithoutSync,
    /// A commit does not sync the staged files.
    StageWithoutSync,
    /// The file whose name is to change last changes first.
    WrongOrder,
    /// The intent is not on stable storage before the first rename.
    IntentLate,
    /// Unlocked before the renames are done.
    UnlockEarly,
    /// A sync of the journal wakes all that wait for one, also those that came after it began.
    WakeWholeBatch,
    /// `CONFIRM` is answered with yes by a slotd that has ended the transaction.
    ConfirmBlindly,
    /// What a peer says is compared when the locks are taken, and they are kept.
    DiffersUnderLocks,
    /// `COMMIT` of a coordinator that a higher epoch keeps out is done, and its transaction goes
    /// on.
    CommitUnfenced,
    /// A slotd that is started again knows no epoch.
    ForgetEpoch,
}

/// What `UPGRADE` was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Wanted {
    /// Minor version.
    pub to: u8,
    /// GUIDs from the `.OLD` files.
    pub uuids_old: bool,
}

/// Why the last action failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Somebody else had the lock for the whole wait.
    Locked,
    /// The disk refused.
    Io,
    /// A file is not what it should be.
    Damaged,
    /// The peer says otherwise of a message.
    Differs,
    /// The fence of a change-over does not stand.
    Unfenced,
}

/// One connection's transaction and what it has yet to do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Session {
    /// Its number; small, used again.
    pub id: u8,
    /// The machine.
    pub tx: Transaction,
    /// What is left of the actions it asked for.
    pub ops: VecDeque<Op>,
    /// The last `UPGRADE`'s argument.
    pub wanted: Wanted,
    /// Why the last action failed.
    pub fault: Option<Fault>,
    /// The files it renames, and what becomes of each, first to be renamed first.
    pub order: Vec<(Which, Change)>,
    /// What was done to put them in place, as long as it may have to be undone.
    pub done: Vec<FileOp>,
    /// It is settling what an earlier transaction left, before its own begins.
    pub settling: bool,
}

impl Session {
    fn new(id: u8) -> Self {
        Self {
            id,
            tx: Transaction::new(),
            ops: VecDeque::new(),
            wanted: Wanted {
                to: 0,
                uuids_old: false,
            },
            fault: None,
            order: Vec::new(),
            done: Vec::new(),
            settling: false,
        }
    }
}

/// What a change-over made its index from, which it writes down beside it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Stamp<C> {
    /// The index.
    pub index: C,
    /// The expunge file, if there was one.
    pub expunge: Option<C>,
    /// The new index.
    pub made: C,
}

impl<C: Image> Stamp<C> {
    /// What a file was, or became, in the index version given.
    #[must_use]
    pub fn content(&self, file: Which, version: u8) -> Option<&C> {
        match file {
            Which::Index if is_over(version) => Some(&self.made),
            Which::Index => Some(&self.index),
            Which::Expunge if is_over(version) => None,
            Which::Expunge => self.expunge.as_ref(),
        }
    }
}

/// One mailbox on one host.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Site<C: Image> {
    /// Its files.
    pub disk: Disk<C>,
    /// The number of the session that has the locks.
    pub lock: Option<u8>,
    /// Connections, oldest first.
    pub sessions: Vec<Session>,
    /// The intent log's entry for it.
    pub log: Log,
    /// The recovery at the start of slotd, while it runs.
    pub starter: Option<Session>,
    /// What the last change-over was made from. It is on stable storage before its intent, and no
    /// live name depends on it.
    pub stamp: Option<Stamp<C>>,
    /// What its owner wrote to each of the two files: the truth.
    pub truth: [Option<C::Facts>; 2],
    /// Which rule is broken on purpose.
    pub mutation: Option<Mutation>,
    /// Whether every further `UPGRADE` finds it damaged.
    pub damaged: bool,
    /// A directory could not be synced. File systems shut themselves down when that happens:
    /// nothing can be changed any more, by anybody, before the host was restarted.
    pub shut_down: bool,
}

/// Live names.
pub const LIVE: [Name; 2] = [
    Name::new(Which::Index, Role::Live),
    Name::new(Which::Expunge, Role::Live),
];

impl<C: Image> Site<C> {
    /// A mailbox at rest.
    pub fn new(index: C, expunge: Option<C>, split: bool) -> Self {
        let truth = [Some(index.facts()), expunge.as_ref().map(C::facts)];
        Self {
            disk: Disk::new(index, expunge, split),
            lock: None,
            sessions: Vec::new(),
            log: Log::default(),
            starter: None,
            stamp: None,
            truth,
            mutation: None,
            damaged: false,
            shut_down: false,
        }
    }

    /// A mailbox at rest that was changed over from these files.
    ///
    /// # Panics
    /// If the disk has no index.
    pub fn changed_over(index: C, expunge: Option<C>, to: u8, split: bool) -> Self {
        let made = index.merged(expunge.as_ref(), to);
        let mut site = Self::new(index.clone(), expunge.clone(), split);
        let name = |file, role| Name::new(file, role);
        let [live, new] = [Role::Live, Role::New].map(|role| name(Which::Index, role));
        site.disk.link(live, name(Which::Index, Role::Old));
        site.disk.create(new, made.clone());
        site.disk.sync_file(new);
        site.disk.rename(new, live);
        let [live, old] = [Role::Live, Role::Old].map(|role| name(Which::Expunge, role));
        site.disk.rename(live, old);
        site.disk.sync_dirs();
        site.stamp = Some(Stamp {
            index,
            expunge,
            made,
        });
        site
    }

    /// Whether all that its owner wrote is on the disk: in the index, and in the expunge file or,
    /// from version 12 on, in the index, too. Beside that an expunge file has nothing else.
    #[must_use]
    pub fn is_kept(&self, disk: &Disk<C>) -> bool {
        let [index, apart] = LIVE.map(|name| disk.read(name).map(C::facts));
        let over = disk.read(LIVE[0]).filter(|index| is_over(index.version()));
        let expunged = over.map_or(apart.clone(), C::expunged);
        let beside = over.is_none() || !disk.has(LIVE[1]) || apart == expunged;
        beside && [index, expunged] == self.truth
    }

    /// Whether index and expunge file are in order: below version 12 the expunge file's version is
    /// not below the index's. From 12 on there is none, or recovery knows of it; and what
    /// `COMPLETE` says now, a power cut does not take back.
    #[must_use]
    pub fn is_in_order(&self, disk: &Disk<C>) -> bool {
        let version = |disk: &Disk<C>, name| disk.read(name).map(C::version);
        let [index, expunge] = LIVE.map(|name| version(disk, name));
        let settled = self.log.open().is_none();
        let complete = settled && version(&self.disk, LIVE[0]).is_some_and(is_over);
        match index.filter(|index| is_over(*index)) {
            Some(_) => expunge.is_none() || !settled,
            None => !complete && expunge.is_none_or(|expunge| Some(expunge) >= index),
        }
    }

    /// A new connection; gives its number.
    pub fn connect(&mut self) -> u8 {
        let taken = |id: &u8| self.sessions.iter().any(|s| s.id == *id);
        let id = (0..=u8::MAX).find(|id| !taken(id)).unwrap_or(u8::MAX);
        self.sessions.push(Session::new(id));
        id
    }

    /// The session with this number.
    #[must_use]
    pub fn session(&self, id: u8) -> Option<&Session> {
        self.sessions.iter().find(|s| s.id == id)
    }

    fn session_mut(&mut self, id: u8) -> Option<&mut Session> {
        self.sessions.iter_mut().find(|s| s.id == id)
    }

    /// Tells a session's machine something.
    pub fn tell(&mut self, id: u8, event: Event) {
        if let Some(session) = self.session_mut(id) {
            let actions = session.tx.step(event);
            session.ops.extend(actions.into_iter().map(Op::of));
        }
    }

    /// The same for `UPGRADE`, which has an argument.
    pub fn tell_upgrade(&mut self, id: u8, wanted: Wanted) {
        if let Some(session) = self.session_mut(id) {
            session.wanted = wanted;
        }
        self.tell(id, Event::Upgrade);
    }

    /// The connection is gone and everything it asked for is done.
    pub fn forget(&mut self, id: u8) {
        self.sessions.retain(|s| s.id != id);
    }

    /// What the session does next.
    #[must_use]
    pub fn next_op(&self, id: u8) -> Option<&Op> {
        self.session(id)?.ops.front()
    }

    /// Whether the session is on its way across version 12.
    #[must_use]
    pub fn crosses(&self, id: u8) -> bool {
        let live = self.disk.read(LIVE[0]).map_or(0, C::version);
        let session = self.session(id).filter(|session| !session.settling);
        session.is_some_and(|session| is_over(live.max(session.wanted.to)))
    }

    /// Whether that can be done now; only taking locks has to wait.
    #[must_use]
    pub fn may_step(&self, id: u8) -> bool {
        match self.next_op(id) {
            None => false,
            Some(Op::TakeLocks) => self.lock.is_none(),
            Some(_) => true,
        }
    }

    /// Does the session's next op. Gives the machine's answer if the op was to answer.
    pub fn step(&mut self, id: u8) -> Option<Answer> {
        self.run(id, None)
    }

    /// The session's next op fails.
    pub fn fail(&mut self, id: u8, how: Failing) -> Option<Answer> {
        self.run(id, Some(how))
    }

    fn run(&mut self, id: u8, how: Option<Failing>) -> Option<Answer> {
        let at = self.sessions.iter().position(|s| s.id == id)?;
        // Taken out, so that the op may have the whole site.
        let mut session = self.sessions.remove(at);
        let answer = self.run_session(&mut session, how);
        self.sessions.insert(at, session);
        answer
    }

    fn run_session(&mut self, session: &mut Session, how: Option<Failing>) -> Option<Answer> {
        let op = session.ops.pop_front()?;
        let forced = (self.shut_down && op.writes()) || (!self.log.is_usable() && op.logs());
        let outcome = match how.or(forced.then_some(Failing::Clean)) {
            None => op.perform(self, session),
            Some(how) => op.fail(self, session, how),
        };
        match outcome {
            Outcome::Done => {}
            Outcome::Then(ops) => {
                for op in ops.into_iter().rev() {
                    session.ops.push_front(op);
                }
            }
            Outcome::Tell(event) if session.id == STARTER => {
                // Nobody waits for it: the locks are free again, and what is left stays for the
                // next time.
                let _ = event;
                session.ops.clear();
                session.ops.push_back(Op::Unlock);
            }
            Outcome::Tell(event) => {
                let actions = session.tx.step(event);
                session.ops.extend(actions.into_iter().map(Op::of));
            }
            Outcome::Answer(answer) => return Some(answer),
        }
        None
    }

    /// The file that `UPGRADE` would make of a live one; `None` if there is none.
    #[must_use]
    pub fn rewritten(&self, file: Which, wanted: Wanted) -> Option<C> {
        let live = self.disk.read(Name::new(file, Role::Live))?;
        let old = self.disk.read(Name::new(file, Role::Old));
        let guids = if wanted.uuids_old {
            Guids::Restore(old)
        } else {
            Guids::Replace
        };
        Some(live.rewritten(wanted.to, guids))
    }

    /// Whether Cyrus could change something now.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.lock.is_none() && !self.shut_down
    }

    /// Cyrus changes a file in place, under its lock, and syncs it. File systems with a log sync
    /// with that all that was logged before, earlier renames included.
    pub fn owner_writes(&mut self, file: Which, edit: impl Fn(&mut C)) {
        self.disk.write(Name::new(file, Role::Live), &edit);
        self.disk.sync_dir(file);
        self.note_truth(file);
    }

    /// Cyrus replaces the index, as EXPUNGE does: `.NEW`, synced, renamed over the name, under its
    /// lock.
    pub fn owner_replaces(&mut self, edit: impl Fn(&mut C)) {
        let (live, new) = (LIVE[0], Name::new(Which::Index, Role::New));
        if let Some(mut content) = self.disk.read(live).cloned() {
            edit(&mut content);
            // A leftover is truncated and keeps its inode.
            self.disk.overwrite(new, content);
            self.disk.rename(new, live);
            self.disk.sync_dir(Which::Index);
        }
        self.note_truth(Which::Index);
    }

    fn note_truth(&mut self, file: Which) {
        let live = Name::new(file, Role::Live);
        if let Some(content) = self.disk.read(live) {
            self.truth[file as usize] = Some(content.facts());
        }
    }

    /// slotd dies: sessions and locks are gone, files and page cache stay. `log_kept`: see
    /// [`Log::reopen`].
    pub fn process_dies(&mut self, log_kept: bool) {
        self.sessions.clear();
        self.lock = None;
        self.starter = None;
        self.log.reopen(log_kept);
        self.disk.drop_handles();
    }

    /// The host's power goes. `kept` says how much of what was not synced survives.
    pub fn power_cut(&mut self, kept: [usize; 2], log_kept: bool) {
        self.process_dies(log_kept);
        self.disk.power_cut(kept);
        self.shut_down = false;
    }

    /// slotd starts: open intents have to be settled before it serves.
    pub fn begin_recovery(&mut self) {
        if self.log.open().is_some() {
            let mut starter = Session::new(STARTER);
            starter.ops.push_back(Op::TakeLocks);
            self.starter = Some(starter);
        }
    }

    /// One step of the recovery, done or failing.
    pub fn step_recovery(&mut self, how: Option<Failing>) {
        if let Some(mut starter) = self.starter.take() {
            self.run_session(&mut starter, how);
            if !starter.ops.is_empty() {
                self.starter = Some(starter);
            }
        }
    }
}
