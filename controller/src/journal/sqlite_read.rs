//! The queries of the `SQLite` journal.

use indexfile::mailbox::MailboxName;
use rusqlite::{Connection, OptionalExtension, Row as SqlRow};

use super::history::{Changed, Changing};
use super::model::{
    Figures, Filter, Identity, MailboxId, OpenTransaction, Row, RunId, RunInfo, RunSpec, State,
    Totals, Verb,
};
use crate::two_phase::{Open, Reason, Side};

/// Why a read failed.
pub(super) enum ReadFault {
    Sqlite(rusqlite::Error),
    Damaged(String),
}

impl From<rusqlite::Error> for ReadFault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

type Read<T> = Result<T, ReadFault>;

const COLUMNS: &str = "m.id, m.name, m.partition, m.named, m.state, m.attempts, m.reason, m.side, m.detail, \
     m.in_doubt, m.messages, m.altered, m.cached, m.hashed, m.lag, m.lock_us_master, m.lock_us_replica, m.finished_at, \
     m.back_master, m.back_replica";
/// The first column after these.
const NEXT: usize = 20;

pub(super) fn last_run(connection: &Connection) -> Read<Option<RunInfo>> {
    run_where(connection, "ORDER BY id DESC LIMIT 1", [])
}

pub(super) fn identity(connection: &Connection) -> Read<Identity> {
    let sql = "SELECT id, master_id, replica_id FROM journal";
    let read = |row: &SqlRow<'_>| {
        Ok(Identity {
            id: row.get(0)?,
            hosts: [row.get(1)?, row.get(2)?],
        })
    };
    let found = connection.query_row(sql, [], read).optional()?;
    found.ok_or_else(|| ReadFault::Damaged("it does not say whose journal it is".to_owned()))
}

pub(super) fn run(connection: &Connection, id: RunId) -> Read<Option<RunInfo>> {
    run_where(connection, "WHERE id = ?", [id.0])
}

fn run_where(
    connection: &Connection,
    which: &str,
    params: impl rusqlite::Params,
) -> Read<Option<RunInfo>> {
    let sql = format!(
        "SELECT id, command, to_version, master, replica, started_at, finished_at, list_complete, \
         master_id, replica_id, undoes, selection, words FROM run {which}"
    );
    let found = connection
        .query_row(&sql, params, |row| {
            let verb: String = row.get(1)?;
            let spec = RunSpec {
                verb: Verb::Upgrade, // until its word has been looked at
                to: row.get(2)?,
                undoes: row.get::<_, Option<i64>>(10)?.map(RunId),
                master: row.get(3)?,
                replica: row.get(4)?,
                master_id: row.get(8)?,
                replica_id: row.get(9)?,
                selection: row.get(11)?,
                words: row.get(12)?,
            };
            let info = RunInfo {
                id: RunId(row.get(0)?),
                spec,
                started_ms: row.get(5)?,
                finished_ms: row.get(6)?,
                list_complete: row.get(7)?,
            };
            Ok((verb, info))
        })
        .optional()?;
    let Some((verb, mut info)) = found else {
        return Ok(None);
    };
    info.spec.verb = verb_of(&verb)?;
    Ok(Some(info))
}

/// Two statements, so that each can use its index.
pub(super) fn page_sql(filter: Filter) -> String {
    let clause = match filter {
        // A walk along the table: the + keeps SQLite from sorting the whole run for each page.
        Filter::All => "+m.run = ?1",
        Filter::In(_) => "m.run = ?1 AND m.state = ?4",
    };
    format!("SELECT {COLUMNS} FROM mailbox m WHERE {clause} AND m.id > ?2 ORDER BY m.id LIMIT ?3")
}

