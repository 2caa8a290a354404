//! Which of several pairs has which mailbox of a list.
//!
//! Memory is flat: the list lies in a temporary file, and the masters' lists stream by.

use std::io::{self, Write};
use std::sync::Arc;

use indexfile::mailbox::MailboxName;
use rusqlite::{Connection, params};

use super::source::Source;
use super::sources::{Batch, stream};
use super::spool::{Spool, fault};
use crate::error::RunError;
use crate::hosts::{Connect, check_hosts};
use crate::journal::Candidate;
use crate::stop::{Stop, StopSignal};

/// A list, and where each of its names was found.
pub struct Assignment {
    spool: Spool,
    names: Vec<String>,
}

/// A few mailboxes, and how many there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Few {
    /// How many.
    pub count: u64,
    /// The first of them, with what there is to say about each.
    pub first: Vec<String>,
}

impl Few {
    /// For a person.
    #[must_use]
    pub fn text(&self) -> String {
        let more = self.count - self.first.len() as u64;
        let first = self.first.join(", ");
        match more {
            0 => first,
            n => format!("{first} and {n} more"),
        }
    }
}

const CREATE: &str = "
CREATE TABLE place (name TEXT NOT NULL, pair INTEGER NOT NULL, PRIMARY KEY (name, pair))
    STRICT, WITHOUT ROWID;
";

/// Finds each mailbox of the sources on the masters of these pairs.
///
/// # Errors
/// A source or a master's list cannot be read to its end, or it was stopped.
pub async fn assign(
    sources: Vec<Source>,
    pairs: &[(String, Arc<dyn Connect>)],
    stop: &StopSignal,
) -> Result<Assignment, RunError> {
    let Some((_, first)) = pairs.first() else {
        return Err(RunError::Nothing("there is no pair".to_owned()));
    };
    // Names and lists ask no host.
    let spool = Spool::whole(&sources, first, stop).await?;
    spool.db().execute_batch(CREATE).map_err(|e| fault(&e))?;
    for (at, (name, connect)) in pairs.iter().enumerate() {
        let of_pair = |error: RunError| error.of_pair(name);
        check_hosts(connect).await.map_err(of_pair)?;
        let mut failed = None;
        let listed = each_listed(vec![Source::Master], connect, stop, |listed| {
            let names = listed.iter().map(|one| &one.name);
            if let Err(error) = note(spool.db(), at, names) {
                failed.get_or_insert(error);
            }
        });
        listed.await.map_err(of_pair)?;
        if let Some(error) = failed {
            return Err(fault(&error));
        }
    }
    Ok(Assignment {
        spool,
        names: pairs.iter().map(|(name, _)| name.clone()).collect(),
    })
}

/// Hands on what the sources have, piece by piece, to their ends.
///
/// # Errors
/// A source cannot be read to its end, or it was stopped.
pub async fn each_listed(
    sources: Vec<Source>,
    connect: &Arc<dyn Connect>,
    stop: &StopSignal,
    mut visit: impl FnMut(&[Candidate]),
) -> Result<(), RunError> {
    let mut batches = stream(sources, Arc::clone(connect), stop.clone());
    while let Some(batch) = batches.recv().await {
        if let Batch::Listed(listed) = batch? {
            visit(&listed);
        }
    }
    if stop.level() != Stop::No {
        return Err(RunError::Stopped);
    }
    Ok(())
}

fn note<'a>(
    db: &Connection,
    pair: usize,
    names: impl Iterator<Item = &'a MailboxName>,
) -> rusqlite::Result<()> {
    let transaction = db.unchecked_transaction()?;
    {
        let mut insert = transaction.prepare_cached(
            "INSERT OR IGNORE INTO place (name, pair) \
             SELECT ?1, ?2 WHERE EXISTS (SELECT 1 FROM entry WHERE name = ?1)",
        )?;
        let pair = i64::try_from(pair).unwrap_or(i64::MAX);
        for name in names {
            insert.execute(params![name.as_str(), pair])?;
        }
    }
    transaction.commit()
}

impl Assignment {
    /// Those that no pair has.
    ///
    /// # Errors
    /// The temporary file cannot be read.
    pub fn unknown(&self, most: usize) -> Result<Few, RunError> {
        let sql = "SELECT DISTINCT name, '' FROM entry e \
                   WHERE NOT EXISTS (SELECT 1 FROM place p WHERE p.name = e.name) ORDER BY name";
        self.few(sql, most)
    }

    /// Those that several have, each with the names of these pairs.
    ///
    /// # Errors
    /// As above.
    pub fn on_several(&self, most: usize) -> Result<Few, RunError> {
        let sql = "SELECT name, group_concat(pair, ' ') FROM place GROUP BY name \
                   HAVING count(*) > 1 ORDER BY name";
        self.few(sql, most)
    }

    fn few(&self, sql: &str, most: usize) -> Result<Few, RunError> {
        let read = || -> rusqlite::Result<Few> {
            let mut few = Few::default();
            let mut query = self.spool.db().prepare(sql)?;
            let mut rows = query.query([])?;
            while let Some(row) = rows.next()? {
                few.count += 1;
                if few.first.len() < most {
                    let (name, pairs): (String, String) = (row.get(0)?, row.get(1)?);
                    let pairs = pairs.split(' ').filter_map(|at| at.parse::<usize>().ok());
                    let pairs = pairs.filter_map(|at| self.names.get(at));
                    let pairs: Vec<&str> = pairs.map(String::as_str).collect();
                    few.first.push(match pairs.as_slice() {
                        [] => name,
                        pairs => format!("{name} ({})", pairs.join(", ")),
                    });
                }
            }
            Ok(few)
        };
        read().map_err(|e| fault(&e))
    }

    /// Writes the names of those of one pair, by its place, a line each; how many there are.
    ///
    /// # Errors
    /// The temporary file cannot be read, or the list not be written.
    pub fn write(&self, pair: usize, out: &mut impl Write) -> Result<u64, RunError> {
        let mut read = || -> rusqlite::Result<io::Result<u64>> {
            let sql = "SELECT name FROM place WHERE pair = ? ORDER BY name";
            let mut query = self.spool.db().prepare(sql)?;
            let mut rows = query.query([i64::try_from(pair).unwrap_or(i64::MAX)])?;
            let mut count = 0;
            while let Some(row) = rows.next()? {
                if let Err(error) = writeln!(out, "{}", row.get_ref(0)?.as_str()?) {
                    return Ok(Err(error));
                }
                count += 1;
            }
            Ok(out.flush().map(|()| count))
        };
        let written = read().map_err(|e| fault(&e))?;
        written.map_err(|error| RunError::Spool(error.to_string()))
    }
}
