//! The queries of the journal, as SQL.

use std::path::Path;

use indexfile::mailbox::MailboxName;
use rusqlite::{Connection, OptionalExtension, Row as SqlRow, Rows, params};

use super::JournalError;
use super::history::{Changed, Changing};
use super::model::{Figures, Filter, Identity, MailboxId, OpenTransaction, Row, State, Totals};
use super::runs::{PairRun, RunId, RunInfo, RunOfPairs, RunSpec, Verb, pair_names};
use super::state_file::sqlite;
use crate::two_phase::{Open, Reason, Side};

/// Why a query has no answer.
pub(super) enum Fault {
    Sqlite(rusqlite::Error),
    Damaged(String),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl Fault {
    pub(super) fn into_error(self, path: &Path) -> JournalError {
        match self {
            Self::Sqlite(error) => sqlite(path, &error),
            Self::Damaged(what) => JournalError::Damaged { what },
        }
    }
}

pub(super) type Query<T> = Result<T, Fault>;

const COLUMNS: &str = "m.id, m.name, m.partition, m.named, m.state, m.attempts, m.reason, \
     m.side, m.detail, \
     m.in_doubt, m.messages, m.altered, m.cached, m.hashed, m.lag, m.lock_us_master, \
     m.lock_us_replica, m.finished_at, \
     m.back_master, m.back_replica";
/// The first column after these.
const NEXT: usize = 20;

/// Of a run and what it is on one pair.
const RUN_COLUMNS: &str = "r.id, r.command, r.to_version, r.undoes, p.master, p.replica, \
     p.master_id, p.replica_id, p.selection, r.words, r.pairs";
/// The first column after these.
const RUN_NEXT: usize = 11;

/// The names of all pairs, sorted.
pub(super) fn pairs(connection: &Connection) -> Query<Vec<String>> {
    let mut statement = connection.prepare("SELECT name FROM pair ORDER BY name")?;
    all(statement.query([])?, |row| Ok(row.get(0)?))
}

/// A pair by its name, if it is there.
pub(super) fn pair(connection: &Connection, name: &str) -> Query<Option<i64>> {
    let sql = "SELECT id FROM pair WHERE name = ?";
    let found = connection.query_row(sql, [name], |row| row.get(0));
    Ok(found.optional()?)
}

/// An id that no other journal has.
pub(super) fn new_id(connection: &Connection) -> Query<String> {
    let sql = "SELECT lower(hex(randomblob(8)))";
    Ok(connection.query_row(sql, [], |row| row.get(0))?)
}

pub(super) fn last_run_of_pairs(connection: &Connection) -> Query<Option<RunOfPairs>> {
    run_of_pairs_where(connection, "ORDER BY r.id DESC LIMIT 1", [])
}

pub(super) fn run_of_pairs(connection: &Connection, id: RunId) -> Query<Option<RunOfPairs>> {
    run_of_pairs_where(connection, "WHERE r.id = ?", [id.0])
}

fn run_of_pairs_where(
    connection: &Connection,
    which: &str,
    params: impl rusqlite::Params,
) -> Query<Option<RunOfPairs>> {
    let sql = format!(
        "SELECT r.id, r.command, r.to_version, r.undoes, r.words, r.pairs, r.started_at, \
         r.finished_at FROM run r {which}"
    );
    let mut statement = connection.prepare(&sql)?;
    let found = all(statement.query(params)?, |row| {
        let pairs: String = row.get(5)?;
        let run = RunOfPairs {
            id: RunId(row.get(0)?),
            verb: verb_of(&row.get::<_, String>(1)?)?,
            to: row.get(2)?,
            undoes: row.get::<_, Option<i64>>(3)?.map(RunId),
            words: row.get(4)?,
            pairs: pair_names(&pairs).map(PairRun::to_begin).collect(),
            started_ms: row.get(6)?,
            finished_ms: row.get(7)?,
        };
        Ok(run)
    })?;
    let Some(mut run) = found.into_iter().next() else {
        return Ok(None);
    };
    let mut statement = connection.prepare(
        "SELECT p.name, r.started_at, r.listed, r.finished_at FROM run_pair r \
         JOIN pair p ON p.id = r.pair WHERE r.run = ?",
    )?;
    let begun = all(statement.query([run.id.0])?, |row| {
        Ok(PairRun {
            name: row.get(0)?,
            started_ms: Some(row.get(1)?),
            listed: row.get(2)?,
            finished_ms: row.get(3)?,
        })
    })?;
    for pair in begun {
        let Some(of_run) = run.pairs.iter_mut().find(|p| p.name == pair.name) else {
            return Err(Fault::Damaged(format!("pair {:?} in a run", pair.name)));
        };
        *of_run = pair;
    }
    Ok(Some(run))
}

pub(super) fn last_run(connection: &Connection, pair: i64) -> Query<Option<RunInfo>> {
    run_where(connection, "ORDER BY r.id DESC LIMIT 1", [pair])
}

pub(super) fn identity(connection: &Connection, pair: i64) -> Query<Identity> {
    let sql = "SELECT journal_id, master_id, replica_id FROM pair WHERE id = ?";
    let read = |row: &SqlRow<'_>| {
        Ok(Identity {
            id: row.get(0)?,
            hosts: [row.get(1)?, row.get(2)?],
            epoch: None,
        })
    };
    let found = connection.query_row(sql, [pair], read).optional()?;
    found.ok_or_else(|| Fault::Damaged("it does not say whose journal it is".to_owned()))
}

