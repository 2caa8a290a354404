//! Several controllers on one journal in `PostgreSQL`: each pair has one controller at a time, and a
//! pair whose controller is gone, or asleep, is taken over by another one.
//!
//! Each needs the server's programs, and so each is left out of a plain run:
//! `cargo test -p tests --test several_controllers -- --ignored`.

use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use stores::judge::State;
use tests::pairs::Pairs;
use tests::postgres::Cluster;
use tests::process::Guard;

/// Seconds of a lease.
const LEASE: u64 = 3;
const EACH: u64 = 120;
const NAMES: [&str; 4] = ["be1", "be2", "be3", "be4"];

/// One of the controllers, all started with the same command.
fn start(pairs: &Pairs) -> Guard {
    let mut command = pairs.command(&["upgrade"], &["--quiet", "--json", "--parallel", "2"]);
    Guard::spawn(command.args(["--lease", &LEASE.to_string()]))
}

struct World {
    cluster: Cluster,
    database: String,
    pairs: Pairs,
}

impl World {
    fn new() -> Self {
        let cluster = Cluster::new(&[]);
        let database = cluster.database();
        let mut pairs = Pairs::plain(&NAMES, usize::try_from(EACH).unwrap(), 2);
        pairs.state(&cluster.url(&database));
        Self {
            cluster,
            database,
            pairs,
        }
    }

    fn start(&self) -> Guard {
        start(&self.pairs)
    }

    fn count(&self, sql: &str) -> u64 {
        self.cluster
            .sql(&self.database, sql)
            .trim()
            .parse()
            .unwrap()
    }

    fn done(&self) -> u64 {
        // Before the first controller has made the tables there is nothing to count.
        let there = "SELECT count(*) FROM information_schema.tables WHERE table_name = 'mailbox'";
        match self.count(there) {
            0 => 0,
            _ => self.count("SELECT count(*) FROM mailbox WHERE state = 'upgraded'"),
        }
    }

    fn wait_for(&self, from: u64) {
        let deadline = Instant::now() + Duration::from_secs(300);
        while self.done() < from {
            assert!(Instant::now() < deadline, "it does not go on");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Each mailbox is done once, on the disks too, and nothing is open.
    fn judge(&self) {
        let all = EACH * NAMES.len() as u64;
        assert_eq!(self.done(), all);
        assert_eq!(self.count("SELECT count(*) FROM run"), 1);
        let open = "SELECT count(*) FROM mailbox WHERE state IN ('decided', 'reversing')";
        assert_eq!(self.count(open), 0);
        let once = "SELECT count(DISTINCT mailbox) FROM attempt WHERE outcome = 'upgraded'";
        assert_eq!(self.count(once), all);
        for (name, pair) in &self.pairs.pairs {
            for report in pair.assert_settled() {
                assert_eq!(report.count(State::New) as u64, EACH, "{name}");
            }
        }
    }
}

#[test]
#[ignore = "PostgreSQL"]
fn three_controllers_share_the_pairs_and_one_that_slept_says_nothing_that_has_an_effect() {
    let world = World::new();
    let controllers = [world.start(), world.start(), world.start()];
    world.wait_for(60);
    // The first one sleeps for three leases, with decisions of its own under way.
    controllers[0].signal(Signal::SIGSTOP);
    thread::sleep(Duration::from_secs(3 * LEASE));
    controllers[0].signal(Signal::SIGCONT);
    for controller in controllers {
        let ended = controller
            .finish_within(Duration::from_secs(300))
            .expect_code(0);
        let summary = ended.json();
        assert_eq!(summary["run"], 1, "{summary}");
        assert_eq!(summary["upgraded"], EACH * NAMES.len() as u64, "{summary}");
    }
    let epochs = world.count("SELECT max(claim_epoch) FROM pair");
    println!("the highest epoch is {epochs}");
    world.judge();
}

#[test]
#[ignore = "PostgreSQL"]
fn the_pairs_of_a_controller_that_was_killed_are_taken_over() {
    let world = World::new();
    let (first, second) = (world.start(), world.start());
    world.wait_for(60);
    first.signal(Signal::SIGKILL);
    let _ = first.finish();
    let ended = second
        .finish_within(Duration::from_secs(300))
        .expect_code(0);
    assert_eq!(ended.json()["upgraded"], EACH * NAMES.len() as u64);
    world.judge();
}

#[test]
#[ignore = "PostgreSQL"]
fn a_database_that_is_stopped_at_once_and_started_again_loses_nothing() {
    let world = World::new();
    let mut controllers = vec![world.start(), world.start()];
    world.wait_for(60);
    world.cluster.crash();
    thread::sleep(Duration::from_secs(1));
    world.cluster.start();
    // What ended for it is started again, as its operator would.
    let deadline = Instant::now() + Duration::from_secs(300);
    while let Some(controller) = controllers.pop() {
        assert!(Instant::now() < deadline, "it comes to no end");
        let ended = controller.finish_within(Duration::from_secs(300));
        let open = world.count("SELECT count(*) FROM run WHERE finished_at IS NULL");
        if ended.code != Some(0) && open > 0 {
            println!("ended with {:?}: {}", ended.code, ended.stderr.trim());
            controllers.insert(0, world.start());
        }
    }
    world.judge();
}
