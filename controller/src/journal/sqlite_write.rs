//! The changes of the journal, as SQL.

use rusqlite::types::{ToSql, ToSqlOutput};
use rusqlite::{Connection, OptionalExtension, params, params_from_iter};

use super::model::Candidate;
use super::queries::Value;
use super::runs::{RunId, RunSpec, pair_names};
use super::work::{REOPEN, Work, at_once, notes, pause, statements};

/// Writes something of a pair.
pub(super) fn apply(db: &Connection, pair: i64, work: &Work) -> rusqlite::Result<i64> {
    match work {
        Work::Change(change) => execute(db, statements(change))?,
        Work::Pair { name, journal_id } => return new_pair(db, name, journal_id),
        Work::Begin { spec, now_ms } => return begin_run(db, pair, spec, *now_ms),
        Work::Add { run, listed } => return add(db, pair, *run, listed),
        Work::Listed { run } => list_complete(db, pair, *run)?,
        Work::Finish { run, now_ms } => finish_run(db, pair, *run, *now_ms)?,
        Work::GiveUp { run, now_ms } => give_up(db, *run, *now_ms)?,
        Work::Note { run, found } => execute(db, notes(*run, found))?,
        Work::AtOnce { run, found } => execute(db, at_once(pair, *run, found))?,
        Work::Pause { since_ms } => execute(db, pause(pair, *since_ms))?,
        Work::Flush => {}
    }
    Ok(0)
}

fn new_pair(db: &Connection, name: &str, journal_id: &str) -> rusqlite::Result<i64> {
    let other = "SELECT EXISTS (SELECT 1 FROM pair WHERE (name = '') <> (? = ''))";
    if db.query_row(other, [name], |row| row.get(0))? {
        return Ok(0);
    }
    let sql = "INSERT INTO pair (name, journal_id) VALUES (?, ?) ON CONFLICT DO NOTHING";
    db.execute(sql, [name, journal_id])?;
    let sql = "SELECT id FROM pair WHERE name = ?";
    db.query_row(sql, [name], |row| row.get(0))
}

fn begin_run(db: &Connection, pair: i64, spec: &RunSpec, now_ms: i64) -> rusqlite::Result<i64> {
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
    Ok(run)
}

/// The newest run (a rehearsal counts beside rehearsals only), if this pair is one of those that
/// have not begun it.
fn joined(db: &Connection, pair: i64, spec: &RunSpec) -> rusqlite::Result<Option<i64>> {
    db.query_row(
        "SELECT id FROM run WHERE id = (SELECT max(id) FROM run \
         WHERE (command = 'rehearse') = (?1 = 'rehearse')) AND finished_at IS NULL \
         AND command = ?1 AND to_version = ?2 AND undoes IS ?3 AND words = ?4 AND pairs = ?5 \
         AND NOT EXISTS (SELECT 1 FROM run_pair WHERE run = run.id AND pair = ?6)",
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

fn add(db: &Connection, pair: i64, run: RunId, listed: &[Candidate]) -> rusqlite::Result<i64> {
    let mut insert = db.prepare_cached(
        "INSERT INTO mailbox (run, pair, name, partition, named, back_master, back_replica, \
         uniqueid_master, uniqueid_replica) \
         SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9 WHERE NOT EXISTS \
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
            replica,
            one.uniqueids[0],
            one.uniqueids[1]
        ])?;
    }
    if new > 0 {
        for sql in REOPEN {
            db.execute(sql, [run.0, pair])?;
        }
    }
    Ok(i64::try_from(new).unwrap_or(i64::MAX))
}

fn list_complete(db: &Connection, pair: i64, run: RunId) -> rusqlite::Result<()> {
    let sql = "UPDATE run_pair SET listed = 1 WHERE run = ? AND pair = ?";
    db.execute(sql, [run.0, pair]).map(drop)
}

fn finish_run(db: &Connection, pair: i64, run: RunId, now_ms: i64) -> rusqlite::Result<()> {
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

fn give_up(db: &Connection, run: RunId, now_ms: i64) -> rusqlite::Result<()> {
    for sql in [
        "UPDATE run SET finished_at = ? WHERE id = ? AND finished_at IS NULL",
        "UPDATE run_pair SET finished_at = ? WHERE run = ? AND finished_at IS NULL",
    ] {
        db.execute(sql, [now_ms, run.0])?;
    }
    Ok(())
}

fn execute(db: &Connection, all: Vec<(&'static str, Vec<Value>)>) -> rusqlite::Result<()> {
    for (sql, values) in all {
        db.prepare_cached(sql)?.execute(params_from_iter(&values))?;
    }
    Ok(())
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        match self {
            Self::Number(number) => number.to_sql(),
            Self::Text(text) => text.to_sql(),
            Self::Numbers(_) | Self::Texts(_) => {
                let what = "SQLite has no arrays".into();
                Err(rusqlite::Error::ToSqlConversionFailure(what))
            }
        }
    }
}
