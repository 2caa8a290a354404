//! What only the journal in a file has to promise.

use super::conformance::{attempt, begin_only as begin, spec};
use super::model::{Change, Ended, Filter, MailboxId, State};
use super::{Durability, Journal, JournalError, RunId, SqliteJournal, queries};
use crate::two_phase::Reason;

#[test]
fn a_second_controller_on_one_state_file_is_refused_and_readers_are_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db");
    let first = SqliteJournal::open(&path).unwrap();
    let second = SqliteJournal::open(&path);
    assert!(matches!(second, Err(JournalError::InUse { .. })));
    let (run, _) = begin(&first, &["user.a"]);
    let reader = SqliteJournal::open_read_only(&path).unwrap();
    assert_eq!(reader.totals(run).unwrap().mailboxes, 1);
    assert!(
        reader.begin_run(&spec(), 0).is_err(),
        "a reader does not write"
    );
    drop(first);
    SqliteJournal::open(&path).unwrap();
}

#[test]
fn a_state_file_that_is_reached_by_a_link_has_one_lock() {
    let directory = tempfile::tempdir().unwrap();
    let (real, link) = (
        directory.path().join("real.db"),
        directory.path().join("link.db"),
    );
    std::os::unix::fs::symlink("real.db", &link).unwrap();
    // Also while the file is not there yet.
    let first = SqliteJournal::open(&link).unwrap();
    assert!(real.exists() && directory.path().join("real.db.lock").exists());
    for path in [&real, &link] {
        let second = SqliteJournal::open(path);
        assert!(matches!(second, Err(JournalError::InUse { .. })));
        assert_eq!(
            crate::control::socket_path(path),
            directory
                .path()
                .canonicalize()
                .unwrap()
                .join("real.db.sock")
        );
    }
    drop(first);
    let hard = directory.path().join("hard.db");
    std::fs::hard_link(&real, &hard).unwrap();
    for path in [&real, &hard] {
        let refused = SqliteJournal::open(path);
        assert!(matches!(refused, Err(JournalError::NotOurs { .. })));
    }
}

#[test]
fn what_lies_in_the_place_of_the_lock_is_refused_and_named_and_nothing_is_made_elsewhere() {
    let directory = tempfile::tempdir().unwrap();
    let (state, elsewhere) = (
        directory.path().join("state"),
        directory.path().join("elsewhere"),
    );
    let lock = directory.path().join("state.lock");
    let refused = || {
        let refused = SqliteJournal::open(&state).err().expect("it is opened");
        assert!(refused.to_string().contains("state.lock"), "{refused}");
        assert!(!state.exists() && !elsewhere.exists());
    };
    std::os::unix::fs::symlink(&elsewhere, &lock).unwrap();
    refused();
    std::fs::remove_file(&lock).unwrap();
    nix::unistd::mkfifo(&lock, nix::sys::stat::Mode::S_IRWXU).unwrap();
    refused();
    std::fs::remove_file(&lock).unwrap();
    std::fs::create_dir(&lock).unwrap();
    refused();
}

#[test]
fn work_that_only_goes_on_makes_no_state_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mistyped.db");
    let missing = SqliteJournal::open_existing(&path);
    assert!(matches!(missing, Err(JournalError::Missing { .. })));
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn what_is_not_ours_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let text = directory.path().join("notes.txt");
    std::fs::write(&text, "x".repeat(5000)).unwrap();
    assert!(matches!(
        SqliteJournal::open(&text),
        Err(JournalError::NotOurs { .. })
    ));
    assert_eq!(std::fs::read(&text).unwrap(), vec![b'x'; 5000]);

    let other = directory.path().join("other.db");
    rusqlite::Connection::open(&other)
        .unwrap()
        .execute_batch("CREATE TABLE t (x)")
        .unwrap();
    assert!(matches!(
        SqliteJournal::open(&other),
        Err(JournalError::NotOurs { .. })
    ));

    let newer = directory.path().join("newer.db");
    drop(SqliteJournal::open(&newer).unwrap());
    rusqlite::Connection::open(&newer)
        .unwrap()
        .execute_batch("PRAGMA user_version = 99")
        .unwrap();
    assert!(matches!(
        SqliteJournal::open(&newer),
        Err(JournalError::NotOurs { .. })
    ));
    assert!(matches!(
        SqliteJournal::open_read_only(&directory.path().join("none.db")),
        Err(JournalError::Missing { .. })
    ));
}

