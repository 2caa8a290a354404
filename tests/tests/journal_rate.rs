//! A measurement: durable decisions a second in `PostgreSQL` beside `SQLite`, on the same disk at
//! the same time. It asserts nothing of them.
//!
//! `cargo test --release -p tests --test journal_rate -- --ignored --nocapture`

use std::time::Instant;

use controller::journal::{Durability, JournalStore, LEASE, PostgresStore, SqliteStore};
use tests::postgres::{Cluster, begin, decide};

/// Durable decisions a second, each of these submitters waiting for one before the next.
fn rate(store: &dyn JournalStore, submitters: usize) -> f64 {
    const EACH: usize = 200;
    let journal = store.pair("").unwrap();
    let (_, ids) = begin(journal.as_ref(), "", submitters * EACH);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for some in ids.chunks(EACH) {
            let journal = &journal;
            scope.spawn(move || {
                for id in some {
                    let receipt = journal.submit(decide(*id), Durability::Durable);
                    receipt.wait_blocking().unwrap();
                }
            });
        }
    });
    #[allow(clippy::cast_precision_loss)] // thousands
    let count = ids.len() as f64;
    count / begun.elapsed().as_secs_f64()
}

#[test]
#[ignore = "a measurement, with the programs of a PostgreSQL server"]
fn decisions_a_second_beside_the_journal_in_a_file() {
    let cluster = Cluster::on_disk();
    let directory = tempfile::tempdir_in("/tmp").unwrap();
    let url = cluster.url(&cluster.database());
    let server = PostgresStore::open(&url, LEASE).unwrap();
    let file = SqliteStore::open(&directory.path().join("state.db")).unwrap();
    for submitters in [16, 64] {
        for round in 1..=3 {
            println!(
                "{submitters} submitters, round {round}: {:.0}/s in PostgreSQL, {:.0}/s in SQLite",
                rate(&server, submitters),
                rate(&file, submitters)
            );
        }
    }
}
