//! The model of two mailboxes on the same hosts; see `tests::model::Two` for how that many states
//! are searched.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use stateright::report::{ReportData, ReportDiscovery, Reporter};
use stateright::{Checker, Expectation, HasDiscoveries, Model};
use tests::model::{Config, Fleet, Pair, Two, World};
use tests::sim::site::Mutation;

use super::{NEW, OLD, PADDED, down};

/// Says now and then how far it is: some of these searches take minutes.
struct Progress<'a> {
    name: &'a str,
    said: Duration,
}

impl<M: Model> Reporter<M> for Progress<'_> {
    fn report_checking(&mut self, data: ReportData) {
        if !data.done && data.duration > self.said + Duration::from_secs(20) {
            self.said = data.duration;
            println!(
                "model: {}: {} states so far, {} s",
                self.name,
                data.unique_states,
                data.duration.as_secs()
            );
        }
    }

    fn report_discoveries(
        &mut self,
        _: &M,
        _: std::collections::BTreeMap<&'static str, ReportDiscovery<M>>,
    ) {
    }

    fn delay(&self) -> Duration {
        Duration::from_millis(100)
    }
}

/// The first promise broken, with the way there.
fn discover(checker: &impl Checker<Two>) -> Option<(&'static str, String)> {
    let two = checker.model();
    let failure = |what: &&'static str| two.property(what).expectation != Expectation::Sometimes;
    let mut discoveries = checker.discoveries();
    let what = discoveries.keys().copied().find(|what| failure(what))?;
    let path = discoveries.remove(what)?.into_vec();
    let mut text = String::new();
    for step in path.iter().filter_map(|(_, step)| *step) {
        let _ = writeln!(text, "  {:?}", step.step);
    }
    if let Some((last, _)) = path.last() {
        let (rest, audit) = (two.walk(last), two.audit(last));
        let world = two.world(last);
        let _ = writeln!(text, "  in the end: {rest:?}, {audit:?}\n  {world:?}");
    }
    Some((what, text))
}

/// Searches everything; gives the number of states.
fn exhaust(name: &str, two: Two) -> usize {
    let begun = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    // Depth first: what waits to be searched is short, and what was seen takes a word each.
    let checker = two.checker().threads(threads).spawn_dfs();
    let said = Duration::ZERO;
    let checker = checker.join_and_report(&mut Progress { name, said });
    println!(
        "model: two mailboxes, {name}: {} states, {} steps, {} states of one, {:.1} s",
        checker.unique_state_count(),
        checker.state_count(),
        checker.model().states_of_one(),
        begun.elapsed().as_secs_f64()
    );
    if let Some((what, text)) = discover(&checker) {
        panic!("{name}: broken: {what}\n{text}");
    }
    assert!(checker.is_done(), "{name}: not exhausted");
    // That is, both mailboxes; of which one may be there from the start.
    let forward = checker.model().config.second == Some([NEW; 2]);
    assert!(
        forward || checker.discovery("it upgrades").is_some(),
        "{name}: never seen: it upgrades"
    );
    checker.unique_state_count()
}

/// What the mailboxes are and do, with this many faults.
fn every_setup(faults: u8) -> Vec<(&'static str, Config)> {
    let with = |change: fn(&mut Config)| {
        let mut config = Config {
            mailboxes: 2,
            ..unwritten(faults)
        };
        change(&mut config);
        config
    };
    vec![
        ("9 to 10", with(|_| ())),
        ("10 to 9", with(down)),
        ("PREPARE first", with(|c| c.plan.prepare = true)),
        (
            "one is forward already",
            with(|c| c.second = Some([NEW; 2])),
        ),
    ]
}

/// The same, of more kinds.
fn more_setups(faults: u8) -> Vec<(&'static str, Config)> {
    let with = |second| Config {
        mailboxes: 2,
        second,
        ..unwritten(faults)
    };
    let two_file_systems = Config {
        split: true,
        ..with(None)
    };
    vec![
        ("one has padded GUIDs", with(Some([PADDED; 2]))),
        (
            "the replica of one is forward already",
            with(Some([OLD, NEW])),
        ),
        ("two file systems", two_file_systems),
    ]
}

fn unwritten(faults: u8) -> Config {
    Config {
        writes: 0,
        ..Config::upgrade(faults)
    }
}

/// Without a replica: few enough states for every run of the tests.
fn alone(mut config: Config) -> Config {
    config.plan.replica = false;
    config
}

/// Names of all states, found without anything that [`Two`] does: the whole worlds, one after
/// another. With the number of steps.
fn whole_worlds(config: &Config) -> (HashSet<u64>, usize) {
    let fleet = Fleet::new(config.clone());
    let mut waiting = fleet.init_states();
    let mut seen: HashSet<u64> = waiting.iter().map(name).collect();
    let (mut steps, mut taken) = (Vec::new(), 0);
    while let Some(world) = waiting.pop() {
        fleet.actions(&world, &mut steps);
        for step in steps.drain(..) {
            taken += 1;
            let next = world.after(&fleet.config, step);
            if seen.insert(name(&next)) {
                waiting.push(next);
            }
        }
    }
    (seen, taken)
}

fn name(world: &World) -> u64 {
    let mut hasher = DefaultHasher::new();
    world.hash(&mut hasher);
    hasher.finish()
}

/// Every pair, audited; with the number of steps.
fn every_pair(two: &Two) -> (HashSet<Pair>, usize) {
    let mut waiting = two.init_states();
    let mut seen: HashSet<Pair> = waiting.iter().copied().collect();
    let mut taken = 0;
    while let Some(pair) = waiting.pop() {
        two.audit(&pair).unwrap_or_else(|odd| panic!("{odd}"));
        for step in two.moves(&pair) {
            taken += 1;
            if seen.insert(step.to) {
                waiting.push(step.to);
            }
        }
    }
    (seen, taken)
}