/// A file of version 3 with a run of two mailboxes, one of them decided and one done, as that
/// release made it.
const VERSION_3: &str = include_str!("version_3.sql");

/// Makes it one of version 2: what version 3 had more goes.
const AS_VERSION_2: &str = "DROP TABLE journal; ALTER TABLE mailbox DROP COLUMN uniqueid_master; \
    ALTER TABLE mailbox DROP COLUMN uniqueid_replica; ALTER TABLE run DROP COLUMN selection; \
    ALTER TABLE run DROP COLUMN words; DROP INDEX mailbox_key; \
    CREATE UNIQUE INDEX mailbox_key_2 ON mailbox (run, name); PRAGMA user_version = 2; ";

/// Makes that one of version 1.
const AS_VERSION_1: &str = "DROP VIEW runs; ALTER TABLE run DROP COLUMN undoes; \
    ALTER TABLE mailbox DROP COLUMN back_master; ALTER TABLE mailbox DROP COLUMN back_replica; \
    PRAGMA user_version = 1;";

/// A file of an earlier version, taken up; and that all in it is as in a new one.
fn taken_up(directory: &std::path::Path, steps: &[&str]) -> SqliteJournal {
    let path = directory.join("state.db");
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute_batch(VERSION_3).unwrap();
    for step in steps {
        db.execute_batch(step).unwrap();
    }
    drop(db);
    let reader = SqliteJournal::open_read_only(&path).map(drop);
    assert!(
        matches!(reader, Err(JournalError::NotOurs { .. })),
        "a reader changes nothing"
    );
    let journal = SqliteJournal::open(&path).unwrap();
    let fresh = directory.join("fresh.db");
    drop(SqliteJournal::open(&fresh).unwrap());
    assert_eq!(
        super::schema::objects(&path),
        super::schema::objects(&fresh)
    );
    let db = rusqlite::Connection::open(&path).unwrap();
    let broken = db.query_row("SELECT count(*) FROM pragma_foreign_key_check", [], |row| {
        row.get::<_, i64>(0)
    });
    assert_eq!(broken.unwrap(), 0);
    journal
}

#[test]
fn a_file_of_the_fourth_sixth_or_seventh_version_is_taken_up() {
    let directory = tempfile::tempdir().unwrap();
    let [path, fresh] = ["state.db", "fresh.db"].map(|name| directory.path().join(name));
    for path in [&path, &fresh] {
        drop(SqliteJournal::open(path).unwrap());
    }
    let db = rusqlite::Connection::open(&path).unwrap();
    let before = "DROP TABLE disagreement; DROP TABLE pause; DROP TABLE at_once; \
         PRAGMA user_version = 4;";
    db.execute_batch(before).unwrap();
    drop(db);
    drop(SqliteJournal::open(&path).unwrap());
    let objects = super::schema::objects;
    assert_eq!(objects(&path), objects(&fresh));
    // And one of the sixth: no pair could be paused.
    let db = rusqlite::Connection::open(&path).unwrap();
    let before = "DROP TABLE pause; DROP TABLE at_once; PRAGMA user_version = 6;";
    db.execute_batch(before).unwrap();
    drop(db);
    let journal = SqliteJournal::open(&path).unwrap();
    assert_eq!(objects(&path), objects(&fresh));
    assert_eq!(journal.paused().unwrap(), None);
    drop(journal);
    // And one of the seventh: no run knew how many at once it had.
    let db = rusqlite::Connection::open(&path).unwrap();
    let before = "DROP TABLE at_once; PRAGMA user_version = 7;";
    db.execute_batch(before).unwrap();
    drop(db);
    let journal = SqliteJournal::open(&path).unwrap();
    assert_eq!(objects(&path), objects(&fresh));
    assert_eq!(journal.at_once(RunId(1)).unwrap(), None);
}

