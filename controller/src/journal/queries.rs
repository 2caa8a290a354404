//! The queries of the journal, as SQL that both databases take.

use std::borrow::Cow;

use indexfile::mailbox::MailboxName;

use super::at_once::{self, AtOnce};
use super::columns::{self, Columns, Part, Query};
use super::disagreements::{self, Disagreement};
use super::history::Changed;
use super::model::{Filter, MailboxId, OpenTransaction, Owner, Row};
use super::runs::{PairRun, RunId, RunInfo, RunOfPairs};

/// A value in a statement.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Number(Option<i64>),
    Text(Option<String>),
    /// For `PostgreSQL` only, as the next.
    Numbers(Vec<Option<i64>>),
    Texts(Vec<Option<String>>),
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(Some(number))
    }
}

impl From<Option<i64>> for Value {
    fn from(number: Option<i64>) -> Self {
        Self::Number(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(Some(text.to_owned()))
    }
}

impl From<Option<&str>> for Value {
    fn from(text: Option<&str>) -> Self {
        Self::Text(text.map(str::to_owned))
    }
}

/// A question to the tables, and how a row of the answer is read.
pub(super) struct Ask<T> {
    pub(super) sql: Cow<'static, str>,
    pub(super) values: Vec<Value>,
    pub(super) read: fn(&dyn Columns) -> Query<T>,
}

fn ask<T>(
    sql: impl Into<Cow<'static, str>>,
    values: impl Into<Vec<Value>>,
    read: fn(&dyn Columns) -> Query<T>,
) -> Ask<T> {
    Ask {
        sql: sql.into(),
        values: values.into(),
        read,
    }
}

const COLUMNS: &str = "m.id, m.name, m.partition, m.named, m.state, m.attempts, m.reason, \
     m.side, m.detail, \
     m.in_doubt, m.messages, m.altered, m.cached, m.hashed, m.lag, m.lock_us_master, \
     m.lock_us_replica, m.finished_at, \
     m.back_master, m.back_replica, m.uniqueid_master, m.uniqueid_replica";

/// Of a run and what it is on one pair.
const RUN_COLUMNS: &str = "r.id, r.command, r.to_version, r.undoes, p.master, p.replica, \
     p.master_id, p.replica_id, p.selection, r.words, r.pairs";

/// The names of all pairs, sorted.
pub(super) fn pairs() -> Ask<String> {
    ask("SELECT name FROM pair ORDER BY name", [], columns::text)
}

/// A pair by its name, if it is there.
pub(super) fn pair(name: &str) -> Ask<i64> {
    let sql = "SELECT id FROM pair WHERE name = ?1";
    ask(sql, [name.into()], columns::number)
}

/// The newest run over all pairs.
pub(super) fn last_run_of_pairs() -> Ask<RunOfPairs> {
    let sql = format!("{RUN_OF_PAIRS} ORDER BY r.id DESC LIMIT 1");
    ask(sql, [], columns::run_of_pairs)
}

pub(super) fn run_of_pairs(id: RunId) -> Ask<RunOfPairs> {
    let sql = format!("{RUN_OF_PAIRS} WHERE r.id = ?1");
    ask(sql, [id.0.into()], columns::run_of_pairs)
}

const RUN_OF_PAIRS: &str = "SELECT r.id, r.command, r.to_version, r.undoes, r.words, r.pairs, \
     r.started_at, r.finished_at FROM run r";

/// The pairs on which a run has begun.
pub(super) fn begun(run: RunId) -> Ask<PairRun> {
    let sql = "SELECT p.name, r.started_at, r.listed, r.finished_at FROM run_pair r \
         JOIN pair p ON p.id = r.pair WHERE r.run = ?1";
    ask(sql, [run.0.into()], columns::pair_run)
}

/// What the comparison with a Murder's list found when a run was started last.
pub(super) fn disagreements(run: RunId) -> Ask<Disagreement> {
    ask(disagreements::OF_RUN, [run.0.into()], disagreements::read)
}

/// The newest run over all pairs that is a rehearsal, or that is none.
pub(super) fn last_of_pairs(rehearsals: bool) -> Ask<RunOfPairs> {
    let which = rehearsal(rehearsals);
    let sql = format!("{RUN_OF_PAIRS} WHERE {which} ORDER BY r.id DESC LIMIT 1");
    ask(sql, [], columns::run_of_pairs)
}

fn rehearsal(is_one: bool) -> &'static str {
    if is_one {
        "r.command = 'rehearse'"
    } else {
        "r.command <> 'rehearse'"
    }
}

pub(super) fn owner(pair: i64) -> Ask<Owner> {
    let sql = "SELECT journal_id, master_id, replica_id FROM pair WHERE id = ?1";
    ask(sql, [pair.into()], columns::owner)
}

pub(super) fn paused(pair: i64) -> Ask<i64> {
    let sql = "SELECT since FROM pause WHERE pair = ?1";
    ask(sql, [pair.into()], columns::number)
}

pub(super) fn at_once(pair: i64, run: RunId) -> Ask<AtOnce> {
    let sql = "SELECT at_once, bound, fewest, most, why FROM at_once WHERE run = ?1 AND pair = ?2";
    ask(sql, [run.0.into(), pair.into()], at_once::read)
}

pub(super) fn last_run(pair: i64) -> Ask<RunInfo> {
    let sql = run_sql("ORDER BY r.id DESC LIMIT 1");
    ask(sql, [pair.into()], columns::run)
}

