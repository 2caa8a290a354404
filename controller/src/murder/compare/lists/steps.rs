//! The lists read side by side, name by name.

use rusqlite::Row as SqlRow;

use super::super::error::CompareError;
use super::super::facts::{Facts, Merge, Place, Said};
use super::super::finding::{Directory, Finding, Server, findings};
use super::super::summary::Summary;
use super::{Asked, Lists, STEP};

impl Lists {
    /// Counts all of it.
    ///
    /// # Errors
    /// The master's list is not whole, or the temporary file.
    pub fn compare(&self) -> Result<Summary, CompareError> {
        if !self.is_whole {
            return Err(CompareError::NotWhole);
        }
        let backends = self.backends.iter();
        let mut summary = Summary::new(backends.map(|b| (b.name.as_str(), b.found)));
        let mut after = None;
        let mut out = Vec::new();
        loop {
            let step = self.step(after.as_deref(), STEP)?;
            let Some(last) = step.last() else {
                return Ok(summary);
            };
            after = Some(last.name.clone());
            for facts in &step {
                out.clear();
                findings(facts, self, &mut out);
                summary.add(facts, &out, self);
            }
        }
    }

    /// What is so with the names after `after`, bytewise, at most `limit` of them, from the first
    /// one on if it is `None`; empty at the end. `after` is then the last of these names. What is
    /// done with each depends on all of them, hence the summary.
    ///
    /// # Errors
    /// The temporary file.
    pub fn page(
        &self,
        summary: &Summary,
        after: &mut Option<Vec<u8>>,
        limit: usize,
    ) -> Result<Vec<Finding>, CompareError> {
        let mut out = Vec::new();
        // Of a step of names there may be nothing to say.
        while out.is_empty() {
            let step = self.step(after.as_deref(), limit)?;
            let Some(last) = step.last() else {
                break;
            };
            *after = Some(last.name.clone());
            for facts in &step {
                findings(facts, self, &mut out);
            }
        }
        for finding in &mut out {
            summary.judge(finding);
        }
        Ok(out)
    }

    /// Gives back the memory of what was read: nothing is asked for a while.
    ///
    /// # Errors
    /// The temporary file.
    pub fn rest(&self) -> Result<(), CompareError> {
        Ok(self.db.execute_batch("PRAGMA shrink_memory")?)
    }

    /// The facts of the next names.
    fn step(&self, after: Option<&[u8]>, limit: usize) -> Result<Vec<Facts>, rusqlite::Error> {
        // A master may have a name without a byte, which is the first.
        let from = if after.is_none() { ">=" } else { ">" };
        let after = after.unwrap_or_default();
        let rows = |columns: &str, table: &str, order: &str| {
            let sql = format!(
                "SELECT name, {columns} FROM {table} WHERE name {from} ? ORDER BY name{order}"
            );
            self.db.prepare_cached(&sql)
        };
        let mut master = rows("location, reserved", "master", "")?;
        let mut found = rows("backend, part", "found", ", backend, part")?;
        let mut own = rows("backend, part", "own", ", backend, part")?;
        let said = |row: &SqlRow<'_>| {
            let (location, reserved) = (row.get(1)?, row.get(2)?);
            Ok((row.get(0)?, Said { location, reserved }))
        };
        let place = |row: &SqlRow<'_>| {
            let backend: i64 = row.get(1)?;
            let backend = usize::try_from(backend).unwrap_or(usize::MAX);
            let partition = row.get(2)?;
            Ok((row.get(0)?, Place { backend, partition }))
        };
        let whole = |is_whole: fn(&Asked) -> bool| {
            move |row: &Result<(Vec<u8>, Place), rusqlite::Error>| match row {
                Ok((_, place)) => self.backends.get(place.backend).is_some_and(is_whole),
                Err(_) => true,
            }
        };
        let merge = Merge::new(
            master.query_map([after], said)?,
            found.query_map([after], place)?.filter(whole(|b| b.found)),
            own.query_map([after], place)?.filter(whole(|b| b.own)),
        );
        merge.take(limit).collect()
    }
}

impl Directory for Lists {
    fn server(&self, name: &str) -> Server {
        match self.by_name.get(name) {
            Some(&n) if self.backends[n].found => Server::Asked(n),
            Some(&n) => Server::NotAsked(n),
            None if self.skipped.contains(name) => Server::Skipped,
            None => Server::Unknown,
        }
    }

    fn name(&self, backend: usize) -> &str {
        self.backends.get(backend).map_or("", |b| b.name.as_str())
    }
}
