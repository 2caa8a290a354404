//! Every history of one transaction with up to N faults, against participants that behave as
//! slotd promises. A fault is: a command lost before or after it took effect, a refusal that may
//! pass or not, a journal write that fails (durable or not), a death of the controller, a
//! participant that ends a transaction by itself, at any point. Ticks come at any point too.

mod participant;
mod world;

use crate::two_phase::{Outcome, Plan, Reason, Side};
use world::World;

const OLD: u8 = 9;
const NEW: u8 = 10;
/// Of a later Cyrus.
const OVER: u8 = 16;

#[derive(Default, Debug)]
struct Tally {
    histories: u64,
    upgraded: u64,
    rehearsed: u64,
    rolled_back: u64,
    in_doubt: u64,
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
            Some(Outcome::Rehearsed) => tally.rehearsed += 1,
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
        rehearse: false,
        prepare: false,
        require_in_sync: false,
        drop_old: false,
        settle_attempts: 4,
        rows_lost: false,
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
fn without_old_files_it_keeps_the_same_promises() {
    let plan = Plan {
        drop_old: true,
        ..plan()
    };
    let mut tally = Tally::default();
    explore(&World::new(plan, [OLD, OLD]), 2, &mut tally);
    assert!(tally.upgraded > 10 && tally.rolled_back > 10, "{tally:?}");
}

#[test]
fn a_rehearsal_changes_neither_side_whatever_fails_and_is_never_in_doubt() {
    for (initial, rows_lost) in [
        ([OLD, OLD], false),
        ([OLD, NEW], false),
        ([NEW, NEW], false),
        ([OLD, NEW], true),
    ] {
        let mut tally = Tally::default();
        let rehearsal = Plan {
            rehearse: true,
            rows_lost,
            ..plan()
        };
        explore(&World::new(rehearsal, initial), 2, &mut tally);
        assert_eq!(tally.in_doubt, 0, "{tally:?}");
        let alike = initial == [NEW, NEW];
        let done = if alike {
            tally.upgraded
        } else {
            tally.rehearsed
        };
        assert!(done > 10 && tally.rolled_back > 10, "{tally:?}");
        // What nothing is to be done about is unchanged, and nothing else is.
        assert_eq!(tally.upgraded > 0, alike, "{tally:?}");
    }
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

#[test]
fn where_rows_are_lost_nothing_is_called_rolled_back_that_one_side_may_have_committed() {
    for initial in [[OLD, NEW], [NEW, OLD], [OLD, OLD]] {
        let mut tally = Tally::default();
        let lost = Plan {
            rows_lost: true,
            ..plan()
        };
        explore(&World::new(lost, initial), 2, &mut tally);
        assert!(
            tally.upgraded > 10 && tally.in_doubt > 0,
            "{initial:?}: {tally:?}"
        );
    }
}