#[test]
fn a_file_of_the_fifth_version_is_taken_up_with_all_that_is_in_it() {
    let directory = tempfile::tempdir().unwrap();
    let [path, fresh] = ["state.db", "fresh.db"].map(|name| directory.path().join(name));
    drop(SqliteJournal::open(&fresh).unwrap());
    let journal = SqliteJournal::open(&path).unwrap();
    let (run, ids) = begin(&journal, &["user.a", "user.b"]);
    let change = Change::Finish {
        mailbox: ids[1],
        attempt: super::conformance::attempt(super::Ended::Upgraded, None),
    };
    journal
        .submit(change, Durability::Durable)
        .wait_blocking()
        .unwrap();
    let page = |journal: &SqliteJournal| {
        let from = super::MailboxId(0);
        journal.page(run, super::Filter::All, from, 9).unwrap()
    };
    let before = page(&journal);
    drop(journal);
    let db = rusqlite::Connection::open(&path).unwrap();
    // As that version had it: nothing could be rehearsed.
    let old = super::schema::MAILBOX
        .replace("'rehearsed',", "")
        .replace("TABLE mailbox (", "TABLE mailbox_old (");
    let back = format!(
        "PRAGMA foreign_keys = OFF; DROP VIEW progress; DROP VIEW failed; \
         DROP VIEW open_transaction; DROP VIEW slowest; DROP VIEW runs; {old} \
         INSERT INTO mailbox_old SELECT * FROM mailbox; DROP TABLE mailbox; \
         ALTER TABLE mailbox_old RENAME TO mailbox; DROP TABLE pause; \
         DROP TABLE at_once; {} {} \
         PRAGMA user_version = 5;",
        super::schema::MAILBOX_INDEXES,
        super::schema::VIEWS
    );
    db.execute_batch(&back).unwrap();
    assert_ne!(
        super::schema::objects(&path),
        super::schema::objects(&fresh)
    );
    drop(db);
    let journal = SqliteJournal::open(&path).unwrap();
    assert_eq!(
        super::schema::objects(&path),
        super::schema::objects(&fresh)
    );
    assert_eq!(page(&journal), before);
    let change = Change::Finish {
        mailbox: ids[0],
        attempt: super::conformance::attempt(super::Ended::Rehearsed, None),
    };
    journal
        .submit(change, Durability::Durable)
        .wait_blocking()
        .unwrap();
    assert_eq!(journal.totals(run).unwrap().rehearsed, 1);
}

#[test]
fn a_file_of_the_third_version_is_taken_up_as_that_of_the_only_pair() {
    let directory = tempfile::tempdir().unwrap();
    let journal = taken_up(directory.path(), &[]);
    let owner = journal.owner().unwrap();
    assert_eq!(owner.id, "0123456789abcdef");
    assert_eq!(owner.hosts, [Some("a".to_owned()), Some("b".to_owned())]);
    let last = journal.last_run().unwrap().unwrap();
    let spec = super::RunSpec {
        words: "--partition p".to_owned(),
        ..spec()
    };
    assert_eq!((&last.spec, last.list_complete), (&spec, true));
    assert_eq!((last.started_ms, last.finished_ms), (5, None));
    let first = journal.run(super::RunId(1)).unwrap().unwrap();
    assert_eq!(first.finished_ms, Some(4));
    let open = journal.open_transactions(super::MailboxId(0), 9).unwrap();
    assert_eq!(open.len(), 1);
    assert_eq!(
        (open[0].row.name.as_str(), &open[0].spec),
        ("user.a", &spec)
    );
    assert_eq!(open[0].open.forward, [false, true]);
    assert_eq!(open[0].row.uniqueids, [Some("ua".to_owned()), None]);
    let totals = journal.totals(last.id).unwrap();
    assert_eq!((totals.mailboxes, totals.open, totals.upgraded), (2, 1, 1));
    let changed = journal.changed(last.id, super::MailboxId(0), 9).unwrap();
    assert_eq!(changed[0].row.figures.messages, 7);
    assert_eq!(changed[0].others[0].run, first.id);
    journal.finish_run(last.id, 9).unwrap();
    assert_eq!(journal.last_run().unwrap().unwrap().finished_ms, Some(9));
}

