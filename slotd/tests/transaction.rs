//! The state machine's promises, over every order of events.

use std::collections::{HashSet, VecDeque};

use slotd::transaction::{Action, Answer, Ending, Event, Outcome, State, Transaction};

const PLAIN: Ending = Ending {
    hold: false,
    drop_old: false,
};
const HOLD: Ending = Ending {
    hold: true,
    drop_old: false,
};

/// Sends events one after another and gives all actions.
fn run(transaction: &mut Transaction, events: &[Event]) -> Vec<Action> {
    events.iter().flat_map(|e| transaction.step(*e)).collect()
}

fn staged() -> Transaction {
    let mut t = Transaction::new();
    run(
        &mut t,
        &[
            Event::Lock,
            Event::Locks { taken: true },
            Event::Upgrade,
            Event::Staged { changed: true },
        ],
    );
    t
}

fn held() -> Transaction {
    let mut t = staged();
    run(&mut t, &[Event::Commit(HOLD), Event::Renamed]);
    assert_eq!(
        t.state(),
        State::Held {
            changed: true,
            drop_old: false
        }
    );
    t
}

#[test]
fn a_plain_commit_renames_then_unlocks_then_answers() {
    let mut t = staged();
    assert_eq!(t.step(Event::Commit(PLAIN)), [Action::Rename]);
    let end = [
        Action::KeepOld { drop_old: false },
        Action::EndIntent,
        Action::Unlock,
        Action::Answer(Answer::Ok),
    ];
    assert_eq!(t.step(Event::Renamed), end);
    assert_eq!(t.step(Event::Rollback), [Action::Answer(Answer::TooLate)]);
    assert_eq!(
        t.step(Event::Commit(PLAIN)),
        [Action::Answer(Answer::Already)]
    );
}

#[test]
fn what_upgrade_refused_is_not_committed() {
    for ending in [PLAIN, HOLD] {
        let mut t = Transaction::new();
        let refused = [
            Event::Lock,
            Event::Locks { taken: true },
            Event::Upgrade,
            Event::StageFailed,
        ];
        run(&mut t, &refused);
        assert_eq!(
            t.step(Event::Commit(ending)),
            [Action::Answer(Answer::State)]
        );
        assert!(t.is_open(), "still locked: only ROLLBACK unlocks");
        let mut again = t.clone();
        assert_eq!(again.step(Event::Upgrade), [Action::Stage]);
        let end = [Action::Unlock, Action::Answer(Answer::Ok)];
        assert_eq!(t.step(Event::Rollback), end);
    }
}

#[test]
fn confirm_tells_a_transaction_that_stands_from_one_that_is_over() {
    let mut t = staged();
    assert_eq!(t.step(Event::Confirm), [Action::Answer(Answer::Ok)]);
    assert_eq!(t.state(), State::Staged { changed: true });
    run(&mut t, &[Event::Expire]);
    assert_eq!(t.step(Event::Confirm), [Action::Answer(Answer::Expired)]);
    let mut t = held();
    assert_eq!(t.step(Event::Confirm), [Action::Answer(Answer::Ok)]);
    run(&mut t, &[Event::Release { drop_old: false }]);
    assert_eq!(t.step(Event::Confirm), [Action::Answer(Answer::State)]);
}

#[test]
fn a_held_commit_can_be_put_back_and_a_released_one_cannot() {
    let mut t = held();
    assert_eq!(t.step(Event::Rollback), [Action::PutBack]);
    let end = [
        Action::EndIntent,
        Action::Unlock,
        Action::Answer(Answer::Ok),
    ];
    assert_eq!(t.step(Event::PutBack { done: true }), end);

    let mut t = held();
    run(&mut t, &[Event::Release { drop_old: false }]);
    assert_eq!(t.step(Event::Rollback), [Action::Answer(Answer::TooLate)]);
}

#[test]
fn a_closed_connection_rolls_back_before_commit_and_releases_after() {
    assert_eq!(
        staged().step(Event::Disconnect),
        [Action::Unstage, Action::EndIntent, Action::Unlock]
    );
    let end = [
        Action::KeepOld { drop_old: false },
        Action::EndIntent,
        Action::Unlock,
    ];
    assert_eq!(held().step(Event::Disconnect), end);
    assert_eq!(held().step(Event::Expire), end);
}

#[test]
fn after_its_time_was_over_a_transaction_says_so() {
    let mut t = staged();
    run(&mut t, &[Event::Expire]);
    assert_eq!(
        t.step(Event::Commit(PLAIN)),
        [Action::Answer(Answer::Expired)]
    );
    assert_eq!(t.step(Event::Rollback), [Action::Answer(Answer::Already)]);
    assert_eq!(t.step(Event::Lock), [Action::TakeLocks]);
}

#[test]
fn a_commit_with_nothing_staged_unlocks_and_renames_nothing() {
    let mut t = Transaction::new();
    run(
        &mut t,
        &[
            Event::Lock,
            Event::Locks { taken: true },
            Event::Upgrade,
            Event::Staged { changed: false },
        ],
    );
    assert_eq!(
        t.step(Event::Commit(PLAIN)),
        [Action::Unlock, Action::Answer(Answer::Ok)]
    );
}

