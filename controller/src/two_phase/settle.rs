//! What happens when a step fails: clearing the sessions, pausing, settling, undoing.

use super::coordinator::Coordinator;
use super::reason::Reason;
use super::state::{After, Direction, Phase, Position, Session, refused, unexpected};
use super::types::{Action, Answer, Entry, FIRST_OF_2_4, Failure, Outcome, Request, Side};

impl Coordinator {
    /// Remembers the first failure, except that one which waiting cannot heal takes precedence.
    pub(super) fn keep(&mut self, failure: Failure) {
        let replace = match &self.failure {
            None => true,
            Some(old) => old.reason.may_pass() && !failure.reason.may_pass(),
        };
        if replace {
            self.failure = Some(failure);
        }
    }

    /// A step failed. Undecided: roll back. Decided: settle.
    pub(super) fn fail(&mut self, failure: Failure, out: &mut Vec<Action>) {
        if self.direction == Direction::Undecided {
            let after = if self.may_be_half_done(failure.reason) {
                After::Assume(failure)
            } else {
                After::Finish(Outcome::RolledBack(failure))
            };
            self.clear(after, out);
        } else if failure.reason.may_pass() {
            self.fail_softly(failure, out);
        } else {
            self.give_up(failure, out);
        }
    }

    /// A step of a decided transaction failed in a way that another attempt may heal.
    pub(super) fn fail_softly(&mut self, failure: Failure, out: &mut Vec<Action>) {
        if self.attempt >= self.plan.settle_attempts {
            self.give_up(failure, out);
        } else {
            self.keep(failure);
            self.clear(After::Pause, out);
        }
    }

    /// No further attempt in this direction. Forward: bring the other side back if every side
    /// that is not forward is known to be as before. Else a human must look.
    pub(super) fn give_up(&mut self, failure: Failure, out: &mut Vec<Action>) {
        if self.is_disproved() {
            self.clear(After::Finish(Outcome::RolledBack(failure)), out);
            return;
        }
        // Without the fence nothing can be written anew: only what is still held comes back.
        let held = Side::ALL.into_iter().all(|side| {
            let state = &self.sides[side.index()];
            state.position != Position::Forward
                || state.session == Session::Held
                || state.before.is_none()
        });
        let known = held || failure.reason != Reason::Unfenced;
        let known = known
            && Side::ALL.into_iter().all(|side| {
                let state = &self.sides[side.index()];
                !self.is_target(side) || matches!(state.position, Position::Old | Position::Refused)
            });
        if self.direction == Direction::Forward && known && !self.is_one_way() {
            self.direction = Direction::Back;
            self.failure = Some(failure);
            self.attempt = 0;
            self.phase = Phase::Reversing;
            out.push(Action::Record(Entry::Reversing));
        } else {
            let failure = self.with_lost_rows(failure);
            self.clear(After::Finish(Outcome::InDoubt(failure)), out);
        }
    }

    pub(super) fn on_lost(&mut self, side: Side, text: String, out: &mut Vec<Action>) {
        let dropping = matches!(self.phase, Phase::Dropping(_));
        let state = self.side(side);
        let unsent = std::mem::take(&mut state.keeping);
        let request = state.awaiting.take();
        match (state.session, request.filter(|_| !unsent)) {
            // In flight: it may have been executed or not.
            (_, Some(Request::Commit { .. })) if dropping => {}
            (_, Some(Request::Commit { .. })) | (Session::Held, Some(Request::RollBack)) => {
                state.position = Position::Unknown;
            }
            (Session::Locked, Some(Request::RollBack)) if state.position == Position::Refused => {
                state.position = Position::Unknown;
            }
            // A held mailbox whose connection closes is released as committed; a locked one is
            // rolled back. Either way what was known of its position still holds.
            _ => {}
        }
        state.session = Session::Idle;
        let failure = Failure::new(side, Reason::HostAway, text);
        if request.is_none() && self.phase != Phase::Comparing {
            // Nothing was owed: the loss shows again, with its meaning, at the next command.
            self.lost_waiting(side, failure, out);
            return;
        }
        match self.phase.clone() {
            Phase::Clearing(after) => self.clear(after, out),
            Phase::Releasing | Phase::Dropping(_) => self.leave_old(Some(&failure), out),
            Phase::Undoing(_) => self.undo_failed(failure, out),
            Phase::Upgrading => {
                self.keep(failure);
                self.gathered(out);
            }
            Phase::Confirming => self.lost_waiting(side, failure, out),
            Phase::Preparing => self.lost_preparing(failure, out),
            _ => self.fail(failure, out),
        }
    }

