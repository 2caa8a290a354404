//! What a row of a query says, from whichever database it comes.

use std::path::Path;

use indexfile::mailbox::MailboxName;

use super::JournalError;
use super::history::{Changed, Changing};
use super::model::{Figures, MailboxId, OpenTransaction, Owner, Row, State};
use super::runs::{PairRun, RunId, RunInfo, RunOfPairs, RunSpec, Verb, pair_names};
use super::state_file::sqlite;
use super::totals::Totals;
use crate::chart::visible;
use crate::two_phase::{Open, Reason, Side};

/// Why a query has no answer.
pub(super) enum Fault {
    Sqlite(rusqlite::Error),
    Postgres(tokio_postgres::Error),
    Damaged(String),
    /// There are no tables, and none are to be made.
    Missing,
    /// The tables are of another version.
    NotOurs(String),
    /// A COMMIT was answered before every standby that was to have it had it.
    Doubted,
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<tokio_postgres::Error> for Fault {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Postgres(error)
    }
}

impl Fault {
    pub(super) fn into_error(self, path: &Path) -> JournalError {
        match self {
            Self::Sqlite(error) => sqlite(path, &error),
            Self::Postgres(error) => super::postgres::errors::failed(path, &error),
            Self::Damaged(what) => JournalError::Damaged { what: shown(&what) },
            Self::Missing => JournalError::Missing {
                path: path.to_owned(),
            },
            Self::NotOurs(what) => JournalError::NotOurs {
                path: path.to_owned(),
                what,
            },
            Self::Doubted => JournalError::Postgres {
                server: path.display().to_string(),
                text: "a COMMIT was cancelled while it waited for a standby".to_owned(),
            },
        }
    }
}

pub(super) type Query<T> = Result<T, Fault>;

/// Times that a run can have, milliseconds since 1970: up to the year 9999. Their differences are
/// numbers with which a report may reckon.
const TIMES: std::ops::RangeInclusive<i64> = 0..=253_402_300_799_999;

/// One row. The tables have whole numbers and text, and nothing else.
pub(super) trait Columns {
    fn number(&self, column: usize) -> Query<Option<i64>>;
    fn text(&self, column: usize) -> Query<Option<String>>;
}

impl Columns for rusqlite::Row<'_> {
    fn number(&self, column: usize) -> Query<Option<i64>> {
        Ok(self.get(column)?)
    }
    fn text(&self, column: usize) -> Query<Option<String>> {
        Ok(self.get(column)?)
    }
}

impl Columns for tokio_postgres::Row {
    fn number(&self, column: usize) -> Query<Option<i64>> {
        Ok(self.try_get(column)?)
    }
    fn text(&self, column: usize) -> Query<Option<String>> {
        Ok(self.try_get(column)?)
    }
}

/// What of a query's columns a reader has not read yet.
struct Left<'a> {
    row: &'a dyn Columns,
    next: usize,
}

impl<'a> Left<'a> {
    fn of(row: &'a dyn Columns) -> Self {
        Self { row, next: 0 }
    }

    fn next(&mut self) -> usize {
        self.next += 1;
        self.next - 1
    }

    fn maybe_number<N: TryFrom<i64>>(&mut self) -> Query<Option<N>> {
        let column = self.next();
        let number = self.row.number(column)?;
        let fit = |n: i64| N::try_from(n).map_err(|_| Fault::Damaged(format!("a number {n}")));
        number.map(fit).transpose()
    }

    fn number<N: TryFrom<i64>>(&mut self) -> Query<N> {
        self.maybe_number()?
            .ok_or_else(|| Fault::Damaged("a number is missing".to_owned()))
    }

    /// Milliseconds since 1970.
    fn maybe_time(&mut self) -> Query<Option<i64>> {
        match self.maybe_number()? {
            Some(ms) if !TIMES.contains(&ms) => Err(Fault::Damaged(format!("a time {ms}"))),
            time => Ok(time),
        }
    }

    fn time(&mut self) -> Query<i64> {
        self.maybe_time()?
            .ok_or_else(|| Fault::Damaged("a time is missing".to_owned()))
    }

    fn flag(&mut self) -> Query<bool> {
        Ok(self.number::<i64>()? != 0)
    }

