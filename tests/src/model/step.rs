//! Everything that can happen next, and what comes of it.

use controller::two_phase::{Comparison, Entry, Event, Request, Side};
use slotd::transaction;

use super::attempt::{End, Row, Runner};
use super::fence::OlderStep;
use super::world::{Up, World};
use super::{Config, Hashed};
use crate::sim::disk::Which;
use crate::sim::image::Tiny;
use crate::sim::op::{Failing, Op};
use crate::sim::recover::STARTER;
use crate::sim::site::{Mutation, Site};

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// slotd starts on a host.
    Restart(Side),
    /// Its recovery of a mailbox does one thing.
    Recover(usize, Side),
    /// A session does the next thing its machine asked for.
    Op(usize, Side, u8),
    /// A server reads a command.
    Deliver(usize, Side, u8),
    /// A server reads the end of a stream; a command still under way is lost.
    Eof(usize, Side, u8),
    /// The controller reads a reply.
    Reply(usize, Side),
    /// The controller notices that a connection is gone.
    NoticeLoss(usize, Side),
    /// The journal is synced.
    Journal(usize),
    /// The lists are compared and agree.
    Compared(usize),
    /// A pause is over.
    Waited(usize),
    /// So much time has passed that a side that waits is asked whether it is alive.
    Tick(usize),
    /// The controller is started again.
    StartController,
    /// `controller recover` after an outcome in doubt.
    Rerun(usize),
    /// A host whose file system shut itself down is restarted.
    Reboot(Side, [usize; 2], bool),
    /// Cyrus changes a file in place.
    OwnerWrites(usize, Side, Which),
    /// There is no mailbox of that name to lock: its owner has renamed it, or another host answers;
    /// and then it is back.
    Missed(usize, Side, u8),
    /// The server finds before any lock that the peer says otherwise of a message.
    PeerDiffers(usize, Side, u8),
    /// Cyrus replaces the index.
    OwnerReplaces(usize, Side),
    /// `controller retry` after a rollback.
    Retry(usize),
    /// Another controller takes the pair over; whether what this one did not sync is there, and
    /// whether the database has lost its newest rows.
    TakeOver {
        /// What was not synced is there all the same.
        kept: bool,
        /// What was synced last is not.
        lost: bool,
    },
    /// The one that was paused wakes up and goes on.
    Older(OlderStep),
    /// From here on: faults. What a session does next fails.
    OpFails(usize, Side, u8, Failing),
    /// slotd's `--max-lock` is over.
    Expire(usize, Side, u8),
    /// The network loses a connection, or the controller's patience ends.
    Cut(usize, Side),
    /// slotd is killed; whether what its log may have written is there.
    Dies(Side, bool),
    /// What the recovery does next fails.
    RecoveryFails(usize, Side, Failing),
    /// A host's power goes; a number of unsynced changes of names per directory, and the unsynced
    /// log, survive.
    PowerCut(Side, [usize; 2], bool),
    /// The controller is killed; whether what it did not sync survives.
    ControllerDies(bool),
    /// The journal cannot be synced; whether it is durable all the same.
    JournalFails(usize, bool),
    /// The operator interrupts.
    Abort(usize),
    /// The lists differ.
    Differ(usize),
}

/// At most this many runs of `recover` in a row before the model calls a doubt lasting.
const RERUNS: u8 = 2;