#[test]
fn a_file_of_the_first_version_is_taken_up_with_all_that_is_in_it() {
    let directory = tempfile::tempdir().unwrap();
    let journal = taken_up(directory.path(), &[AS_VERSION_2, AS_VERSION_1]);
    let unknown = super::RunSpec {
        selection: String::new(),
        ..spec()
    };
    let last = journal.last_run().unwrap().unwrap();
    assert_eq!(last.spec, unknown);
    assert_eq!(journal.totals(last.id).unwrap().mailboxes, 2);
    let elsewhere = super::Candidate {
        partition: Some("two".to_owned()),
        ..super::Candidate::new("user.a".parse().unwrap(), false)
    };
    assert_eq!(journal.add(last.id, &[elsewhere]).unwrap(), 1);
}

#[test]
fn a_file_of_the_second_version_is_bound_to_the_hosts_of_its_runs() {
    let directory = tempfile::tempdir().unwrap();
    let journal = taken_up(directory.path(), &[AS_VERSION_2]);
    let owner = journal.owner().unwrap();
    assert_eq!(owner.hosts, [Some("a".to_owned()), Some("b".to_owned())]);
    assert_eq!(owner.id.len(), 16);
    drop(journal);
    let again = SqliteJournal::open(&directory.path().join("state.db")).unwrap();
    assert_eq!(again.owner().unwrap(), owner, "it keeps its name");
}

#[test]
fn after_a_failed_write_nothing_more_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db");
    let journal = SqliteJournal::open(&path).unwrap();
    let (run, ids) = begin(&journal, &["user.a", "user.b"]);
    // A constraint stands in for a disk that fails: the writer cannot tell, and must not go on.
    rusqlite::Connection::open(&path)
        .unwrap()
        .execute_batch(
            "CREATE TRIGGER broken BEFORE UPDATE ON mailbox BEGIN SELECT RAISE(ABORT, 'disk'); END",
        )
        .unwrap();
    let decide = |id| Change::Decide {
        mailbox: id,
        before: [Some(9); 2],
    };
    let first = journal
        .submit(decide(ids[0]), Durability::Durable)
        .wait_blocking();
    assert!(
        matches!(first, Err(JournalError::Sqlite { .. })),
        "{first:?}"
    );
    rusqlite::Connection::open(&path)
        .unwrap()
        .execute_batch("DROP TRIGGER broken")
        .unwrap();
    let second = journal
        .submit(decide(ids[1]), Durability::Durable)
        .wait_blocking();
    assert!(
        matches!(second, Err(JournalError::Poisoned { .. })),
        "{second:?}"
    );
    assert!(journal.flush().is_err());
    drop(journal);
    let again = SqliteJournal::open(&path).unwrap();
    assert_eq!(again.totals(run).unwrap().pending, 2);
}

