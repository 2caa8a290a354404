//! Every history of one transaction with up to N faults, against participants that behave as
//! slotd promises. A fault is: a command lost before or after it took effect, a refusal that may
//! pass or not, a journal write that fails (durable or not), a death of the controller, a
//! participant that ends a transaction by itself, at any point. Ticks come at any point too.

use crate::two_phase::{
    Action, Answer, Comparison, Coordinator, Entry, Event, Open, Outcome, Plan, Reason, Refusal,
    Request, Side,
};

const OLD: u8 = 9;
const NEW: u8 = 10;
/// Of a later Cyrus.
const OVER: u8 = 16;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Session {
    Idle,
    Locked(Option<u8>),
    Held { undo: u8 },
}

/// A participant as slotd promises to be.
#[derive(Clone, Debug)]
struct Participant {
    version: u8,
    session: Session,
    commits: u32,
    /// As `UPGRADE` answered it, while it holds.
    digest: Option<[u8; 20]>,
    /// It said so itself.
    confirmed: bool,
}

impl Participant {
    fn close(&mut self) {
        // Uncommitted: rolled back. Held: released as committed.
        self.session = Session::Idle;
        self.digest = None;
        self.confirmed = false;
    }

    fn execute(&mut self, request: Request) -> Answer {
        if request == Request::Confirm {
            self.confirmed = self.session != Session::Idle && self.digest.is_some();
        }
        let expired = || no(Reason::Expired);
        match (request, self.session) {
            (Request::Prepare { .. }, Session::Idle) => Answer::Done,
            (Request::Lock, Session::Idle) => {
                self.session = Session::Locked(None);
                Answer::Locked {
                    index: self.version,
                    uidvalidity: 1,
                }
            }
            (Request::Upgrade { to, .. }, Session::Locked(_)) => {
                let changed = to != self.version;
                self.session = Session::Locked(changed.then_some(to));
                self.digest = Some([to; 20]);
                Answer::Staged {
                    changed,
                    from: self.version,
                    digest: [to; 20],
                }
            }
            (Request::Confirm, Session::Locked(_) | Session::Held { .. }) => Answer::Confirmed {
                digest: self.digest,
            },
            (Request::Commit { hold, .. }, Session::Locked(staged)) => {
                self.commits += 1;
                let undo = self.version;
                self.version = staged.unwrap_or(undo);
                self.session = if hold {
                    Session::Held { undo }
                } else {
                    Session::Idle
                };
                Answer::Done
            }
            (Request::Release { .. }, Session::Held { .. })
            | (Request::RollBack, Session::Locked(_)) => {
                self.close();
                Answer::Done
            }
            (Request::RollBack, Session::Held { undo }) => {
                self.version = undo;
                self.close();
                Answer::Done
            }
            _ => expired(),
        }
    }
}

fn no(reason: Reason) -> Answer {
    Answer::No(Refusal {
        reason,
        text: "refused".to_owned(),
    })
}

#[derive(Clone, Debug)]
struct World {
    machine: Coordinator,
    plan: Plan,
    participants: [Participant; 2],
    initial: [u8; 2],
    owed: Vec<Action>,
    decided: Option<Open>,
    alerts: u32,
    outcome: Option<Outcome>,
    restarts: u32,
    /// Sides that wait may end, or be asked whether they are alive.
    waiting: bool,
    /// Takes part only to be compared.
    witness: Option<Side>,
    trace: Vec<String>,
}

#[derive(Default, Debug)]
struct Tally {
    histories: u64,
    upgraded: u64,
    rolled_back: u64,
    in_doubt: u64,
}