impl World {
    /// What happens without any fault, in the order of a calm day.
    pub fn calm(&self, config: &Config, steps: &mut Vec<Step>) {
        let all = 0..self.sites.len();
        for side in Side::ALL {
            if self.up[side.index()] == Up::Down {
                steps.push(Step::Restart(side));
            }
            for m in all.clone() {
                let site = &self.sites[m][side.index()];
                if site.starter.is_some() && site.lock.is_none_or(|id| id == STARTER) {
                    steps.push(Step::Recover(m, side));
                }
                for conn in &self.conns[m][side.index()] {
                    if site.may_step(conn.id) {
                        steps.push(Step::Op(m, side, conn.id));
                    }
                    let idle = site.next_op(conn.id).is_none();
                    let waits = idle && conn.serving.is_none() && !self.waits_for_turn(side, conn);
                    if conn.inbox.is_some() && waits {
                        steps.push(Step::Deliver(m, side, conn.id));
                    }
                    if !conn.has_reader() && !conn.eof {
                        steps.push(Step::Eof(m, side, conn.id));
                    }
                }
            }
        }
        self.calm_controller(config, steps);
        // A file system that shut itself down, or an intent log that failed: slotd says that it has
        // to be started again, and its operator does so.
        let ill = |site: &Hashed<Site<Tiny>>| site.shut_down || !site.log.is_usable();
        for side in Side::ALL {
            let any = self.sites.iter().any(|s| ill(&s[side.index()]));
            if any && self.conns.iter().all(|c| c[side.index()].is_empty()) {
                steps.push(Step::Reboot(side, [0, 0], false));
            }
        }
        if let Some(runners) = &self.controller {
            for (m, runner) in runners.iter().enumerate() {
                let well = !self.sites[m].iter().any(ill);
                let away = self.up.iter().any(|up| *up != Up::Serving);
                let worth = well && !away && self.reruns < RERUNS;
                // Of hosts that a lost row left unlike the same command has to be given again.
                let unlike = runner.end == Some(End::RolledBack) && self.is_unlike(config, m);
                if (runner.end == Some(End::InDoubt) || unlike) && worth {
                    steps.push(Step::Rerun(m));
                }
            }
        }
        self.older_steps(steps);
    }

    fn calm_controller(&self, config: &Config, steps: &mut Vec<Step>) {
        let Some(runners) = &self.controller else {
            steps.push(Step::StartController);
            return;
        };
        for (m, runner) in runners.iter().enumerate() {
            for side in Side::ALL {
                if !runner.owed[side.index()] {
                    continue;
                }
                match self.attached(m, side) {
                    None => steps.push(Step::NoticeLoss(m, side)),
                    Some(conn) if conn.reply.is_some() => steps.push(Step::Reply(m, side)),
                    Some(_) => {}
                }
            }
            if runner.record.is_some() {
                steps.push(Step::Journal(m));
            }
            if runner.compare {
                steps.push(Step::Compared(m));
            }
            let away = self.up.iter().any(|up| *up != Up::Serving);
            if runner.wait && (config.impatient || !away) {
                steps.push(Step::Waited(m));
            }
        }
    }

    /// What else can happen: owners, operators, faults.
    pub fn stormy(&self, config: &Config, steps: &mut Vec<Step>) {
        let owners_write = self.writes > 0 && !config.owners_rest;
        for m in 0..self.sites.len() {
            if self.retries > 0
                && self
                    .runner(m)
                    .is_some_and(|r| r.end == Some(End::RolledBack))
            {
                steps.push(Step::Retry(m));
            }
            for side in Side::ALL {
                let site = &self.sites[m][side.index()];
                if owners_write && site.is_free() {
                    steps.push(Step::OwnerWrites(m, side, Which::Index));
                    if config.rich_owner {
                        steps.push(Step::OwnerWrites(m, side, Which::Expunge));
                        steps.push(Step::OwnerReplaces(m, side));
                    }
                }
                for conn in &self.conns[m][side.index()] {
                    let idle = site.next_op(conn.id).is_none() && conn.serving.is_none();
                    if owners_write && idle && conn.inbox == Some(Request::Lock) {
                        steps.push(Step::Missed(m, side, conn.id));
                    }
                    // When the replica's `LOCK` comes the master's locks are held: nothing is
                    // looked at then.
                    let compares = match conn.inbox {
                        Some(Request::Prepare { .. }) => true,
                        Some(Request::Lock) => side == Side::Master,
                        _ => false,
                    };
                    if config.peer_hashes && self.writes > 0 && idle && compares {
                        steps.push(Step::PeerDiffers(m, side, conn.id));
                    }
                }
            }
        }
        self.take_overs(steps);
        if self.ticks > 0
            && let Some(runners) = &self.controller
        {
            let asks = |r: &Runner| {
                let mut machine = r.machine.clone();
                !machine.step(Event::Tick).is_empty()
            };
            let ticks = runners.iter().enumerate().filter(|(_, r)| asks(r));
            steps.extend(ticks.map(|(m, _)| Step::Tick(m)));
        }
        for side in Side::ALL {
            if self.sites.iter().any(|s| s[side.index()].shut_down) {
                self.power_cuts(side, steps, Step::Reboot);
            }
        }
        if self.faults > 0 {
            self.host_faults(steps);
            self.controller_faults(steps);
        }
    }

