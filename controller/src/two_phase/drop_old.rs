//! The end of a transaction without `.OLD` files.
//!
//! They may go only once both sides are done, with the `COMMIT` or `RELEASE` that says so. A side
//! whose connection ended before that, or that was released because the other one had to be tried
//! again, has them still: it is locked once more, and commits that there is nothing to change.
//! Nothing here takes a decision back: what cannot be removed stays until `clean`.

use super::coordinator::Coordinator;
use super::state::{After, Direction, Phase, Position, Session, unexpected};
use super::types::{Action, Answer, Failure, Request, Side};

impl Coordinator {
    /// The next side that is forward and may have the files that were replaced, though they are to
    /// go; one that is locked first, as no lock is waited for meanwhile.
    fn has_old(&self) -> Option<Side> {
        let wanted = self.plan.drop_old && self.direction == Direction::Forward;
        let has = |side: &Side| {
            let state = &self.sides[side.index()];
            let forward = state.in_scope && state.position == Position::Forward;
            forward && state.before.is_some() && !state.dropped
        };
        let idle = |side: &Side| self.sides[side.index()].session == Session::Idle;
        let sides = Side::REPLICA_FIRST.into_iter().filter(has);
        sides
            .filter(|_| wanted && !self.keeps_old)
            .min_by_key(|side| idle(side))
    }

    /// Whether nothing but that is left to do.
    pub(super) fn only_drops(&self) -> bool {
        !Side::ALL.into_iter().any(|side| self.is_target(side)) && self.has_old().is_some()
    }

    /// Asks for their removal, if any may be left; `false` if not.
    pub(super) fn drop_old(&mut self, out: &mut Vec<Action>) -> bool {
        let Some(side) = self.has_old() else {
            return false;
        };
        let drop_old = true;
        let request = match self.sides[side.index()].session {
            Session::Idle => {
                self.clear(After::DropOld, out);
                return true;
            }
            Session::Locked => Request::Commit {
                hold: false,
                drop_old,
            },
            Session::Held => Request::Release { drop_old },
        };
        self.phase = Phase::Dropping(side);
        self.send(side, request, out);
        true
    }

    /// No session holds anything: locks the side again.
    pub(super) fn lock_to_drop(&mut self, out: &mut Vec<Action>) {
        if let Some(side) = self.has_old() {
            self.phase = Phase::Dropping(side);
            self.send(side, Request::Lock, out);
        } else {
            self.finish_forward(out);
        }
    }

    pub(super) fn on_dropping(
        &mut self,
        side: Side,
        request: Request,
        answer: Answer,
        out: &mut Vec<Action>,
    ) {
        let to = self.plan.to;
        let uuids_old = self.plan.uuids_old;
        match (request, answer) {
            (Request::Lock, Answer::Locked { index, .. }) => {
                self.side(side).session = Session::Locked;
                if index == to {
                    // Without it the slotd does not know what the mailbox is.
                    self.send(side, Request::Upgrade { to, uuids_old }, out);
                } else {
                    self.leave_old(None, out);
                }
            }
            (Request::Upgrade { .. }, Answer::Staged { changed: false, .. }) => {
                self.finish_forward(out);
            }
            (Request::Commit { .. } | Request::Release { .. }, Answer::Done) => {
                let state = self.side(side);
                (state.session, state.dropped) = (Session::Idle, true);
                self.finish_forward(out);
            }
            // A server has changed it since: what it was is not ours to remove any more.
            (Request::Upgrade { .. }, Answer::Staged { .. }) => self.leave_old(None, out),
            (request, answer) => {
                if matches!(request, Request::Commit { .. } | Request::Release { .. }) {
                    self.side(side).session = Session::Idle;
                    self.disconnect(side, out);
                }
                let failure = unexpected(side, answer, "the end of a transaction");
                self.leave_old(Some(&failure), out);
            }
        }
    }

    /// They could not be removed now: another attempt, if that may help.
    pub(super) fn leave_old(&mut self, failure: Option<&Failure>, out: &mut Vec<Action>) {
        let passes = failure.is_some_and(|failure| failure.reason.may_pass());
        let passes = passes && self.plan.drop_old;
        if passes && self.attempt < self.plan.settle_attempts && !self.abort {
            self.clear(After::Pause, out);
        } else {
            self.keeps_old = true;
            self.finish_forward(out);
        }
    }
}
