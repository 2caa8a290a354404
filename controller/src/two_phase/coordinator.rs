//! The way forward: prepare, lock, upgrade, compare. What follows is in `commit`.

use super::reason::Reason;
use super::state::{
    Direction, Open, Phase, Position, Session, SideState, deleted, refused, unexpected,
};
use super::types::{
    Action, Answer, Comparison, Event, FIRST_OF_2_4, FIRST_WITH_GUIDS, Failure, Plan, Request, Side,
};

/// The coordinator of one mailbox's transaction. See the module documentation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Coordinator {
    pub(super) plan: Plan,
    pub(super) phase: Phase,
    pub(super) direction: Direction,
    pub(super) sides: [SideState; 2],
    pub(super) attempt: u8,
    /// It counts as decided, and both sides have not been staged alike since.
    pub(super) assumed: bool,
    /// The first failure since the direction last changed: why it is not going as wished.
    pub(super) failure: Option<Failure>,
    pub(super) abort: bool,
    /// The files that were replaced could not be removed, and nothing more is tried.
    pub(super) keeps_old: bool,
}

impl Coordinator {
    /// A new transaction; nothing happens before [`Event::Start`].
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        let side = |in_scope| SideState {
            in_scope,
            position: Position::Unknown,
            session: Session::Idle,
            awaiting: None,
            keeping: false,
            before: None,
            index_before: false,
            uidvalidity: 0,
            in_attempt: false,
            staged: None,
            dropped: false,
        };
        let sides = [side(plan.master), side(plan.replica)];
        Self {
            plan,
            phase: Phase::New,
            direction: Direction::Undecided,
            sides,
            attempt: 0,
            assumed: false,
            failure: None,
            abort: false,
            keeps_old: false,
        }
    }

    /// A transaction whose decision the journal knows and whose end it does not.
    #[must_use]
    pub fn resume(plan: Plan, open: Open) -> Self {
        let mut machine = Self::new(plan);
        machine.direction = if open.reversing {
            Direction::Back
        } else {
            Direction::Forward
        };
        // What was decided in the usual way has something to change.
        machine.assumed = !open.reversing && open.before == [None; 2];
        let witness = machine.plan.only.map(Side::other);
        let rows_lost = machine.plan.rows_lost;
        for side in Side::ALL {
            let state = machine.side(side);
            state.before = open.before[side.index()];
            if witness == Some(side) {
                // It has been compared, and has nothing to do.
                state.position = Position::Forward;
            }
            if open.reversing {
                if state.before.is_none() {
                    state.position = Position::Old;
                }
            } else if open.forward[side.index()] && !rows_lost {
                state.position = Position::Forward;
            }
        }
        machine
    }

    /// As [`Plan::compares_content`].
    #[must_use]
    pub fn compares_content(&self) -> bool {
        self.plan.compares_content()
    }

    /// As [`Plan::rehearse`].
    #[must_use]
    pub fn rehearses(&self) -> bool {
        self.plan.rehearse
    }

    /// Whether the transaction is over.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.phase == Phase::Finished
    }

    /// Whether a decision to commit was recorded (it may have been reversed since).
    #[must_use]
    pub fn is_decided(&self) -> bool {
        self.direction != Direction::Undecided
    }

    /// Whether this side's session may hold locks, as far as the coordinator knows.
    #[must_use]
    pub fn may_hold_locks(&self, side: Side) -> bool {
        let state = &self.sides[side.index()];
        state.session != Session::Idle || matches!(state.awaiting, Some(Request::Lock))
    }

    /// Takes one event and says what to do. An event that is not owed is ignored.
    pub fn step(&mut self, event: Event) -> Vec<Action> {
        let mut out = Vec::new();
        match event {
            _ if self.phase == Phase::Finished => {}
            Event::Start => {
                if self.phase == Phase::New {
                    self.start(&mut out);
                }
            }
            Event::Abort => self.on_abort(&mut out),
            Event::Reply(side, Answer::No(refusal)) if refusal.reason == Reason::Fenced => {
                self.taken_over(refused(side, refusal), &mut out);
            }
            Event::Reply(side, answer) => {
                if std::mem::take(&mut self.side(side).keeping) {
                    self.on_kept(side, answer, &mut out);
                    return out;
                }
                // While lists are fetched no single command is owed, but a side may refuse.
                let request = self.side(side).awaiting.take();
                match (request, answer) {
                    (Some(request), answer) => self.on_reply(side, request, answer, &mut out),
                    (None, Answer::No(refusal)) if self.phase == Phase::Comparing => {
                        let failure = refused(side, refusal);
                        self.fail(failure, &mut out);
                    }
                    (None, _) => {}
                }
            }
            Event::Lost(side, text) => self.on_lost(side, text, &mut out),
            Event::Compared(comparison) => {
                if self.phase == Phase::Comparing {
                    self.on_compared(&comparison, &mut out);
                }
            }
            Event::Tick => self.keep_alive(&mut out),
            Event::Recorded => self.on_recorded(&mut out),
            Event::RecordFailed(text) => self.on_record_failed(text, &mut out),
            Event::TakenOver(text) => {
                self.taken_over(Failure::new(None, Reason::Fenced, text), &mut out);
            }
            Event::Waited => {
                if self.phase == Phase::Pausing {
                    self.begin_attempt(&mut out);
                }
            }
        }
        out
    }

    pub(super) fn side(&mut self, side: Side) -> &mut SideState {
        &mut self.sides[side.index()]
    }

    pub(super) fn send(&mut self, side: Side, request: Request, out: &mut Vec<Action>) {
        let state = self.side(side);
        state.awaiting = Some(request);
        // One command at a time on a connection.
        if !state.keeping {
            out.push(Action::Send(side, request));
        }
    }

    /// Whether this side still has to be brought forward.
    pub(super) fn is_target(&self, side: Side) -> bool {
        let state = &self.sides[side.index()];
        state.in_scope && !matches!(state.position, Position::Forward | Position::Gone)
    }

    pub(super) fn awaiting_any(&self) -> bool {
        self.sides.iter().any(|s| s.awaiting.is_some() || s.keeping)
    }

    fn start(&mut self, out: &mut Vec<Action>) {
        if self.direction == Direction::Undecided && self.plan.prepare {
            self.phase = Phase::Preparing;
            let to = self.plan.to;
            for side in Side::ALL {
                if self.is_target(side) {
                    self.send(side, Request::Prepare { to }, out);
                }
            }
        } else {
            self.begin_attempt(out);
        }
    }

    /// Starts an attempt in the direction decided.
    fn begin_attempt(&mut self, out: &mut Vec<Action>) {
        if self.direction == Direction::Back {
            self.undo_next(out);
            return;
        }
        self.forget_assumed();
        for side in Side::ALL {
            let in_attempt = self.is_target(side);
            let state = self.side(side);
            state.in_attempt = in_attempt;
            state.staged = None;
        }
        if self.is_target(Side::Master) {
            self.lock(Side::Master, out);
        } else if self.is_target(Side::Replica) {
            self.lock(Side::Replica, out);
        } else {
            self.finish_forward(out);
        }
    }

    fn lock(&mut self, side: Side, out: &mut Vec<Action>) {
        self.phase = Phase::Locking(side);
        self.send(side, Request::Lock, out);
    }

    fn on_reply(&mut self, side: Side, request: Request, answer: Answer, out: &mut Vec<Action>) {
        match self.phase.clone() {
            Phase::Preparing => {
                // Preparing is a courtesy: what is wrong will be said under the lock. But messages
                // that differ are reason enough to take none.
                if let Answer::No(refusal) = answer
                    && refusal.reason == Reason::Differs
                {
                    self.keep(refused(side, refusal));
                }
                if !self.awaiting_any() {
                    match self.failure.take() {
                        // What the locks tell of both sides is needed then.
                        Some(failure) if !self.plan.rows_lost => self.fail(failure, out),
                        _ => self.begin_attempt(out),
                    }
                }
            }
            Phase::Locking(_) => self.on_locked(side, answer, out),
            Phase::Upgrading => self.on_upgraded(side, answer, out),
            Phase::Confirming => self.on_confirmed(side, answer, out),
            Phase::Committing(_) => self.on_committed(side, request, answer, out),
            Phase::Releasing | Phase::Dropping(_) => self.on_dropping(side, request, answer, out),
            Phase::Clearing(after) => self.on_cleared(side, request, &answer, after, out),
            Phase::Undoing(_) => self.on_undo_reply(side, request, answer, out),
            Phase::New
            | Phase::Comparing
            | Phase::Deciding
            | Phase::Assuming
            | Phase::Reversing
            | Phase::Pausing
            | Phase::Finished => {}
        }
    }

    fn on_locked(&mut self, side: Side, answer: Answer, out: &mut Vec<Action>) {
        match answer {
            Answer::Locked { index, uidvalidity } => {
                let to = self.plan.to;
                let nothing_to_undo = self.plan.undo && index < FIRST_OF_2_4;
                let state = self.side(side);
                state.session = Session::Locked;
                state.uidvalidity = uidvalidity;
                if index != to {
                    state.position = Position::Old;
                }
                if !self.is_decided() {
                    if nothing_to_undo {
                        let state = self.side(side);
                        state.position = Position::Forward;
                        state.in_attempt = false;
                    } else if let Some(text) = self.cannot_begin(side, index) {
                        let failure = Failure::new(side, Reason::Unsupported, text);
                        if !self.plan.rows_lost {
                            self.fail(failure, out);
                            return;
                        }
                        // First the other side is asked which version it has.
                        self.keep(failure);
                    }
                }
                if self.is_witness(side) && index != to {
                    let text = format!(
                        "the {side} has version {index} and stays, and so the hosts would differ"
                    );
                    self.fail_one_sided(text, out);
                    return;
                }
                if side == Side::Master && self.is_target(Side::Replica) {
                    self.lock(Side::Replica, out);
                } else {
                    self.upgrade(out);
                }
            }
            Answer::Gone if self.is_decided() => {
                // Deleted by its owner after the decision: nothing is left there to differ.
                self.side(side).position = Position::Gone;
                self.fail_softly(deleted(side), out);
            }
            Answer::No(refusal) if self.is_decided() && refusal.reason == Reason::NoMailbox => {
                // Renamed perhaps, or this is not its host: what was known of it may hold no more.
                self.side(side).position = Position::Unknown;
                self.fail(refused(side, refusal), out);
            }
            other => {
                let failure = unexpected(side, other, "LOCK");
                self.fail(failure, out);
            }
        }
    }

    /// Why a mailbox of this version is not brought to the one that is wanted, if so: a change-over
    /// begins at version 10, and nothing takes one back that was not asked to.
    fn cannot_begin(&self, side: Side, index: u8) -> Option<String> {
        let to = self.plan.to;
        let crosses = (index < FIRST_OF_2_4) != (to < FIRST_OF_2_4);
        if index == to || (!crosses && to < FIRST_OF_2_4) {
            None
        } else if to < FIRST_OF_2_4 {
            (!self.plan.undo).then(|| {
                format!(
                    "it has version {index} on the {side}, of Cyrus 2.4 and later: `controller \
                     cutover --undo` takes a change-over back, while no server has written to it"
                )
            })
        } else if index < FIRST_WITH_GUIDS {
            Some(format!(
                "it has version {index} on the {side}, and a change-over begins at version \
                 {FIRST_WITH_GUIDS}: `controller upgrade` it first"
            ))
        } else {
            (index != FIRST_WITH_GUIDS).then(|| {
                format!(
                    "it has version {index} on the {side}, from which none of {to} is made: a \
                     change-over begins at version {FIRST_WITH_GUIDS}"
                )
            })
        }
    }

    /// Whether it takes part in what is not decided yet only to be compared.
    fn is_witness(&self, side: Side) -> bool {
        !self.is_decided() && self.plan.only.is_some_and(|only| only != side)
    }

    fn fail_one_sided(&mut self, text: String, out: &mut Vec<Action>) {
        let failure = Failure::new(self.plan.only, Reason::OneSided, text);
        self.fail(failure, out);
    }

    fn upgrade(&mut self, out: &mut Vec<Action>) {
        if let Some(failure) = self.failure.clone().filter(|_| !self.is_decided()) {
            self.fail(failure, out);
            return;
        }
        let [master, replica] = &self.sides;
        let both = master.session == Session::Locked && replica.session == Session::Locked;
        if both && master.uidvalidity != replica.uidvalidity {
            let text = format!(
                "uidvalidity is {} on the master and {} on the replica: not the same mailbox",
                master.uidvalidity, replica.uidvalidity
            );
            self.fail(Failure::new(None, Reason::OtherMailbox, text), out);
            return;
        }
        self.phase = Phase::Upgrading;
        let request = Request::Upgrade {
            to: self.plan.to,
            uuids_old: self.plan.uuids_old,
        };
        for side in Side::ALL {
            if self.is_target(side) {
                self.send(side, request, out);
            }
        }
        if !self.awaiting_any() {
            self.agreed(out);
        }
    }

    fn on_upgraded(&mut self, side: Side, answer: Answer, out: &mut Vec<Action>) {
        match answer {
            Answer::Staged {
                changed,
                from,
                digest,
            } => {
                let state = self.side(side);
                state.staged = Some((changed, from, digest));
                state.position = if changed {
                    Position::Old
                } else {
                    Position::Forward
                };
            }
            other => self.keep(unexpected(side, other, "UPGRADE")),
        }
        self.upgraded_if_all(out);
    }

    /// Goes on once every UPGRADE has an answer.
    pub(super) fn upgraded_if_all(&mut self, out: &mut Vec<Action>) {
        if self.awaiting_any() {
            return;
        }
        let staged = Side::ALL.map(|s| self.sides[s.index()].staged);
        let missing = self
            .sides
            .iter()
            .any(|s| s.in_attempt && s.staged.is_none());
        if missing {
            let failure = self
                .failure
                .clone()
                .unwrap_or_else(|| Failure::new(None, Reason::Protocol, "UPGRADE had no answer"));
            self.fail(failure, out);
            return;
        }
        let witness = Side::ALL.into_iter().find(|side| self.is_witness(*side));
        if let Some(witness) = witness
            && let Some((true, ..)) = staged[witness.index()]
        {
            let text = format!("the {witness} would have to be changed as well");
            self.fail_one_sided(text, out);
            return;
        }
        match staged {
            [Some((_, _, a)), Some((_, _, b))] if a != b => {
                self.phase = Phase::Comparing;
                out.push(Action::Compare);
            }
            _ => self.agreed(out),
        }
    }

    fn on_compared(&mut self, comparison: &Comparison, out: &mut Vec<Action>) {
        if comparison.differing > 0 && self.plan.only.is_some() && !self.is_decided() {
            let text = format!(
                "{} message(s) would have another identifier than on the other host: {}",
                comparison.differing, comparison.examples
            );
            self.fail_one_sided(text, out);
        } else if comparison.differing > 0 {
            let text = format!(
                "{}{} message(s) differ between master and replica: {}",
                if comparison.at_least { "at least " } else { "" },
                comparison.differing,
                comparison.examples
            );
            self.fail(Failure::new(None, Reason::Differs, text), out);
        } else if self.plan.require_in_sync && comparison.master_only + comparison.replica_only > 0
        {
            let text = format!(
                "{} message(s) only on the master, {} only on the replica",
                comparison.master_only, comparison.replica_only
            );
            self.fail(Failure::new(None, Reason::OutOfSync, text), out);
        } else {
            self.agreed(out);
        }
    }
}
