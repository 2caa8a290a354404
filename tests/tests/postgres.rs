//! The journal in a genuine `PostgreSQL`: the promises of every journal, crashes of the server at
//! any point, claims of several controllers, and a standby that takes over.
//!
//! Each needs the server's programs, and so each is left out of a plain run:
//! `cargo test -p tests --test postgres -- --ignored`.

#[path = "postgres/claims.rs"]
mod claims;

use std::sync::Arc;
use std::time::{Duration, Instant};

use controller::journal::conformance::{self, Stores};
use controller::journal::{
    Candidate, Durability, Journal, JournalError, JournalStore, LEASE, MailboxId, PostgresStore,
    Receipt, RunId, RunSpec, Verb,
};
use indexfile::mailbox::MailboxName;
use tests::postgres::{Cluster, begin, decide, spec};

fn open(cluster: &Cluster, database: &str) -> PostgresStore {
    let url = cluster.url(database);
    PostgresStore::open(&url, LEASE).unwrap_or_else(|error| panic!("{error}"))
}

fn decided(journal: &dyn Journal) -> Vec<MailboxId> {
    let open = journal.open_transactions(MailboxId(0), 1_000_000).unwrap();
    open.iter().map(|open| open.row.id).collect()
}

struct Server {
    cluster: Arc<Cluster>,
    database: String,
    store: PostgresStore,
}

impl Server {
    fn on(cluster: Arc<Cluster>, database: String) -> Self {
        let store = open(&cluster, &database);
        Self {
            cluster,
            database,
            store,
        }
    }
}

thread_local! {
    /// The server of the suite, whose promises are tried one after the other in one thread.
    static CLUSTER: Arc<Cluster> = Arc::new(Cluster::new(&[]));
}

impl Stores for Server {
    fn new() -> Self {
        let cluster = CLUSTER.with(Arc::clone);
        let database = cluster.database();
        Self::on(cluster, database)
    }

    fn store(&self) -> &dyn JournalStore {
        &self.store
    }

    /// The server crashes and starts again. A copy of the database is what its next controller
    /// finds, as soon as the leases of the last one are over.
    fn crash(&self) -> Self {
        self.cluster.crash();
        self.cluster.start();
        let copy = self.cluster.copy(&self.database);
        let over = "UPDATE reguid.pair SET claim_until = now() - interval '1 s'";
        self.cluster.sql(&copy, over);
        Self::on(Arc::clone(&self.cluster), copy)
    }
}

#[test]
#[ignore = "needs the programs of a PostgreSQL server"]
fn it_keeps_every_promise_of_a_journal() {
    conformance::hold::<Server>();
}

#[test]
#[ignore = "needs the programs of a PostgreSQL server"]
fn a_database_of_the_sixth_or_seventh_version_is_taken_up_and_keeps_a_pause() {
    let cluster = Cluster::new(&[]);
    let database = cluster.database();
    let store = open(&cluster, &database);
    drop((store.pair("").unwrap(), store));
    let before = "DROP TABLE reguid.pause; DROP TABLE reguid.at_once; \
                  UPDATE reguid.journal SET version = 6";
    cluster.sql(&database, before);
    let store = open(&cluster, &database);
    let journal = store.pair("").unwrap();
    assert_eq!(journal.paused().unwrap(), None);
    journal.set_paused(Some(7)).unwrap();
    assert_eq!(journal.paused().unwrap(), Some(7));
    drop((journal, store));
    let before = "DROP TABLE reguid.at_once; UPDATE reguid.journal SET version = 7";
    cluster.sql(&database, before);
    let store = open(&cluster, &database);
    let (run, _) = begin(store.pair("").unwrap().as_ref(), "", 1);
    assert_eq!(store.pair("").unwrap().at_once(run).unwrap(), None);
    let reader = PostgresStore::open_read_only(&cluster.url(&database)).unwrap();
    assert_eq!(reader.pair("").unwrap().paused().unwrap(), Some(7));
}

/// One pair's decisions, submitted in order until the server is gone.
fn submit_all(journal: &dyn Journal, ids: &[MailboxId], seed: u64) -> Vec<(bool, Receipt)> {
    let mut random = fastrand::Rng::with_seed(seed);
    let submit = |id: &MailboxId| {
        std::thread::sleep(Duration::from_micros(random.u64(0..200)));
        let durable = random.bool();
        let durability = if durable {
            Durability::Durable
        } else {
            Durability::Lazy
        };
        (durable, journal.submit(decide(*id), durability))
    };
    ids.iter().map(submit).collect()
}