/// Searched both ways: the same worlds, and the same number of steps. And of two that only change
/// places, one.
fn both_ways(setup: &str, config: &Config) {
    let (worlds, steps) = whole_worlds(config);
    let mut two = Two::new(config.clone());
    let halved = two.symmetric;
    two.symmetric = false;
    let (pairs, taken) = every_pair(&two);
    let (all, found) = (worlds.len(), pairs.len());
    println!("model: {setup}: {all} worlds, {found} pairs");
    assert_eq!((found, taken), (all, steps), "{setup}");
    let named: HashSet<u64> = pairs.iter().map(|pair| name(&two.world(pair))).collect();
    assert!(named == worlds, "{setup}: not the same worlds");
    if halved {
        let half = Two::new(config.clone());
        let (searched, _) = every_pair(&half);
        let standing: HashSet<Pair> = pairs.iter().map(|p| half.pair(two.world(p))).collect();
        assert!(searched == standing, "{setup}: not one of each two");
    }
}

#[test]
fn whole_worlds_and_pairs_are_the_same_without_faults() {
    for (setup, config) in every_setup(0) {
        both_ways(setup, &config);
    }
}

#[test]
fn whole_worlds_and_pairs_are_the_same_with_a_fault() {
    let mut config = alone(Config {
        mailboxes: 2,
        ..unwritten(1)
    });
    config.initial = [(OLD.0, None); 2];
    config.second = Some([(NEW.0, None); 2]);
    both_ways("one host alone, one mailbox forward, one fault", &config);
}

#[test]
#[ignore = "a minute"]
fn whole_worlds_and_pairs_are_the_same_in_more_setups() {
    let mut config = alone(Config {
        mailboxes: 2,
        ..unwritten(1)
    });
    config.initial = [(OLD.0, None); 2];
    both_ways("one host alone, no expunge file, one fault", &config);
    let written = Config {
        mailboxes: 2,
        ..Config::upgrade(0)
    };
    both_ways("owners write, no fault", &written);
    for (setup, config) in more_setups(0) {
        both_ways(setup, &config);
    }
}

#[test]
fn two_mailboxes_on_one_host_keep_every_promise() {
    for (name, config) in every_setup(1).into_iter().take(2) {
        exhaust(
            &format!("{name}, one host alone, one fault"),
            Two::new(alone(config)),
        );
    }
}

/// One of the setups, as millions of states are searched for each.
fn on_the_same_hosts(setup: &str) {
    let mut setups = every_setup(1).into_iter();
    let (name, config) = setups.find(|(name, _)| *name == setup).expect("a setup");
    exhaust(&format!("{name}, one fault"), Two::new(config));
}

#[test]
#[ignore = "42 million states: minutes"]
fn two_mailboxes_on_the_same_hosts_from_9_to_10_keep_every_promise() {
    on_the_same_hosts("9 to 10");
}

#[test]
#[ignore = "42 million states: minutes"]
fn two_mailboxes_on_the_same_hosts_from_10_to_9_keep_every_promise() {
    on_the_same_hosts("10 to 9");
}

#[test]
#[ignore = "tens of millions of states: minutes"]
fn two_mailboxes_on_the_same_hosts_with_prepare_keep_every_promise() {
    on_the_same_hosts("PREPARE first");
}

#[test]
#[ignore = "millions of states: minutes"]
fn two_mailboxes_on_the_same_hosts_one_forward_already_keep_every_promise() {
    on_the_same_hosts("one is forward already");
}

/// What two mailboxes show when a rule is broken on purpose.
fn caught(mutation: Mutation, config: Config) -> &'static str {
    let config = Config {
        mutation: Some(mutation),
        ..config
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let builder = Two::new(config).checker().threads(threads);
    let checker = builder
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    let found = discover(&checker);
    let (what, text) = found.unwrap_or_else(|| panic!("{mutation:?} is not noticed"));
    println!(
        "model: two mailboxes: {mutation:?} is noticed after {} states: {what}",
        checker.unique_state_count()
    );
    assert!(text.len() > 10);
    what
}

#[test]
fn broken_rules_are_noticed_with_two_mailboxes() {
    for (mutation, config) in [
        (Mutation::DecideLate, unwritten(0)),
        (Mutation::CommitWithoutSync, unwritten(0)),
        (Mutation::StageWithoutSync, unwritten(0)),
        (Mutation::WrongOrder, unwritten(0)),
        (Mutation::UnlockEarly, Config::upgrade(0)),
        (Mutation::IntentLate, alone(unwritten(1))),
        (Mutation::RecoveryWithoutSync, alone(unwritten(1))),
    ] {
        caught(mutation, config);
    }
}

#[test]
#[ignore = "millions of states: minutes"]
fn broken_rules_that_two_hosts_show_are_noticed_with_two_mailboxes() {
    caught(Mutation::ReleaseInsteadOfRollback, unwritten(1));
    caught(Mutation::StaleNewAtRecovery, Config::upgrade(1));
}

#[test]
fn a_sync_that_wakes_who_came_after_it_is_noticed_by_two_mailboxes_and_not_by_one() {
    let config = unwritten(0);
    let what = caught(Mutation::WakeWholeBatch, config.clone());
    assert_eq!(what, "the decision is durable before the first COMMIT");
    let one = Config {
        mutation: Some(Mutation::WakeWholeBatch),
        ..config
    };
    let checker = Fleet::new(one).checker().spawn_bfs().join();
    let found = checker.discoveries();
    assert!(
        found.keys().all(|what| what.starts_with("it ")),
        "{found:?}"
    );
}
