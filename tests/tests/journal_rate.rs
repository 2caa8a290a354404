//! A measurement: durable decisions a second in `PostgreSQL` beside `SQLite`, on the same disk at
//! the same time. It asserts nothing of them.
//!
//! `cargo test --release -p tests --test journal_rate -- --ignored --nocapture`

use std::time::Instant;

use controller::journal::{
    Change, Durability, Filter, Journal, JournalStore, LEASE, Listed, MailboxId, PostgresStore,
    RunId, RunSpec, SqliteStore, Verb,
};
use tests::postgres::Cluster;

fn spec(pairs: &str) -> RunSpec {
    RunSpec {
        verb: Verb::Upgrade,
        to: 10,
        undoes: None,
        master: "unix:/m".to_owned(),
        replica: Some("unix:/r".to_owned()),
        master_id: String::new(),
        replica_id: String::new(),
        selection: "all".to_owned(),
        words: String::new(),
        pairs: pairs.to_owned(),
    }
}

/// Begins a run with so many mailboxes.
fn begin(journal: &dyn Journal, pairs: &str, count: usize) -> (RunId, Vec<MailboxId>) {
    let run = journal.begin_run(&spec(pairs), 1).unwrap();
    let names = (0..count).map(|n| format!("user.u{n}").parse().unwrap());
    let listed: Vec<Listed> = names.map(|name| Listed::new(name, false)).collect();
    assert_eq!(journal.add(run, &listed).unwrap(), count as u64);
    let (mut ids, mut after) = (Vec::new(), MailboxId(0));
    loop {
        let page = journal.page(run, Filter::All, after, 1000).unwrap();
        let Some(last) = page.last() else {
            return (run, ids);
        };
        after = last.id;
        ids.extend(page.iter().map(|row| row.id));
    }
}

fn decide(mailbox: MailboxId) -> Change {
    Change::Decide {
        mailbox,
        before: [Some(9), Some(9)],
    }
}

/// Durable decisions a second, each of so many submitters waiting for one before the next.
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
