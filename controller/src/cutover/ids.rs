//! Which unique ids a host's mailboxes have: Cyrus 3 takes two mailboxes with one id for one.
//!
//! Memory is flat: they lie in a temporary file that has no name, and that a crash leaves nothing
//! of.

use rusqlite::{Connection, OptionalExtension, params};

use crate::error::RunError;
use crate::two_phase::Side;

/// The ids met so far.
pub(super) struct UniqueIds {
    db: Connection,
}

const CREATE: &str = "
PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -4000;
CREATE TABLE met (side INTEGER NOT NULL, id TEXT NOT NULL, name TEXT NOT NULL,
    PRIMARY KEY (side, id)) STRICT, WITHOUT ROWID;
BEGIN;
";

fn fault(error: &rusqlite::Error) -> RunError {
    RunError::Spool(error.to_string())
}

impl UniqueIds {
    /// None is met yet.
    ///
    /// # Errors
    /// There can be no temporary file.
    pub(super) fn new() -> Result<Self, RunError> {
        let db = Connection::open("").map_err(|e| fault(&e))?;
        db.execute_batch(CREATE).map_err(|e| fault(&e))?;
        Ok(Self { db })
    }

    /// Notes that a mailbox has this id; gives the mailbox that has it too, if one was met before.
    ///
    /// # Errors
    /// The temporary file cannot be read or written.
    pub(super) fn meet(
        &self,
        side: Side,
        id: &str,
        name: &str,
    ) -> Result<Option<String>, RunError> {
        let meet = || -> rusqlite::Result<Option<String>> {
            let side = i64::from(side == Side::Replica);
            let sql = "INSERT OR IGNORE INTO met (side, id, name) VALUES (?, ?, ?)";
            let new = self.db.prepare_cached(sql)?;
            let new = { new }.execute(params![side, id, name])?;
            if new > 0 {
                return Ok(None);
            }
            let sql = "SELECT name FROM met WHERE side = ? AND id = ?";
            let mut query = self.db.prepare_cached(sql)?;
            query
                .query_row(params![side, id], |row| row.get(0))
                .optional()
        };
        meet().map_err(|e| fault(&e))
    }
}
