//! The tables and views, for the program and for an operator with `sqlite3` at 3 a.m.

/// Creates everything in an empty file.
pub(super) fn create() -> String {
    [RUNS, MAILBOX, MAILBOX_INDEXES, ATTEMPT, VIEWS].concat()
}

/// Makes this release's file of one of version 2. The key of a mailbox in a run has its partition:
/// `SQLite` changes no such thing in place, so the table is made anew.
pub(super) fn from_2() -> String {
    let anew = MAILBOX.replace("TABLE mailbox (", "TABLE mailbox_3 (");
    [
        FROM_2,
        DROP_VIEWS,
        &anew,
        COPY_MAILBOXES,
        MAILBOX_INDEXES,
        VIEWS,
    ]
    .concat()
}

const RUNS: &str = "
-- One line: whose journal this is.
CREATE TABLE journal (
    id         TEXT NOT NULL,                  -- what the slotds know this coordinator by
    master_id  TEXT,                           -- the two stores it belongs to, and no others
    replica_id TEXT
) STRICT;
INSERT INTO journal (id) VALUES (lower(hex(randomblob(8))));

-- One line a run. Times are milliseconds since 1970.
CREATE TABLE run (
    id            INTEGER PRIMARY KEY,
    command       TEXT    NOT NULL,            -- upgrade, downgrade, rollback, cutover, undo
    to_version    INTEGER NOT NULL,            -- the index minor version wanted; rollback: 0
    undoes        INTEGER REFERENCES run(id),  -- rollback: the run whose changes are taken back
    master        TEXT    NOT NULL,            -- address of the master's slotd
    replica       TEXT,                        -- address of the replica's, if there is one
    master_id     TEXT    NOT NULL,            -- what the slotds call their hosts
    replica_id    TEXT    NOT NULL,
    selection     TEXT    NOT NULL,            -- of which mailboxes: a start that asks for others is refused
    words         TEXT    NOT NULL,            -- the same as it was given
    started_at    INTEGER NOT NULL,
    finished_at   INTEGER,                     -- NULL: stopped or running; the next start resumes it
    list_complete INTEGER NOT NULL DEFAULT 0   -- 1 once all its mailboxes are in the table below
) STRICT;
";

const MAILBOX: &str = "
-- One line a mailbox of a run.
-- state:  pending      to be done (again)
--         decided      OPEN: to be committed on both sides; the next start settles it
--         reversing    OPEN: to be taken back on both sides; the next start settles it
--         upgraded     done        unchanged    nothing was to do
--         rolled_back  as before, see reason and detail; `controller retry` takes it up
--         gone         deleted by its owner before its turn came
CREATE TABLE mailbox (
    id              INTEGER PRIMARY KEY,
    run             INTEGER NOT NULL REFERENCES run(id),
    name            TEXT    NOT NULL,          -- internal name: user.joe.Drafts
    partition       TEXT,                      -- on the master, where the list has it
    named           INTEGER NOT NULL,          -- 1: asked for by name
    back_master     INTEGER,                   -- rollback: the version to come back to; NULL: left alone
    back_replica    INTEGER,
    state           TEXT    NOT NULL DEFAULT 'pending' CHECK (state IN
        ('pending','decided','reversing','upgraded','unchanged','rolled_back','gone')),
    in_doubt        INTEGER NOT NULL DEFAULT 0,-- 1: open, and could not be settled: look at it
    before_master   INTEGER,                   -- index version before, where something was staged
    before_replica  INTEGER,
    forward_master  INTEGER NOT NULL DEFAULT 0,-- 1: known to be committed
    forward_replica INTEGER NOT NULL DEFAULT 0,
    attempts        INTEGER NOT NULL DEFAULT 0,-- finished ones
    reason          TEXT,                      -- of the last attempt: locked, damaged, ...
    side            TEXT,                      -- master, replica, or NULL: between the two
    detail          TEXT    NOT NULL DEFAULT '',
    messages        INTEGER NOT NULL DEFAULT 0,
    altered         INTEGER NOT NULL DEFAULT 0,-- GUIDs replaced, both sides
    cached          INTEGER NOT NULL DEFAULT 0,-- of them from cyrus.sha1s
    hashed          INTEGER NOT NULL DEFAULT 0,-- of them computed
    lag             INTEGER NOT NULL DEFAULT 0,-- UIDs that one side alone has
    lock_us_master  INTEGER,                   -- how long the locks were held, microseconds
    lock_us_replica INTEGER,
    finished_at     INTEGER,                   -- end of the last attempt
    uniqueid_master  TEXT,                     -- its unique id on each host, when it was decided
    uniqueid_replica TEXT
) STRICT;
";