pub(super) fn page(
    connection: &Connection,
    run: RunId,
    filter: Filter,
    after: MailboxId,
    limit: u32,
) -> Read<Vec<Row>> {
    let state = match filter {
        Filter::All => None,
        Filter::In(state) => Some(state.as_str()),
    };
    let sql = page_sql(filter);
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = match state {
        None => statement.query(rusqlite::params![run.0, after.0, limit])?,
        Some(state) => statement.query(rusqlite::params![run.0, after.0, limit, state])?,
    };
    let mut page = Vec::new();
    while let Some(row) = rows.next()? {
        page.push(mailbox(row)?);
    }
    Ok(page)
}

pub(super) fn find_all(connection: &Connection, run: RunId, name: &MailboxName) -> Read<Vec<Row>> {
    let sql =
        format!("SELECT {COLUMNS} FROM mailbox m WHERE m.run = ? AND m.name = ? ORDER BY m.id");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(rusqlite::params![run.0, name.as_str()])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(mailbox(row)?);
    }
    Ok(found)
}

pub(super) fn open_sql() -> String {
    format!(
        "SELECT {COLUMNS}, m.before_master, m.before_replica, m.forward_master, m.forward_replica, \
         r.id, r.command, r.to_version, r.master, r.replica, r.master_id, r.replica_id, r.undoes, \
         m.uniqueid_master, m.uniqueid_replica, r.selection, r.words \
         FROM mailbox m JOIN run r ON r.id = m.run \
         WHERE m.state IN ('decided', 'reversing') AND m.id > ? ORDER BY m.id LIMIT ?"
    )
}

pub(super) fn open_transactions(
    connection: &Connection,
    after: MailboxId,
    limit: u32,
) -> Read<Vec<OpenTransaction>> {
    let sql = open_sql();
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(rusqlite::params![after.0, limit])?;
    let mut page = Vec::new();
    while let Some(row) = rows.next()? {
        let mailbox = mailbox(row)?;
        let open = Open {
            reversing: mailbox.state == State::Reversing,
            before: [row.get(NEXT)?, row.get(NEXT + 1)?],
            forward: [row.get(NEXT + 2)?, row.get(NEXT + 3)?],
        };
        let spec = RunSpec {
            verb: verb_of(&row.get::<_, String>(NEXT + 5)?)?,
            to: row.get(NEXT + 6)?,
            undoes: row.get::<_, Option<i64>>(NEXT + 11)?.map(RunId),
            master: row.get(NEXT + 7)?,
            replica: row.get(NEXT + 8)?,
            master_id: row.get(NEXT + 9)?,
            replica_id: row.get(NEXT + 10)?,
            selection: row.get(NEXT + 14)?,
            words: row.get(NEXT + 15)?,
        };
        page.push(OpenTransaction {
            row: mailbox,
            run: RunId(row.get(NEXT + 4)?),
            spec,
            open,
            uniqueids: [row.get(NEXT + 12)?, row.get(NEXT + 13)?],
        });
    }
    Ok(page)
}

/// What is told of another run, in one word: `RUN/COMMAND/UNDOES/BEFORE_MASTER/BEFORE_REPLICA`.
const OTHER: &str = "l.run || '/' || r.command || '/' || coalesce(r.undoes, '') || '/' || \
     coalesce(l.before_master, '') || '/' || coalesce(l.before_replica, '')";

/// One look-up by (run, name) for each run; CROSS JOIN keeps `SQLite` from another order.
pub(super) fn changed_sql() -> String {
    format!(
        "SELECT {COLUMNS}, m.before_master, m.before_replica, (SELECT command FROM run WHERE id = m.run), \
         (SELECT undoes FROM run WHERE id = m.run), (SELECT group_concat({OTHER}, ' ') FROM run r CROSS JOIN mailbox l \
         ON l.run = r.id AND l.name = m.name AND coalesce(l.partition = m.partition, 1) WHERE r.id > 0 AND r.id <> m.run AND l.state IN ('upgraded','decided','reversing')) \
         FROM mailbox m WHERE m.run = ?1 AND m.id > ?2 AND m.state = 'upgraded' ORDER BY m.id LIMIT ?3"
    )
}

