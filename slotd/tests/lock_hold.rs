//! How long the locks are held, with and without `PREPARE`: a measurement.

mod common;

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use common::{Store, lock, name};
use indexfile::build::{BuildRecord, IndexBuilder};
use indexfile::{FileKind, Guid, RecordField};
use slotd::client::Client;
use slotd::protocol::{Commit, Named, Prepare, Upgrade, Write};

const MAILBOX: &str = "user.huge";

/// When the work is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Under the locks.
    Plain,
    /// Ahead; what changes after it under the locks.
    Prepared,
    /// Ahead; what changes after it just before the locks.
    CaughtUp,
}

async fn prepare(client: &mut Client, write: Write) {
    let of = Named {
        mailbox: name(MAILBOX),
        partition: None,
    };
    let upgrade = Upgrade::default();
    client
        .prepare(Prepare {
            of,
            upgrade,
            write,
            epoch: None,
        })
        .await
        .unwrap();
}

/// Changes bytes in place, as a STORE does.
fn edit(path: &Path, at: usize, value: u8) {
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.write_all_at(&[value], at as u64).unwrap();
}

/// What the disk itself takes: 4 KiB written over 4 KiB that are there, and fdatasync; in
/// microseconds.
fn flush_of_the_disk(path: &Path) -> u64 {
    let file = std::fs::File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .unwrap();
    for _ in 0..2 {
        file.write_all_at(&[7; 4096], 0).unwrap();
        file.sync_all().unwrap();
    }
    let start = std::time::Instant::now();
    file.write_all_at(&[8; 4096], 0).unwrap();
    file.sync_data().unwrap();
    u64::try_from(start.elapsed().as_micros()).unwrap()
}

fn spread(micros: &mut [u64]) -> String {
    micros.sort_unstable();
    // The nearest rank: the smallest that this many of a hundred do not exceed.
    let at = |percent: usize| micros[(micros.len() * percent).div_ceil(100) - 1];
    format!(
        "p50 {} us, p90 {}, p99 {}, max of {} {}",
        at(50),
        at(90),
        at(99),
        micros.len(),
        at(100)
    )
}

/// Makes [`MAILBOX`] with this many messages, and its cyrus.sha1s. Its index, and that index's
/// bytes.
fn huge(store: &Store, messages: u32) -> (PathBuf, Vec<u8>) {
    let dir = store.root().join("meta/user/huge");
    let spool = store.root().join("spool/user/huge");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::create_dir_all(&spool).unwrap();
    std::fs::copy(
        store.meta("user.bob").join("cyrus.header"),
        dir.join("cyrus.header"),
    )
    .unwrap();
    let mut builder = IndexBuilder::new(9, FileKind::Index);
    let mut entries = Vec::new();
    let uniqueid = indexfile::mailbox::HeaderFile::open(&dir.join("cyrus.header"))
        .unwrap()
        .uniqueid;
    let messages_dir = precompute::message::Spool::open(&spool).unwrap();
    for uid in 1..=messages {
        std::fs::write(spool.join(format!("{uid}.")), format!("{uid:100}")).unwrap();
        builder = builder.record(BuildRecord {
            uid,
            size: 100,
            ..BuildRecord::default()
        });
        let stat = messages_dir.stat(uid).unwrap();
        let guid = Guid::from_bytes([uid.to_le_bytes()[0] | 1; 20]);
        entries.push(indexfile::sha1s::Entry {
            uid,
            size: 100,
            stamp: stat.stamp,
            guid,
        });
    }
    let original = builder.to_bytes().unwrap();
    let index = dir.join("cyrus.index");
    std::fs::write(&index, &original).unwrap();
    let uidvalidity = indexfile::IndexFile::open(&index, FileKind::Index)
        .unwrap()
        .header()
        .uidvalidity();
    std::fs::write(
        dir.join("cyrus.sha1s"),
        indexfile::sha1s::encode(uidvalidity, &uniqueid, &entries).unwrap(),
    )
    .unwrap();
    (index, original)
}

const ROUNDS: usize = 240;