#[test]
#[ignore = "needs the programs of a PostgreSQL server"]
fn after_a_crash_at_any_point_each_pair_has_a_prefix_with_all_that_was_acknowledged() {
    let cluster = Cluster::new(&[]);
    let mut acknowledged = 0;
    for round in 0..8 {
        let store = open(&cluster, &cluster.database());
        let pairs = ["a", "b"].map(|name| {
            let journal = store.pair(name).unwrap();
            let (_, ids) = begin(journal.as_ref(), "a,b", 2000);
            (name, journal, ids)
        });
        let receipts = std::thread::scope(|scope| {
            let submitting = pairs
                .each_ref()
                .map(|(_, journal, ids)| scope.spawn(|| submit_all(journal.as_ref(), ids, round)));
            std::thread::sleep(Duration::from_millis(fastrand::u64(1..150)));
            cluster.crash();
            submitting.map(|thread| thread.join().unwrap())
        });
        cluster.start();
        for ((name, journal, ids), receipts) in pairs.iter().zip(receipts) {
            let again = store.pair(name).unwrap();
            let found = decided(again.as_ref());
            assert_eq!(
                found,
                ids[..found.len()],
                "round {round}, pair {name}: a gap"
            );
            let mut kept = 0;
            for (at, (durable, receipt)) in receipts.into_iter().enumerate() {
                let answered = receipt.wait_blocking();
                if durable && answered.is_ok() {
                    kept = at + 1;
                }
            }
            acknowledged += kept;
            assert!(
                kept <= found.len(),
                "round {round}, pair {name}: {kept} were acknowledged"
            );
            let epochs = [journal, &again].map(|j| j.owner().unwrap().epoch.unwrap());
            if found.len() < ids.len() {
                assert!(epochs[0] < epochs[1], "{epochs:?}");
                let late = journal.submit(decide(ids[0]), Durability::Durable);
                let late = late.wait_blocking();
                assert!(matches!(late, Err(JournalError::Fenced { .. })), "{late:?}");
            }
            let next = again.submit(decide(ids[ids.len() - 1]), Durability::Durable);
            next.wait_blocking().unwrap();
        }
    }
    assert!(acknowledged > 0, "no round got as far as a decision");
}

#[test]
#[ignore = "needs the programs of a PostgreSQL server"]
fn a_transaction_without_an_answer_costs_its_own_pairs_and_no_others() {
    let cluster = Cluster::new(&[]);
    let database = cluster.database();
    let store = open(&cluster, &database);
    let [a, b] = ["a", "b"].map(|name| store.pair(name).unwrap());
    let [of_a, of_b] = [&a, &b].map(|journal| begin(journal.as_ref(), "a,b", 3).1);
    // Something else has the row, so that the writer waits for it in its transaction.
    let held = format!(
        "BEGIN; UPDATE reguid.mailbox SET lag = lag WHERE id = {}; SELECT pg_sleep(60)",
        of_a[1].0
    );
    std::thread::scope(|scope| {
        let holder = scope.spawn(|| {
            let ended = std::panic::catch_unwind(|| cluster.sql(&database, &held));
            assert!(ended.is_err(), "it is cut off");
        });
        let wait_for = |what: &str, count: &str| {
            let until = Instant::now() + Duration::from_secs(60);
            while cluster.sql(&database, what) != count {
                assert!(Instant::now() < until, "{what} is not {count}");
                std::thread::sleep(Duration::from_millis(20));
            }
        };
        let holders = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
        wait_for(holders, "1");
        let first = a.submit(decide(of_a[0]), Durability::Durable);
        let second = a.submit(decide(of_a[1]), Durability::Durable);
        let waiters = "SELECT count(*) FROM pg_stat_activity \
                       WHERE application_name = 'reguid' AND wait_event_type = 'Lock'";
        wait_for(waiters, "1");
        let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE \
                    wait_event = 'PgSleep' OR wait_event_type = 'Lock' ORDER BY backend_type";
        let writer = kill.replace("wait_event = 'PgSleep' OR ", "");
        cluster.sql(&database, &writer);
        let second = second.wait_blocking();
        assert!(
            matches!(second, Err(JournalError::Postgres { .. })),
            "{second:?}"
        );
        drop(first);
        cluster.sql(&database, kill);
        holder.join().unwrap();
    });
    // Nothing more of the pair, by that claim; all of the other one.
    let third = a
        .submit(decide(of_a[2]), Durability::Durable)
        .wait_blocking();
    assert!(matches!(third, Err(JournalError::Lost { .. })), "{third:?}");
    assert!(matches!(a.flush(), Err(JournalError::Lost { .. })));
    b.submit(decide(of_b[0]), Durability::Durable)
        .wait_blocking()
        .unwrap();
    let again = store.pair("a").unwrap();
    let epochs = [&a, &again, &b].map(|journal| journal.owner().unwrap().epoch);
    assert_eq!(epochs, [Some(1), Some(2), Some(1)]);
    let third = a
        .submit(decide(of_a[2]), Durability::Durable)
        .wait_blocking();
    assert!(
        matches!(third, Err(JournalError::Fenced { epoch: 1, .. })),
        "{third:?}"
    );
    let found = decided(again.as_ref());
    assert!(found.is_empty() || found == of_a[..1], "{found:?}");
    again
        .submit(decide(of_a[2]), Durability::Durable)
        .wait_blocking()
        .unwrap();
}