pub(super) fn changed(
    connection: &Connection,
    run: RunId,
    after: MailboxId,
    limit: u32,
) -> Read<Vec<Changed>> {
    let sql = changed_sql();
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(rusqlite::params![run.0, after.0, limit])?;
    let mut page = Vec::new();
    while let Some(row) = rows.next()? {
        let change = Changing {
            run,
            verb: verb_of(&row.get::<_, String>(NEXT + 2)?)?,
            undoes: row.get::<_, Option<i64>>(NEXT + 3)?.map(RunId),
            before: [row.get(NEXT)?, row.get(NEXT + 1)?],
        };
        let others: Option<String> = row.get(NEXT + 4)?;
        let others = others.unwrap_or_default();
        let mut others: Vec<Changing> = others
            .split_whitespace()
            .map(changing)
            .collect::<Read<_>>()?;
        others.sort_by_key(|o| o.run);
        page.push(Changed {
            row: mailbox(row)?,
            change,
            others,
        });
    }
    Ok(page)
}

/// Reads a word of [`OTHER`].
fn changing(word: &str) -> Read<Changing> {
    let damaged = || ReadFault::Damaged(format!("a run {word:?}"));
    let parts: Vec<&str> = word.split('/').collect();
    let [run, verb, undoes, master, replica] = parts[..] else {
        return Err(damaged());
    };
    let number = |text: &str| text.parse::<i64>().map_err(|_| damaged());
    let version = |text: &str| -> Read<Option<u8>> {
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

pub(super) fn totals(connection: &Connection, run: RunId) -> Read<Totals> {
    let mut statement = connection.prepare_cached(
        "SELECT state, count(*), sum(in_doubt), sum(messages), sum(cached), sum(hashed), sum(lag), \
         sum(in_doubt = 0 AND coalesce(reason, '') = 'unmounted') \
         FROM mailbox WHERE run = ? GROUP BY state",
    )?;
    let mut rows = statement.query([run.0])?;
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
            State::RolledBack => totals.rolled_back += count,
            State::Gone => totals.gone += count,
        }
        totals.messages += unsigned(row, 3)?;
        totals.cached += unsigned(row, 4)?;
        totals.hashed += unsigned(row, 5)?;
        totals.lag += unsigned(row, 6)?;
    }
    Ok(totals)
}

fn unsigned(row: &SqlRow<'_>, column: usize) -> Read<u64> {
    let value: i64 = row.get(column)?;
    u64::try_from(value).map_err(|_| ReadFault::Damaged(format!("a count of {value}")))
}

fn mailbox(row: &SqlRow<'_>) -> Read<Row> {
    let name: String = row.get(1)?;
    let reason: Option<String> = row.get(6)?;
    let side: Option<String> = row.get(7)?;
    let lock = |column| -> Read<Option<u64>> {
        Ok(row
            .get::<_, Option<i64>>(column)?
            .and_then(|us| u64::try_from(us).ok()))
    };
    Ok(Row {
        id: MailboxId(row.get(0)?),
        name: MailboxName::parse(&name).map_err(|error| ReadFault::Damaged(error.to_string()))?,
        partition: row.get(2)?,
        named: row.get(3)?,
        state: state_of(&row.get::<_, String>(4)?)?,
        attempts: row.get(5)?,
        reason: reason.as_deref().and_then(Reason::from_word),
        side: side.and_then(|word| Side::ALL.into_iter().find(|s| s.as_str() == word)),
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

fn state_of(word: &str) -> Read<State> {
    State::from_word(word).ok_or_else(|| ReadFault::Damaged(format!("unknown state {word:?}")))
}

fn verb_of(word: &str) -> Read<Verb> {
    Verb::from_word(word).ok_or_else(|| ReadFault::Damaged(format!("unknown command {word:?}")))
}
