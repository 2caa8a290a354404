//! Keeping both transactions alive while one side works, and making sure of both before the
//! decision.
//!
//! A participant ends a transaction when nobody said anything for its `--max-lock`. One side may
//! work for longer than that, and the other has nothing to do meanwhile: it is asked for a
//! [`Request::Confirm`] now and then. That is a courtesy; what counts is the step before the
//! decision: both sides say that they still hold what they staged, or nothing is decided. A
//! transaction that ended a long time ago never gets a decision.

use super::coordinator::Coordinator;
use super::reason::Reason;
use super::state::{After, Phase, Session, refused, unexpected};
use super::types::{Action, Answer, Entry, Failure, Outcome, Request, Side};

impl Coordinator {
    /// Says something to each side that has locks and waits.
    pub(super) fn keep_alive(&mut self, out: &mut Vec<Action>) {
        let waits = matches!(
            self.phase,
            Phase::Locking(_)
                | Phase::Upgrading
                | Phase::Confirming
                | Phase::Deciding
                | Phase::Committing(_)
                | Phase::Reversing
        );
        if !waits {
            return;
        }
        for side in Side::ALL {
            let state = self.side(side);
            if state.session != Session::Idle && state.awaiting.is_none() && !state.keeping {
                state.keeping = true;
                out.push(Action::Send(side, Request::Confirm));
            }
        }
    }

    /// The reply to that. What was to be sent meanwhile is sent now.
    pub(super) fn on_kept(&mut self, side: Side, answer: Answer, out: &mut Vec<Action>) {
        if let Answer::No(refusal) = answer
            && matches!(self.phase, Phase::Upgrading | Phase::Confirming)
        {
            self.side(side).staged = None;
            self.keep(refused(side, refusal));
        }
        if let Some(request) = self.side(side).awaiting {
            out.push(Action::Send(side, request));
        }
        self.gathered(out);
    }

    /// Both agree: asks them once more whether they hold what they staged. One alone has just said
    /// so.
    pub(super) fn confirm(&mut self, out: &mut Vec<Action>) {
        if !self.sides.iter().all(|s| s.in_attempt) {
            self.decide(out);
            return;
        }
        self.phase = Phase::Confirming;
        for side in Side::ALL {
            self.send(side, Request::Confirm, out);
        }
    }

    pub(super) fn on_confirmed(&mut self, side: Side, answer: Answer, out: &mut Vec<Action>) {
        let staged = self.sides[side.index()].staged.map(|(_, _, digest)| digest);
        match answer {
            Answer::Confirmed { digest } if digest.is_some() && digest == staged => {}
            Answer::Confirmed { digest: None } => {
                self.side(side).staged = None;
                let text = "what it had staged has ended before it was decided";
                self.keep(Failure::new(side, Reason::Expired, text));
            }
            other => {
                self.side(side).staged = None;
                self.keep(unexpected(side, other, "CONFIRM"));
            }
        }
        self.confirmed_if_all(out);
    }

    /// Decides once every side in question has confirmed, and every one that was asked to stay
    /// alive has.
    fn confirmed_if_all(&mut self, out: &mut Vec<Action>) {
        if self.awaiting_any() {
            return;
        }
        let ended = |s: &super::state::SideState| s.in_attempt && s.staged.is_none();
        if !self.sides.iter().any(ended) {
            self.decide(out);
            return;
        }
        let failure = self.failure.clone().unwrap_or_else(|| {
            Failure::new(
                None,
                Reason::Expired,
                "a transaction ended before it was decided",
            )
        });
        self.fail(failure, out);
    }

    fn decide(&mut self, out: &mut Vec<Action>) {
        if self.plan.rehearse {
            self.clear(After::Finish(Outcome::Rehearsed), out);
            return;
        }
        self.phase = Phase::Deciding;
        let before = Side::ALL.map(|s| self.sides[s.index()].before);
        out.push(Action::Record(Entry::Decided { before }));
    }

    /// A side that was only asked to stay alive is lost, and with it what it staged.
    pub(super) fn lost_waiting(&mut self, side: Side, failure: Failure, out: &mut Vec<Action>) {
        if matches!(self.phase, Phase::Upgrading | Phase::Confirming) {
            self.side(side).staged = None;
            self.keep(failure);
        }
        self.gathered(out);
    }

    /// Goes on where all answers of a step are awaited, if they are there.
    pub(super) fn gathered(&mut self, out: &mut Vec<Action>) {
        match self.phase {
            Phase::Upgrading => self.upgraded_if_all(out),
            Phase::Confirming => self.confirmed_if_all(out),
            _ => {}
        }
    }

    /// Closes the connection to that side, with whatever is owed by it.
    pub(super) fn disconnect(&mut self, side: Side, out: &mut Vec<Action>) {
        let state = self.side(side);
        state.awaiting = None;
        state.keeping = false;
        out.push(Action::Disconnect(side));
    }
}
