//! Several controllers on one journal in `PostgreSQL`: each pair has one controller at a time, and
//! a pair whose controller is gone, or asleep, is taken over by another one.
//!
//! Each needs the server's programs, and so each is left out of a plain run:
//! `cargo test -p tests --test several_controllers -- --ignored`.

#[path = "several_controllers/failover.rs"]
mod failover;

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use controller::journal::{JournalStore, LEASE, PostgresStore};
use nix::sys::signal::Signal;
use stores::judge::State;
use tests::fleet::{Fleet, program};
use tests::pairs::Pairs;
use tests::postgres::Cluster;
use tests::process::Guard;

/// Seconds of a lease.
const SECONDS: u64 = 3;
const EACH: u64 = 120;
const NAMES: [&str; 4] = ["be1", "be2", "be3", "be4"];

/// One of the controllers, all started with the same command.
fn start(pairs: &Pairs) -> Guard {
    let mut command = pairs.command(&["upgrade"], &["--quiet", "--json", "--parallel", "2"]);
    Guard::spawn(command.args(["--lease", &SECONDS.to_string()]))
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
    thread::sleep(Duration::from_secs(3 * SECONDS));
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

#[test]
#[ignore = "needs the programs of a PostgreSQL server"]
fn a_run_has_its_journal_on_a_server_and_one_that_another_controller_has_is_refused() {
    let cluster = Cluster::new(&[]);
    let database = cluster.database();
    let mut fleet = Fleet::plain(20, 3);
    fleet.start();
    let directory = tempfile::tempdir().unwrap();
    let [master, replica] = [0, 1].map(|which| fleet.addr(which));
    let url = cluster.url(&database).replace("reguid@", "reguid:secret@");
    let controller = |verb: &str, hosts: bool, extra: &[&str]| {
        let mut command = Command::new(program("controller"));
        command.current_dir(&directory).arg(verb);
        // An address with a password is refused on the command line.
        command.env("REGUID_STATE", &url).args(extra);
        if hosts {
            command.args(["--master", &master, "--replica", &replica]);
        }
        Guard::spawn(&mut command).finish()
    };
    let early = controller("status", false, &[]).expect_code(78);
    early.assert_one_sentence("no run was ever started");
    {
        let store = PostgresStore::open(&cluster.url(&database), LEASE).unwrap();
        let _other = store.pair("").unwrap();
        let refused = controller("upgrade", true, &[]).expect_code(78);
        assert!(
            refused.stderr.contains("is claimed by"),
            "{}",
            refused.stderr
        );
    }
    let _ = controller("upgrade", true, &[]).expect_code(0);
    let _ = fleet.assert_settled();
    let status = controller("status", false, &["--json"])
        .expect_code(0)
        .json();
    let counts = ["run", "mailboxes", "upgraded", "open"].map(|key| status[key].as_i64());
    assert_eq!(counts, [Some(1), Some(20), Some(20), Some(0)], "{status}");
    let claim = &status["claims"][""];
    assert_eq!(
        (&claim["epoch"], &claim["host"]),
        (&2.into(), &serde_json::Value::Null)
    );
    let text = controller("status", false, &[]).expect_code(0).stdout;
    assert!(text.contains("claimed by no controller, epoch 2"), "{text}");
    // Nothing is left to take up; what a hint spells out has no password.
    let again = controller("downgrade", true, &["--to", "9", "--force-live"]).expect_code(0);
    assert!(!(again.stdout + &again.stderr).contains("secret"));
    let report = controller("report", false, &["--json"])
        .expect_code(0)
        .json();
    assert_eq!(report["run"].as_i64(), Some(2), "{report}");
}
