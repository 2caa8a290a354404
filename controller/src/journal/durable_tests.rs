//! A change whose receipt came is on stable storage: seen by what libc is asked to do, by us and by
//! `SQLite`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::conformance::begin_only as begin;
use super::model::Change;
use super::recorder::{Event, Op, Recorder};
use super::sqlite::StateFile;
use super::{Durability, Journal, SqliteJournal};
use crate::two_phase::Side;

/// The files below the directory that were written and not synced since; and whether the directory
/// was synced.
fn unsynced(events: &[Event], directory: &Path) -> (BTreeSet<PathBuf>, bool) {
    let (mut left, mut named) = (BTreeSet::new(), false);
    // The index of the WAL is made anew after a crash.
    let lasting = |e: &&Event| e.path.extension().is_none_or(|e| e != "db-shm");
    for event in events.iter().filter(lasting) {
        match event.op {
            Op::Write(_) => _ = left.insert(event.path.clone()),
            Op::Sync if event.path == directory => named = true,
            Op::Sync => _ = left.remove(&event.path),
            _ => {}
        }
    }
    (left, named)
}

#[test]
fn a_journal_and_every_durable_change_of_it_survive_a_power_cut_from_the_receipt_on() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db");
    let root = directory.path().canonicalize().unwrap();
    let recorder = Recorder::of(&root);
    let judge = |what: &str, writes: bool| {
        let events = recorder.take();
        let wrote = |e: &Event| matches!(e.op, Op::Write(_)) && e.path.starts_with(&root);
        assert_eq!(events.iter().any(wrote), writes, "{what}: {events:?}");
        let (left, named) = unsynced(&events, &root);
        assert_eq!(left, BTreeSet::new(), "{what}: written, not synced");
        named
    };
    let journal = SqliteJournal::open(&path).unwrap();
    assert!(judge("made", true), "its name may be lost");
    let (_, mailboxes) = begin(&journal, &["user.a", "user.b"]);
    judge("a run", true);
    let decide = |mailbox| Change::Decide {
        mailbox,
        before: [Some(9), Some(9)],
    };
    let receipt = journal.submit(decide(mailboxes[0]), Durability::Durable);
    receipt.wait_blocking().unwrap();
    judge("a decision", true);
    // One that may wait travels with one that may not.
    let forward = Change::Forward {
        mailbox: mailboxes[0],
        side: Side::Replica,
    };
    let _ = journal.submit(forward, Durability::Lazy);
    let receipt = journal.submit(decide(mailboxes[1]), Durability::Durable);
    receipt.wait_blocking().unwrap();
    judge("two changes", true);
    drop(journal);
    // Opened again, its WAL is a new file.
    recorder.take();
    let journal = SqliteJournal::open(&path).unwrap();
    recorder.take();
    let reverse = Change::Reverse {
        mailbox: mailboxes[1],
    };
    let receipt = journal.submit(reverse, Durability::Durable);
    receipt.wait_blocking().unwrap();
    judge("after a restart", true);
}

#[test]
fn the_connection_that_writes_syncs_each_commit() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db");
    for made in ["anew", "again"] {
        let pragma = |name: &'static str| {
            let sql = format!("PRAGMA {name}");
            let read = |row: &rusqlite::Row<'_>| row.get::<_, rusqlite::types::Value>(0);
            StateFile::writing(&path)
                .unwrap()
                .query_row(&sql, [], read)
                .unwrap()
        };
        // 2 is FULL.
        assert_eq!(pragma("synchronous"), 2.into(), "{made}");
        assert_eq!(pragma("journal_mode"), "wal".to_owned().into(), "{made}");
        assert_eq!(pragma("foreign_keys"), 1.into(), "{made}");
    }
}