    fn host_faults(&self, steps: &mut Vec<Step>) {
        for side in Side::ALL {
            if self.up[side.index()] != Up::Down {
                steps.push(Step::Dies(side, false));
                if self
                    .sites
                    .iter()
                    .any(|s| s[side.index()].log.is_uncertain())
                {
                    steps.push(Step::Dies(side, true));
                }
                self.power_cuts(side, steps, Step::PowerCut);
            }
            for m in 0..self.sites.len() {
                let site = &self.sites[m][side.index()];
                if let Some(op) = site.starter.as_ref().and_then(|s| s.ops.front()) {
                    let ways = op.failings().iter().filter(|_| *op != Op::TakeLocks);
                    steps.extend(ways.map(|how| Step::RecoveryFails(m, side, *how)));
                }
                for conn in &self.conns[m][side.index()] {
                    if let Some(op) = site.next_op(conn.id) {
                        let held = site.lock.is_some();
                        let ways = op
                            .failings()
                            .iter()
                            .filter(|_| held || *op != Op::TakeLocks);
                        steps.extend(ways.map(|how| Step::OpFails(m, side, conn.id, *how)));
                    }
                    if conn.attached {
                        steps.push(Step::Cut(m, side));
                    }
                    let open = site.session(conn.id).is_some_and(|s| s.tx.is_open());
                    if open && !conn.eof {
                        steps.push(Step::Expire(m, side, conn.id));
                    }
                }
            }
        }
    }

    fn power_cuts(
        &self,
        side: Side,
        steps: &mut Vec<Step>,
        step: fn(Side, [usize; 2], bool) -> Step,
    ) {
        let sites = self.sites.iter().map(|s| &s[side.index()]);
        let most = sites.clone().fold([0, 0], |most: [usize; 2], site| {
            let unsynced = site.disk.unsynced();
            [most[0].max(unsynced[0]), most[1].max(unsynced[1])]
        });
        let log = sites.clone().any(|s| s.log.is_uncertain());
        for first in 0..=most[0] {
            for second in 0..=most[1] {
                steps.push(step(side, [first, second], false));
                if log {
                    steps.push(step(side, [first, second], true));
                }
            }
        }
    }

    fn controller_faults(&self, steps: &mut Vec<Step>) {
        let Some(runners) = &self.controller else {
            return;
        };
        steps.push(Step::ControllerDies(false));
        let unsynced = self
            .rows
            .iter()
            .any(|r| !r.notes.is_empty() || r.closed.is_some());
        if unsynced || runners.iter().any(|r| r.record.is_some()) {
            steps.push(Step::ControllerDies(true));
        }
        for (m, runner) in runners.iter().enumerate() {
            if runner.end.is_none() {
                steps.push(Step::Abort(m));
            }
            if runner.record.is_some() {
                steps.extend([false, true].map(|durable| Step::JournalFails(m, durable)));
            }
            if runner.compare {
                steps.push(Step::Differ(m));
            }
        }
    }

    /// The world after a step.
    #[must_use]
    pub fn after(&self, config: &Config, step: Step) -> Self {
        let mut world = self.clone();
        world.take(config, step);
        world
    }

