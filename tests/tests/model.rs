//! The model, exhausted; and the model with one rule broken, which it has to notice. See
//! docs/testing.md.
//!
//! What takes longer is ignored in a plain run:
//! `cargo test -p tests --test model -- --ignored --nocapture`.

#[path = "model/fenced.rs"]
mod fenced;
#[path = "model/lost.rs"]
mod lost;
#[path = "model/two.rs"]
mod two_mailboxes;

use std::fmt::Write as _;
use std::time::Instant;

use controller::two_phase::Side;
use stateright::{Checker, Expectation, HasDiscoveries, Model};
use tests::model::{Config, Fleet, OVER, World, plan};
use tests::sim::image::Tiny;
use tests::sim::site::Mutation;

const OLD: (Tiny, Option<Tiny>) = (Tiny::new(9, false), Some(Tiny::new(9, false)));
const PADDED: (Tiny, Option<Tiny>) = (Tiny::new(10, false), Some(Tiny::new(10, false)));
const NEW: (Tiny, Option<Tiny>) = (Tiny::new(10, true), Some(Tiny::new(10, true)));

/// The first promise broken, with the way there.
fn discover(checker: &impl Checker<Fleet>) -> Option<(&'static str, String)> {
    let model = checker.model();
    let failure = |what: &&'static str| model.property(what).expectation != Expectation::Sometimes;
    let mut discoveries = checker.discoveries();
    let what = discoveries.keys().copied().find(|what| failure(what))?;
    let path = discoveries.remove(what)?.into_vec();
    let mut text = String::new();
    let mut last: Option<&World> = None;
    for (world, step) in &path {
        if let Some(step) = step {
            let _ = writeln!(text, "  {step:?}");
        }
        last = Some(world);
    }
    if let Some(last) = last {
        let rest = model.calm.walk(&model.config, last);
        let _ = writeln!(text, "  in the end: {rest:?}\n  {last:?}");
    }
    Some((what, text))
}

/// Searches everything; gives the number of states.
fn exhaust(name: &str, config: Config) -> usize {
    exhaust_and_see(name, config, &["it upgrades", "it rolls back"])
}

