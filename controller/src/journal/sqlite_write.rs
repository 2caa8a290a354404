//! The changes of the journal, as SQL.

use rusqlite::{Connection, OptionalExtension, params};

use super::model::{Change, Ended, Listed, State};
use super::runs::{RunId, RunSpec, pair_names};
use crate::two_phase::{Reason, Side};

/// The pair with this name, made with this id for its journal if it is new. `None`: the file has
/// pairs of the other kind.
pub(super) fn pair(db: &Connection, name: &str, journal_id: &str) -> rusqlite::Result<Option<i64>> {
    let other = "SELECT EXISTS (SELECT 1 FROM pair WHERE (name = '') <> (? = ''))";
    if db.query_row(other, [name], |row| row.get(0))? {
        return Ok(None);
    }
    let sql = "INSERT INTO pair (name, journal_id) VALUES (?, ?) ON CONFLICT DO NOTHING";
    db.execute(sql, [name, journal_id])?;
    let sql = "SELECT id FROM pair WHERE name = ?";
    db.query_row(sql, [name], |row| row.get(0)).map(Some)
}

pub(super) fn begin_run(
    db: &Connection,
    pair: i64,
    spec: &RunSpec,
    now_ms: i64,
) -> rusqlite::Result<RunId> {
    let run = match joined(db, pair, spec)? {
        Some(run) => run,
        None => new_run(db, spec, now_ms)?,
    };
    db.execute(
        "INSERT INTO run_pair (run, pair, master, replica, master_id, replica_id, selection, \
         started_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        params![
            run,
            pair,
            spec.master,
            spec.replica,
            spec.master_id,
            spec.replica_id,
            spec.selection,
            now_ms
        ],
    )?;
    db.execute(
        "UPDATE pair SET master_id = coalesce(master_id, nullif(?, '')), \
         replica_id = coalesce(replica_id, nullif(?, '')) WHERE id = ?",
        params![spec.master_id, spec.replica_id, pair],
    )?;
    Ok(RunId(run))
}

/// The newest run, if this pair is one of those that have not begun it.
fn joined(db: &Connection, pair: i64, spec: &RunSpec) -> rusqlite::Result<Option<i64>> {
    db.query_row(
        "SELECT id FROM run WHERE id = (SELECT max(id) FROM run) AND finished_at IS NULL \
         AND command = ? AND to_version = ? AND undoes IS ? AND words = ? AND pairs = ? \
         AND NOT EXISTS (SELECT 1 FROM run_pair WHERE run = run.id AND pair = ?)",
        params![
            spec.verb.as_str(),
            spec.to,
            spec.undoes.map(|run| run.0),
            spec.words,
            spec.pairs,
            pair
        ],
        |row| row.get(0),
    )
    .optional()
}

fn new_run(db: &Connection, spec: &RunSpec, now_ms: i64) -> rusqlite::Result<i64> {
    db.execute(
        "INSERT INTO run (command, to_version, undoes, words, pairs, started_at) \
         VALUES (?, ?, ?, ?, ?, ?)",
        params![
            spec.verb.as_str(),
            spec.to,
            spec.undoes.map(|run| run.0),
            spec.words,
            spec.pairs,
            now_ms
        ],
    )?;
    Ok(db.last_insert_rowid())
}

pub(super) fn add(
    db: &Connection,
    pair: i64,
    run: RunId,
    listed: &[Listed],
) -> rusqlite::Result<u64> {
    let mut insert = db.prepare_cached(
        "INSERT INTO mailbox (run, pair, name, partition, named, back_master, back_replica) \
         SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7 WHERE NOT EXISTS \
         (SELECT 1 FROM mailbox WHERE run = ?1 AND pair = ?2 AND name = ?3 \
         AND (partition IS NULL OR ?4 IS NULL OR partition = ?4))",
    )?;
    let mut new = 0;
    for one in listed {
        let name = one.name.as_str();
        let [master, replica] = one.back;
        new += insert.execute(params![
            run.0,
            pair,
            name,
            one.partition,
            one.named,
            master,
            replica
        ])?;
    }
    Ok(new as u64)
}

pub(super) fn list_complete(db: &Connection, pair: i64, run: RunId) -> rusqlite::Result<()> {
    let sql = "UPDATE run_pair SET listed = 1 WHERE run = ? AND pair = ?";
    db.execute(sql, [run.0, pair]).map(drop)
}

