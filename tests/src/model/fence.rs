//! Another controller takes the pair over from one that is paused, and that wakes up some time
//! later: which step of either is taken when is not known, so all orders are tried.
//!
//! Whom slotd lets in is said by production's rule ([`Epoch`]). The one that was paused goes on
//! with its machine and its connections; it changes no row, as the database has a higher epoch too.
//! A failover may have lost the newest row, and left two databases that can be written: then the
//! one that was paused hears from its own that a row is durable, which no other will ever see.

use controller::two_phase::{Answer, Comparison, Event, Reason, Refusal, Request, Side};
use slotd::coordinators::epoch::{Admission, Epoch};
use slotd::transaction;

use super::Config;
use super::step::Step;
use super::world::{Broken, Conn, World};
use crate::sim::op::{Op, Purpose};
use crate::sim::site::{LIVE, Mutation};

const JOURNAL: &str = "journal";

/// What the controller that was paused does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OlderStep {
    /// It reads a reply.
    Reply(usize, Side),
    /// It notices that a connection is gone.
    NoticeLoss(usize, Side),
    /// Its database answers: whether the row is durable there.
    Journal(usize, bool),
    /// It has compared the lists.
    Compared(usize),
    /// A pause is over.
    Waited(usize),
}

impl OlderStep {
    pub(super) fn mailbox_mut(&mut self) -> &mut usize {
        match self {
            Self::Reply(m, _)
            | Self::NoticeLoss(m, _)
            | Self::Journal(m, _)
            | Self::Compared(m)
            | Self::Waited(m) => m,
        }
    }
}

impl Conn {
    /// Whether a controller still has the other end.
    #[must_use]
    pub fn has_reader(&self) -> bool {
        self.attached || self.older
    }
}

/// The answer to a coordinator that is kept out.
pub(super) fn no() -> Answer {
    Answer::No(Refusal {
        reason: Reason::Fenced,
        text: String::new(),
    })
}

impl World {
    /// The steps of the one that was paused.
    pub(super) fn older_steps(&self, steps: &mut Vec<Step>) {
        let mut push = |step| steps.push(Step::Older(step));
        for (m, runner) in self.older.iter().flatten().enumerate() {
            for side in Side::ALL {
                if !runner.owed[side.index()] {
                    continue;
                }
                match self.conns[m][side.index()].iter().find(|c| c.older) {
                    None => push(OlderStep::NoticeLoss(m, side)),
                    Some(conn) if conn.reply.is_some() => push(OlderStep::Reply(m, side)),
                    Some(_) => {}
                }
            }
            if runner.record.is_some() {
                push(OlderStep::Journal(m, false));
                if self.rows[m].lost {
                    push(OlderStep::Journal(m, true));
                }
            }
            if runner.compare {
                push(OlderStep::Compared(m));
            }
            if runner.wait {
                push(OlderStep::Waited(m));
            }
        }
    }

    /// Another controller may take over at any time.
    pub(super) fn take_overs(&self, steps: &mut Vec<Step>) {
        if self.takeovers > 0 && self.older.is_none() && self.controller.is_some() {
            for (kept, lost) in [(false, false), (true, false), (true, true)] {
                steps.push(Step::TakeOver { kept, lost });
            }
        }
    }

    pub(super) fn take_over(&mut self, config: &Config, kept: bool, lost: bool) {
        self.takeovers -= 1;
        self.older.clone_from(&self.controller);
        self.flush_or_lose(kept);
        self.change_places();
        self.epoch += 1;
        for row in self.rows.iter_mut().filter(|_| lost) {
            row.lost = true;
            row.closed = None;
            match &mut row.decided {
                Some(open) if open.reversing => open.reversing = false,
                decided => *decided = None,
            }
        }
        self.start_controller(config);
    }

    pub(super) fn older_goes_on(&mut self, config: &Config, step: OlderStep) {
        self.change_places();
        std::mem::swap(&mut self.controller, &mut self.older);
        self.acts = true;
        match step {
            OlderStep::Reply(m, side) => {
                let conn = self.conns[m][side.index()].iter_mut().find(|c| c.attached);
                let reply = conn.and_then(|c| c.reply.take());
                self.answered(config, m, side, reply);
            }
            OlderStep::NoticeLoss(m, side) => self.answered(config, m, side, None),
            OlderStep::Journal(m, durable) => {
                self.take_record(m);
                let event = if durable {
                    Event::Recorded
                } else {
                    Event::RecordFailed(String::new())
                };
                self.tell(config, m, event);
            }
            OlderStep::Compared(m) => self.compared(config, m, Comparison::default()),
            OlderStep::Waited(m) => {
                self.with_runner(m, |r| r.wait = false);
                self.tell(config, m, Event::Waited);
            }
        }
        self.acts = false;
        std::mem::swap(&mut self.controller, &mut self.older);
        self.change_places();
    }