/// The same of those that are rehearsals, or of those that are none.
pub(super) fn last_of(pair: i64, rehearsals: bool) -> Ask<RunInfo> {
    let which = rehearsal(rehearsals);
    let sql = run_sql(&format!("WHERE {which} ORDER BY r.id DESC LIMIT 1"));
    ask(sql, [pair.into()], columns::run)
}

pub(super) fn run(pair: i64, id: RunId) -> Ask<RunInfo> {
    let sql = run_sql("WHERE r.id = ?2");
    ask(sql, [pair.into(), id.0.into()], columns::run)
}

fn run_sql(which: &str) -> String {
    format!(
        "SELECT {RUN_COLUMNS}, p.started_at, p.finished_at, p.listed FROM run r \
         JOIN run_pair p ON p.run = r.id AND p.pair = ?1 {which}"
    )
}

/// Two statements, so that each has its index: without one a page sorts the whole run.
pub(super) fn page(
    pair: i64,
    run: RunId,
    filter: Filter,
    after: MailboxId,
    limit: u32,
) -> Ask<Row> {
    let (index, state) = match filter {
        Filter::All => ("mailbox_walk", ""),
        Filter::In(_) => ("mailbox_state", "AND m.state = ?5"),
    };
    let sql = format!(
        "SELECT {COLUMNS} FROM mailbox m INDEXED BY {index} WHERE m.run = ?1 AND m.pair = ?2 \
         AND m.id > ?3 {state} ORDER BY m.id LIMIT ?4"
    );
    let mut values = in_pages(run, pair, after, limit);
    if let Filter::In(state) = filter {
        values.push(state.as_str().into());
    }
    ask(sql, values, columns::mailbox)
}

fn in_pages(run: RunId, pair: i64, after: MailboxId, limit: u32) -> Vec<Value> {
    vec![
        run.0.into(),
        pair.into(),
        after.0.into(),
        i64::from(limit).into(),
    ]
}

pub(super) fn find_all(pair: i64, run: RunId, name: &MailboxName) -> Ask<Row> {
    let sql = format!(
        "SELECT {COLUMNS} FROM mailbox m WHERE m.run = ?1 AND m.pair = ?2 AND m.name = ?3 \
         ORDER BY m.id"
    );
    let values = [run.0.into(), pair.into(), name.as_str().into()];
    ask(sql, values, columns::mailbox)
}

pub(super) fn open_transactions(pair: i64, after: MailboxId, limit: u32) -> Ask<OpenTransaction> {
    let sql = format!(
        "SELECT {COLUMNS}, m.before_master, m.before_replica, m.forward_master, \
         m.forward_replica, {RUN_COLUMNS} \
         FROM mailbox m CROSS JOIN run r ON r.id = m.run \
         CROSS JOIN run_pair p ON p.run = m.run AND p.pair = m.pair \
         WHERE m.pair = ?1 AND m.state IN ('decided', 'reversing') AND m.id > ?2 \
         ORDER BY m.id LIMIT ?3"
    );
    let values = [pair.into(), after.0.into(), i64::from(limit).into()];
    ask(sql, values, columns::open)
}

/// What is selected of another run, in one word:
/// `RUN/COMMAND/UNDOES/BEFORE_MASTER/BEFORE_REPLICA/SAME`. What had that name then counts as the
/// same mailbox (1) unless its unique id is known, and another one.
const OTHER: &str = "l.run || '/' || r.command || '/' || coalesce(CAST(r.undoes AS TEXT), '') \
     || '/' || coalesce(CAST(l.before_master AS TEXT), '') \
     || '/' || coalesce(CAST(l.before_replica AS TEXT), '') \
     || '/' || coalesce(CAST(l.uniqueid_master = m.uniqueid_master AS INTEGER), \
     CAST(l.uniqueid_replica = m.uniqueid_replica AS INTEGER), 1)";

/// One look-up by (run, pair, name) for each run; CROSS JOIN keeps `SQLite` from another order.
pub(super) fn changed(pair: i64, run: RunId, after: MailboxId, limit: u32) -> Ask<Changed> {
    let sql = format!(
        "SELECT {COLUMNS}, m.before_master, m.before_replica, m.run, \
         (SELECT command FROM run WHERE id = m.run), (SELECT undoes FROM run WHERE id = m.run), \
         (SELECT string_agg({OTHER}, ' ') FROM run r CROSS JOIN mailbox l \
         ON l.run = r.id AND l.pair = m.pair AND l.name = m.name \
         AND coalesce(CAST(l.partition = m.partition AS INTEGER), 1) = 1 \
         WHERE r.id > 0 AND r.id <> m.run AND l.state IN ('upgraded','decided','reversing')) \
         FROM mailbox m WHERE m.run = ?1 AND m.pair = ?2 AND m.id > ?3 AND m.state = 'upgraded' \
         ORDER BY m.id LIMIT ?4"
    );
    ask(sql, in_pages(run, pair, after, limit), columns::changed)
}

/// What a run amounts to on a pair: a row a state.
pub(super) fn totals(pair: i64, run: RunId) -> Ask<Part> {
    let sql = "SELECT state, count(*), CAST(sum(messages) AS BIGINT), \
         CAST(sum(cached) AS BIGINT), CAST(sum(hashed) AS BIGINT), CAST(sum(lag) AS BIGINT), \
         count(*) FILTER (WHERE in_doubt = 1), \
         count(*) FILTER (WHERE in_doubt = 0 AND reason = 'unmounted'), \
         count(*) FILTER (WHERE reason = 'wrong_guid'), \
         count(*) FILTER (WHERE reason = 'no_mailbox' AND side = 'master') \
         FROM mailbox WHERE run = ?1 AND pair = ?2 GROUP BY state";
    ask(sql, [run.0.into(), pair.into()], columns::part)
}
