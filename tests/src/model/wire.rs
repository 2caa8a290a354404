//! The network, and the servers at its far end: commands come, replies go, streams end.
//!
//! Within a connection nothing is duplicated or reordered, as in any stream; a connection may be
//! lost at any point with what is under way in it, and the server reads its end some time later.

use controller::two_phase::{Answer, Reason, Refusal, Request, Side};
use slotd::transaction::{self, Ending};

use super::fence;
use super::world::{Broken, Conn, Up, World};
use crate::sim::disk::{Name, Role, Which};
use crate::sim::image::{Image, Tiny};
use crate::sim::op::{Failing, Op, Purpose};
use crate::sim::site::{Fault, LIVE, Mutation, Site, Wanted};

impl World {
    pub(super) fn send(&mut self, m: usize, side: Side, request: Request) {
        self.with_runner(m, |r| {
            r.owed[side.index()] = true;
            r.confirmed[side.index()] &= request != Request::Lock;
        });
        if self.up[side.index()] != Up::Serving {
            return;
        }
        if self.attached(m, side).is_none() {
            let id = self.sites[m][side.index()].connect();
            self.conns[m][side.index()].push(Conn {
                id,
                attached: true,
                older: false,
                epoch: self.epoch - u8::from(self.acts),
                inbox: None,
                serving: None,
                reply: None,
                eof: false,
            });
        }
        if let Some(conn) = self.conns[m][side.index()].iter_mut().find(|c| c.attached) {
            conn.inbox = Some(request);
        }
    }

    /// The controller's end of the connection is gone; the server will see it in its time.
    pub fn detach(&mut self, m: usize, side: Side) {
        if let Some(conn) = self.conns[m][side.index()].iter_mut().find(|c| c.attached) {
            conn.attached = false;
            conn.reply = None;
        }
    }

    /// The server reads the command that is waiting for it.
    pub fn deliver(&mut self, m: usize, side: Side, id: u8) {
        if !self.may_enter(m, side, id) {
            return;
        }
        let Some(conn) = self.conn_mut(m, side, id) else {
            return;
        };
        let Some(request) = conn.inbox.take() else {
            return;
        };
        if let Request::Prepare { .. } = request {
            conn.reply = conn.has_reader().then_some(Answer::Done);
            return;
        }
        conn.serving = Some(request);
        let site = &mut self.sites[m][side.index()];
        match request {
            Request::Prepare { .. } => {}
            Request::Lock => site.tell(id, transaction::Event::Lock),
            Request::Upgrade { to, uuids_old } => {
                site.tell_upgrade(id, Wanted { to, uuids_old });
            }
            Request::Commit { hold, drop_old } => {
                site.tell(id, transaction::Event::Commit(Ending { hold, drop_old }));
            }
            Request::Release { drop_old } => {
                site.tell(id, transaction::Event::Release { drop_old });
            }
            Request::RollBack => site.tell(id, transaction::Event::Rollback),
            Request::Confirm => site.tell(id, transaction::Event::Confirm),
        }
    }

    /// The server has no mailbox of the name that it is to lock.
    pub fn miss(&mut self, m: usize, side: Side, id: u8) {
        self.rows[m].missed |= self.rows[m].decided.is_some();
        let Some(conn) = self.conn_mut(m, side, id) else {
            return;
        };
        conn.inbox = None;
        let refusal = Refusal {
            reason: Reason::NoMailbox,
            text: String::new(),
        };
        conn.reply = conn.has_reader().then_some(Answer::No(refusal));
    }

    /// Before it takes any lock the server finds that the peer says otherwise of a message than
    /// this host's own bytes.
    pub fn peer_differs(&mut self, m: usize, side: Side, id: u8) {
        self.rows[m].differed |= self.rows[m].decided.is_some();
        let Some(conn) = self.conn_mut(m, side, id) else {
            return;
        };
        let request = conn.inbox.take();
        if let Some(Request::Prepare { .. }) = request {
            let refusal = Refusal {
                reason: Reason::Differs,
                text: String::new(),
            };
            conn.reply = conn.has_reader().then_some(Answer::No(refusal));
            return;
        }
        conn.serving = request;
        let site = &mut self.sites[m][side.index()];
        let (disk, log) = (site.disk.clone(), site.log.clone());
        site.tell(id, transaction::Event::Lock);
        if site.next_op(id) != Some(&Op::TakeLocks) {
            return;
        }
        self.run_op(m, side, id, Some(Failing::Differs));
        let site = &self.sites[m][side.index()];
        if site.lock == Some(id) || site.disk != disk || site.log != log {
            self.break_promise(Broken::TouchedWhatDiffers);
        }
    }