#[test]
fn decisions_of_many_mailboxes_share_a_sync() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db");
    let journal = SqliteJournal::open(&path).unwrap();
    let names: Vec<String> = (0..300).map(|n| format!("user.u{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (run, ids) = begin(&journal, &names);
    let decide = |id| Change::Decide {
        mailbox: id,
        before: [Some(9); 2],
    };
    let receipts: Vec<_> = ids
        .iter()
        .map(|id| journal.submit(decide(*id), Durability::Durable))
        .collect();
    for receipt in receipts {
        receipt.wait_blocking().unwrap();
    }
    assert_eq!(journal.totals(run).unwrap().open, 300);
    // Each transaction leaves at least one frame of 4096 bytes for each page that it changed, the
    // mailbox table's among them; 300 alone would be more than this.
    let wal = std::fs::metadata(directory.path().join("state.db-wal"))
        .unwrap()
        .len();
    assert!(wal < 300 * 3 * 4096, "{wal} bytes of WAL");
}

#[test]
fn the_views_for_an_operator_answer() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db");
    let journal = SqliteJournal::open(&path).unwrap();
    let (_, ids) = begin(&journal, &["user.a", "user.b"]);
    let failed = Change::Finish {
        mailbox: ids[0],
        attempt: attempt(Ended::RolledBack, Some(Reason::Locked)),
    };
    journal.submit(failed, Durability::Lazy);
    journal.submit(
        Change::Decide {
            mailbox: ids[1],
            before: [Some(9); 2],
        },
        Durability::Lazy,
    );
    journal.flush().unwrap();
    let db = rusqlite::Connection::open(&path).unwrap();
    let text = |sql: &str| {
        db.query_row(sql, [], |row| row.get::<_, String>(0))
            .unwrap()
    };
    assert_eq!(
        text("SELECT name || ' ' || reason FROM failed"),
        "user.a locked"
    );
    assert_eq!(
        text("SELECT name || ' ' || state FROM open_transaction"),
        "user.b decided"
    );
    assert_eq!(text("SELECT name FROM slowest LIMIT 1"), "user.a");
    assert_eq!(
        text("SELECT group_concat(state) FROM progress"),
        "decided,rolled_back"
    );
    assert_eq!(text("SELECT count(*) || '' FROM attempt"), "1");
}

#[test]
fn no_query_of_a_page_looks_at_more_than_its_page() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db");
    drop(SqliteJournal::open(&path).unwrap());
    let db = rusqlite::Connection::open(&path).unwrap();
    let (run, after) = (RunId(1), MailboxId(0));
    for sql in [
        queries::page(1, run, Filter::All, after, 9).sql,
        queries::page(1, run, Filter::In(State::Pending), after, 9).sql,
        queries::changed(1, run, after, 9).sql,
        queries::open_transactions(1, after, 9).sql,
    ] {
        let mut explain = db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let count = explain.parameter_count();
        let zeros = rusqlite::params_from_iter(std::iter::repeat_n(0, count));
        let steps = explain
            .query_map(zeros, |row| row.get::<_, String>(3))
            .unwrap();
        for step in steps.map(Result::unwrap) {
            let bad = step.contains("TEMP B-TREE") || step.starts_with("SCAN");
            // These alone would be every mailbox of a run, of a pair, or of all later runs.
            let wide = [
                "(run=?)",
                "mailbox_walk (run=? AND pair=?)",
                "mailbox_state (run=? AND pair=?)",
                "mailbox_key (run=? AND pair=?)",
                "(pair=?)",
                "(run>?)",
            ];
            assert!(
                !bad && !wide.iter().any(|w| step.contains(w)),
                "{step}: {sql}"
            );
        }
    }
}

#[test]
fn a_state_file_that_is_damaged_is_called_so_and_not_a_disk_that_fails() {
    let error = |code| {
        let failure = rusqlite::ffi::Error::new(code);
        let failure = rusqlite::Error::SqliteFailure(failure, None);
        super::state_file::sqlite(std::path::Path::new("/state.db"), &failure)
    };
    let damaged = error(rusqlite::ffi::SQLITE_CORRUPT);
    assert!(damaged.to_string().contains("/state.db"), "{damaged}");
    let exit = |error| crate::error::RunError::Journal(error).exit();
    assert_eq!(exit(damaged), indexfile::exit::Exit::Data);
    let full = error(rusqlite::ffi::SQLITE_FULL);
    assert_eq!(exit(full), indexfile::exit::Exit::Io);
}