pub(super) fn run(connection: &Connection, pair: i64, id: RunId) -> Query<Option<RunInfo>> {
    run_where(connection, "WHERE r.id = ?", [pair, id.0])
}

fn run_where(
    connection: &Connection,
    which: &str,
    params: impl rusqlite::Params,
) -> Query<Option<RunInfo>> {
    let sql = format!(
        "SELECT {RUN_COLUMNS}, p.started_at, p.finished_at, p.listed FROM run r \
         JOIN run_pair p ON p.run = r.id AND p.pair = ? {which}"
    );
    let mut statement = connection.prepare(&sql)?;
    let runs = all(statement.query(params)?, |row| {
        let (id, spec) = spec(row, 0)?;
        Ok(RunInfo {
            id,
            spec,
            started_ms: row.get(RUN_NEXT)?,
            finished_ms: row.get(RUN_NEXT + 1)?,
            list_complete: row.get(RUN_NEXT + 2)?,
        })
    })?;
    Ok(runs.into_iter().next())
}

/// A run and what it was started with, from these columns and `first` on.
fn spec(row: &SqlRow<'_>, first: usize) -> Query<(RunId, RunSpec)> {
    let spec = RunSpec {
        verb: verb_of(&row.get::<_, String>(first + 1)?)?,
        to: row.get(first + 2)?,
        undoes: row.get::<_, Option<i64>>(first + 3)?.map(RunId),
        master: row.get(first + 4)?,
        replica: row.get(first + 5)?,
        master_id: row.get(first + 6)?,
        replica_id: row.get(first + 7)?,
        selection: row.get(first + 8)?,
        words: row.get(first + 9)?,
        pairs: row.get(first + 10)?,
    };
    Ok((RunId(row.get(first)?), spec))
}

/// Two statements, so that each has its index: without one a page sorts the whole run.
pub(super) fn page_sql(filter: Filter) -> String {
    let (index, state) = match filter {
        Filter::All => ("mailbox_walk", ""),
        Filter::In(_) => ("mailbox_state", "AND m.state = ?5"),
    };
    format!(
        "SELECT {COLUMNS} FROM mailbox m INDEXED BY {index} WHERE m.run = ?1 AND m.pair = ?2 \
         AND m.id > ?3 {state} ORDER BY m.id LIMIT ?4"
    )
}

pub(super) fn page(
    connection: &Connection,
    pair: i64,
    run: RunId,
    filter: Filter,
    after: MailboxId,
    limit: u32,
) -> Query<Vec<Row>> {
    let sql = page_sql(filter);
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = match filter {
        Filter::All => statement.query(params![run.0, pair, after.0, limit])?,
        Filter::In(state) => {
            statement.query(params![run.0, pair, after.0, limit, state.as_str()])?
        }
    };
    all(rows, mailbox)
}

pub(super) fn find_all(
    connection: &Connection,
    pair: i64,
    run: RunId,
    name: &MailboxName,
) -> Query<Vec<Row>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM mailbox m WHERE m.run = ? AND m.pair = ? AND m.name = ? \
         ORDER BY m.id"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query(params![run.0, pair, name.as_str()])?;
    all(rows, mailbox)
}

