//! The three lists, in a temporary file that has no name.

use std::collections::{BTreeMap, BTreeSet};
use std::io::BufRead;

use indexfile::mailbox::MailboxName;
use indexfile::mailbox::list::{Item, Reader};
use rusqlite::{Connection, params};

use super::error::CompareError;
use crate::murder::wire::Entry;

mod steps;

/// Rows in a transaction, and names in a step of a comparison.
const STEP: usize = 2000;

const CREATE: &str = "
PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -8000;
CREATE TABLE master (name BLOB PRIMARY KEY, location BLOB NOT NULL, reserved INTEGER NOT NULL)
    STRICT, WITHOUT ROWID;
CREATE TABLE found (name BLOB, backend INTEGER, part TEXT, PRIMARY KEY (name, backend, part))
    STRICT, WITHOUT ROWID;
CREATE TABLE own (name BLOB, backend INTEGER, part TEXT, PRIMARY KEY (name, backend, part))
    STRICT, WITHOUT ROWID;
";

/// A backend of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Backend(usize);

/// A mailbox as a slotd lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its name.
    pub name: MailboxName,
    /// The partition on which its files are.
    pub partition: String,
}

#[derive(Debug)]
struct Asked {
    name: String,
    /// Something of its slotd's list was added.
    begun: bool,
    /// Its slotd gave its whole list.
    found: bool,
    /// Its own list was read to its end.
    own: bool,
}

/// The lists of the master and the backends.
#[derive(Debug)]
pub struct Lists {
    db: Connection,
    backends: Vec<Asked>,
    by_name: BTreeMap<String, usize>,
    skipped: BTreeSet<String>,
    is_whole: bool,
}

impl Lists {
    /// Empty lists for backends with these `servername`s; of the servers in `skipped` nothing is
    /// known and nothing asked.
    ///
    /// # Errors
    /// There is no temporary file.
    pub fn new<'a>(
        backends: impl IntoIterator<Item = &'a str>,
        skipped: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, CompareError> {
        // No name: SQLite's own temporary file.
        let db = Connection::open("")?;
        db.execute_batch(CREATE)?;
        let backends: Vec<Asked> = backends
            .into_iter()
            .map(|name| Asked {
                name: name.to_owned(),
                begun: false,
                found: false,
                own: false,
            })
            .collect();
        let numbered = backends.iter().enumerate();
        Ok(Self {
            by_name: numbered
                .map(|(n, backend)| (backend.name.clone(), n))
                .collect(),
            backends,
            skipped: skipped.into_iter().map(str::to_owned).collect(),
            db,
            is_whole: false,
        })
    }

    /// The backend with that `servername`.
    #[must_use]
    pub fn backend(&self, server: &str) -> Option<Backend> {
        self.by_name.get(server).copied().map(Backend)
    }

    /// Adds a piece of the master's list. Of a name that comes twice the last is right; one that is
    /// gone is taken out, so what an UPDATE streams can be added as it comes.
    ///
    /// # Errors
    /// The temporary file.
    pub fn add_master(&mut self, entries: &[Entry]) -> Result<(), CompareError> {
        let transaction = self.db.transaction()?;
        {
            let sql = "INSERT OR REPLACE INTO master (name, location, reserved) VALUES (?, ?, ?)";
            let mut insert = transaction.prepare_cached(sql)?;
            let mut delete = transaction.prepare_cached("DELETE FROM master WHERE name = ?")?;
            for entry in entries {
                let reserved = matches!(entry, Entry::Reserve { .. });
                match entry.location() {
                    Some(location) => {
                        insert.execute(params![entry.name(), location, reserved])?;
                    }
                    None => {
                        delete.execute(params![entry.name()])?;
                    }
                }
            }
        }
        transaction.commit()?;
        Ok(())
    }

    /// The master's list was read to its end.
    pub fn master_is_whole(&mut self) {
        self.is_whole = true;
    }

    /// Adds a piece of the list of a backend's slotd.
    ///
    /// # Errors
    /// The temporary file.
    pub fn add_found(&mut self, backend: Backend, found: &[Found]) -> Result<(), CompareError> {
        self.backends[backend.0].begun = true;
        let rows = found
            .iter()
            .map(|one| (one.name.as_str(), one.partition.as_str()));
        self.insert("found", backend, rows)
    }

    /// Takes out what of a backend's slotd was added: it is asked again.
    ///
    /// # Errors
    /// The temporary file.
    pub fn forget(&mut self, backend: Backend) -> Result<(), CompareError> {
        let asked = &mut self.backends[backend.0];
        asked.found = false;
        // It takes a walk through the lists of all backends.
        if !std::mem::take(&mut asked.begun) {
            return Ok(());
        }
        let number = i64::try_from(backend.0).unwrap_or(i64::MAX);
        let sql = "DELETE FROM found WHERE backend = ?";
        self.db.execute(sql, [number])?;
        Ok(())
    }

    /// That list was read to its end. Until then the backend counts as not asked.
    pub fn found_is_whole(&mut self, backend: Backend) {
        self.backends[backend.0].found = true;
    }

    /// Reads a backend's own list, the output of `ctl_mboxlist -d`; entries that are no mailboxes
    /// of that host are passed over.
    ///
    /// # Errors
    /// It cannot be read to its end, and then counts as not given; or the temporary file.
    pub fn add_own<R: BufRead>(
        &mut self,
        backend: Backend,
        list: Reader<R>,
    ) -> Result<(), CompareError> {
        let mut rows: Vec<(String, String)> = Vec::with_capacity(STEP);
        for item in list {
            let item = item.map_err(|source| CompareError::Own {
                server: self.backends[backend.0].name.clone(),
                source,
            })?;
            let (name, partition) = match item {
                Item::Mailbox { name, partition } => (name.to_string(), partition),
                Item::ByUniqueId {
                    name, partition, ..
                } => (name, partition),
                Item::Skipped(_) | Item::Bad { .. } => continue,
            };
            let Some(partition) = partition else {
                continue;
            };
            rows.push((name, partition));
            if rows.len() == STEP {
                let full = rows
                    .iter()
                    .map(|(name, part)| (name.as_str(), part.as_str()));
                self.insert("own", backend, full)?;
                rows.clear();
            }
        }
        let rest = rows
            .iter()
            .map(|(name, part)| (name.as_str(), part.as_str()));
        self.insert("own", backend, rest)?;
        self.backends[backend.0].own = true;
        Ok(())
    }

    fn insert<'a>(
        &mut self,
        table: &str,
        backend: Backend,
        rows: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Result<(), CompareError> {
        let number = i64::try_from(backend.0).unwrap_or(i64::MAX);
        let transaction = self.db.transaction()?;
        {
            let sql =
                format!("INSERT OR IGNORE INTO {table} (name, backend, part) VALUES (?, ?, ?)");
            let mut insert = transaction.prepare_cached(&sql)?;
            for (name, partition) in rows {
                insert.execute(params![name.as_bytes(), number, partition])?;
            }
        }
        transaction.commit()?;
        Ok(())
    }
}
