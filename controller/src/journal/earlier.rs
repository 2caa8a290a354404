//! What makes a file of this version of one of an earlier version.
//!
//! Columns are added and tables made anew, nothing that is in them changes. `SQLite` changes no key
//! in place, so a table whose key changes is made under another name and takes the old one's place.

use super::schema::{
    AT_ONCE, DISAGREEMENT, MAILBOX, MAILBOX_INDEXES, PAIR, PAUSE, RUN, RUN_PAIR, VIEWS,
};

/// The statements for a file of that version; `None` if there is nothing to do, or nothing that
/// this release knows.
pub(super) fn steps(version: i32) -> Option<String> {
    let before = match version {
        1 => [FROM_1, FROM_2].concat(),
        2 => FROM_2.to_owned(),
        3 => String::new(),
        4 => return Some([DISAGREEMENT, &from_5(), PAUSE, AT_ONCE].concat()),
        5 => return Some([&from_5(), PAUSE, AT_ONCE].concat()),
        6 => return Some([PAUSE, AT_ONCE].concat()),
        7 => return Some(AT_ONCE.to_owned()),
        _ => return None,
    };
    let run = RUN.replace("TABLE run (", "TABLE run_4 (");
    let mailbox = MAILBOX.replace("TABLE mailbox (", "TABLE mailbox_4 (");
    Some(
        [
            &before,
            DROP_VIEWS,
            PAIR,
            &run,
            RUN_PAIR,
            &mailbox,
            COPY,
            COPY_MAILBOXES,
            NEW_NAMES,
            MAILBOX_INDEXES,
            DISAGREEMENT,
            PAUSE,
            AT_ONCE,
            VIEWS,
        ]
        .concat(),
    )
}

/// A mailbox may be `rehearsed`. All that is in the table stays.
fn from_5() -> String {
    let mailbox = MAILBOX.replace("TABLE mailbox (", "TABLE mailbox_5 (");
    let copy = COPY_MAILBOXES.replace("mailbox_4", "mailbox_5");
    let copy = copy.replace("run, 1, name", "run, pair, name");
    let parts = [
        DROP_VIEWS,
        &mailbox,
        &copy,
        "DROP TABLE mailbox; ALTER TABLE mailbox_5 RENAME TO mailbox;",
        MAILBOX_INDEXES,
        VIEWS,
    ];
    parts.concat()
}

const FROM_1: &str = "
ALTER TABLE run ADD COLUMN undoes INTEGER REFERENCES run(id);
ALTER TABLE mailbox ADD COLUMN back_master INTEGER;
ALTER TABLE mailbox ADD COLUMN back_replica INTEGER;
";

const FROM_2: &str = "
CREATE TABLE journal (
    id         TEXT NOT NULL,
    master_id  TEXT,
    replica_id TEXT
) STRICT;
INSERT INTO journal (id, master_id, replica_id) VALUES (lower(hex(randomblob(8))),
    (SELECT master_id FROM run WHERE master_id <> '' ORDER BY id DESC LIMIT 1),
    (SELECT replica_id FROM run WHERE replica_id <> '' ORDER BY id DESC LIMIT 1));
ALTER TABLE mailbox ADD COLUMN uniqueid_master TEXT;
ALTER TABLE mailbox ADD COLUMN uniqueid_replica TEXT;
ALTER TABLE run ADD COLUMN selection TEXT NOT NULL DEFAULT '';
ALTER TABLE run ADD COLUMN words TEXT NOT NULL DEFAULT '';
";

/// The first version has no view `runs`.
const DROP_VIEWS: &str = "
DROP VIEW IF EXISTS runs; DROP VIEW progress; DROP VIEW failed; DROP VIEW open_transaction;
DROP VIEW slowest;
";

/// All that was there is of the only pair, which has no name.
const COPY: &str = "
INSERT INTO pair (id, name, journal_id, master_id, replica_id)
    SELECT 1, '', id, master_id, replica_id FROM journal;
DROP TABLE journal;
INSERT INTO run_4 (id, command, to_version, undoes, words, pairs, started_at, finished_at)
    SELECT id, command, to_version, undoes, words, '', started_at, finished_at FROM run;
INSERT INTO run_pair (run, pair, master, replica, master_id, replica_id, selection, listed,
        started_at, finished_at)
    SELECT id, 1, master, replica, master_id, replica_id, selection, list_complete, started_at,
        finished_at FROM run;
";

/// The rows of mailboxes, of the only pair.
const COPY_MAILBOXES: &str = "
INSERT INTO mailbox_4 (id, run, pair, name, partition, named, back_master, back_replica, state,
        in_doubt, before_master, before_replica, forward_master, forward_replica, attempts, reason,
        side, detail, messages, altered, cached, hashed, lag, lock_us_master, lock_us_replica,
        finished_at, uniqueid_master, uniqueid_replica)
    SELECT id, run, 1, name, partition, named, back_master, back_replica, state, in_doubt,
        before_master, before_replica, forward_master, forward_replica, attempts, reason, side,
        detail, messages, altered, cached, hashed, lag, lock_us_master, lock_us_replica,
        finished_at, uniqueid_master, uniqueid_replica FROM mailbox;
";

const NEW_NAMES: &str = "
DROP TABLE mailbox;
DROP TABLE run;
ALTER TABLE run_4 RENAME TO run;
ALTER TABLE mailbox_4 RENAME TO mailbox;
";