pub(super) fn finish_run(
    db: &Connection,
    pair: i64,
    run: RunId,
    now_ms: i64,
) -> rusqlite::Result<()> {
    let sql = "UPDATE run_pair SET finished_at = ? WHERE run = ? AND pair = ?";
    db.execute(sql, [now_ms, run.0, pair])?;
    let sql = "SELECT pairs FROM run WHERE id = ?";
    let pairs = db.query_row(sql, [run.0], |row| row.get::<_, String>(0));
    let Some(pairs) = pairs.optional()? else {
        return Ok(());
    };
    let sql = "SELECT count(*) FROM run_pair WHERE run = ? AND finished_at IS NOT NULL";
    let finished: i64 = db.query_row(sql, [run.0], |row| row.get(0))?;
    if usize::try_from(finished) == Ok(pair_names(&pairs).count()) {
        let sql = "UPDATE run SET finished_at = ? WHERE id = ?";
        db.execute(sql, [now_ms, run.0])?;
    }
    Ok(())
}

pub(super) fn give_up(db: &Connection, run: RunId, now_ms: i64) -> rusqlite::Result<()> {
    for sql in [
        "UPDATE run SET finished_at = ? WHERE id = ? AND finished_at IS NULL",
        "UPDATE run_pair SET finished_at = ? WHERE run = ? AND finished_at IS NULL",
    ] {
        db.execute(sql, [now_ms, run.0])?;
    }
    Ok(())
}

pub(super) fn apply(db: &Connection, change: &Change) -> rusqlite::Result<()> {
    match change {
        Change::Decide { mailbox, before } => db
            .prepare_cached(
                "UPDATE mailbox SET state = 'decided', in_doubt = 0, before_master = ?, \
                 before_replica = ?, \
                 forward_master = 0, forward_replica = 0 WHERE id = ?",
            )?
            .execute(params![before[0], before[1], mailbox.0]),
        Change::Identify { mailbox, uniqueids } => db
            .prepare_cached(
                "UPDATE mailbox SET uniqueid_master = ?, uniqueid_replica = ? WHERE id = ?",
            )?
            .execute(params![uniqueids[0], uniqueids[1], mailbox.0]),
        Change::Forward { mailbox, side } => db
            .prepare_cached(match side {
                Side::Master => "UPDATE mailbox SET forward_master = 1 WHERE id = ?",
                Side::Replica => "UPDATE mailbox SET forward_replica = 1 WHERE id = ?",
            })?
            .execute([mailbox.0]),
        Change::Reverse { mailbox } => db
            .prepare_cached("UPDATE mailbox SET state = 'reversing' WHERE id = ?")?
            .execute([mailbox.0]),
        Change::Requeue { mailbox } => db
            .prepare_cached(
                "UPDATE mailbox SET state = 'pending' \
                 WHERE id = ? AND state IN ('rolled_back', 'gone')",
            )?
            .execute([mailbox.0]),
        Change::Finish { mailbox, attempt } => {
            let side = attempt.side.map(Side::as_str);
            let reason = attempt.reason.map(Reason::as_str);
            let f = &attempt.figures;
            let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
            let lock = f.lock_us.map(|us| us.map(count));
            db.prepare_cached(
                "INSERT INTO attempt (mailbox, started_at, finished_at, outcome, reason, \
                     side, detail, \
                     lock_us_master, lock_us_replica) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            )?
            .execute(params![
                mailbox.0,
                attempt.started_ms,
                attempt.finished_ms,
                attempt.ended.as_str(),
                reason,
                side,
                attempt.detail,
                lock[0],
                lock[1]
            ])?;
            db.prepare_cached(
                "UPDATE mailbox SET state = coalesce(?, state), in_doubt = ?, attempts = \
                     attempts + 1, \
                     reason = ?, side = ?, detail = ?, messages = ?, altered = ?, cached = ?, \
                     hashed = ?, lag = ?, \
                     lock_us_master = ?, lock_us_replica = ?, finished_at = ? WHERE id = ?",
            )?
            .execute(params![
                attempt.ended.state().map(State::as_str),
                attempt.ended == Ended::InDoubt,
                reason,
                side,
                attempt.detail,
                count(f.messages),
                count(f.altered),
                count(f.cached),
                count(f.hashed),
                count(f.lag),
                lock[0],
                lock[1],
                attempt.finished_ms,
                mailbox.0
            ])
        }
    }
    .map(|_| ())
}