impl World {
    fn new(plan: Plan, initial: [u8; 2]) -> Self {
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

    fn tell(&mut self, event: Event) {
        self.trace.push(format!("{event:?}"));
        for action in self.machine.step(event) {
            self.trace.push(format!("    {action:?}"));
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
                    assert!(
                        self.decided.is_some(),
                        "COMMIT before the decision: {}",
                        self.story()
                    );
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

    fn story(&self) -> String {
        format!("{:?}\n{}", self.participants, self.trace.join("\n"))
    }

    fn record(&mut self, entry: Entry) {
        match entry {
            Entry::Decided { before } => {
                assert!(self.decided.is_none(), "decided twice: {}", self.story());
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
            Entry::Forward(_) => panic!("Forward is noted, not recorded: {}", self.story()),
        }
    }

    /// The controller dies and comes back.
    fn restart(&mut self) {
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
    fn successors(&self) -> Vec<(u32, World)> {
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
                    let fenced = (crosses && looks).then_some(Reason::Fenced);
                    for reason in [Reason::Io, Reason::Damaged].into_iter().chain(fenced) {
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
    fn check_end(&self) {
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
            Outcome::RolledBack(_) => {
                assert_eq!(versions, self.initial, "not as before: {}", self.story());
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
        }
    }
}

fn explore(world: &World, faults: u32, tally: &mut Tally) {
    assert!(
        world.trace.len() < 400,
        "it goes on for ever: {}",
        world.story()
    );
    if world.outcome.is_some() {
        world.check_end();
        tally.histories += 1;
        match world.outcome {
            Some(Outcome::Upgraded | Outcome::Unchanged) => tally.upgraded += 1,
            Some(Outcome::RolledBack(_)) => tally.rolled_back += 1,
            _ => {
                tally.in_doubt += 1;
                // Whatever it is, a restart without further faults settles it.
                let mut healed = world.clone();
                healed.outcome = None;
                healed.alerts = 0;
                healed.restart();
                run_without_faults(&mut healed);
                assert!(
                    !matches!(healed.outcome, Some(Outcome::InDoubt(_))),
                    "recovery does not heal it: {}",
                    healed.story()
                );
                healed.check_end();
            }
        }
        return;
    }
    assert!(
        !world.owed.is_empty(),
        "nothing is owed and it is not over: {}",
        world.story()
    );
    for (cost, next) in world.successors() {
        if cost <= faults {
            explore(&next, faults - cost, tally);
        }
    }
}

fn run_without_faults(world: &mut World) {
    for _ in 0..200 {
        if world.outcome.is_some() {
            return;
        }
        let (_, next) = world
            .successors()
            .into_iter()
            .find(|(cost, _)| *cost == 0)
            .expect("a way on");
        *world = next;
    }
    panic!("it goes on for ever: {}", world.story());
}

fn plan() -> Plan {
    Plan {
        to: NEW,
        master: true,
        replica: true,
        only: None,
        uuids_old: false,
        undo: false,
        prepare: false,
        require_in_sync: false,
        drop_old: false,
        settle_attempts: 4,
    }
}

#[test]
fn with_one_fault_the_sides_never_differ_and_nothing_is_in_doubt() {
    let mut tally = Tally::default();
    explore(
        &World::new(
            Plan {
                prepare: true,
                ..plan()
            },
            [OLD, OLD],
        ),
        1,
        &mut tally,
    );
    assert_eq!(tally.in_doubt, 0, "{tally:?}");
    assert!(tally.upgraded > 10 && tally.rolled_back > 10, "{tally:?}");
}

#[test]
fn with_three_faults_the_sides_never_differ_unless_reported() {
    let mut tally = Tally::default();
    let mut world = World::new(plan(), [OLD, OLD]);
    world.waiting = false;
    explore(&world, 3, &mut tally);
    assert!(tally.histories > 5_000, "{tally:?}");
}

#[test]
fn with_two_faults_one_of_them_while_a_side_waits_the_sides_never_differ_unless_reported() {
    let mut tally = Tally::default();
    explore(&World::new(plan(), [OLD, OLD]), 2, &mut tally);
    assert!(tally.histories > 1_000, "{tally:?}");
}

#[test]
fn a_side_that_is_forward_already_is_never_taken_back() {
    for initial in [[OLD, NEW], [NEW, OLD], [NEW, NEW]] {
        explore(&World::new(plan(), initial), 2, &mut Tally::default());
    }
}

#[test]
fn one_host_alone_keeps_the_same_promises() {
    let alone = Plan {
        replica: false,
        ..plan()
    };
    let mut world = World::new(alone, [OLD, OLD]);
    explore(&world, 2, &mut Tally::default());
    world.waiting = false;
    explore(&world, 3, &mut Tally::default());
}

#[test]
fn a_downgrade_keeps_the_same_promises() {
    explore(
        &World::new(Plan { to: OLD, ..plan() }, [NEW, NEW]),
        2,
        &mut Tally::default(),
    );
}

#[test]
fn a_change_over_and_its_way_back_keep_the_same_promises() {
    let over = Plan { to: OVER, ..plan() };
    for initial in [[NEW, NEW], [NEW, OVER], [OVER, NEW]] {
        let mut tally = Tally::default();
        explore(&World::new(over.clone(), initial), 2, &mut tally);
        assert!(tally.upgraded > 10 && tally.rolled_back > 10, "{tally:?}");
    }
    let undo = Plan {
        undo: true,
        ..plan()
    };
    let mut tally = Tally::default();
    explore(&World::new(undo.clone(), [OVER, OVER]), 2, &mut tally);
    assert!(tally.upgraded > 10 && tally.rolled_back > 10, "{tally:?}");
    // What was never changed over is not touched.
    let mut tally = Tally::default();
    let world = World::new(undo, [NEW, NEW]);
    explore(&world, 2, &mut tally);
    assert_eq!(tally.in_doubt, 0, "{tally:?}");
}

/// A way back of one side, of which the other is compared first.
fn of_one(only: Side) -> Plan {
    Plan {
        to: OLD,
        only: Some(only),
        uuids_old: true,
        ..plan()
    }
}

#[test]
fn a_way_back_of_one_side_never_changes_the_other_whatever_fails() {
    for (only, initial) in [(Side::Master, [NEW, OLD]), (Side::Replica, [OLD, NEW])] {
        let mut tally = Tally::default();
        let mut world = World::new(of_one(only), initial);
        world.witness = Some(only.other());
        explore(&world, 2, &mut tally);
        assert!(tally.upgraded > 10 && tally.rolled_back > 10, "{tally:?}");
    }
}

#[test]
fn a_way_back_of_one_side_that_would_make_the_two_differ_is_none() {
    for only in Side::ALL {
        let mut world = World::new(of_one(only), [NEW, NEW]);
        world.witness = Some(only.other());
        run_without_faults(&mut world);
        let one_sided = matches!(
            &world.outcome,
            Some(Outcome::RolledBack(f)) if f.reason == Reason::OneSided
        );
        assert!(one_sided, "{}", world.story());
        explore(
            &World::new(of_one(only), [NEW, NEW]),
            1,
            &mut Tally::default(),
        );
        assert!(world.participants.iter().all(|p| p.commits == 0));
    }
}
