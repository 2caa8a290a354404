-- A state file of version 3, as reguid 0.1.0 of that time made it, with two runs in it.
CREATE TABLE journal (
    id         TEXT NOT NULL,
    master_id  TEXT,
    replica_id TEXT
) STRICT;
INSERT INTO journal VALUES ('0123456789abcdef', 'a', 'b');
CREATE TABLE run (
    id            INTEGER PRIMARY KEY,
    command       TEXT    NOT NULL,
    to_version    INTEGER NOT NULL,
    undoes        INTEGER REFERENCES run(id),
    master        TEXT    NOT NULL,
    replica       TEXT,
    master_id     TEXT    NOT NULL,
    replica_id    TEXT    NOT NULL,
    selection     TEXT    NOT NULL,
    words         TEXT    NOT NULL,
    started_at    INTEGER NOT NULL,
    finished_at   INTEGER,
    list_complete INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE mailbox (
    id              INTEGER PRIMARY KEY,
    run             INTEGER NOT NULL REFERENCES run(id),
    name            TEXT    NOT NULL,
    partition       TEXT,
    named           INTEGER NOT NULL,
    back_master     INTEGER,
    back_replica    INTEGER,
    state           TEXT    NOT NULL DEFAULT 'pending' CHECK (state IN
        ('pending','decided','reversing','upgraded','unchanged','rolled_back','gone')),
    in_doubt        INTEGER NOT NULL DEFAULT 0,
    before_master   INTEGER,
    before_replica  INTEGER,
    forward_master  INTEGER NOT NULL DEFAULT 0,
    forward_replica INTEGER NOT NULL DEFAULT 0,
    attempts        INTEGER NOT NULL DEFAULT 0,
    reason          TEXT,
    side            TEXT,
    detail          TEXT    NOT NULL DEFAULT '',
    messages        INTEGER NOT NULL DEFAULT 0,
    altered         INTEGER NOT NULL DEFAULT 0,
    cached          INTEGER NOT NULL DEFAULT 0,
    hashed          INTEGER NOT NULL DEFAULT 0,
    lag             INTEGER NOT NULL DEFAULT 0,
    lock_us_master  INTEGER,
    lock_us_replica INTEGER,
    finished_at     INTEGER,
    uniqueid_master  TEXT,
    uniqueid_replica TEXT
) STRICT;
CREATE UNIQUE INDEX mailbox_key ON mailbox (run, name, coalesce(partition, ''));
CREATE INDEX mailbox_state ON mailbox (run, state);
CREATE INDEX mailbox_open  ON mailbox (id) WHERE state IN ('decided','reversing');
CREATE TABLE attempt (
    id              INTEGER PRIMARY KEY,
    mailbox         INTEGER NOT NULL REFERENCES mailbox(id),
    started_at      INTEGER NOT NULL,
    finished_at     INTEGER NOT NULL,
    outcome         TEXT    NOT NULL,
    reason          TEXT,
    side            TEXT,
    detail          TEXT    NOT NULL,
    lock_us_master  INTEGER,
    lock_us_replica INTEGER
) STRICT;
CREATE INDEX attempt_mailbox ON attempt (mailbox);
CREATE VIEW runs AS
    SELECT id, command,
           CASE WHEN undoes IS NULL THEN 'to version ' || to_version ELSE 'of run ' || undoes END
           AS what,
           datetime(started_at / 1000, 'unixepoch') AS started,
           datetime(finished_at / 1000, 'unixepoch') AS finished
    FROM run ORDER BY id;
CREATE VIEW progress AS
    SELECT run, state, count(*) AS mailboxes, sum(messages) AS messages,
           sum(hashed) AS hashed
    FROM mailbox GROUP BY run, state;
CREATE VIEW failed AS
    SELECT run, name, attempts, side, reason, detail,
           datetime(finished_at / 1000, 'unixepoch') AS at
    FROM mailbox WHERE state = 'rolled_back' OR (state = 'pending' AND reason IS NOT NULL);
CREATE VIEW open_transaction AS
    SELECT run, name, state, in_doubt, before_master, before_replica, forward_master,
           forward_replica, side, reason, detail
    FROM mailbox WHERE state IN ('decided','reversing');
CREATE VIEW slowest AS
    SELECT run, name, messages,
           max(coalesce(lock_us_master, 0), coalesce(lock_us_replica, 0)) / 1000.0 AS lock_ms
    FROM mailbox WHERE lock_us_master IS NOT NULL OR lock_us_replica IS NOT NULL
    ORDER BY lock_ms DESC;
PRAGMA application_id = 0x72656775;
PRAGMA user_version = 3;
INSERT INTO run VALUES
    (1, 'upgrade', 10, NULL, 'unix:/m', 'unix:/r', 'a', 'b', 'all', '', 3, 4, 1),
    (2, 'upgrade', 10, NULL, 'unix:/m', 'unix:/r', 'a', 'b', 'all', '--partition p', 5, NULL, 1);
INSERT INTO mailbox (id, run, name, partition, named, state, before_master, before_replica)
    VALUES (1, 1, 'user.b', 'default', 0, 'upgraded', 9, 9);
INSERT INTO mailbox (id, run, name, partition, named, state, before_master, before_replica,
        forward_replica, uniqueid_master)
    VALUES (2, 2, 'user.a', 'default', 0, 'decided', 9, 9, 1, 'ua');
INSERT INTO mailbox (id, run, name, partition, named, state, attempts, messages, finished_at)
    VALUES (3, 2, 'user.b', 'default', 0, 'upgraded', 1, 7, 6);
INSERT INTO attempt (mailbox, started_at, finished_at, outcome, detail)
    VALUES (3, 5, 6, 'upgraded', '');