    /// A host that is away is known before any lock is taken: end here, once both answered.
    fn lost_preparing(&mut self, failure: Failure, out: &mut Vec<Action>) {
        for side in Side::ALL {
            if self.side(side).awaiting.is_some() {
                self.disconnect(side, out);
            }
        }
        self.fail(failure, out);
    }

    /// Frees whatever the sessions hold, replica first, then does `after`.
    pub(super) fn clear(&mut self, after: After, out: &mut Vec<Action>) {
        for side in Side::REPLICA_FIRST {
            let request = match self.sides[side.index()].session {
                Session::Idle => continue,
                Session::Locked => Request::RollBack,
                Session::Held if after == After::Undo => Request::RollBack,
                Session::Held => Request::Release { drop_old: false },
            };
            self.phase = Phase::Clearing(after);
            self.send(side, request, out);
            return;
        }
        match after {
            After::Finish(outcome) => self.finish(outcome, out),
            After::Undo => self.undo_next(out),
            After::Assume(failure) => self.assume(failure, out),
            After::DropOld => self.lock_to_drop(out),
            // Both sides are done.
            After::Pause if self.abort && self.only_drops() => {
                self.keeps_old = true;
                self.finish_forward(out);
            }
            After::Pause if self.abort => {
                let failure = Failure::new(
                    None,
                    Reason::Interrupted,
                    "stopped while a decided transaction was being settled",
                );
                self.finish(Outcome::InDoubt(failure), out);
            }
            After::Pause => {
                self.attempt = self.attempt.saturating_add(1);
                self.phase = Phase::Pausing;
                out.push(Action::Wait {
                    attempt: self.attempt,
                });
            }
        }
    }

    pub(super) fn on_cleared(
        &mut self,
        side: Side,
        request: Request,
        answer: &Answer,
        after: After,
        out: &mut Vec<Action>,
    ) {
        let state = self.side(side);
        let refused = *answer != Answer::Done;
        match (request, state.session, state.position) {
            (Request::RollBack, Session::Held, _)
            | (Request::RollBack, Session::Locked, Position::Refused) => {
                state.position = if refused {
                    Position::Unknown
                } else {
                    Position::Old
                };
            }
            _ => {}
        }
        if refused {
            // Its session may still hold something; closing the connection frees it for sure.
            self.disconnect(side, out);
        }
        self.side(side).session = Session::Idle;
        self.clear(after, out);
    }

    /// Another coordinator has this transaction, whatever it has come to: not even a `ROLLBACK` is
    /// sent. Closed connections end what a host that does not know of the other one still holds.
    pub(super) fn taken_over(&mut self, failure: Failure, out: &mut Vec<Action>) {
        for side in Side::ALL {
            let state = self.side(side);
            let owed = state.awaiting.is_some() || state.keeping;
            if state.in_scope && (state.session != Session::Idle || owed) {
                state.session = Session::Idle;
                self.disconnect(side, out);
            }
        }
        self.finish(Outcome::TakenOver(failure), out);
    }

    fn finish(&mut self, outcome: Outcome, out: &mut Vec<Action>) {
        self.phase = Phase::Finished;
        if let Outcome::InDoubt(failure) = &outcome {
            out.push(Action::Alert(failure.clone()));
        }
        out.push(Action::Finished(outcome));
    }