#[test]
#[ignore = "needs the programs of a PostgreSQL server"]
fn a_connection_that_was_idle_and_is_gone_costs_nothing() {
    let cluster = Cluster::new(&[]);
    let store = open(&cluster, &cluster.database());
    let journal = store.pair("").unwrap();
    let (run, ids) = begin(journal.as_ref(), "", 2);
    for id in ids {
        cluster.crash();
        cluster.start();
        journal
            .submit(decide(id), Durability::Durable)
            .wait_blocking()
            .unwrap();
        store.renew().unwrap();
    }
    assert_eq!(journal.totals(run).unwrap().open, 2);
    assert_eq!(journal.owner().unwrap().epoch, Some(1));
}

#[test]
#[ignore = "needs the programs of a PostgreSQL server"]
fn it_works_and_ends_on_a_thread_of_a_runtime() {
    let cluster = Cluster::new(&[]);
    let database = cluster.database();
    let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
    runtime.block_on(async {
        let store = open(&cluster, &database);
        let journal = store.pair("").unwrap();
        let (run, ids) = begin(journal.as_ref(), "", 1);
        let decided = journal.submit(decide(ids[0]), Durability::Durable);
        decided.wait().await.unwrap();
        assert_eq!(journal.totals(run).unwrap().open, 1);
    });
    let free = open(&cluster, &database).claims().unwrap();
    assert_eq!(free[0].by, None, "it was given back");
}

/// That rows may be missing is kept, until a run over all mailboxes is finished that began after.
fn may_miss_rows_until_all_is_looked_at(store: &PostgresStore, earlier: RunId) {
    let lost = || store.pair("").unwrap().owner().unwrap().rows_lost;
    assert!(lost());
    let run = |change: &dyn Fn(&mut RunSpec)| {
        let (mut spec, journal) = (spec(""), store.pair("").unwrap());
        change(&mut spec);
        let run = journal.begin_run(&spec, 2).unwrap();
        journal.list_complete(run).unwrap();
        journal.finish_run(run, 3).unwrap();
    };
    // One that began before has not looked at what was done since.
    store.pair("").unwrap().finish_run(earlier, 3).unwrap();
    for selection in [
        "all of default",
        "all --user joe",
        "all --canary 1",
        "all but what is left out",
        "1 0123 --uuids cut",
    ] {
        run(&|spec: &mut RunSpec| selection.clone_into(&mut spec.selection));
        assert!(lost(), "{selection}");
    }
    run(&|spec: &mut RunSpec| spec.verb = Verb::Rollback);
    // Given up before its list was whole, or with a mailbox left.
    for listed in [false, true] {
        let journal = store.pair("").unwrap();
        let run = journal.begin_run(&spec(""), 2).unwrap();
        let name = MailboxName::parse("user.left").unwrap();
        journal.add(run, &[Candidate::new(name, true)]).unwrap();
        if listed {
            journal.list_complete(run).unwrap();
        }
        journal.finish_run(run, 3).unwrap();
    }
    assert!(lost());
    run(&|spec: &mut RunSpec| "all --uuids cut".clone_into(&mut spec.selection));
    assert!(!lost());
}