    /// Which of the two controllers has the other end of a connection.
    fn change_places(&mut self) {
        for conn in self.conns.iter_mut().flatten().flatten() {
            std::mem::swap(&mut conn.attached, &mut conn.older);
        }
    }

    /// Whether a higher epoch keeps the connection's coordinator out.
    pub(super) fn is_fenced(&self, side: Side, conn: &Conn) -> bool {
        conn.epoch < self.highest[side.index()]
    }

    /// Whether an older coordinator's turn has to end before this one is answered.
    pub(super) fn waits_for_turn(&self, side: Side, conn: &Conn) -> bool {
        let highest = self.highest[side.index()];
        let turn = |c: &Conn| {
            let changes = matches!(
                c.serving,
                Some(Request::Commit { .. } | Request::Release { .. } | Request::RollBack)
            );
            c.epoch < highest && changes
        };
        let mut all = self.conns.iter().flat_map(|c| &c[side.index()]);
        conn.epoch == highest && highest > 1 && all.any(turn)
    }

    /// Whether the command that waits on this connection may be read now. A coordinator that is
    /// kept out gets that answer; a newer one ends all that older ones have open on the host.
    pub(super) fn may_enter(&mut self, m: usize, side: Side, id: u8) -> bool {
        let Some(conn) = self.conns[m][side.index()].iter().find(|c| c.id == id) else {
            return false;
        };
        if conn.epoch == 0 {
            return true;
        }
        let (epoch, conn) = (conn.epoch, conn.clone());
        let known = match self.highest[side.index()] {
            0 => Epoch::default(),
            highest => Epoch::raised(JOURNAL, highest.into()),
        };
        match known.admit(Some(JOURNAL), Some(epoch.into())) {
            Admission::Granted => {}
            Admission::Raises => {
                self.highest[side.index()] = epoch;
                self.end_older(side, epoch);
                // Its own turn comes with another step, if it has to wait.
                if self.waits_for_turn(side, &conn) {
                    return false;
                }
            }
            Admission::Fenced => {
                let commits = matches!(conn.inbox, Some(Request::Commit { .. }));
                let mutation = self.sites[m][side.index()].mutation;
                if commits && mutation == Some(Mutation::CommitUnfenced) {
                    return true;
                }
                if let Some(conn) = self.conn_mut(m, side, id) {
                    conn.inbox = None;
                    conn.reply = conn.has_reader().then(no);
                }
                return false;
            }
        }
        let answered = &mut self.answered[side.index()];
        *answered = epoch.max(*answered);
        true
    }

    /// As if their connections had closed.
    fn end_older(&mut self, side: Side, epoch: u8) {
        for (conns, sites) in self.conns.iter().zip(&mut self.sites) {
            let site = &mut sites[side.index()];
            if site.mutation == Some(Mutation::CommitUnfenced) {
                continue;
            }
            for conn in conns[side.index()].iter().filter(|c| c.epoch < epoch) {
                site.tell(conn.id, transaction::Event::Disconnect);
            }
        }
    }

    /// A live name changes by what an older coordinator said, after the newer one was answered.
    pub(super) fn judge_fence(&mut self, m: usize, side: Side, id: u8, next: Option<Op>) {
        let changes = matches!(
            next,
            Some(Op::File(Purpose::Commit | Purpose::PutBack, step)) if step.op.changes_live()
        );
        let mut conns = self.conns[m][side.index()].iter();
        let fenced = conns.any(|c| c.id == id && c.epoch < self.answered[side.index()]);
        if changes && fenced {
            self.break_promise(Broken::FencedTookEffect);
        }
    }

    /// Whether the hosts have different versions of a mailbox of which the journal may have lost a
    /// decision.
    pub(super) fn is_unlike(&self, config: &Config, m: usize) -> bool {
        let [master, replica] = [0, 1].map(|side: usize| {
            let index = self.sites[m][side].disk.read(LIVE[0]);
            index.map(|index| (index.version, index.sha1))
        });
        self.rows[m].lost && config.plan.replica && master != replica
    }
}
