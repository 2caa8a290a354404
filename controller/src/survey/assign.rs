//! Which of several pairs has which mailbox of a list, and on which partition.
//!
//! Memory is flat: the list lies in a temporary file, and the masters' lists stream by.

use std::io::{self, Write};
use std::sync::Arc;

use rusqlite::{Connection, params};

use super::leave_out::LeaveOut;
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
    /// The partition to which the list is restricted; else what it says of partitions is where
    /// mailboxes were when it was written.
    partition: Option<String>,
}

/// What was written of a list for one pair.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Lines.
    pub count: u64,
    /// What was not, because it is on a partition that is left out.
    pub left_out: Few,
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
        let more = self.count.saturating_sub(self.first.len() as u64);
        let first = self.first.join(", ");
        match more {
            0 => first,
            n => format!("{first} and {n} more"),
        }
    }
}

const CREATE: &str = "
CREATE TABLE place (name TEXT NOT NULL, pair INTEGER NOT NULL, part TEXT NOT NULL COLLATE NOCASE,
    PRIMARY KEY (name, pair, part)) STRICT, WITHOUT ROWID;
";

/// Where those of one pair are. A mailbox that the list has on a partition on which it is not was
/// moved since, unless the list is restricted to that partition.
const OF_PAIR: &str = "
SELECT DISTINCT e.name, iif(p.part = '', e.part, p.part), e.part <> ''
FROM entry e JOIN place p ON p.name = e.name
WHERE p.pair = ?1 AND (e.part = '' OR p.part IN ('', e.part) OR NOT ?2 AND NOT EXISTS
    (SELECT 1 FROM place o WHERE o.name = e.name AND o.pair = p.pair AND o.part = e.part))