    fn take(&mut self, config: &Config, step: Step) {
        match step {
            Step::Restart(side) => {
                self.up[side.index()] = Up::Starting;
                self.sites
                    .iter_mut()
                    .for_each(|s| s[side.index()].begin_recovery());
                self.serve_if_recovered(side);
            }
            Step::Recover(m, side) => {
                let before = self.live_inodes(m, side);
                self.sites[m][side.index()].step_recovery(None);
                if before != self.live_inodes(m, side) {
                    self.judge_rename(m);
                }
                self.serve_if_recovered(side);
            }
            Step::Op(m, side, id) => self.run_op(m, side, id, None),
            Step::Deliver(m, side, id) => self.deliver(m, side, id),
            Step::Eof(m, side, id) => self.eof(m, side, id),
            Step::Reply(m, side) => {
                let conn = self.conns[m][side.index()].iter_mut().find(|c| c.attached);
                let reply = conn.and_then(|c| c.reply.take());
                self.answered(config, m, side, reply);
            }
            Step::NoticeLoss(m, side) => self.answered(config, m, side, None),
            Step::Journal(m) => self.sync_journal(config, m),
            Step::Compared(m) => self.compared(config, m, Comparison::default()),
            Step::Waited(m) => {
                if let Some(runners) = &mut self.controller {
                    runners[m].wait = false;
                }
                self.tell(config, m, Event::Waited);
            }
            Step::Tick(m) => {
                self.ticks -= 1;
                self.tell(config, m, Event::Tick);
            }
            Step::StartController => self.start_controller(config),
            Step::Rerun(m) => {
                self.reruns += 1;
                self.rows[m].closed = None;
                self.restart_one(config, m);
            }
            Step::OwnerWrites(m, side, file) => {
                self.writes -= 1;
                self.sites[m][side.index()].owner_writes(file, |image| image.writes += 1);
            }
            Step::OwnerReplaces(m, side) => {
                self.writes -= 1;
                self.sites[m][side.index()].owner_replaces(|image| image.writes += 1);
            }
            Step::Missed(m, side, id) => {
                self.writes -= 1;
                self.miss(m, side, id);
            }
            Step::PeerDiffers(m, side, id) => {
                self.writes -= 1;
                self.peer_differs(m, side, id);
            }
            Step::Retry(m) => {
                self.retries -= 1;
                self.rows[m] = Row::new(self.rows[m].lost);
                self.restart_one(config, m);
            }
            Step::Reboot(side, kept, log_kept) => self.power_cut(side, kept, log_kept),
            Step::TakeOver { kept, lost } => self.take_over(config, kept, lost),
            Step::Older(step) => self.older_goes_on(config, step),
            fault => self.fault(config, fault),
        }
    }

    fn fault(&mut self, config: &Config, step: Step) {
        self.faults -= 1;
        match step {
            Step::OpFails(m, side, id, how) => self.run_op(m, side, id, Some(how)),
            Step::Expire(m, side, id) => {
                self.sites[m][side.index()].tell(id, transaction::Event::Expire);
            }
            Step::Cut(m, side) => self.detach(m, side),
            Step::Dies(side, log_kept) => {
                self.host_falls(side);
                self.sites
                    .iter_mut()
                    .for_each(|s| s[side.index()].process_dies(log_kept));
            }
            Step::RecoveryFails(m, side, how) => {
                self.sites[m][side.index()].step_recovery(Some(how));
                self.serve_if_recovered(side);
            }
            Step::PowerCut(side, kept, log_kept) => self.power_cut(side, kept, log_kept),
            Step::ControllerDies(kept) => {
                self.flush_or_lose(kept);
                self.controller_dies();
            }
            Step::JournalFails(m, durable) => {
                if let Some(entry) = self.take_record(m) {
                    self.rows[m].unrecorded |= entry == Entry::Reversing;
                    if durable {
                        self.record(m, entry);
                    }
                    self.tell(config, m, Event::RecordFailed(String::new()));
                }
            }
            Step::Abort(m) => {
                self.rows[m].aborted = true;
                self.tell(config, m, Event::Abort);
            }
            Step::Differ(m) => {
                self.rows[m].differed |= self.rows[m].lost;
                let found = Comparison {
                    differing: 1,
                    ..Comparison::default()
                };
                self.compared(config, m, found);
            }
            _ => {}
        }
    }

    fn power_cut(&mut self, side: Side, kept: [usize; 2], log_kept: bool) {
        self.host_falls(side);
        for sites in &mut self.sites {
            sites[side.index()].power_cut(kept, log_kept);
        }
    }

    fn host_falls(&mut self, side: Side) {
        self.up[side.index()] = Up::Down;
        if self.sites[0][side.index()].mutation == Some(Mutation::ForgetEpoch) {
            self.highest[side.index()] = 0;
        }
        self.conns.iter_mut().for_each(|c| c[side.index()].clear());
    }

    fn serve_if_recovered(&mut self, side: Side) {
        let recovering = self.sites.iter().any(|s| s[side.index()].starter.is_some());
        if self.up[side.index()] == Up::Starting && !recovering {
            self.up[side.index()] = Up::Serving;
        }
    }

    fn live_inodes(&self, m: usize, side: Side) -> [Option<u8>; 2] {
        crate::sim::site::LIVE.map(|name| self.sites[m][side.index()].disk.ino(name))
    }
}