/// What the outside world of a transaction looks like: a check on every action.
#[allow(clippy::struct_excessive_bools)] // a list of independent facts
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct World {
    locked: bool,
    staged: bool,
    intent: bool,
    renamed: bool,
    waiting: bool,
}

impl World {
    fn does(&mut self, action: Action) {
        match action {
            Action::TakeLocks => assert!(!self.locked),
            Action::Stage => assert!(self.locked && !self.staged && !self.intent),
            Action::Rename => assert!(self.locked && self.staged && self.intent && !self.renamed),
            Action::PutBack => assert!(self.locked && self.intent && self.renamed),
            Action::Unstage => {
                assert!(self.locked && !self.renamed);
                self.staged = false;
            }
            // Of an intent for which there is nothing staged any more, if there is one at all.
            Action::EndIntent => {
                assert!(self.locked && !self.staged);
                self.intent = false;
            }
            Action::KeepOld { drop_old } => {
                let renamed = self.renamed && self.intent;
                assert!(self.locked && !self.staged && (renamed || drop_old));
            }
            Action::Unlock => {
                assert!(self.locked, "unlocked twice");
                assert!(!self.staged, "staged files left behind");
                self.locked = false;
                self.renamed = false;
            }
            Action::Answer(_) => {
                assert!(self.waiting, "an answer nobody asked for");
                self.waiting = false;
            }
        }
    }

    fn is_told(&mut self, event: Event) {
        match event {
            Event::Locks { taken } => self.locked = taken,
            Event::Staged { changed } => (self.staged, self.intent) = (changed, changed),
            // It may have come to the intent, and to the first of the names.
            Event::StageFailed => (self.staged, self.intent) = (true, true),
            Event::Renamed => (self.renamed, self.staged) = (true, false),
            Event::RenameFailed { undone: false } => self.staged = false,
            Event::PutBack { done: true } => self.renamed = false,
            Event::Lock
            | Event::Upgrade
            | Event::Commit(_)
            | Event::Release { .. }
            | Event::Confirm
            | Event::Rollback => {
                self.waiting = true;
            }
            _ => {}
        }
    }
}

fn possible(t: &Transaction) -> Vec<Event> {
    let mut events = vec![Event::Disconnect, Event::Expire];
    match t.state() {
        State::Locking => {
            events.extend([Event::Locks { taken: true }, Event::Locks { taken: false }]);
        }
        State::Staging => {
            events.extend([
                Event::Staged { changed: true },
                Event::Staged { changed: false },
                Event::StageFailed,
            ]);
        }
        State::Renaming(_) => events.extend([
            Event::Renamed,
            Event::RenameFailed { undone: true },
            Event::RenameFailed { undone: false },
        ]),
        State::Undoing => events.extend([
            Event::PutBack { done: true },
            Event::PutBack { done: false },
        ]),
        // Commands come one at a time: the driver reads none while an action runs.
        State::Idle
        | State::Locked
        | State::Refused
        | State::Staged { .. }
        | State::Held { .. } => {
            events.extend([Event::Lock, Event::Upgrade, Event::Rollback, Event::Confirm]);
            for drop_old in [false, true] {
                events.push(Event::Release { drop_old });
                events.extend([true, false].map(|hold| Event::Commit(Ending { hold, drop_old })));
            }
        }
    }
    events
}

/// Every state that any order of events can reach, with the world beside it.
fn explore() -> HashSet<(Transaction, World)> {
    let start = (Transaction::new(), World::default());
    let mut seen = HashSet::from([start.clone()]);
    let mut queue = VecDeque::from([start]);
    while let Some((before, world_before)) = queue.pop_front() {
        for event in possible(&before) {
            let (mut t, mut world) = (before.clone(), world_before);
            world.is_told(event);
            for action in t.step(event) {
                world.does(action);
            }
            // The session drops answers when nobody listens any more; an intent that failed to
            // settle is left for recovery, so the next transaction starts with a log of its own.
            if t.outcome() == Outcome::Unsettled {
                world.intent = false;
            }
            if seen.insert((t.clone(), world)) {
                queue.push_back((t, world));
            }
        }
    }
    seen
}

#[test]
fn every_order_of_events_takes_and_gives_back_in_step() {
    let seen = explore();
    assert!(seen.len() > 30, "{}", seen.len());
    for (t, world) in &seen {
        assert_eq!(
            world.waiting,
            t.is_busy(),
            "a command is answered when it is over: {t:?} {world:?}"
        );
        if t.state() == State::Idle {
            assert_eq!(*world, World::default(), "{t:?}");
        }
        assert_eq!(
            world.locked,
            t.is_open() && t.state() != State::Locking,
            "{t:?} {world:?}"
        );
    }
}

#[test]
fn from_every_state_a_closed_connection_ends_unlocked() {
    for (before, world_before) in explore() {
        let (mut t, mut world) = (before.clone(), world_before);
        let mut events = vec![Event::Disconnect];
        while let Some(event) = events.pop() {
            world.is_told(event);
            for action in t.step(event) {
                world.does(action);
            }
            // The running action comes to an end, in the worst way it can.
            events.extend(possible(&t).into_iter().rfind(|_| t.is_busy()));
        }
        assert_eq!(
            (t.state(), world.locked),
            (State::Idle, false),
            "from {before:?}"
        );
    }
}