/// The same, and at least once each of these ends.
fn exhaust_and_see(name: &str, config: Config, ends: &[&'static str]) -> usize {
    let begun = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let checker = Fleet::new(config)
        .checker()
        .threads(threads)
        .spawn_bfs()
        .join();
    println!(
        "model: {name}: {} states, {} steps, {} deep, {:.1} s",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
        begun.elapsed().as_secs_f64()
    );
    if let Some((what, text)) = discover(&checker) {
        panic!("{name}: broken: {what}\n{text}");
    }
    assert!(checker.is_done(), "{name}: not exhausted");
    for what in ends {
        assert!(
            checker.discovery(what).is_some(),
            "{name}: never seen: {what}"
        );
    }
    checker.unique_state_count()
}

/// The set-ups that take as long as all others together: apart from a plain run, required in the
/// gate.
const LONG: [&str; 2] = [
    "a peer says otherwise of a message",
    "rolled back and taken up again",
];

/// Every way in which a migration can be set up, with this many faults.
fn every_setup(faults: u8) -> Vec<(&'static str, Config)> {
    let with = |change: fn(&mut Config)| {
        let mut config = Config::upgrade(faults);
        change(&mut config);
        config
    };
    vec![
        ("9 to 10", with(|_| ())),
        ("10 to 10, padded GUIDs", with(|c| c.initial = [PADDED; 2])),
        ("10 to 9", with(down)),
        (
            "the replica is forward already",
            with(|c| c.initial = [OLD, NEW]),
        ),
        (
            "the master is forward already",
            with(|c| c.initial = [NEW, OLD]),
        ),
        (
            "the master alone back to 9, the replica is there already",
            with(|c| {
                c.initial = [NEW, OLD];
                c.plan = plan(9);
                c.plan.only = Some(Side::Master);
                c.plan.uuids_old = true;
            }),
        ),
        ("two file systems", with(|c| c.split = true)),
        (
            "10 to 9, two file systems",
            with(|c| {
                down(c);
                c.split = true;
            }),
        ),
        ("owners expunge", with(|c| c.rich_owner = true)),
        ("no expunge file", with(|c| c.initial = [(OLD.0, None); 2])),
        ("one host alone", with(|c| c.plan.replica = false)),
        ("PREPARE first", with(|c| c.plan.prepare = true)),
        (
            "a peer says otherwise of a message",
            with(|c| {
                peer_says(c);
                c.owners_rest = true;
            }),
        ),
        ("without .OLD", with(|c| c.plan.drop_old = true)),
        (
            "pauses end before hosts are up",
            with(|c| c.impatient = true),
        ),
        ("rolled back and taken up again", with(|c| c.retries = 1)),
        (
            "asked whether they are alive",
            with(|c| c.ticks = 3_u8.saturating_sub(c.faults)),
        ),
    ]
}

/// Every way in which a change-over can be set up, with this many faults.
fn every_change_over(faults: u8) -> Vec<(&'static str, Config)> {
    let with = |change: fn(&mut Config)| {
        let mut config = Config::upgrade(faults);
        change(&mut config);
        config
    };
    vec![
        ("10 to 16", with(over)),
        (
            "10 to 16, two file systems",
            with(|c| {
                over(c);
                c.split = true;
            }),
        ),
        (
            "10 to 16, no expunge file",
            with(|c| {
                over(c);
                c.initial = [(NEW.0, None); 2];
            }),
        ),
        (
            "10 to 16, the replica is changed over already",
            with(|c| {
                over(c);
                c.over[1] = true;
            }),
        ),
        (
            "10 to 16, rolled back and taken up again",
            with(|c| {
                over(c);
                c.retries = 1;
            }),
        ),
        ("16 to 10", with(undo)),
        (
            "16 to 10, two file systems",
            with(|c| {
                undo(c);
                c.split = true;
            }),
        ),
        (
            "16 to 10, no expunge file",
            with(|c| {
                undo(c);
                c.initial = [(NEW.0, None); 2];
            }),
        ),
        (
            "16 to 10, the replica is back already",
            with(|c| {
                undo(c);
                c.over[1] = false;
            }),
        ),
        (
            "16 to 10, one host alone",
            with(|c| {
                undo(c);
                c.plan.replica = false;
            }),
        ),
    ]
}

/// A change-over: no server runs, so that owners change nothing.
fn over(config: &mut Config) {
    config.initial = [NEW; 2];
    config.plan = plan(OVER);
    config.writes = 0;
}

/// The way back.
fn undo(config: &mut Config) {
    over(config);
    config.over = [true; 2];
    config.plan = plan(10);
    config.plan.undo = true;
}

/// A message may differ from what the peer says of it, and the mailbox is taken up again then.
fn peer_says(config: &mut Config) {
    config.plan.prepare = true;
    config.peer_hashes = true;
    config.retries = 1;
}

fn down(config: &mut Config) {
    config.initial = [NEW; 2];
    config.plan = plan(9);
}

#[test]
fn every_state_within_one_fault_keeps_every_promise() {
    let states: usize = every_setup(1)
        .into_iter()
        .filter(|(name, _)| !LONG.contains(name))
        .map(|(name, config)| exhaust(name, config))
        .sum();
    println!("model: {states} states in all");
    assert!(
        states >= 1_000_000,
        "{states} states: less than was promised"
    );
}

#[test]
#[ignore = "three million states: half a minute"]
fn every_state_of_the_long_setups_within_one_fault_keeps_every_promise() {
    let long: Vec<_> = every_setup(1)
        .into_iter()
        .filter(|(name, _)| LONG.contains(name))
        .collect();
    assert_eq!(long.len(), LONG.len(), "a set-up has another name");
    for (name, config) in long {
        exhaust(name, config);
    }
}

/// What the setup above leaves out: `PREPARE`, taken up again, and the one change is an owner's.
#[test]
#[ignore = "2.5 million states: a minute"]
fn every_state_of_a_mailbox_prepared_and_taken_up_again_keeps_every_promise() {
    let mut config = Config::upgrade(1);
    peer_says(&mut config);
    exhaust("a peer says otherwise, or an owner writes", config);
}

#[test]
fn every_state_of_a_change_over_within_one_fault_keeps_every_promise() {
    for (name, config) in every_change_over(1) {
        exhaust(name, config);
    }
}

#[test]
#[ignore = "millions of states: minutes"]
fn every_state_of_a_change_over_within_two_faults_keeps_every_promise() {
    for (name, config) in every_change_over(2) {
        exhaust(name, config);
    }
}

#[test]
#[ignore = "millions of states: minutes"]
fn every_state_within_two_faults_keeps_every_promise() {
    let states: usize = every_setup(2)
        .into_iter()
        .map(|(name, config)| {
            exhaust(
                name,
                // What a peer says is one of the changes that are counted.
                Config {
                    writes: u8::from(config.peer_hashes),
                    ..config
                },
            )
        })
        .sum();
    println!("model: {states} states in all");
}

/// What the model says when a rule is broken on purpose.
fn caught(mutation: Mutation, config: Config) -> &'static str {
    let config = Config {
        mutation: Some(mutation),
        ..config
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let builder = Fleet::new(config).checker().threads(threads);
    let checker = builder
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    let found = discover(&checker);
    let (what, text) = found.unwrap_or_else(|| panic!("{mutation:?} is not noticed"));
    println!(
        "model: {mutation:?} is noticed after {} states: {what}",
        checker.unique_state_count()
    );
    assert!(text.len() > 10);
    what
}

#[test]
fn a_decision_that_is_not_durable_before_commit_is_noticed() {
    let what = caught(Mutation::DecideLate, Config::upgrade(0));
    assert_eq!(what, "the decision is durable before the first COMMIT");
}

#[test]
fn releasing_instead_of_rolling_back_is_noticed() {
    caught(
        Mutation::ReleaseInsteadOfRollback,
        Config {
            writes: 0,
            ..Config::upgrade(1)
        },
    );
}

#[test]
fn a_stale_staged_file_used_by_recovery_is_noticed() {
    let what = caught(Mutation::StaleNewAtRecovery, Config::upgrade(1));
    assert_eq!(what, "nothing that an owner wrote is ever lost");
}

#[test]
fn a_recovery_that_syncs_nothing_is_noticed() {
    caught(Mutation::RecoveryWithoutSync, Config::upgrade(1));
}

#[test]
fn a_commit_without_fsync_of_the_directory_is_noticed() {
    caught(Mutation::CommitWithoutSync, Config::upgrade(0));
}

#[test]
fn staged_files_that_are_not_synced_are_noticed() {
    caught(Mutation::StageWithoutSync, Config::upgrade(0));
}

#[test]
fn an_index_renamed_before_its_expunge_file_is_noticed() {
    let what = caught(Mutation::WrongOrder, Config::upgrade(0));
    assert_eq!(what, "index and expunge file are never out of order");
}

#[test]
fn a_change_over_or_its_way_back_in_the_other_order_is_noticed() {
    // Index of version 10, and no expunge file.
    for way in [over, undo] {
        let mut config = Config::upgrade(0);
        way(&mut config);
        let what = caught(Mutation::WrongOrder, config);
        assert_eq!(what, "nothing that an owner wrote is ever lost");
    }
}

#[test]
fn a_change_over_that_a_power_cut_takes_back_is_noticed() {
    for mutation in [Mutation::CommitWithoutSync, Mutation::RecoveryWithoutSync] {
        let mut config = Config::upgrade(1);
        over(&mut config);
        caught(mutation, config);
    }
}

#[test]
fn a_rename_without_an_intent_is_noticed() {
    caught(Mutation::IntentLate, Config::upgrade(1));
}

#[test]
fn a_confirmation_of_what_has_ended_is_noticed() {
    let what = caught(Mutation::ConfirmBlindly, Config::upgrade(1));
    assert_eq!(
        what,
        "nothing is decided before both sides said that they hold what they staged"
    );
}

#[test]
fn what_a_peer_says_compared_under_the_locks_is_noticed() {
    let what = caught(
        Mutation::DiffersUnderLocks,
        Config {
            peer_hashes: true,
            ..Config::upgrade(0)
        },
    );
    assert_eq!(
        what,
        "where a peer says otherwise of a message nothing is locked, written or decided"
    );
}

/// One search of what the model has of it, for the code that says so and the code that hears it.
#[test]
fn where_a_peer_says_otherwise_of_a_message_nothing_is_touched() {
    let mut config = Config::upgrade(0);
    peer_says(&mut config);
    exhaust("a peer says otherwise, no fault", config);
}

#[test]
fn locks_given_back_before_the_renames_are_noticed() {
    let what = caught(Mutation::UnlockEarly, Config::upgrade(0));
    assert_eq!(what, "nothing that an owner wrote is ever lost");
}