/// Everything that a query finds.
fn all<T>(mut rows: Rows<'_>, read: impl Fn(&SqlRow<'_>) -> Query<T>) -> Query<Vec<T>> {
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(row)?);
    }
    Ok(found)
}

pub(super) fn open_sql() -> String {
    format!(
        "SELECT {COLUMNS}, m.before_master, m.before_replica, m.forward_master, \
         m.forward_replica, m.uniqueid_master, m.uniqueid_replica, {RUN_COLUMNS} \
         FROM mailbox m CROSS JOIN run r ON r.id = m.run \
         CROSS JOIN run_pair p ON p.run = m.run AND p.pair = m.pair \
         WHERE m.pair = ? AND m.state IN ('decided', 'reversing') AND m.id > ? \
         ORDER BY m.id LIMIT ?"
    )
}

pub(super) fn open_transactions(
    connection: &Connection,
    pair: i64,
    after: MailboxId,
    limit: u32,
) -> Query<Vec<OpenTransaction>> {
    let mut statement = connection.prepare_cached(&open_sql())?;
    let rows = statement.query(params![pair, after.0, limit])?;
    all(rows, |row| {
        let mailbox = mailbox(row)?;
        let open = Open {
            reversing: mailbox.state == State::Reversing,
            before: [row.get(NEXT)?, row.get(NEXT + 1)?],
            forward: [row.get(NEXT + 2)?, row.get(NEXT + 3)?],
        };
        let (run, spec) = spec(row, NEXT + 6)?;
        Ok(OpenTransaction {
            row: mailbox,
            run,
            spec,
            open,
            uniqueids: [row.get(NEXT + 4)?, row.get(NEXT + 5)?],
        })
    })
}

/// What is selected of another run, in one word: `RUN/COMMAND/UNDOES/BEFORE_MASTER/BEFORE_REPLICA`.
const OTHER: &str = "l.run || '/' || r.command || '/' || coalesce(r.undoes, '') || '/' || \
     coalesce(l.before_master, '') || '/' || coalesce(l.before_replica, '')";

/// One look-up by (run, pair, name) for each run; CROSS JOIN keeps `SQLite` from another order.
pub(super) fn changed_sql() -> String {
    format!(
        "SELECT {COLUMNS}, m.before_master, m.before_replica, \
         (SELECT command FROM run WHERE id = m.run), (SELECT undoes FROM run WHERE id = m.run), \
         (SELECT group_concat({OTHER}, ' ') FROM run r CROSS JOIN mailbox l \
         ON l.run = r.id AND l.pair = m.pair AND l.name = m.name \
         AND coalesce(l.partition = m.partition, 1) \
         WHERE r.id > 0 AND r.id <> m.run AND l.state IN ('upgraded','decided','reversing')) \
         FROM mailbox m WHERE m.run = ?1 AND m.pair = ?2 AND m.id > ?3 AND m.state = 'upgraded' \
         ORDER BY m.id LIMIT ?4"
    )
}

pub(super) fn changed(
    connection: &Connection,
    pair: i64,
    run: RunId,
    after: MailboxId,
    limit: u32,
) -> Query<Vec<Changed>> {
    let mut statement = connection.prepare_cached(&changed_sql())?;
    let rows = statement.query(params![run.0, pair, after.0, limit])?;
    all(rows, |row| {
        let change = Changing {
            run,
            verb: verb_of(&row.get::<_, String>(NEXT + 2)?)?,
            undoes: row.get::<_, Option<i64>>(NEXT + 3)?.map(RunId),
            before: [row.get(NEXT)?, row.get(NEXT + 1)?],
        };
        let others: Option<String> = row.get(NEXT + 4)?;
        let others = others.unwrap_or_default();
        let others = others.split_whitespace().map(changing);
        let mut others: Vec<Changing> = others.collect::<Query<_>>()?;
        others.sort_by_key(|o| o.run);
        Ok(Changed {
            row: mailbox(row)?,
            change,
            others,
        })
    })
}