ORDER BY 1, 2";

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
            if let Err(error) = note(spool.db(), at, listed) {
                failed.get_or_insert(error);
            }
        });
        listed.await.map_err(of_pair)?;
        if let Some(error) = failed {
            return Err(fault(&error));
        }
    }
    let partition = sources.iter().find_map(Source::partition);
    Ok(Assignment {
        partition: partition.map(str::to_owned),
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

fn note(db: &Connection, pair: usize, listed: &[Candidate]) -> rusqlite::Result<()> {
    let transaction = db.unchecked_transaction()?;
    {
        let mut insert = transaction.prepare_cached(
            "INSERT OR IGNORE INTO place (name, pair, part) \
             SELECT ?1, ?2, ?3 WHERE EXISTS (SELECT 1 FROM entry WHERE name = ?1)",
        )?;
        let pair = i64::try_from(pair).unwrap_or(i64::MAX);
        for one in listed {
            let part = one.partition.as_deref().unwrap_or_default();
            insert.execute(params![one.name.as_str(), pair, part])?;
        }
    }
    transaction.commit()
}

impl Assignment {
    /// Those that no pair has, or not on the partition to which the list is restricted.
    ///
    /// # Errors
    /// The temporary file cannot be read.
    pub fn unknown(&self, most: usize) -> Result<Few, RunError> {
        let there = match self.partition {
            Some(_) => "AND p.part IN ('', e.part)",
            None => "",
        };
        let sql = format!(
            "SELECT DISTINCT name, '' FROM entry e WHERE NOT EXISTS \
             (SELECT 1 FROM place p WHERE p.name = e.name {there}) ORDER BY name"
        );
        self.few(&sql, most)
    }

    /// Those that several have, each with the names of these pairs.
    ///
    /// # Errors
    /// As above.
    pub fn on_several(&self, most: usize) -> Result<Few, RunError> {
        let sql = "SELECT name, group_concat(pair, ' ') FROM \
                   (SELECT DISTINCT name, pair FROM place ORDER BY name, pair) GROUP BY name \
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

    /// The partition to which the list is restricted.
    #[must_use]
    pub fn partition(&self) -> Option<&str> {
        self.partition.as_deref()
    }

    /// Writes those of one pair, by its place, a line each, but for what is left out there: with
    /// the partition, where that was given or something is left out; else the name alone, so that
    /// the list stays the same when a mailbox moves. Names at most `most` of what is left out.
    ///
    /// # Errors
    /// The temporary file cannot be read, or the list not be written.
    pub fn write(
        &self,
        pair: usize,
        leave_out: &LeaveOut,
        most: usize,
        out: &mut impl Write,
    ) -> Result<Written, RunError> {
        let mut read = || -> rusqlite::Result<io::Result<Written>> {
            let mut written = Written::default();
            let mut last = String::new();
            let mut query = self.spool.db().prepare(OF_PAIR)?;
            let pair = i64::try_from(pair).unwrap_or(i64::MAX);
            let mut rows = query.query(params![pair, self.partition.is_some()])?;
            while let Some(row) = rows.next()? {
                let (name, part) = (row.get_ref(0)?.as_str()?, row.get_ref(1)?.as_str()?);
                if leave_out.has(part) {
                    written.left_out.count += 1;
                    if written.left_out.first.len() < most {
                        let text = format!("{name} (on {part})");
                        written.left_out.first.push(text);
                    }
                    continue;
                }
                let wanted = row.get::<_, bool>(2)? || !leave_out.is_empty();
                let line = if wanted && !part.is_empty() {
                    format!("{name}\t0 {part}\t")
                } else {
                    name.to_owned()
                };
                if line == last {
                    continue;
                }
                if let Err(error) = writeln!(out, "{line}") {
                    return Ok(Err(error));
                }
                last = line;
                written.count += 1;
            }
            Ok(out.flush().map(|()| written))
        };
        let written = read().map_err(|e| fault(&e))?;
        written.map_err(|error| RunError::Spool(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use indexfile::mailbox::MailboxName;

    use super::*;

    fn on(name: &str, partition: &str) -> Candidate {
        Candidate {
            partition: (!partition.is_empty()).then(|| partition.to_owned()),
            ..Candidate::new(MailboxName::parse(name).unwrap(), true)
        }
    }

    /// What was asked for, and where two pairs have it.
    fn found(
        asked: &[(&str, &str)],
        only: Option<&str>,
        there: [&[(&str, &str)]; 2],
    ) -> Assignment {
        let all = |list: &[(&str, &str)]| -> Vec<Candidate> {
            list.iter().map(|(name, part)| on(name, part)).collect()
        };
        let spool = Spool::of(&all(asked)).unwrap();
        spool.db().execute_batch(CREATE).unwrap();
        for (pair, there) in there.iter().enumerate() {
            note(spool.db(), pair, &all(there)).unwrap();
        }
        Assignment {
            spool,
            names: ["be1", "be2"].map(str::to_owned).into(),
            partition: only.map(str::to_owned),
        }
    }

    fn list(assignment: &Assignment, pair: usize, leave_out: &[&str]) -> (String, String) {
        let leave_out: Vec<String> = leave_out.iter().map(|p| (*p).to_owned()).collect();
        let mut out = Vec::new();
        let written = assignment.write(pair, &LeaveOut::new(&leave_out), 9, &mut out);
        let written = written.unwrap();
        let out = String::from_utf8(out).unwrap();
        assert_eq!(out.lines().count() as u64, written.count);
        (out, written.left_out.text())
    }

    #[test]
    fn a_partition_that_was_given_goes_with_the_name_and_only_one_of_two_is_meant() {
        let both: &[_] = &[("user.dave", "archive"), ("user.dave", "default")];
        let found = found(&[("user.dave", "Archive")], None, [both, &[]]);
        assert_eq!(list(&found, 0, &[]).0, "user.dave\t0 archive\t\n");
        assert_eq!(list(&found, 1, &[]).0, "");
        assert_eq!(found.unknown(9).unwrap().count, 0);
        // On two partitions of one pair it is on one pair.
        assert_eq!(found.on_several(9).unwrap().count, 0);
    }

    #[test]
    fn a_mailbox_that_is_not_on_the_partition_of_the_selection_is_unknown() {
        let there: &[_] = &[("user.dave", "archive")];
        let only = found(&[("user.dave", "default")], Some("default"), [there, &[]]);
        assert_eq!(only.unknown(9).unwrap().text(), "user.dave");
        // A list says where it was.
        let moved = found(&[("user.dave", "default")], None, [there, &[]]);
        assert_eq!(moved.unknown(9).unwrap().count, 0);
        assert_eq!(list(&moved, 0, &[]).0, "user.dave\t0 archive\t\n");
    }

    #[test]
    fn a_name_alone_stays_alone_and_has_its_partition_where_something_is_left_out() {
        let here: &[_] = &[("user.a", "default"), ("user.dave", "archive")];
        let asked = [("user.a", ""), ("user.dave", ""), ("user.z", "")];
        let found = found(
            &asked,
            None,
            [here, &[("user.z", "default"), ("user.a", "old")]],
        );
        assert_eq!(list(&found, 0, &[]).0, "user.a\nuser.dave\n");
        let (written, left_out) = list(&found, 0, &["ARCHIVE"]);
        assert_eq!(written, "user.a\t0 default\t\n");
        assert_eq!(left_out, "user.dave (on archive)");
        assert_eq!(found.on_several(9).unwrap().text(), "user.a (be1, be2)");
    }
}
