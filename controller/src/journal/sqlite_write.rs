//! The changes of the journal, as SQL.

use rusqlite::{Connection, params};

use super::model::{Change, Ended, Listed, RunId, RunSpec, State};
use crate::two_phase::{Reason, Side};

pub(super) fn begin_run(db: &Connection, spec: &RunSpec, now_ms: i64) -> rusqlite::Result<RunId> {
    db.execute(
        "INSERT INTO run (command, to_version, undoes, master, replica, master_id, replica_id, \
         selection, words, started_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        params![
            spec.verb.as_str(),
            spec.to,
            spec.undoes.map(|run| run.0),
            spec.master,
            spec.replica,
            spec.master_id,
            spec.replica_id,
            spec.selection,
            spec.words,
            now_ms
        ],
    )?;
    let run = RunId(db.last_insert_rowid());
    db.execute(
        "UPDATE journal SET master_id = coalesce(master_id, nullif(?, '')), \
         replica_id = coalesce(replica_id, nullif(?, ''))",
        params![spec.master_id, spec.replica_id],
    )?;
    Ok(run)
}

pub(super) fn add(db: &Connection, run: RunId, listed: &[Listed]) -> rusqlite::Result<u64> {
    let mut insert = db.prepare_cached(
        "INSERT INTO mailbox (run, name, partition, named, back_master, back_replica) \
         SELECT ?1, ?2, ?3, ?4, ?5, ?6 WHERE NOT EXISTS \
         (SELECT 1 FROM mailbox WHERE run = ?1 AND name = ?2 \
         AND (partition IS NULL OR ?3 IS NULL OR partition = ?3))",
    )?;
    let mut new = 0;
    for one in listed {
        let name = one.name.as_str();
        let [master, replica] = one.back;
        new += insert.execute(params![
            run.0,
            name,
            one.partition,
            one.named,
            master,
            replica
        ])?;
    }
    Ok(new as u64)
}

pub(super) fn list_complete(db: &Connection, run: RunId) -> rusqlite::Result<()> {
    let sql = "UPDATE run SET list_complete = 1 WHERE id = ?";
    db.execute(sql, [run.0]).map(drop)
}

pub(super) fn finish_run(db: &Connection, run: RunId, now_ms: i64) -> rusqlite::Result<()> {
    let sql = "UPDATE run SET finished_at = ? WHERE id = ?";
    db.execute(sql, [now_ms, run.0]).map(drop)
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
