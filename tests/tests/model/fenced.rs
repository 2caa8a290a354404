//! Another controller takes the pair over, and the one that was paused wakes up: see
//! `tests/src/model/fence.rs`.

use tests::model::Config;
use tests::sim::site::Mutation;

use super::{NEW, caught, down, exhaust, exhaust_and_see, over, undo};

/// What makes another setup of one.
type Change = fn(&mut Config);

/// With one take-over at any point, this many faults, and an owner who rests.
fn taken_over(faults: u8, change: Change) -> Config {
    let mut config = Config {
        writes: 0,
        takeovers: 1,
        ..Config::upgrade(faults)
    };
    change(&mut config);
    config
}

#[test]
fn a_controller_that_wakes_up_after_a_take_over_breaks_no_promise() {
    let setups: [(&str, Change); 5] = [
        ("9 to 10", |_| ()),
        ("10 to 9", down),
        ("10 to 16", over),
        ("16 to 10", undo),
        ("the replica is forward already", |c| {
            c.initial = [c.initial[0], NEW];
        }),
    ];
    for (name, change) in setups {
        // Without a fault nothing is rolled back.
        let name = format!("taken over, {name}");
        exhaust_and_see(&name, taken_over(0, change), &["it upgrades"]);
    }
}

#[test]
fn one_host_alone_is_taken_over_with_a_fault_as_well() {
    let alone = |c: &mut Config| c.plan.replica = false;
    exhaust(
        "taken over, one host alone, one fault",
        taken_over(1, alone),
    );
}

#[test]
fn a_commit_that_no_epoch_keeps_out_is_noticed() {
    caught(Mutation::CommitUnfenced, taken_over(0, |_| ()));
}

#[test]
fn an_epoch_that_a_restart_forgets_is_noticed() {
    let alone = |c: &mut Config| c.plan.replica = false;
    caught(Mutation::ForgetEpoch, taken_over(1, alone));
}