const MAILBOX_INDEXES: &str = "
-- A name on two partitions is two mailboxes, until somebody says which one is meant.
CREATE UNIQUE INDEX mailbox_key ON mailbox (run, name, coalesce(partition, ''));
CREATE INDEX mailbox_state ON mailbox (run, state);
CREATE INDEX mailbox_open  ON mailbox (id) WHERE state IN ('decided','reversing');
";

const ATTEMPT: &str = "
-- One line a finished attempt.
CREATE TABLE attempt (
    id              INTEGER PRIMARY KEY,
    mailbox         INTEGER NOT NULL REFERENCES mailbox(id),
    started_at      INTEGER NOT NULL,
    finished_at     INTEGER NOT NULL,
    outcome         TEXT    NOT NULL,          -- upgraded, unchanged, rolled_back, again, gone, in_doubt, waits
    reason          TEXT,
    side            TEXT,
    detail          TEXT    NOT NULL,
    lock_us_master  INTEGER,
    lock_us_replica INTEGER
) STRICT;
CREATE INDEX attempt_mailbox ON attempt (mailbox);
";

const VIEWS: &str = "
-- Which runs were there?                    SELECT * FROM runs;
CREATE VIEW runs AS
    SELECT id, command, CASE WHEN undoes IS NULL THEN 'to version ' || to_version ELSE 'of run ' || undoes END AS what,
           datetime(started_at / 1000, 'unixepoch') AS started, datetime(finished_at / 1000, 'unixepoch') AS finished
    FROM run ORDER BY id;
-- How far is each run?                      SELECT * FROM progress;
CREATE VIEW progress AS
    SELECT run, state, count(*) AS mailboxes, sum(messages) AS messages, sum(hashed) AS hashed
    FROM mailbox GROUP BY run, state;
-- What failed, and why?                     SELECT * FROM failed;
CREATE VIEW failed AS
    SELECT run, name, attempts, side, reason, detail, datetime(finished_at / 1000, 'unixepoch') AS at
    FROM mailbox WHERE state = 'rolled_back' OR (state = 'pending' AND reason IS NOT NULL);
-- Does anything need a human, or a restart? SELECT * FROM open_transaction;
CREATE VIEW open_transaction AS
    SELECT run, name, state, in_doubt, before_master, before_replica, forward_master,
           forward_replica, side, reason, detail
    FROM mailbox WHERE state IN ('decided','reversing');
-- Where were locks held longest?            SELECT * FROM slowest LIMIT 20;
CREATE VIEW slowest AS
    SELECT run, name, messages, max(coalesce(lock_us_master, 0), coalesce(lock_us_replica, 0)) / 1000.0 AS lock_ms
    FROM mailbox WHERE lock_us_master IS NOT NULL OR lock_us_replica IS NOT NULL
    ORDER BY lock_ms DESC;
";

/// Makes a file of version 2 of one of version 1.
pub(super) const FROM_1: &str = "
ALTER TABLE run ADD COLUMN undoes INTEGER REFERENCES run(id);
ALTER TABLE mailbox ADD COLUMN back_master INTEGER;
ALTER TABLE mailbox ADD COLUMN back_replica INTEGER;
-- Which runs were there?                    SELECT * FROM runs;
CREATE VIEW runs AS
    SELECT id, command, CASE WHEN undoes IS NULL THEN 'to version ' || to_version ELSE 'of run ' || undoes END AS what,
           datetime(started_at / 1000, 'unixepoch') AS started, datetime(finished_at / 1000, 'unixepoch') AS finished
    FROM run ORDER BY id;
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

const DROP_VIEWS: &str = "
DROP VIEW runs; DROP VIEW progress; DROP VIEW failed; DROP VIEW open_transaction; DROP VIEW slowest;
";

const COPY_MAILBOXES: &str = "
INSERT INTO mailbox_3 (id, run, name, partition, named, back_master, back_replica, state, in_doubt, before_master,
        before_replica, forward_master, forward_replica, attempts, reason, side, detail, messages, altered, cached,
        hashed, lag, lock_us_master, lock_us_replica, finished_at, uniqueid_master, uniqueid_replica)
    SELECT id, run, name, partition, named, back_master, back_replica, state, in_doubt, before_master,
        before_replica, forward_master, forward_replica, attempts, reason, side, detail, messages, altered, cached,
        hashed, lag, lock_us_master, lock_us_replica, finished_at, uniqueid_master, uniqueid_replica FROM mailbox;
DROP TABLE mailbox;
ALTER TABLE mailbox_3 RENAME TO mailbox;
";

/// Every column of every table and view, sorted: what a test compares.
#[cfg(test)]
pub(super) fn columns(path: &std::path::Path) -> Vec<String> {
    let db = rusqlite::Connection::open(path).unwrap();
    let mut query = db
        .prepare("SELECT m.name || '.' || c.name FROM sqlite_schema m, pragma_table_info(m.name) c ORDER BY 1")
        .unwrap();
    let rows = query.query_map([], |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}
