//! The tables and views, for the program and for an operator with `sqlite3` at 3 a.m.

/// Creates everything in an empty file.
pub(super) fn create() -> String {
    [
        PAIR,
        RUN,
        RUN_PAIR,
        MAILBOX,
        MAILBOX_INDEXES,
        ATTEMPT,
        DISAGREEMENT,
        PAUSE,
        AT_ONCE,
        VIEWS,
    ]
    .concat()
}

pub(super) const PAIR: &str = "
-- One line a pair of hosts: its journal.
CREATE TABLE pair (
    id         INTEGER PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE,           -- as the fleet file has it; '' without one
    journal_id TEXT NOT NULL,                  -- what the slotds know its coordinator by
    master_id  TEXT,                           -- the two stores it belongs to, and no others
    replica_id TEXT
) STRICT;
";

pub(super) const PAUSE: &str = "
-- One line a pair that an operator has paused, until it is resumed.
CREATE TABLE pause (
    pair  INTEGER NOT NULL UNIQUE REFERENCES pair(id),
    since INTEGER NOT NULL                     -- milliseconds since 1970
) STRICT;
";

pub(super) const RUN: &str = "
-- One line a run. Times are milliseconds since 1970.
CREATE TABLE run (
    id            INTEGER PRIMARY KEY,
    command       TEXT    NOT NULL,            -- upgrade, downgrade, rollback, cutover,
                                               -- undo, rehearse
    to_version    INTEGER NOT NULL,            -- the index minor version wanted; rollback: 0
    undoes        INTEGER REFERENCES run(id),  -- rollback: the run whose changes are taken back
    words         TEXT    NOT NULL,            -- of which mailboxes, as it was given
    pairs         TEXT    NOT NULL,            -- of which pairs: names, sorted; '' without a fleet
    started_at    INTEGER NOT NULL,
    finished_at   INTEGER                      -- NULL: not all pairs are
) STRICT;
";

pub(super) const RUN_PAIR: &str = "
-- One line a pair on which a run has begun.
CREATE TABLE run_pair (
    run         INTEGER NOT NULL REFERENCES run(id),
    pair        INTEGER NOT NULL REFERENCES pair(id),
    master      TEXT    NOT NULL,              -- address of the master's slotd
    replica     TEXT,                          -- address of the replica's, if there is one
    master_id   TEXT    NOT NULL,              -- what the slotds call their hosts
    replica_id  TEXT    NOT NULL,
    selection   TEXT    NOT NULL,              -- which mailboxes: a start with others is refused
    listed      INTEGER NOT NULL DEFAULT 0,    -- 1: all its mailboxes are in the table below
    started_at  INTEGER NOT NULL,
    finished_at INTEGER,                       -- NULL: the next start resumes it
    PRIMARY KEY (run, pair)
) STRICT, WITHOUT ROWID;
";

pub(super) const MAILBOX: &str = "
-- One line a mailbox of a run.
-- state:  pending      to be done (again)
--         decided      OPEN: to be committed on both sides; the next start settles it
--         reversing    OPEN: to be taken back on both sides; the next start settles it
--         upgraded     done        unchanged    nothing was to do
--         rehearsed    as before; a rehearsal has found that it would be done
--         rolled_back  as before, see reason and detail; `controller retry` takes it up
--         gone         deleted by its owner before its turn came
CREATE TABLE mailbox (
    id              INTEGER PRIMARY KEY,
    run             INTEGER NOT NULL REFERENCES run(id),
    pair            INTEGER NOT NULL REFERENCES pair(id),
    name            TEXT    NOT NULL,          -- internal name: user.joe.Drafts
    partition       TEXT,                      -- on the master, where the list has it
    named           INTEGER NOT NULL,          -- 1: asked for by name
    back_master     INTEGER,                   -- rollback: the version to come back to
    back_replica    INTEGER,
    state           TEXT    NOT NULL DEFAULT 'pending' CHECK (state IN
        ('pending','decided','reversing','upgraded','unchanged','rehearsed','rolled_back','gone')),
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
    uniqueid_master  TEXT,                     -- its unique id on each host, when it was decided;
                                               -- rollback: when it was changed
    uniqueid_replica TEXT
) STRICT;
";

pub(super) const MAILBOX_INDEXES: &str = "
-- A name on two partitions is two mailboxes, until somebody says which one is meant.
CREATE UNIQUE INDEX mailbox_key ON mailbox (run, pair, name, coalesce(partition, ''));
CREATE INDEX mailbox_state ON mailbox (run, pair, state);
-- A walk through all of a pair, in the order of ids.
CREATE INDEX mailbox_walk  ON mailbox (run, pair);
CREATE INDEX mailbox_open  ON mailbox (pair) WHERE state IN ('decided','reversing');
";