#[test]
#[ignore = "needs the programs of a PostgreSQL server"]
fn a_standby_that_takes_over_with_decisions_missing_is_noticed() {
    let primary = Cluster::new(&[]);
    let database = primary.database();
    let lease = Duration::from_secs(2);
    {
        let store = open(&primary, &database);
        assert!(store.warnings().is_empty(), "{:?}", store.warnings());
    }
    let standby = primary.standby();
    let both = format!(
        "postgres://reguid@{},{}/{database}",
        primary.host(),
        standby.host()
    );
    let store = PostgresStore::open(&both, lease).unwrap();
    assert!(
        store
            .warnings()
            .iter()
            .any(|w| w.contains("synchronous_standby_names")),
        "{:?}",
        store.warnings()
    );
    let journal = store.pair("").unwrap();
    let (earlier, ids) = begin(journal.as_ref(), "", 2);
    // The run is there too, before it is cut off.
    let until = Instant::now() + Duration::from_secs(60);
    let there = "SELECT count(*) FROM reguid.mailbox";
    while standby.sql(&database, there) != "2" {
        assert!(Instant::now() < until, "the standby does not follow");
        std::thread::sleep(Duration::from_millis(50));
    }
    standby.crash();
    journal
        .submit(decide(ids[0]), Durability::Durable)
        .wait_blocking()
        .unwrap();
    primary.crash();
    standby.start();
    standby.promote();
    let next = journal
        .submit(decide(ids[1]), Durability::Durable)
        .wait_blocking();
    assert!(
        matches!(next, Err(JournalError::Timeline { .. })),
        "{next:?}"
    );
    let again = store.pair("").map(drop);
    assert!(
        matches!(again, Err(JournalError::Timeline { .. })),
        "{again:?}"
    );
    drop((journal, store));
    // The next controller is warned; and indeed there is nothing of the decision.
    let store = PostgresStore::open(&both, lease).unwrap();
    let warned = |store: &PostgresStore| {
        let about = |w: &String| w.contains("a standby has taken over");
        store.warnings().iter().any(about)
    };
    assert!(warned(&store), "{:?}", store.warnings());
    std::thread::sleep(lease);
    let journal = store.pair("").unwrap();
    assert_eq!(decided(journal.as_ref()), []);
    drop((journal, store));
    let store = PostgresStore::open(&both, lease).unwrap();
    assert!(!warned(&store), "once is enough");
    may_miss_rows_until_all_is_looked_at(&store, earlier);
    // An epoch that has to be higher than the database's shows that it went back.
    let epoch = store.pair("").unwrap().owner().unwrap().epoch.unwrap();
    let owner = store.pair_above("", epoch).unwrap().owner().unwrap();
    assert_eq!((owner.epoch, owner.rows_lost), (Some(epoch + 1), false));
    let owner = store.pair_above("", epoch + 7).unwrap().owner().unwrap();
    assert_eq!((owner.epoch, owner.rows_lost), (Some(epoch + 8), true));
}

#[test]
#[ignore = "needs the programs of a PostgreSQL server"]
fn a_server_whose_commit_is_not_durable_is_refused_and_a_session_that_differs_is_set_right() {
    let unsafe_ones = Cluster::new(&["fsync=off"]);
    let refused = |cluster: &Cluster| {
        let url = cluster.url("postgres");
        match PostgresStore::open(&url, LEASE).map(drop) {
            Err(JournalError::Unfit { what, .. }) => what,
            other => panic!("{other:?}"),
        }
    };
    assert!(refused(&unsafe_ones).contains("fsync"));
    unsafe_ones.sql("postgres", "ALTER SYSTEM SET fsync = on");
    unsafe_ones.sql("postgres", "ALTER SYSTEM SET full_page_writes = off");
    unsafe_ones.crash();
    unsafe_ones.start();
    assert!(refused(&unsafe_ones).contains("full_page_writes"));
    unsafe_ones.sql("postgres", "ALTER SYSTEM SET full_page_writes = on");
    unsafe_ones.sql("postgres", "ALTER SYSTEM SET synchronous_commit = off");
    unsafe_ones.crash();
    unsafe_ones.start();
    let database = unsafe_ones.database();
    let nothing = PostgresStore::open_read_only(&unsafe_ones.url(&database)).map(drop);
    let nothing = nothing.unwrap_err().to_string();
    assert!(nothing.contains("no run was ever started"), "{nothing}");
    let store = open(&unsafe_ones, &database);
    let journal = store.pair("").unwrap();
    let (run, ids) = begin(journal.as_ref(), "", 50);
    for id in &ids {
        journal
            .submit(decide(*id), Durability::Durable)
            .wait_blocking()
            .unwrap();
    }
    unsafe_ones.crash();
    unsafe_ones.start();
    assert_eq!(journal.totals(run).unwrap().open, 50);
    let reader = PostgresStore::open_read_only(&unsafe_ones.url(&database)).unwrap();
    let seen = reader.pair("").unwrap();
    assert_eq!(seen.totals(run).unwrap().open, 50);
    assert!(seen.list_complete(run).is_err(), "a reader writes nothing");
}
