//! A list of mailboxes, read to its end before anything begins.
//!
//! # What it promises
//!
//! * All of it is known: how many there are, whether there is any, which name is on two
//!   partitions, and a digest by which two lists can be compared, whatever the order of their
//!   lines.
//! * Each mailbox once: a name with a partition stands also for the same name without one.
//! * Memory is flat: it lies in a temporary file that has no name.
//!
//! # What a crash leaves
//!
//! Nothing.

use std::fmt::Write as _;
use std::sync::Arc;

use indexfile::hex;
use indexfile::mailbox::MailboxName;
use rusqlite::{Connection, params};
use sha1::{Digest, Sha1};

use super::excluded::Excluded;
use super::source::Source;
use super::sources::{Batch, stream};
use crate::error::RunError;
use crate::hosts::Connect;
use crate::journal::Candidate;
use crate::stop::{Stop, StopSignal};
use crate::two_phase::Side;

/// A list.
pub(crate) struct Spool {
    db: Connection,
    count: u64,
    /// What the sources had that is not worked on.
    pub(crate) excluded: Excluded,
}

/// A mailbox of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spooled {
    /// Its place, to go on after.
    pub(crate) at: i64,
    pub(crate) listed: Candidate,
    /// The partitions on which the list has this name, if there is more than one.
    pub(crate) places: Option<String>,
}

const CREATE: &str = "
PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -2000;
CREATE TABLE entry (id INTEGER PRIMARY KEY, name TEXT NOT NULL, part TEXT NOT NULL,
    named INTEGER NOT NULL) STRICT;
CREATE UNIQUE INDEX entry_key ON entry (name, part);
";

const PAGE: &str = "SELECT id, name, part, named, \
    (SELECT group_concat(part, ' and ') FROM entry o WHERE o.name = e.name HAVING count(*) > 1) \
    FROM entry e WHERE id > ? ORDER BY id LIMIT ?";

pub(super) fn fault(error: &rusqlite::Error) -> RunError {
    RunError::Spool(error.to_string())
}

impl Spool {
    fn new() -> Result<Self, RunError> {
        // No name: SQLite's own temporary file.
        let db = Connection::open("").map_err(|e| fault(&e))?;
        db.execute_batch(CREATE).map_err(|e| fault(&e))?;
        Ok(Self {
            db,
            count: 0,
            excluded: Excluded::default(),
        })
    }

    /// A list of these.
    #[cfg(test)]
    pub(super) fn of(listed: &[Candidate]) -> Result<Self, RunError> {
        let mut spool = Self::new()?;
        spool.add(listed).map_err(|e| fault(&e))?;
        spool.complete().map_err(|e| fault(&e))?;
        Ok(spool)
    }

    /// Reads the sources to their ends.
    ///
    /// # Errors
    /// One of them cannot be read, or it was stopped, so that the list is not whole.
    pub(crate) async fn read(
        sources: Vec<Source>,
        connect: &Arc<dyn Connect>,
        stop: &StopSignal,
    ) -> Result<Self, RunError> {
        let mut spool = Self::new()?;
        let mut batches = stream(sources, Arc::clone(connect), stop.clone());
        while let Some(batch) = batches.recv().await {
            match batch? {
                Batch::Listed(listed) => spool.add(&listed).map_err(|e| fault(&e))?,
                Batch::Excluded(more) => spool.excluded.add(&more),
            }
        }
        if stop.level() != Stop::No {
            return Err(RunError::Stopped);
        }
        spool.complete().map_err(|e| fault(&e))?;
        Ok(spool)
    }

    /// The same; that it has no mailbox is an error.
    ///
    /// # Errors
    /// As [`Spool::read`], or there is none.
    pub(crate) async fn whole(
        sources: &[Source],
        connect: &Arc<dyn Connect>,
        stop: &StopSignal,
    ) -> Result<Self, RunError> {
        let spool = Self::read(sources.to_vec(), connect, stop).await?;
        if spool.count == 0 {
            return Err(nothing(sources, &spool.excluded));
        }
        Ok(spool)
    }

    fn add(&mut self, listed: &[Candidate]) -> rusqlite::Result<()> {
        let transaction = self.db.transaction()?;
        {
            let sql = "INSERT OR IGNORE INTO entry (name, part, named) VALUES (?, ?, ?)";
            let mut insert = transaction.prepare_cached(sql)?;
            for one in listed {
                let part = one.partition.as_deref().unwrap_or_default();
                insert.execute(params![one.name.as_str(), part, one.named])?;
            }
        }
        transaction.commit()
    }

    fn complete(&mut self) -> rusqlite::Result<()> {
        self.db.execute_batch(
            "DELETE FROM entry WHERE part = '' AND EXISTS \
             (SELECT 1 FROM entry o WHERE o.name = entry.name AND o.part > '')",
        )?;
        let sql = "SELECT count(*) FROM entry";
        let count: i64 = self.db.query_row(sql, [], |row| row.get(0))?;
        self.count = count.unsigned_abs();
        Ok(())
    }

    /// The temporary file, for further tables beside the list.
    pub(super) fn db(&self) -> &Connection {
        &self.db
    }

