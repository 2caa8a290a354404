//! One state of everything: the controller and its journal, the connections, both hosts' mailboxes.

use super::attempt::{End, Row, Runner};
use super::{Config, Hashed};
use crate::sim::disk::Disk;
use crate::sim::image::Tiny;
use crate::sim::intent::is_over;
use crate::sim::site::{LIVE, Site};
use controller::two_phase::{
    Action, Answer, Comparison, Entry, Event, Outcome, Plan, Reason, Request, Side,
};

/// A promise that was broken on the way here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Broken {
    /// The decision was asked for, and a side had not said since its `LOCK` that it holds what it
    /// staged; or it said so and did not.
    DecidedUnconfirmed,
    /// `COMMIT` went out and the decision was not durable.
    CommitBeforeDecision,
    /// A file was renamed that nobody decided to rename, or after the end.
    RenameWithoutDecision,
    /// The coordinator pauses and a session of its own still has the locks.
    LockOverPause,
    /// The outcome was reported and is not so.
    UntrueReport(End),
    /// In doubt, and no reason for it.
    NeedlessDoubt,
    /// In doubt without an alert, or an alert without a doubt.
    SilentDoubt,
    /// A host said of a message that its peer says otherwise, and something was locked, written or
    /// decided then.
    TouchedWhatDiffers,
    /// Something that a fenced coordinator said took effect after the newer one was answered.
    FencedTookEffect,
}

/// One connection, as the network and the server see it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Conn {
    /// The session's number.
    pub id: u8,
    /// The controller still has the other end.
    pub attached: bool,
    /// The one from which it took over has.
    pub older: bool,
    /// Of the coordinator that made it; 0 if it has none.
    pub epoch: u8,
    /// A command on its way to the server.
    pub inbox: Option<Request>,
    /// The command being served.
    pub serving: Option<Request>,
    /// The reply on its way to the controller.
    pub reply: Option<Answer>,
    /// The server has read the end of the stream.
    pub eof: bool,
}

/// Whether slotd runs on a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Up {
    /// No.
    Down,
    /// It recovers and does not serve yet.
    Starting,
    /// It serves.
    Serving,
}

/// Everything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    /// The coordinators by mailbox; `None` while the controller is dead.
    pub controller: Option<Vec<Hashed<Runner>>>,
    /// The journal.
    pub rows: Vec<Row>,
    /// By mailbox and side.
    pub conns: Vec<[Vec<Conn>; 2]>,
    /// By mailbox and side.
    pub sites: Vec<[Hashed<Site<Tiny>>; 2]>,
    /// By side.
    pub up: [Up; 2],
    /// Faults that may still happen.
    pub faults: u8,
    /// Changes that the mailboxes' owners may still make.
    pub writes: u8,
    /// Transactions that the operator may still begin again.
    pub retries: u8,
    /// Ticks that may still come.
    pub ticks: u8,
    /// Runs of `recover` after an outcome in doubt.
    pub reruns: u8,
    /// Take-overs that may still happen.
    pub takeovers: u8,
    /// The coordinators of the controller that was paused when another one took over.
    pub older: Option<Vec<Hashed<Runner>>>,
    /// Of the controller; 0 where there are none.
    pub epoch: u8,
    /// By side: the highest epoch that slotd knows, durably.
    pub highest: [u8; 2],
    /// By side: the highest epoch of which a coordinator was answered.
    pub answered: [u8; 2],
    /// The one that was paused acts; only in the midst of a step.
    pub acts: bool,
    /// The first promise broken.
    pub broken: Option<Broken>,
}