    /// Brings back the next side that is not as before; replica first.
    pub(super) fn undo_next(&mut self, out: &mut Vec<Action>) {
        for side in Side::REPLICA_FIRST {
            let state = self.side(side);
            if !state.in_scope || matches!(state.position, Position::Old | Position::Gone) {
                continue;
            }
            if state.before.is_none() {
                // Nothing was to change on this side, so it is as before.
                state.position = Position::Old;
                continue;
            }
            self.phase = Phase::Undoing(side);
            self.send(side, Request::Lock, out);
            return;
        }
        let failure = self.failure.clone().unwrap_or_else(|| {
            Failure::new(
                None,
                Reason::Interrupted,
                "taken back after a restart: one side could not be brought forward",
            )
        });
        self.clear(After::Finish(Outcome::RolledBack(failure)), out);
    }

    pub(super) fn on_undo_reply(
        &mut self,
        side: Side,
        request: Request,
        answer: Answer,
        out: &mut Vec<Action>,
    ) {
        let (wanted, came_back) = (self.plan.to, self.plan.uuids_old);
        let state = self.side(side);
        let before = state.before.unwrap_or(wanted);
        match (request, answer) {
            (Request::Lock, Answer::Locked { index, .. }) => {
                state.session = Session::Locked;
                // UPGRADE is asked for in any case: the expunge file may not be in step with
                // the index, after a recovery that could not make new files.
                state.index_before = index == before && before != wanted;
                // Undoing an upgrade brings the old GUIDs back; undoing a downgrade, or a way back,
                // has the SHA-1s computed again, which gives the same ones. A change-over replaced
                // none.
                let uuids_old = before <= wanted && !came_back && wanted < FIRST_OF_2_4;
                self.send(
                    side,
                    Request::Upgrade {
                        to: before,
                        uuids_old,
                    },
                    out,
                );
            }
            // Nothing can be rewritten there, and what counts is as before.
            (Request::Upgrade { .. }, Answer::No(refusal))
                if state.index_before && !refusal.reason.may_pass() =>
            {
                state.position = Position::Old;
                self.clear(After::Undo, out);
            }
            (Request::Lock, Answer::Gone) => {
                state.position = Position::Gone;
                self.undo_next(out);
            }
            (Request::Upgrade { .. }, Answer::Staged { changed: true, .. }) => {
                self.send(
                    side,
                    Request::Commit {
                        hold: false,
                        drop_old: false,
                    },
                    out,
                );
            }
            (Request::Upgrade { .. }, Answer::Staged { changed: false, .. }) => {
                state.position = Position::Old;
                self.clear(After::Undo, out);
            }
            (Request::Commit { .. }, Answer::Done) => {
                state.session = Session::Idle;
                state.position = Position::Old;
                self.undo_next(out);
            }
            (Request::Commit { .. }, Answer::No(refusal)) if refusal.reason == Reason::Expired => {
                state.session = Session::Idle;
                self.undo_failed(refused(side, refusal), out);
            }
            (_, answer) => {
                let failure = unexpected(side, answer, "the way back");
                self.undo_failed(failure, out);
            }
        }
    }

    fn undo_failed(&mut self, failure: Failure, out: &mut Vec<Action>) {
        if failure.reason.may_pass() && self.attempt < self.plan.settle_attempts {
            self.clear(After::Pause, out);
        } else {
            self.clear(After::Finish(Outcome::InDoubt(failure)), out);
        }
    }

    /// The operator wants an end now.
    pub(super) fn on_abort(&mut self, out: &mut Vec<Action>) {
        self.abort = true;
        match self.phase {
            // The decision may be durable already: see it through.
            Phase::Deciding | Phase::Assuming => {}
            Phase::Pausing => self.clear(After::Pause, out),
            _ if self.direction == Direction::Undecided => {
                for side in Side::ALL {
                    let state = self.side(side);
                    let owed = state.awaiting.is_some() || state.keeping;
                    if state.in_scope && (state.session != Session::Idle || owed) {
                        state.session = Session::Idle;
                        self.disconnect(side, out);
                    }
                }
                let outcome = match std::mem::replace(&mut self.phase, Phase::Finished) {
                    Phase::Clearing(After::Finish(outcome)) => outcome,
                    _ => Outcome::RolledBack(Failure::new(
                        None,
                        Reason::Interrupted,
                        "stopped before it was decided",
                    )),
                };
                self.finish(outcome, out);
            }
            _ => {}
        }
    }
}