    /// How many mailboxes it has.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Whether it has this mailbox, on whatever partition.
    ///
    /// # Errors
    /// The temporary file cannot be read.
    pub(crate) fn has(&self, name: &MailboxName) -> Result<bool, RunError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM entry WHERE name = ?)";
        let ask = || {
            let mut query = self.db.prepare_cached(sql)?;
            query.query_row([name.as_str()], |row| row.get(0))
        };
        ask().map_err(|e| fault(&e))
    }

    /// Notes what the replica has and this does not, where the master was asked for all it has.
    ///
    /// # Errors
    /// As [`Spool::read`].
    pub(crate) async fn note_replica(
        &mut self,
        sources: &[Source],
        connect: &Arc<dyn Connect>,
        stop: &StopSignal,
    ) -> Result<(), RunError> {
        if connect.address(Side::Replica).is_none() {
            return Ok(());
        }
        let twins = sources.iter().filter_map(Source::on_replica).collect();
        let mut batches = stream(twins, Arc::clone(connect), stop.clone());
        while let Some(batch) = batches.recv().await {
            let Batch::Listed(listed) = batch? else {
                continue;
            };
            for one in listed {
                if !self.has(&one.name)? {
                    self.excluded.only_replica.note(|| one.name.to_string());
                }
            }
        }
        Ok(())
    }

    /// The SHA-1 of all of it, in hexadecimal: of each name and partition, in order.
    ///
    /// # Errors
    /// The temporary file cannot be read.
    pub(crate) fn digest(&self) -> Result<String, RunError> {
        let digest = || -> rusqlite::Result<Sha1> {
            let mut sha1 = Sha1::new();
            let sql = "SELECT name, part FROM entry ORDER BY name, part";
            let mut query = self.db.prepare(sql)?;
            let mut rows = query.query([])?;
            while let Some(row) = rows.next()? {
                for column in 0..2 {
                    sha1.update(row.get::<_, String>(column)?);
                    // A name has no control characters.
                    sha1.update([0]);
                }
            }
            Ok(sha1)
        };
        let sha1 = digest().map_err(|e| fault(&e))?;
        Ok(hex(&sha1.finalize()))
    }

    /// The next mailboxes, in the order in which they were first listed, at most `limit`; 0 is
    /// before the first.
    ///
    /// # Errors
    /// The temporary file cannot be read.
    pub(crate) fn page(&self, after: i64, limit: usize) -> Result<Vec<Spooled>, RunError> {
        let read = || -> rusqlite::Result<Vec<Entry>> {
            let mut query = self.db.prepare_cached(PAGE)?;
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let rows = query.query_map(params![after, limit], |row| {
                Ok(Entry {
                    at: row.get(0)?,
                    name: row.get(1)?,
                    part: row.get(2)?,
                    named: row.get(3)?,
                    places: row.get(4)?,
                })
            })?;
            rows.collect()
        };
        let entries = read().map_err(|e| fault(&e))?;
        entries.into_iter().map(Spooled::try_from).collect()
    }
}

/// The error if there is nothing to do: that is never what the operator wanted.
fn nothing(sources: &[Source], excluded: &Excluded) -> RunError {
    let mut text = "nothing to do: ".to_owned();
    // Writing to a String cannot fail.
    let _ = if let Some(list) = sources.iter().find_map(Source::list) {
        let skipped: u64 = excluded.skipped.values().sum();
        if let Some(bad) = excluded.bad.first.first() {
            write!(
                text,
                "{list} has no mailbox, but {} bad entries: {bad}",
                excluded.bad.count
            )
        } else if skipped == 0 {
            write!(text, "{list} has no mailbox")
        } else {
            let each = excluded.skipped.iter().map(|(why, n)| format!("{n} {why}"));
            let each = each.collect::<Vec<String>>().join(", ");
            write!(text, "of {list} every entry was skipped ({each})")
        }
    } else {
        write!(text, "the master has no mailbox")
    };
    if let Some(partition) = sources.iter().find_map(Source::partition) {
        let _ = write!(text, " on partition {partition}");
    }
    if let Some(partitions) = sources.iter().find_map(Source::left_out) {
        let _ = write!(
            text,
            " but on partitions that leave-out names ({partitions})"
        );
    }
    let keeps: Vec<String> = sources.iter().flat_map(Source::keeps).collect();
    if !keeps.is_empty() {
        // Writing to a String cannot fail.
        let _ = write!(text, " that is meant by {}", keeps.join(" "));
    } else if sources.iter().all(|s| s.is_walk() && s.list().is_none()) {
        text.push_str("; is its imapd.conf the right one, and everything mounted?");
    }
    match excluded.left_out.sentence() {
        None => RunError::Empty(text),
        Some(left_out) => RunError::LeftOut {
            exit: excluded.left_out.exit(),
            text: format!("{text}; {left_out}"),
        },
    }
}

/// As it lies in the file.
struct Entry {
    at: i64,
    name: String,
    part: String,
    named: bool,
    places: Option<String>,
}

impl TryFrom<Entry> for Spooled {
    type Error = RunError;

    fn try_from(entry: Entry) -> Result<Self, RunError> {
        let name = MailboxName::parse(&entry.name);
        let name = name.map_err(|e| RunError::Spool(e.to_string()))?;
        Ok(Self {
            at: entry.at,
            listed: Candidate {
                partition: (!entry.part.is_empty()).then_some(entry.part),
                ..Candidate::new(name, entry.named)
            },
            places: entry.places,
        })
    }
}
