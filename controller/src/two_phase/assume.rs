//! What counts as decided although no row of the journal says so.
//!
//! A standby that takes over without the newest rows, or a copy that was restored, leaves a journal
//! without the last decisions ([`Plan::rows_lost`](super::Plan::rows_lost)). `COMMIT` is sent only
//! after a decision, so one side that is committed proves one. A transaction that fails may then be
//! called rolled back only if both sides are known to be as before, or both to be as wanted.
//! Anything else is noted as decided ([`Entry::Assumed`]) and goes forward from there: attempt by
//! attempt, and in doubt at last, unless an attempt shows that both sides are alike. It never goes
//! back, as nobody knows what the committed side was before.
//!
//! A side of the same version as the one wanted may be as before all the same (its GUIDs are to
//! change): what it is says `UPGRADE`, and until then nothing is known of it.

use super::coordinator::Coordinator;
use super::reason::Reason;
use super::state::{Direction, Phase, Position};
use super::types::{Action, Entry, Failure};

impl Coordinator {
    /// Whether two sides change that may have been changed by a decision which was lost. Where one
    /// alone changes no decision leaves them unlike.
    fn may_lack_a_decision(&self) -> bool {
        let both = self.sides.iter().all(|s| s.in_scope);
        // A rehearsal adds nothing that could be half done, and settles nothing.
        self.plan.rows_lost && self.plan.only.is_none() && both && !self.plan.rehearse
    }

    /// Whether one side may be committed and the other not, of a transaction that is not decided
    /// and fails for this reason.
    pub(super) fn may_be_half_done(&self, reason: Reason) -> bool {
        // The run ends with these, or goes on, and the row stays as it was; and of a mailbox that
        // is not there nothing can differ.
        let left = matches!(
            reason,
            Reason::Interrupted | Reason::Journal | Reason::Unfenced | Reason::NoMailbox
        );
        self.may_lack_a_decision() && !left && !self.are_alike()
    }

    /// Whether both sides are known to be as before, or both to be as wanted. What a host said to
    /// this coordinator holds, as no older one is let in since.
    fn are_alike(&self) -> bool {
        let all = |position| self.sides.iter().all(|s| s.position == position);
        all(Position::Old) || all(Position::Forward)
    }

    /// Whether a later attempt has shown that nothing was half done.
    pub(super) fn is_disproved(&self) -> bool {
        self.assumed && self.are_alike()
    }

    /// Whether nothing decided can be taken back: of a side that is as wanted nobody knows whether
    /// it was so before.
    pub(super) fn is_one_way(&self) -> bool {
        let unknown = self.sides.iter().any(|s| s.in_scope && s.before.is_none());
        self.assumed || (self.may_lack_a_decision() && unknown)
    }

    /// No session holds anything.
    pub(super) fn assume(&mut self, failure: Failure, out: &mut Vec<Action>) {
        self.failure = Some(failure);
        self.phase = Phase::Assuming;
        out.push(Action::Record(Entry::Assumed));
    }

    /// From here on it is a decided transaction, whose attempt has failed.
    pub(super) fn on_assumed(&mut self, out: &mut Vec<Action>) {
        self.direction = Direction::Forward;
        self.assumed = true;
        let failure = self.failure.take();
        let failure = failure.unwrap_or_else(|| Failure::new(None, Reason::Protocol, "it failed"));
        self.fail(failure, out);
    }

    /// Until it is decided again both sides are asked, whatever was known of one.
    pub(super) fn forget_assumed(&mut self) {
        for state in self.sides.iter_mut().filter(|_| self.assumed) {
            if state.position == Position::Forward {
                state.position = Position::Unknown;
            }
        }
    }

    /// Says in a doubt where it comes from.
    pub(super) fn with_lost_rows(&self, failure: Failure) -> Failure {
        if !self.is_one_way() {
            return failure;
        }
        let text = format!(
            "{}; the journal may have lost its newest rows, so the hosts may differ, and it goes \
             forward or not at all",
            failure.text
        );
        Failure { text, ..failure }
    }
}
