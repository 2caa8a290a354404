//! A measurement: durable decisions, and mailboxes, a second with the journal in `PostgreSQL` and
//! in `SQLite`, on the same disk in turn. It asserts nothing of them.
//!
//! `cargo test --release -p tests --test journal_rate -- --ignored --nocapture`

use std::process::Command;
use std::time::Instant;

use controller::journal::{Durability, JournalStore, LEASE, PostgresStore, SqliteStore};
use tests::fleet::{Fleet, program};
use tests::postgres::{Cluster, begin, decide};
use tests::process::Guard;

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

/// Mailboxes a second of one run over all of them.
fn mailboxes(fleet: &Fleet, verb: &[&str], state: &str, parallel: &str) -> f64 {
    let mut command = Command::new(program("controller"));
    let (master, replica) = (fleet.addr(0), fleet.addr(1));
    command
        .args(verb)
        .args(["--master", &master, "--replica", &replica]);
    command.args([
        "--state",
        state,
        "--parallel",
        parallel,
        "--json",
        "--quiet",
    ]);
    let summary = Guard::spawn(&mut command).finish().expect_code(0).json();
    summary["mailboxes"].as_f64().unwrap() / summary["seconds"].as_f64().unwrap()
}

#[test]
#[ignore = "a measurement, with the programs of a PostgreSQL server"]
fn mailboxes_a_second_beside_the_journal_in_a_file() {
    let cluster = Cluster::on_disk();
    let mut fleet = Fleet::plain(2_000, 5).unwatched();
    fleet.start();
    let file = fleet.journal().display().to_string();
    let server = cluster.url(&cluster.database());
    let ways: [&[&str]; 2] = [&["upgrade"], &["downgrade", "--to", "9", "--force-live"]];
    for parallel in ["16", "64"] {
        for round in 1..=3 {
            for way in ways {
                // Each journal does what the other one has undone.
                let in_file = mailboxes(&fleet, way, &file, parallel);
                let back = if way[0] == "upgrade" {
                    ways[1]
                } else {
                    ways[0]
                };
                let _ = mailboxes(&fleet, back, &file, parallel);
                let on_server = mailboxes(&fleet, way, &server, parallel);
                println!(
                    "{} at {parallel}, round {round}: {on_server:.0}/s with PostgreSQL, \
                     {in_file:.0}/s with SQLite, {:.2}",
                    way[0],
                    on_server / in_file
                );
            }
        }
    }
}
