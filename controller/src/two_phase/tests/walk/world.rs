//! One history: a coordinator, two participants and a journal, and all that can happen next.

use super::OVER;
use super::participant::{Participant, Session, no};
use crate::two_phase::{
    Action, Comparison, Coordinator, Entry, Event, Open, Outcome, Plan, Reason, Request, Side,
};

#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) machine: Coordinator,
    pub(super) plan: Plan,
    pub(super) participants: [Participant; 2],
    pub(super) initial: [u8; 2],
    pub(super) owed: Vec<Action>,
    pub(super) decided: Option<Open>,
    pub(super) alerts: u32,
    pub(super) outcome: Option<Outcome>,
    pub(super) restarts: u32,
    /// Sides that wait may end, or be asked whether they are alive.
    pub(super) waiting: bool,
    /// Takes part only to be compared.
    pub(super) witness: Option<Side>,
    pub(super) trace: Vec<String>,
}

impl World {
    pub(super) fn new(plan: Plan, initial: [u8; 2]) -> Self {
        let participants = initial.map(|version| Participant {
            version,
            session: Session::Idle,
            commits: 0,
            digest: None,
            confirmed: false,
        });
        let mut world = Self {
            machine: Coordinator::new(plan.clone()),
            plan,
            participants,
            initial,
            owed: Vec::new(),
            decided: None,
            alerts: 0,
            outcome: None,
            restarts: 0,
            waiting: true,
            witness: None,
            trace: Vec::new(),
        };
        world.tell(Event::Start);
        world
    }

    pub(super) fn tell(&mut self, event: Event) {
        self.trace.push(format!("{event:?}"));
        for action in self.machine.step(event) {
            self.trace.push(format!("    {action:?}"));
            let changes = matches!(
                action,
                Action::Record(_) | Action::Note(_) | Action::Send(_, Request::Commit { .. })
            );
            let rehearses = self.plan.rehearse;
            assert!(
                !(changes && rehearses),
                "it is only rehearsed: {}",
                self.story()
            );
            match action {
                Action::Disconnect(side) => {
                    self.participants[side.index()].close();
                    self.owed
                        .retain(|a| !matches!(a, Action::Send(s, _) if *s == side));
                }
                Action::Alert(_) => self.alerts += 1,
                Action::Note(Entry::Forward(side)) => {
                    if let Some(open) = &mut self.decided {
                        open.forward[side.index()] = true;
                    }
                }
                Action::Note(_) => panic!("only Forward is noted: {}", self.story()),
                Action::Finished(outcome) => self.outcome = Some(outcome),
                Action::Send(_, Request::Commit { .. }) => {
                    let decided = self.decided.is_some_and(|d| d.before != [None; 2]);
                    assert!(decided, "COMMIT before the decision: {}", self.story());
                    self.owed.push(action);
                }
                Action::Record(Entry::Decided { .. }) => {
                    // One that is confirmed may end now; one that has ended is never decided.
                    let all = self.participants.iter().all(|p| p.confirmed);
                    assert!(
                        all || !self.plan.replica,
                        "decided and not confirmed: {}",
                        self.story()
                    );
                    self.owed.push(action);
                }
                Action::Wait { .. } => {
                    for participant in &self.participants {
                        let idle = participant.session == Session::Idle;
                        assert!(idle, "a lock over a pause: {}", self.story());
                    }
                    self.owed.push(action);
                }
                _ => self.owed.push(action),
            }
        }
    }

    pub(super) fn story(&self) -> String {
        format!("{:?}\n{}", self.participants, self.trace.join("\n"))
    }

    pub(super) fn record(&mut self, entry: Entry) {
        match entry {
            Entry::Decided { before } => {
                let known = self.decided.filter(|d| d.before != [None; 2]);
                assert!(known.is_none(), "decided twice: {}", self.story());
                self.decided = Some(Open {
                    reversing: false,
                    before,
                    forward: [false; 2],
                });
            }
            Entry::Reversing => {
                self.decided
                    .as_mut()
                    .expect("reversing needs a decision")
                    .reversing = true;
            }
            Entry::Assumed => {
                assert!(self.decided.is_none(), "assumed twice: {}", self.story());
                self.decided = Some(Open {
                    reversing: false,
                    before: [None; 2],
                    forward: [false; 2],
                });
            }
            Entry::Forward(_) => panic!("Forward is noted, not recorded: {}", self.story()),
        }
    }

    /// The controller dies and comes back.
    pub(super) fn restart(&mut self) {
        self.trace.push("-- restart".to_owned());
        self.participants.iter_mut().for_each(Participant::close);
        self.owed.clear();
        self.restarts += 1;
        self.machine = match self.decided {
            Some(open) => Coordinator::resume(self.plan.clone(), open),
            None => Coordinator::new(self.plan.clone()),
        };
        self.tell(Event::Start);
    }