    fn maybe_text(&mut self) -> Query<Option<String>> {
        let column = self.next();
        self.row.text(column)
    }

    fn text(&mut self) -> Query<String> {
        self.maybe_text()?
            .ok_or_else(|| Fault::Damaged("a text is missing".to_owned()))
    }

    fn shown(&mut self) -> Query<String> {
        Ok(shown(&self.text()?))
    }
}

/// What a person is shown of a text: no control character of it reaches a terminal or makes a line.
fn shown(text: &str) -> String {
    visible(text).into_owned()
}

pub(super) fn text(row: &dyn Columns) -> Query<String> {
    Left::of(row).text()
}

pub(super) fn number(row: &dyn Columns) -> Query<i64> {
    Left::of(row).number()
}

pub(super) fn owner(row: &dyn Columns) -> Query<Owner> {
    let mut left = Left::of(row);
    Ok(Owner {
        id: left.text()?,
        hosts: [left.maybe_text()?, left.maybe_text()?],
        epoch: None,
        rows_lost: false,
    })
}

pub(super) fn run_of_pairs(row: &dyn Columns) -> Query<RunOfPairs> {
    let mut left = Left::of(row);
    Ok(RunOfPairs {
        id: RunId(left.number()?),
        verb: verb_of(&left.text()?)?,
        to: left.number()?,
        undoes: left.maybe_number()?.map(RunId),
        words: left.shown()?,
        pairs: pair_names(&left.text()?).map(PairRun::to_begin).collect(),
        started_ms: left.time()?,
        finished_ms: left.maybe_time()?,
    })
}

pub(super) fn pair_run(row: &dyn Columns) -> Query<PairRun> {
    let mut left = Left::of(row);
    Ok(PairRun {
        name: left.shown()?,
        started_ms: Some(left.time()?),
        listed: left.flag()?,
        finished_ms: left.maybe_time()?,
    })
}

pub(super) fn run(row: &dyn Columns) -> Query<RunInfo> {
    let mut left = Left::of(row);
    let (id, spec) = spec(&mut left)?;
    Ok(RunInfo {
        id,
        spec,
        started_ms: left.time()?,
        finished_ms: left.maybe_time()?,
        list_complete: left.flag()?,
    })
}

/// A run and what it was started with.
fn spec(left: &mut Left<'_>) -> Query<(RunId, RunSpec)> {
    let id = RunId(left.number()?);
    let spec = RunSpec {
        verb: verb_of(&left.text()?)?,
        to: left.number()?,
        undoes: left.maybe_number()?.map(RunId),
        master: left.shown()?,
        replica: left.maybe_text()?.as_deref().map(shown),
        master_id: left.text()?,
        replica_id: left.text()?,
        selection: left.text()?,
        words: left.shown()?,
        pairs: left.text()?,
    };
    Ok((id, spec))
}

pub(super) fn mailbox(row: &dyn Columns) -> Query<Row> {
    mailbox_of(&mut Left::of(row))
}

fn mailbox_of(left: &mut Left<'_>) -> Query<Row> {
    let damaged = |error: indexfile::mailbox::NameError| Fault::Damaged(error.to_string());
    Ok(Row {
        id: MailboxId(left.number()?),
        name: MailboxName::parse(&left.text()?).map_err(damaged)?,
        partition: left.maybe_text()?.as_deref().map(shown),
        named: left.flag()?,
        state: state_of(&left.text()?)?,
        attempts: left.number()?,
        reason: left.maybe_text()?.as_deref().and_then(Reason::from_word),
        side: left.maybe_text()?.as_deref().and_then(Side::from_word),
        detail: left.shown()?,
        in_doubt: left.flag()?,
        figures: Figures {
            messages: left.number()?,
            altered: left.number()?,
            cached: left.number()?,
            hashed: left.number()?,
            lag: left.number()?,
            lock_us: [left.maybe_number()?, left.maybe_number()?],
        },
        finished_ms: left.maybe_time()?,
        back: [left.maybe_number()?, left.maybe_number()?],
        uniqueids: [left.maybe_text()?, left.maybe_text()?],
    })
}