    /// A session's next op, done or failing; what comes of it.
    pub fn run_op(&mut self, m: usize, side: Side, id: u8, how: Option<Failing>) {
        let site = &mut self.sites[m][side.index()];
        let next = site.next_op(id).copied();
        let renames = how.is_none()
            && matches!(
                next,
                Some(Op::File(Purpose::Commit, step)) if step.op.changes_live()
            );
        self.judge_fence(m, side, id, next);
        let site = &mut self.sites[m][side.index()];
        let answer = match how {
            None => site.step(id),
            Some(how) => site.fail(id, how),
        };
        if renames {
            self.judge_rename(m);
        }
        if let Some(answer) = answer {
            self.reply(m, side, id, answer);
        }
        self.forget_if_over(m, side, id);
    }

    /// A staged file came to a live name: that had to be decided.
    pub(super) fn judge_rename(&mut self, m: usize) {
        // After a take-over: by whom, and whether it still may, is looked at elsewhere.
        if self.epoch > 1 {
            return;
        }
        let row = &self.rows[m];
        if row.decided.is_none() || row.closed.is_some() {
            self.break_promise(Broken::RenameWithoutDecision);
        }
    }

    fn reply(&mut self, m: usize, side: Side, id: u8, answer: transaction::Answer) {
        let site = &self.sites[m][side.index()];
        let Some(session) = site.session(id) else {
            return;
        };
        let Some(conn) = self.conns[m][side.index()].iter().find(|c| c.id == id) else {
            return;
        };
        let fault = session.fault;
        let staged = matches!(session.tx.state(), transaction::State::Staged { .. });
        let confirms = conn.serving == Some(Request::Confirm);
        // With this rule broken on purpose, slotd says yes without looking.
        let blind = confirms && site.mutation == Some(Mutation::ConfirmBlindly);
        let digest = (staged || blind).then(|| staged_digest(site, session.wanted));
        let answer = if blind {
            transaction::Answer::Ok
        } else {
            answer
        };
        let no = |reason| {
            Answer::No(Refusal {
                reason,
                text: String::new(),
            })
        };
        let reply = match answer {
            transaction::Answer::Ok => match conn.serving {
                Some(Request::Lock) => {
                    let index = site.disk.read(LIVE[0]).map_or(0, |i| i.version);
                    Answer::Locked {
                        index,
                        uidvalidity: 1,
                    }
                }
                Some(Request::Upgrade { .. }) => staged_answer(site, session.wanted),
                Some(Request::Confirm) => Answer::Confirmed { digest },
                _ => Answer::Done,
            },
            transaction::Answer::Already => Answer::Done,
            transaction::Answer::Failed => no(match fault {
                Some(Fault::Locked) => Reason::Locked,
                Some(Fault::Damaged) => Reason::Damaged,
                Some(Fault::Differs) => Reason::Differs,
                _ => Reason::Io,
            }),
            // As the controller reads these codes.
            transaction::Answer::Expired
            | transaction::Answer::State
            | transaction::Answer::TooLate => no(Reason::Expired),
        };
        let fenced = self.is_fenced(side, conn);
        let reply = match reply {
            Answer::No(_) if fenced => fence::no(),
            reply => reply,
        };
        if confirms && staged && conn.attached {
            self.with_runner(m, |r| r.confirmed[side.index()] = true);
        }
        if let Some(conn) = self.conn_mut(m, side, id) {
            conn.serving = None;
            conn.reply = conn.has_reader().then_some(reply);
        }
    }

    /// The server reads the end of the stream.
    pub fn eof(&mut self, m: usize, side: Side, id: u8) {
        if let Some(conn) = self.conn_mut(m, side, id) {
            conn.inbox = None;
            conn.eof = true;
        }
        self.sites[m][side.index()].tell(id, transaction::Event::Disconnect);
        self.forget_if_over(m, side, id);
    }

    fn forget_if_over(&mut self, m: usize, side: Side, id: u8) {
        let site = &mut self.sites[m][side.index()];
        let idle = site
            .session(id)
            .is_none_or(|s| s.ops.is_empty() && !s.tx.is_open());
        let conns = &mut self.conns[m][side.index()];
        if idle && conns.iter().any(|c| c.id == id && c.eof) {
            conns.retain(|c| c.id != id);
            site.forget(id);
        }
    }
}

fn staged_digest(site: &Site<Tiny>, wanted: Wanted) -> [u8; 20] {
    let after = site.rewritten(Which::Index, wanted);
    after.map_or([0; 20], |i| i.digest())
}

fn staged_answer(site: &Site<Tiny>, wanted: Wanted) -> Answer {
    let live = site.disk.read(LIVE[0]);
    let digest = staged_digest(site, wanted);
    let changed = Which::ALL
        .into_iter()
        .any(|file| site.disk.has(Name::new(file, Role::New)));
    Answer::Staged {
        changed,
        from: live.map_or(0, |i| i.version),
        digest,
    }
}
