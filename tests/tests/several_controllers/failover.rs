//! The database goes back while controllers work: its standby takes over without the last
//! decisions, or its epochs are lower than those that the hosts know.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use stores::judge::When;
use tests::fleet::{Fleet, program};
use tests::pairs::Pairs;
use tests::postgres::Cluster;
use tests::process::{Guard, Slotd};

use super::{EACH, NAMES, SECONDS};

/// Strictly one mailbox of a pair after the other.
fn start(pairs: &Pairs) -> Guard {
    let mut command = pairs.command(&["upgrade"], &["--quiet", "--json", "--parallel", "1"]);
    Guard::spawn(command.args(["--lease", &SECONDS.to_string()]))
}

fn count(cluster: &Cluster, database: &str, sql: &str) -> u64 {
    cluster.sql(database, sql).trim().parse().unwrap()
}

fn wait_for(what: &str, mut reached: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(90);
    while !reached() {
        assert!(Instant::now() < deadline, "it does not come to: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The mailboxes of a pair that have another set of files on the two hosts.
fn unlike(pair: &Fleet) -> Vec<String> {
    let [master, replica] = pair.check(When::Cut).map(|report| report.states);
    let differs = |(name, state)| replica.get(name) != Some(state);
    let unlike = master.iter().filter(|one| differs(*one));
    unlike.map(|(name, _)| name.clone()).collect()
}

#[test]
#[ignore = "PostgreSQL"]
fn a_standby_that_takes_over_without_the_last_decisions_leaves_no_hosts_unlike() {
    let primary = Cluster::new(&[]);
    let database = primary.database();
    let standby = primary.standby();
    let mut pairs = Pairs::plain(&NAMES, usize::try_from(EACH).unwrap(), 2);
    pairs.state(&format!(
        "postgres://reguid@{},{}/{database}",
        primary.host(),
        standby.host()
    ));
    // At this mailbox the replica is committed, and the master dies before it is.
    let dies = ["env", "REGUID_FAILPOINTS=commit.link=61:kill"].map(str::to_owned);
    let first = pairs.pair(NAMES[0]);
    first.take_slotd(0).unwrap().kill();
    let mut dying = Slotd::start_under(&dies, &program("slotd"), &first.master, &[]);
    let controllers = [start(&pairs), start(&pairs)];
    let rows = |of: &Cluster, table: &str| {
        let there = "SELECT count(*) FROM pg_tables WHERE tablename = 'mailbox'";
        match count(of, &database, there) {
            0 => 0,
            _ => count(of, &database, &format!("SELECT count(*) FROM {table}")),
        }
    };
    let upgraded = "reguid.mailbox WHERE state = 'upgraded'";
    wait_for("the standby follows", || {
        rows(&standby, "reguid.mailbox") == EACH * 4 && rows(&standby, upgraded) >= 20
    });
    standby.crash();
    wait_for("the master dies", || !dying.alive());
    // The replica is let go.
    std::thread::sleep(Duration::from_millis(500));
    for controller in controllers {
        controller.signal(Signal::SIGKILL);
        let _ = controller.finish();
    }
    primary.crash();
    standby.start();
    standby.promote();
    let kept = rows(&standby, upgraded);
    drop(dying);
    pairs.pair(NAMES[0]).start();
    let half_done = unlike(pairs.pair(NAMES[0]));
    assert_eq!(half_done.len(), 1, "there is nothing to heal");
    let open = "reguid.mailbox WHERE state IN ('decided', 'reversing')";
    println!("{kept} rows are upgraded, {} open", rows(&standby, open));
    let decided = format!(
        "{open} AND name = '{}' AND pair = (SELECT id FROM reguid.pair WHERE name = '{}')",
        half_done[0], NAMES[0]
    );
    assert_eq!(rows(&standby, &decided), 0, "its decision is not missing");
    let controllers = [start(&pairs), start(&pairs), start(&pairs)];
    for controller in controllers {
        let ended = controller
            .finish_within(Duration::from_secs(300))
            .expect_code(0);
        assert!(!ended.stderr.contains("IN DOUBT"), "{}", ended.stderr);
        let summary = ended.json();
        assert_eq!(summary["in_doubt"], 0, "{summary}");
        assert_eq!(summary["rolled_back"], 0, "{summary}");
    }
    let all = EACH * NAMES.len() as u64;
    let done = "reguid.mailbox WHERE state IN ('upgraded', 'unchanged')";
    assert_eq!(rows(&standby, done), all);
    assert_eq!(rows(&standby, "reguid.pair WHERE rows_lost = 1"), 0);
    for (name, pair) in &pairs.pairs {
        for report in pair.assert_settled() {
            let new = report.count(stores::judge::State::New) as u64;
            assert_eq!(new, EACH, "{name}");
        }
    }
}

#[test]
#[ignore = "PostgreSQL"]
fn a_database_whose_epochs_went_back_gets_one_above_the_hosts() {
    let cluster = Cluster::new(&[]);
    let database = cluster.database();
    let mut pairs = Pairs::plain(&NAMES[..1], 30, 2);
    pairs.state(&cluster.url(&database));
    let epoch = |to: u64| {
        let sql = format!("UPDATE reguid.pair SET claim_epoch = {to}, claim_owner = NULL");
        cluster.sql(&database, &sql);
    };
    let now = || count(&cluster, &database, "SELECT claim_epoch FROM reguid.pair");
    // The hosts have seen 1, and then 12.
    let canary = ["--quiet", "--canary", "3"];
    let _ = pairs.controller("upgrade", &canary).expect_code(0);
    epoch(11);
    let _ = pairs
        .controller("upgrade", &["--quiet", "--canary", "6"])
        .expect_code(0);
    assert_eq!(now(), 12);
    // With every command that works on the pair the epoch is raised above theirs; and it is said.
    for verb in ["upgrade", "retry", "recover", "rollback last"] {
        epoch(4);
        let ended = pairs.controller(verb, &["--quiet"]).expect_code(0);
        let said = "of this journal, and the database has";
        assert!(ended.stderr.contains(said), "{verb}: {}", ended.stderr);
        assert!(now() > 12, "{verb}");
    }
    assert!(unlike(pairs.pair(NAMES[0])).is_empty());
}