pub(super) fn open(row: &dyn Columns) -> Query<OpenTransaction> {
    let mut left = Left::of(row);
    let mailbox = mailbox_of(&mut left)?;
    let open = Open {
        reversing: mailbox.state == State::Reversing,
        before: [left.maybe_number()?, left.maybe_number()?],
        forward: [left.flag()?, left.flag()?],
    };
    let (run, spec) = spec(&mut left)?;
    Ok(OpenTransaction {
        row: mailbox,
        run,
        spec,
        open,
    })
}

pub(super) fn changed(row: &dyn Columns) -> Query<Changed> {
    let mut left = Left::of(row);
    let row = mailbox_of(&mut left)?;
    let before = [left.maybe_number()?, left.maybe_number()?];
    let change = Changing {
        run: RunId(left.number()?),
        verb: verb_of(&left.text()?)?,
        undoes: left.maybe_number()?.map(RunId),
        before,
    };
    let all = left.maybe_text()?.unwrap_or_default();
    let (mut others, mut namesakes) = (Vec::new(), Vec::new());
    for word in all.split_whitespace() {
        match changing(word)? {
            (other, true) => others.push(other),
            (other, false) => namesakes.push(other),
        }
    }
    others.sort_by_key(|o| o.run);
    namesakes.sort_by_key(|o| o.run);
    Ok(Changed {
        row,
        change,
        others,
        namesakes,
    })
}

/// Reads what was selected of another run, see `queries::OTHER`, and whether it is of this very
/// mailbox, as far as is known.
fn changing(word: &str) -> Query<(Changing, bool)> {
    let damaged = || Fault::Damaged(format!("a run {word:?}"));
    let parts: Vec<&str> = word.split('/').collect();
    let [run, verb, undoes, master, replica, same] = parts[..] else {
        return Err(damaged());
    };
    let number = |text: &str| text.parse::<i64>().map_err(|_| damaged());
    let version = |text: &str| -> Query<Option<u8>> {
        if text.is_empty() {
            return Ok(None);
        }
        text.parse().map(Some).map_err(|_| damaged())
    };
    let changing = Changing {
        run: RunId(number(run)?),
        verb: verb_of(verb)?,
        undoes: if undoes.is_empty() {
            None
        } else {
            Some(RunId(number(undoes)?))
        },
        before: [version(master)?, version(replica)?],
    };
    Ok((changing, number(same)? != 0))
}

/// What one state amounts to: its mailboxes and the sums over them, in the order of
/// `queries::totals`.
pub(super) type Part = (State, [u64; 9]);

pub(super) fn part(row: &dyn Columns) -> Query<Part> {
    let mut left = Left::of(row);
    let state = state_of(&left.text()?)?;
    let mut numbers = [0; 9];
    for number in &mut numbers {
        *number = left.number()?;
    }
    Ok((state, numbers))
}

pub(super) fn totals(parts: &[Part]) -> Totals {
    let mut totals = Totals::default();
    for (state, numbers) in parts {
        let [
            count,
            messages,
            cached,
            hashed,
            lag,
            in_doubt,
            waiting,
            wrong_guid,
            unknown,
        ] = *numbers;
        add(&mut totals.mailboxes, count);
        add(&mut totals.messages, messages);
        add(&mut totals.cached, cached);
        add(&mut totals.hashed, hashed);
        add(&mut totals.lag, lag);
        match state {
            State::Pending => add(&mut totals.pending, count),
            State::Decided | State::Reversing => {
                add(&mut totals.open, count);
                add(&mut totals.in_doubt, in_doubt);
                add(&mut totals.waiting, waiting);
            }
            State::Upgraded => add(&mut totals.upgraded, count),
            State::Unchanged => add(&mut totals.unchanged, count),
            State::Rehearsed => add(&mut totals.rehearsed, count),
            State::RolledBack => {
                totals.wrong_guid = wrong_guid;
                totals.rolled_back = count.saturating_sub(wrong_guid);
                totals.unknown = unknown;
            }
            State::Gone => add(&mut totals.gone, count),
        }
    }
    totals
}

fn add(sum: &mut u64, more: u64) {
    *sum = sum.saturating_add(more);
}

fn state_of(word: &str) -> Query<State> {
    State::from_word(word).ok_or_else(|| Fault::Damaged(format!("unknown state {word:?}")))
}

fn verb_of(word: &str) -> Query<Verb> {
    Verb::from_word(word).ok_or_else(|| Fault::Damaged(format!("unknown command {word:?}")))
}
