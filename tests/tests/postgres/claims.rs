//! A pair is one controller's at a time, for as long as its lease is.

use std::time::Duration;

use controller::journal::{Durability, JournalError, JournalStore, PostgresStore};
use tests::postgres::{Cluster, begin, decide, spec};

use super::{decided, open};

#[test]
#[ignore = "needs the programs of a PostgreSQL server"]
fn a_pair_is_one_controllers_until_its_lease_is_over_and_then_the_old_one_writes_nothing() {
    let cluster = Cluster::new(&[]);
    let database = cluster.database();
    let [first, second] = [(); 2].map(|()| open(&cluster, &database));
    let a = first.pair("a").unwrap();
    let (run, ids) = begin(a.as_ref(), "a,b", 3);
    assert_eq!(a.owner().unwrap().epoch, Some(1));
    let refused = |store: &PostgresStore| match store.pair("a").map(drop) {
        Err(JournalError::Claimed {
            pair, pid, left_ms, ..
        }) => {
            assert_eq!((pair.as_str(), pid), ("a", i64::from(std::process::id())));
            assert!(left_ms > 0);
        }
        other => panic!("{other:?}"),
    };
    refused(&second);
    // Each goes on with its own; the run is one.
    let b = second.pair("b").unwrap();
    assert_eq!(b.begin_run(&spec("a,b"), 2).unwrap(), run);
    let claims = second.claims().unwrap();
    let claimed: Vec<_> = claims.iter().map(|c| (c.pair.as_str(), c.epoch)).collect();
    assert_eq!(claimed, [("a", 1), ("b", 1)]);
    assert!(claims.iter().all(|c| c.by.is_some() && c.left_ms > Some(0)));
    // The first one sleeps for longer than its lease.
    let over = "UPDATE reguid.pair SET claim_until = now() - interval '1 s' WHERE name = 'a'";
    cluster.sql(&database, over);
    let taken = second.pair("a").unwrap();
    assert_eq!(taken.owner().unwrap().epoch, Some(2));
    // It wakes.
    let late = [Durability::Lazy, Durability::Durable].map(|durability| {
        let receipt = a.submit(decide(ids[0]), durability);
        receipt.wait_blocking()
    });
    for late in late {
        assert!(
            matches!(&late, Err(JournalError::Fenced { pair, epoch: 1 }) if pair == "a"),
            "{late:?}"
        );
    }
    assert_eq!(decided(taken.as_ref()), []);
    assert!(matches!(
        a.list_complete(run),
        Err(JournalError::Fenced { .. })
    ));
    refused(&first);
    first.renew().unwrap();
    taken
        .submit(decide(ids[1]), Durability::Durable)
        .wait_blocking()
        .unwrap();
    // Given back, it is free at once, and the epoch rises all the same.
    second.release("a").unwrap();
    let gone = taken
        .submit(decide(ids[2]), Durability::Durable)
        .wait_blocking();
    assert!(matches!(gone, Err(JournalError::Fenced { .. })), "{gone:?}");
    let again = first.pair("a").unwrap();
    assert_eq!(again.owner().unwrap().epoch, Some(3));
    assert_eq!(decided(again.as_ref()), [ids[1]]);
    // A slotd has seen a higher one.
    assert_eq!(first.claim("a", 100).unwrap().epoch, 101);
    let low = again
        .submit(decide(ids[2]), Durability::Durable)
        .wait_blocking();
    assert!(matches!(low, Err(JournalError::Fenced { .. })), "{low:?}");
    let high = first.pair("a").unwrap();
    assert_eq!(high.owner().unwrap().epoch, Some(101));
    high.flush().unwrap();
    // Who ends gives back what it has.
    drop((a, again, high, first));
    let free = second.claims().unwrap();
    assert_eq!((free[0].by.as_ref(), free[0].epoch), (None, 101));
    second.pair("a").unwrap();
}

#[test]
#[ignore = "needs the programs of a PostgreSQL server"]
fn a_claim_is_renewed_and_ends_by_the_clock_of_the_server() {
    let cluster = Cluster::new(&[]);
    let database = cluster.database();
    let lease = Duration::from_secs(3);
    let first = PostgresStore::open(&cluster.url(&database), lease).unwrap();
    let second = open(&cluster, &database);
    let a = first.pair("a").unwrap();
    std::thread::sleep(lease + Duration::from_secs(1));
    assert!(matches!(
        second.pair("a").map(drop),
        Err(JournalError::Claimed { .. })
    ));
    a.flush().unwrap();
    // One that died: nobody renews its claim.
    let died = "INSERT INTO reguid.pair (name, journal_id, claim_owner, claim_epoch, claim_until) \
                VALUES ('b', 'b', 'died', 7, now() + interval '2 s')";
    cluster.sql(&database, died);
    assert!(matches!(
        second.pair("b").map(drop),
        Err(JournalError::Claimed { .. })
    ));
    std::thread::sleep(Duration::from_secs(3));
    let b = second.pair("b").unwrap();
    assert_eq!(b.owner().unwrap().epoch, Some(8));
}