    /// Everything that can happen next: (cost in faults, world after it).
    pub(super) fn successors(&self) -> Vec<(u32, World)> {
        let mut next = Vec::new();
        let mut branch = |cost: u32, change: &dyn Fn(&mut World)| {
            let mut world = self.clone();
            change(&mut world);
            next.push((cost, world));
        };
        let Some(action) = self.owed.first().cloned() else {
            return next;
        };
        let pop = |w: &mut World| {
            w.owed.remove(0);
        };
        branch(1, &|w| w.restart());
        branch(1, &|w| w.tell(Event::Abort));
        if self.waiting {
            branch(1, &|w| w.tell(Event::Tick));
        }
        // It ends a transaction by itself while it waits for the other one; that it confirmed
        // before is so all the same.
        for i in [0, 1] {
            if self.waiting && self.participants[i].session != Session::Idle {
                branch(1, &|w| {
                    let confirmed = w.participants[i].confirmed;
                    w.participants[i].close();
                    w.participants[i].confirmed = confirmed;
                });
            }
        }
        match action {
            Action::Send(side, request) => {
                let i = side.index();
                branch(0, &|w| {
                    pop(w);
                    let answer = w.participants[i].execute(request);
                    w.tell(Event::Reply(side, answer));
                });
                branch(1, &|w| {
                    pop(w);
                    w.participants[i].close();
                    w.tell(Event::Lost(side, "before".to_owned()));
                });
                branch(1, &|w| {
                    pop(w);
                    w.participants[i].execute(request);
                    w.participants[i].close();
                    w.tell(Event::Lost(side, "after".to_owned()));
                });
                // It ended the transaction by itself, and then the command came.
                branch(1, &|w| {
                    pop(w);
                    w.participants[i].close();
                    let answer = w.participants[i].execute(request);
                    w.tell(Event::Reply(side, answer));
                });
                if !matches!(request, Request::RollBack | Request::Release { .. }) {
                    // Only what crosses to the versions of a later Cyrus, or back, needs the fence.
                    let crosses = self.plan.undo || self.plan.to == OVER;
                    let looks = matches!(request, Request::Upgrade { .. } | Request::Commit { .. });
                    let unfenced = (crosses && looks).then_some(Reason::Unfenced);
                    for reason in [Reason::Io, Reason::Damaged].into_iter().chain(unfenced) {
                        branch(1, &|w| {
                            pop(w);
                            w.tell(Event::Reply(side, no(reason)));
                        });
                    }
                }
            }
            Action::Record(entry) => {
                branch(0, &|w| {
                    pop(w);
                    w.record(entry);
                    w.tell(Event::Recorded);
                });
                for durable in [false, true] {
                    branch(1, &|w| {
                        pop(w);
                        if durable {
                            w.record(entry);
                        }
                        w.tell(Event::RecordFailed("no space".to_owned()));
                    });
                }
            }
            Action::Wait { .. } => branch(0, &|w| {
                pop(w);
                w.tell(Event::Waited);
            }),
            Action::Compare => branch(0, &|w| {
                pop(w);
                w.tell(Event::Compared(Comparison::default()));
            }),
            other => panic!("not owed: {other:?}"),
        }
        next
    }

    /// What must hold when the transaction is over.
    pub(super) fn check_end(&self) {
        let versions = Side::ALL.map(|s| self.participants[s.index()].version);
        for participant in &self.participants {
            assert_eq!(
                participant.session,
                Session::Idle,
                "a lock for ever: {}",
                self.story()
            );
        }
        if let Some(witness) = self.witness {
            let commits = self.participants[witness.index()].commits;
            assert_eq!(commits, 0, "the other was changed: {}", self.story());
        }
        let in_scope = if self.plan.replica { 2 } else { 1 };
        match self.outcome.as_ref().expect("it ended") {
            Outcome::Upgraded | Outcome::Unchanged => {
                for version in &versions[..in_scope] {
                    assert_eq!(*version, self.plan.to, "{}", self.story());
                }
                assert_eq!(self.alerts, 0);
            }
            Outcome::Rehearsed => {
                assert!(self.plan.rehearse, "{}", self.story());
                assert_eq!(versions, self.initial, "not as before: {}", self.story());
                assert_eq!(self.alerts, 0);
            }
            Outcome::RolledBack(failure) => {
                assert_eq!(versions, self.initial, "not as before: {}", self.story());
                // With these the run ends, and the row is to be done still.
                let left = matches!(failure.reason, Reason::Journal | Reason::Interrupted);
                let alike = versions[0] == versions[1];
                // A rehearsal says only what it has left itself.
                let told = alike || left || !self.plan.rows_lost || self.plan.rehearse;
                assert!(told, "rolled back, and unlike: {}", self.story());
                assert_eq!(self.alerts, 0);
            }
            Outcome::InDoubt(_) => {
                assert!(
                    self.decided.is_some(),
                    "in doubt without a decision: {}",
                    self.story()
                );
                assert_eq!(self.alerts, 1, "{}", self.story());
            }
            Outcome::TakenOver(_) => panic!("nobody took over: {}", self.story()),
        }
    }
}