/// Reads a word of [`OTHER`].
fn changing(word: &str) -> Query<Changing> {
    let damaged = || Fault::Damaged(format!("a run {word:?}"));
    let parts: Vec<&str> = word.split('/').collect();
    let [run, verb, undoes, master, replica] = parts[..] else {
        return Err(damaged());
    };
    let number = |text: &str| text.parse::<i64>().map_err(|_| damaged());
    let version = |text: &str| -> Query<Option<u8>> {
        if text.is_empty() {
            return Ok(None);
        }
        text.parse().map(Some).map_err(|_| damaged())
    };
    Ok(Changing {
        run: RunId(number(run)?),
        verb: verb_of(verb)?,
        undoes: if undoes.is_empty() {
            None
        } else {
            Some(RunId(number(undoes)?))
        },
        before: [version(master)?, version(replica)?],
    })
}

pub(super) fn totals(connection: &Connection, pair: i64, run: RunId) -> Query<Totals> {
    let mut statement = connection.prepare_cached(
        "SELECT state, count(*), sum(in_doubt), sum(messages), sum(cached), sum(hashed), sum(lag), \
         sum(in_doubt = 0 AND coalesce(reason, '') = 'unmounted'), \
         sum(coalesce(reason, '') = 'wrong_guid'), \
         sum(coalesce(reason, '') = 'no_mailbox' AND coalesce(side, '') = 'master') \
         FROM mailbox WHERE run = ? AND pair = ? GROUP BY state",
    )?;
    let mut rows = statement.query([run.0, pair])?;
    let mut totals = Totals::default();
    while let Some(row) = rows.next()? {
        let count = unsigned(row, 1)?;
        totals.mailboxes += count;
        match state_of(&row.get::<_, String>(0)?)? {
            State::Pending => totals.pending += count,
            State::Decided | State::Reversing => {
                totals.open += count;
                totals.in_doubt += unsigned(row, 2)?;
                totals.waiting += unsigned(row, 7)?;
            }
            State::Upgraded => totals.upgraded += count,
            State::Unchanged => totals.unchanged += count,
            State::RolledBack => {
                totals.wrong_guid = unsigned(row, 8)?;
                totals.rolled_back = count - totals.wrong_guid;
                totals.unknown = unsigned(row, 9)?;
            }
            State::Gone => totals.gone += count,
        }
        totals.messages += unsigned(row, 3)?;
        totals.cached += unsigned(row, 4)?;
        totals.hashed += unsigned(row, 5)?;
        totals.lag += unsigned(row, 6)?;
    }
    Ok(totals)
}

fn unsigned(row: &SqlRow<'_>, column: usize) -> Query<u64> {
    let value: i64 = row.get(column)?;
    u64::try_from(value).map_err(|_| Fault::Damaged(format!("a count of {value}")))
}

fn mailbox(row: &SqlRow<'_>) -> Query<Row> {
    let name: String = row.get(1)?;
    let reason: Option<String> = row.get(6)?;
    let side: Option<String> = row.get(7)?;
    let lock = |column| -> Query<Option<u64>> {
        Ok(row
            .get::<_, Option<i64>>(column)?
            .and_then(|us| u64::try_from(us).ok()))
    };
    Ok(Row {
        id: MailboxId(row.get(0)?),
        name: MailboxName::parse(&name).map_err(|error| Fault::Damaged(error.to_string()))?,
        partition: row.get(2)?,
        named: row.get(3)?,
        state: state_of(&row.get::<_, String>(4)?)?,
        attempts: row.get(5)?,
        reason: reason.as_deref().and_then(Reason::from_word),
        side: side.as_deref().and_then(Side::from_word),
        detail: row.get(8)?,
        in_doubt: row.get(9)?,
        figures: Figures {
            messages: unsigned(row, 10)?,
            altered: unsigned(row, 11)?,
            cached: unsigned(row, 12)?,
            hashed: unsigned(row, 13)?,
            lag: unsigned(row, 14)?,
            lock_us: [lock(15)?, lock(16)?],
        },
        finished_ms: row.get(17)?,
        back: [row.get(18)?, row.get(19)?],
    })
}

fn state_of(word: &str) -> Query<State> {
    State::from_word(word).ok_or_else(|| Fault::Damaged(format!("unknown state {word:?}")))
}

fn verb_of(word: &str) -> Query<Verb> {
    Verb::from_word(word).ok_or_else(|| Fault::Damaged(format!("unknown command {word:?}")))
}