impl World {
    /// Before anything happened; the coordinators get their start event.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let site = |m, side| config.site(m, side);
        let all = 0..config.mailboxes;
        let mut world = Self {
            controller: None,
            rows: all.clone().map(|_| Row::new(config.lost)).collect(),
            conns: all.clone().map(|_| [Vec::new(), Vec::new()]).collect(),
            sites: all.map(|m| [site(m, 0), site(m, 1)]).collect(),
            up: [Up::Serving; 2],
            faults: config.faults,
            writes: config.writes,
            retries: config.retries,
            ticks: config.ticks,
            reruns: 0,
            takeovers: config.takeovers,
            older: None,
            epoch: u8::from(config.takeovers > 0),
            highest: [0; 2],
            answered: [0; 2],
            acts: false,
            broken: None,
        };
        world.start_controller(config);
        world
    }

    /// The controller starts: it settles what its journal has open and runs the rest.
    pub fn start_controller(&mut self, config: &Config) {
        let runner = |row: &Row| Runner::new(row.machine(config), row.closed).into();
        self.controller = Some(self.rows.iter().map(runner).collect());
        for m in 0..self.rows.len() {
            self.rows[m].pauses = 0;
            self.rows[m].aborted = false;
            self.rows[m].unrecorded = false;
            self.rows[m].missed = false;
            self.rows[m].differed = false;
            if self.rows[m].closed.is_none() {
                self.tell(config, m, Event::Start);
            }
        }
    }

    /// One mailbox is taken up again: after a doubt, or because the operator asks.
    pub fn restart_one(&mut self, config: &Config, m: usize) {
        let machine = self.rows[m].machine(config);
        if let Some(runners) = &mut self.controller {
            runners[m] = Runner::new(machine, None).into();
        }
        self.rows[m].pauses = 0;
        self.rows[m].aborted = false;
        self.rows[m].unrecorded = false;
        self.rows[m].missed = false;
        self.rows[m].differed = false;
        self.tell(config, m, Event::Start);
    }

    /// The runner of a mailbox, while the controller lives.
    #[must_use]
    pub fn runner(&self, m: usize) -> Option<&Runner> {
        self.controller.as_ref().map(|runners| &*runners[m])
    }

    fn runner_mut(&mut self, m: usize) -> Option<&mut Runner> {
        self.controller.as_mut().map(|runners| &mut *runners[m])
    }

    /// The connection that the controller has to that side.
    #[must_use]
    pub fn attached(&self, m: usize, side: Side) -> Option<&Conn> {
        self.conns[m][side.index()].iter().find(|c| c.attached)
    }

    pub(super) fn conn_mut(&mut self, m: usize, side: Side, id: u8) -> Option<&mut Conn> {
        self.conns[m][side.index()].iter_mut().find(|c| c.id == id)
    }

    pub(super) fn break_promise(&mut self, what: Broken) {
        self.broken.get_or_insert(what);
    }

    /// Tells a coordinator something and does what it asks for.
    pub fn tell(&mut self, config: &Config, m: usize, event: Event) {
        let Some(runner) = self.runner_mut(m) else {
            return;
        };
        for action in runner.machine.step(event) {
            self.act(config, m, action);
        }
    }

    fn act(&mut self, config: &Config, m: usize, action: Action) {
        match action {
            Action::Send(side, request) => {
                let works = matches!(
                    request,
                    Request::Lock | Request::Upgrade { .. } | Request::Commit { .. }
                );
                if works && self.runner(m).is_some_and(|r| r.differs) {
                    self.break_promise(Broken::TouchedWhatDiffers);
                }
                // The one that was paused has written its decision to a database that may have lost
                // it since.
                let undecided = self.rows[m].decided.is_none() && !self.acts;
                if matches!(request, Request::Commit { .. }) && undecided {
                    self.break_promise(Broken::CommitBeforeDecision);
                }
                self.send(m, side, request);
            }
            Action::Disconnect(side) => {
                self.detach(m, side);
                if let Some(runner) = self.runner_mut(m) {
                    runner.owed[side.index()] = false;
                }
            }
            Action::Compare => self.with_runner(m, |r| r.compare = true),
            Action::Record(entry) => {
                if self.runner(m).is_some_and(|r| r.differs) {
                    self.break_promise(Broken::TouchedWhatDiffers);
                }
                let confirmed = self.runner(m).map_or([false; 2], |r| r.confirmed);
                if let Entry::Decided { before } = entry {
                    // Where only one side has anything to take back nothing can come apart.
                    let alone = config.plan.undo && before.contains(&None);
                    if config.plan.replica && !alone && confirmed != [true; 2] && !self.acts {
                        self.break_promise(Broken::DecidedUnconfirmed);
                    }
                }
                self.ask_journal(config, m, entry);
            }
            // Its rows are another one's by now.
            Action::Note(_) if self.acts => {}
            Action::Note(entry) => self.rows[m].notes.push(entry),
            Action::Wait { .. } => {
                let holds = |side: Side| {
                    self.attached(m, side).is_some_and(|c| {
                        let session = self.sites[m][side.index()].session(c.id);
                        session.is_some_and(|s| s.tx.is_open())
                    })
                };
                if Side::ALL.into_iter().any(holds) {
                    self.break_promise(Broken::LockOverPause);
                }
                self.rows[m].pauses += u8::from(!self.acts);
                self.with_runner(m, |r| r.wait = true);
            }
            Action::Alert(_) => self.with_runner(m, |r| r.alerted = true),
            Action::Finished(outcome) => self.finished(config, m, &outcome),
        }
    }

    pub(super) fn with_runner(&mut self, m: usize, change: impl FnOnce(&mut Runner)) {
        if let Some(runner) = self.runner_mut(m) {
            change(runner);
        }
    }

    fn finished(&mut self, config: &Config, m: usize, outcome: &Outcome) {
        // With these a run ends, or goes on, and the row says that the mailbox is to be done.
        let left = matches!(
            outcome,
            Outcome::RolledBack(f) if matches!(f.reason, Reason::Interrupted | Reason::Journal)
        );
        let end = match outcome {
            Outcome::Upgraded => End::Upgraded,
            Outcome::Unchanged => End::Unchanged,
            // Nothing rehearses here; both sides would be as before.
            Outcome::Rehearsed | Outcome::RolledBack(_) => End::RolledBack,
            Outcome::InDoubt(_) => End::InDoubt,
            Outcome::TakenOver(_) => End::TakenOver,
        };
        for side in Side::ALL {
            self.detach(m, side);
        }
        self.with_runner(m, |r| {
            r.end = Some(end);
            r.owed = [false; 2];
            r.record = None;
            r.compare = false;
            r.wait = false;
        });
        // What it reports it has heard of before; nobody acts on it, and no row changes.
        if self.acts {
            return;
        }
        let alerted = self.runner(m).is_some_and(|r| r.alerted);
        if alerted != (end == End::InDoubt) {
            self.break_promise(Broken::SilentDoubt);
        }
        if end == End::InDoubt {
            let row = &self.rows[m];
            let damaged = self.sites[m].iter().any(|s| s.damaged || s.shut_down);
            let exhausted = row.pauses >= config.plan.settle_attempts;
            let known =
                row.aborted || row.unrecorded || row.missed || row.differed || damaged || exhausted;
            if row.decided.is_none() || !known {
                self.break_promise(Broken::NeedlessDoubt);
            }
        } else {
            self.rows[m].closed = Some(end);
            let half_done = end == End::RolledBack && !left && self.is_unlike(config, m);
            if half_done || !self.is_true(config, m, end) {
                self.break_promise(Broken::UntrueReport(end));
            }
        }
    }

    /// Whether both sides' index files are, after any power cut, what that end promises.
    #[must_use]
    pub fn is_true(&self, config: &Config, m: usize, end: End) -> bool {
        let lost = self.rows[m].lost;
        Side::ALL
            .into_iter()
            .filter(|s| config.plan.replica || *s == Side::Master)
            .all(|side| {
                let first = config.site(m, side.index()).disk.read(LIVE[0]).copied();
                let holds = |disk: &Disk<Tiny>| {
                    let Some(image) = disk.read(LIVE[0]) else {
                        return false;
                    };
                    let alone = !disk.has(LIVE[1]);
                    let is_true = match end {
                        End::Upgraded | End::Unchanged => image.version == config.plan.to,
                        // It is as it was when this attempt began; what was committed before, and
                        // of which the journal has lost the decision, stays so.
                        End::RolledBack if lost && image.version == config.plan.to => true,
                        End::RolledBack => first.is_some_and(|first| {
                            (image.version, image.sha1) == (first.version, first.sha1)
                        }),
                        End::InDoubt | End::TakenOver => return true,
                    };
                    // Nothing that a server would destroy mail by is called done.
                    is_true && (alone || !is_over(image.version))
                };
                let disk = &self.sites[m][side.index()].disk;
                holds(disk) && disk.cuts().all(|cut| holds(&cut))
            })
    }

    /// A reply, or that there is none, comes to a coordinator.
    pub(super) fn answered(
        &mut self,
        config: &Config,
        m: usize,
        side: Side,
        reply: Option<Answer>,
    ) {
        if let Some(runners) = &mut self.controller {
            runners[m].owed[side.index()] = false;
        }
        let event = match reply {
            Some(answer) => {
                let differs = matches!(&answer, Answer::No(no) if no.reason == Reason::Differs);
                if differs && self.rows[m].decided.is_none() {
                    self.with_runner(m, |r| r.differs = true);
                }
                Event::Reply(side, answer)
            }
            None => Event::Lost(side, String::new()),
        };
        self.tell(config, m, event);
    }

    /// What the comparison of the lists found comes to it.
    pub(super) fn compared(&mut self, config: &Config, m: usize, found: Comparison) {
        if let Some(runners) = &mut self.controller {
            runners[m].compare = false;
        }
        self.tell(config, m, Event::Compared(found));
    }

    /// The controller dies; `kept`: what it wrote and did not sync is there all the same.
    pub fn controller_dies(&mut self) {
        self.controller = None;
        for m in 0..self.rows.len() {
            for side in Side::ALL {
                self.detach(m, side);
            }
        }
    }
}

/// The plan that the tests use unless they say otherwise.
#[must_use]
pub fn plan(to: u8) -> Plan {
    Plan {
        to,
        master: true,
        replica: true,
        only: None,
        uuids_old: false,
        undo: false,
        rehearse: false,
        prepare: false,
        require_in_sync: false,
        drop_old: false,
        settle_attempts: 2,
        rows_lost: false,
    }
}