/// Lock holds with and without `PREPARE`, printed: `cargo test --release -p slotd --test lock_hold
/// -- --ignored --nocapture`.
#[tokio::test]
#[ignore = "a measurement, for a quiet machine"]
async fn lock_hold_of_200_000_messages() {
    const WAYS: [Way; 3] = [Way::Plain, Way::Prepared, Way::CaughtUp];
    let store = Store::cyrus_2_3_9();
    let messages: u32 = 200_000;
    let (index, original) = huge(&store, messages);
    let served = store.serve().await;
    let mut client = served.client().await;
    let mut holds = WAYS.map(|_| Vec::new());
    let mut laps = WAYS.map(|_| Vec::new());
    let mut flushes = Vec::new();
    for round in 0..ROUNDS {
        // In turn, so that all see the same weather.
        let i = [0, 2, 2, 2, 2, 2, 1, 2, 2, 2, 2, 2][round % 12];
        let prepared = WAYS[i] != Way::Plain;
        let new = index.with_extension("tmp");
        std::fs::write(&new, &original).unwrap();
        // A mailbox at rest: else its own blocks would still be on their way to the disk.
        std::fs::File::open(&new).unwrap().sync_all().unwrap();
        std::fs::rename(&new, &index).unwrap();
        flushes.push(flush_of_the_disk(&store.state().join("flush")));
        if prepared {
            prepare(&mut client, Write::Always).await;
        }
        for i in 0..100_usize {
            edit(&index, 96 + (i * 1999 + round) * 80 + 35, 3);
        }
        let now = WAYS[i] == Way::Prepared;
        let lock = slotd::protocol::Lock {
            now,
            ..lock(MAILBOX)
        };
        client.lock(lock).await.unwrap();
        let up = client.upgrade(Upgrade::default()).await.unwrap();
        assert_eq!((up.prepared, up.altered), (prepared, messages));
        let commit = slotd::protocol::Command::Commit(Commit::default());
        let reply = client.ask(&commit).await.unwrap();
        let held: u64 = reply.get("held_us").unwrap();
        holds[i].push(held);
        laps[i].push(reply.text("hold").unwrap());
    }
    for (i, way) in WAYS.iter().enumerate() {
        eprintln!("{way:?}: hold {}", spread(&mut holds[i]));
        let mut by_name = std::collections::BTreeMap::<&str, Vec<u64>>::new();
        for (name, time) in laps[i]
            .iter()
            .flat_map(|l| l.split(','))
            .filter_map(|lap| lap.split_once(':'))
        {
            by_name.entry(name).or_default().push(time.parse().unwrap());
        }
        for (name, mut times) in by_name {
            eprintln!("    {name:10} {}", spread(&mut times));
        }
    }
    eprintln!("fdatasync of 4 KiB over itself: {}", spread(&mut flushes));
    let index = store.index(MAILBOX);
    let first = index.record(0).unwrap().unwrap();
    assert_eq!(first.get(RecordField::Size), Some(100));
}

/// From how many messages on it pays to write the new files before the locks, printed as ratios:
/// `cargo test --release -p slotd --test lock_hold where -- --ignored --nocapture`.
#[tokio::test]
#[ignore = "a measurement, for a quiet machine"]
async fn where_writing_before_the_locks_pays() {
    println!("messages  hold_us never  always  ratio | whole_us never  always  ratio (medians)");
    for messages in [25_u32, 100, 250, 500, 1000, 2000, 4000, 10_000, 20_000] {
        let store = Store::cyrus_2_3_9();
        let (index, original) = huge(&store, messages);
        let served = store.serve().await;
        let mut client = served.client().await;
        let mut holds = [Vec::new(), Vec::new()];
        let mut wholes = [Vec::new(), Vec::new()];
        for round in 0..60 {
            let new = index.with_extension("tmp");
            std::fs::write(&new, &original).unwrap();
            std::fs::File::open(&new).unwrap().sync_all().unwrap();
            std::fs::rename(&new, &index).unwrap();
            let write = [Write::Never, Write::Always][round % 2];
            let start = std::time::Instant::now();
            prepare(&mut client, write).await;
            client.lock(lock(MAILBOX)).await.unwrap();
            let up = client.upgrade(Upgrade::default()).await.unwrap();
            assert_eq!(up.prepared, write == Write::Always);
            let commit = slotd::protocol::Command::Commit(Commit::default());
            let reply = client.ask(&commit).await.unwrap();
            let whole = u64::try_from(start.elapsed().as_micros()).unwrap();
            wholes[round % 2].push(whole);
            holds[round % 2].push(reply.get("held_us").unwrap());
        }
        let mid = |times: &mut Vec<u64>| {
            times.sort_unstable();
            times[times.len() / 2]
        };
        let [hold, ahead] = holds.each_mut().map(mid);
        let [whole, with] = wholes.each_mut().map(mid);
        #[expect(clippy::cast_precision_loss, reason = "for people")]
        let ratio = |a: u64, b: u64| b as f64 / a as f64;
        println!(
            "{messages:8}  {hold:13}  {ahead:6}  {:5.2} | {whole:14}  {with:6}  {:5.2}",
            ratio(hold, ahead),
            ratio(whole, with)
        );
    }
}
