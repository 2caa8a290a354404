//! From the agreement of both sides to the end: decide, commit, release.

use super::coordinator::Coordinator;
use super::reason::Reason;
use super::state::{After, Direction, Phase, Position, Session, refused, unexpected};
use super::types::{Action, Answer, Entry, Failure, Outcome, Request, Side};

impl Coordinator {
    /// Both sides are staged alike: decide, or commit if that was decided before.
    pub(super) fn agreed(&mut self, out: &mut Vec<Action>) {
        let mut changed = false;
        for side in Side::ALL {
            if let Some((side_changed, from, _)) = self.sides[side.index()].staged {
                changed |= side_changed;
                if !self.is_decided() || self.assumed {
                    self.side(side).before = side_changed.then_some(from);
                }
            }
        }
        if self.is_decided() && !self.assumed {
            self.commit_next(out);
        } else if changed {
            self.confirm(out);
        } else if self.assumed {
            self.finish_forward(out);
        } else {
            self.clear(After::Finish(Outcome::Unchanged), out);
        }
    }

    pub(super) fn on_recorded(&mut self, out: &mut Vec<Action>) {
        match self.phase {
            Phase::Deciding => {
                self.direction = Direction::Forward;
                self.assumed = false;
                self.failure = None;
                self.commit_next(out);
            }
            Phase::Assuming => self.on_assumed(out),
            Phase::Reversing => self.clear(After::Undo, out),
            _ => {}
        }
    }

    pub(super) fn on_record_failed(&mut self, text: String, out: &mut Vec<Action>) {
        match self.phase {
            // Should the decision be durable after all, a restart finds both sides as before
            // and brings both forward: that is a legal history too.
            Phase::Deciding => {
                self.fail(Failure::new(None, Reason::Journal, text), out);
            }
            Phase::Assuming => {
                let failure = Failure::new(None, Reason::Journal, text);
                self.clear(After::Finish(Outcome::RolledBack(failure)), out);
            }
            // A restart may go either way now, and a side noted as forward would not be looked
            // at again. So nothing may be taken back here: leave it to the restart.
            Phase::Reversing => {
                let failure = Failure::new(None, Reason::Journal, text);
                self.clear(After::Finish(Outcome::InDoubt(failure)), out);
            }
            _ => {}
        }
    }

    /// Sends the next COMMIT: replica with hold while the master is still to come, then master.
    fn commit_next(&mut self, out: &mut Vec<Action>) {
        let drop_old = self.plan.drop_old;
        if self.is_target(Side::Replica) {
            let hold = self.is_target(Side::Master);
            self.phase = Phase::Committing(Side::Replica);
            self.send(
                Side::Replica,
                Request::Commit {
                    hold,
                    drop_old: drop_old && !hold,
                },
                out,
            );
        } else if self.is_target(Side::Master) {
            self.phase = Phase::Committing(Side::Master);
            self.send(
                Side::Master,
                Request::Commit {
                    hold: false,
                    drop_old,
                },
                out,
            );
        } else if self.sides[Side::Replica.index()].session == Session::Held {
            self.phase = Phase::Releasing;
            self.send(Side::Replica, Request::Release { drop_old }, out);
        } else {
            self.finish_forward(out);
        }
    }

    pub(super) fn on_committed(
        &mut self,
        side: Side,
        request: Request,
        answer: Answer,
        out: &mut Vec<Action>,
    ) {
        match answer {
            Answer::Done => {
                let held = matches!(request, Request::Commit { hold: true, .. });
                let state = self.side(side);
                state.session = if held { Session::Held } else { Session::Idle };
                state.position = Position::Forward;
                state.dropped = matches!(request, Request::Commit { drop_old: true, .. });
                out.push(Action::Note(Entry::Forward(side)));
                self.commit_next(out);
            }
            Answer::No(refusal) if refusal.reason == Reason::Expired => {
                // The slotd had rolled back by itself before the COMMIT came.
                let state = self.side(side);
                state.session = Session::Idle;
                state.position = Position::Unknown;
                self.fail_softly(refused(side, refusal), out);
            }
            other => {
                self.side(side).position = Position::Refused;
                let failure = unexpected(side, other, "COMMIT");
                if self.is_one_way() {
                    self.fail(failure, out);
                } else {
                    self.give_up(failure, out);
                }
            }
        }
    }

    pub(super) fn finish_forward(&mut self, out: &mut Vec<Action>) {
        let forward = self.sides.iter().any(|s| s.position == Position::Forward);
        if self.drop_old(out) {
            return;
        }
        let outcome =
            if forward {
                Outcome::Upgraded
            } else {
                Outcome::RolledBack(self.failure.clone().unwrap_or_else(|| {
                    Failure::new(None, Reason::NoMailbox, "the mailbox is gone")
                }))
            };
        self.clear(After::Finish(outcome), out);
    }
}