const ATTEMPT: &str = "
-- One line a finished attempt.
CREATE TABLE attempt (
    id              INTEGER PRIMARY KEY,
    mailbox         INTEGER NOT NULL REFERENCES mailbox(id),
    started_at      INTEGER NOT NULL,
    finished_at     INTEGER NOT NULL,
    outcome         TEXT    NOT NULL,          -- a final state, again, in_doubt or waits
    reason          TEXT,
    side            TEXT,
    detail          TEXT    NOT NULL,
    lock_us_master  INTEGER,
    lock_us_replica INTEGER
) STRICT;
CREATE INDEX attempt_mailbox ON attempt (mailbox);
";

pub(super) const DISAGREEMENT: &str = "
-- What the list of a Murder and its backends do not agree on, as the last start of a run saw it:
-- one line a kind.
CREATE TABLE disagreement (
    run      INTEGER NOT NULL REFERENCES run(id),
    code     TEXT    NOT NULL,                 -- duplicate, stale, ...: docs/murder.md
    findings INTEGER NOT NULL,
    examples TEXT    NOT NULL,                 -- the first of them, a line each
    PRIMARY KEY (run, code)
) STRICT, WITHOUT ROWID;
";

pub(super) const AT_ONCE: &str = "
-- How many mailboxes at once the last start of a run found on a pair: one line where it did.
CREATE TABLE at_once (
    run     INTEGER NOT NULL REFERENCES run(id),
    pair    INTEGER NOT NULL REFERENCES pair(id),
    at_once INTEGER NOT NULL,                  -- at the end
    bound   TEXT    NOT NULL,                  -- the limit parallel: auto, or the most
    fewest  INTEGER NOT NULL,
    most    INTEGER NOT NULL,
    why     TEXT    NOT NULL,                  -- it was that number, in words
    PRIMARY KEY (run, pair)
) STRICT, WITHOUT ROWID;
";

pub(super) const VIEWS: &str = "
-- Which runs were there?                    SELECT * FROM runs;
CREATE VIEW runs AS
    SELECT id, pairs, command,
           CASE WHEN undoes IS NULL THEN 'to version ' || to_version ELSE 'of run ' || undoes END
               AS what,
           datetime(started_at / 1000, 'unixepoch') AS started,
           datetime(finished_at / 1000, 'unixepoch') AS finished
    FROM run ORDER BY id;
-- How far is each run?                      SELECT * FROM progress;
CREATE VIEW progress AS
    SELECT m.run, p.name AS pair, m.state, count(*) AS mailboxes, sum(m.messages) AS messages,
           sum(m.hashed) AS hashed
    FROM mailbox m JOIN pair p ON p.id = m.pair GROUP BY m.run, p.name, m.state;
-- What failed, and why?                     SELECT * FROM failed;
CREATE VIEW failed AS
    SELECT m.run, p.name AS pair, m.name, m.attempts, m.side, m.reason, m.detail,
           datetime(m.finished_at / 1000, 'unixepoch') AS at
    FROM mailbox m JOIN pair p ON p.id = m.pair
    WHERE m.state = 'rolled_back' OR (m.state = 'pending' AND m.reason IS NOT NULL);
-- Does anything need a human, or a restart? SELECT * FROM open_transaction;
CREATE VIEW open_transaction AS
    SELECT m.run, p.name AS pair, m.name, m.state, m.in_doubt, m.before_master, m.before_replica,
           m.forward_master, m.forward_replica, m.side, m.reason, m.detail
    FROM mailbox m JOIN pair p ON p.id = m.pair WHERE m.state IN ('decided','reversing');
-- Where were locks held longest?            SELECT * FROM slowest LIMIT 20;
CREATE VIEW slowest AS
    SELECT m.run, p.name AS pair, m.name, m.messages,
           max(coalesce(m.lock_us_master, 0), coalesce(m.lock_us_replica, 0)) / 1000.0 AS lock_ms
    FROM mailbox m JOIN pair p ON p.id = m.pair
    WHERE m.lock_us_master IS NOT NULL OR m.lock_us_replica IS NOT NULL
    ORDER BY lock_ms DESC;
";

/// What `sqlite_schema` says of each table, index and view, sorted: what a test compares.
#[cfg(test)]
pub(super) fn objects(path: &std::path::Path) -> Vec<String> {
    let db = rusqlite::Connection::open(path).unwrap();
    let sql = "SELECT name || ' ' || coalesce(sql, '') FROM sqlite_schema ORDER BY 1";
    let mut query = db.prepare(sql).unwrap();
    let rows = query.query_map([], |row| row.get::<_, String>(0)).unwrap();
    // A table that took another one's name has its own in quotes; comments are for a reader.
    let plain = |sql: String| {
        let lines = sql.lines().map(|line| line.split("--").next().unwrap());
        let words = lines.flat_map(str::split_whitespace);
        words.collect::<Vec<_>>().join(" ").replace('"', "")
    };
    rows.map(|row| plain(row.unwrap())).collect()
}
