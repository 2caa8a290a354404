//! `drain.json`: who drains the host, since when, and what users read.
//!
//! Replaced as a whole, and on stable storage before a file in `msg` has its name. What such a file
//! must say to be ours follows from it alone.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use indexfile::dir::{OpenError, limit, read_named};
use indexfile::{IoContext, IoError};
use serde::{Deserialize, Serialize};

use crate::failpoint;
use crate::fs::rewrite;

/// Its name in the state directory.
pub(super) const FILE_NAME: &str = "drain.json";

/// The whole file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Who, in words.
    pub(super) by: String,
    /// Since when, milliseconds since 1970.
    pub(super) since_ms: u64,
    /// The process that began it.
    pid: u32,
    /// The text of `msg/motd`, once one was to be made.
    pub(super) announce: Option<String>,
    /// The text of `msg/shutdown`.
    pub(super) shutdown: Option<String>,
}

/// Why it cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub(super) enum RecordError {
    /// An I/O error.
    #[error(transparent)]
    Io(#[from] IoError),
    /// It is not what slotd wrote.
    #[error(
        "{} is damaged ({source}), so nobody knows whether msg/shutdown is slotd's: look at it, \
         and move the record away", path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
}

impl Record {
    pub(super) fn new(by: &str) -> Record {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let since = since.unwrap_or_default().as_millis();
        Record {
            by: by.to_owned(),
            since_ms: u64::try_from(since).unwrap_or(u64::MAX),
            pid: std::process::id(),
            announce: None,
            shutdown: None,
        }
    }

    /// What a file of ours with this text says. Cyrus reads the first line.
    pub(super) fn contents(&self, text: &str) -> String {
        let Record {
            by, since_ms, pid, ..
        } = self;
        format!(
            "{text}\nwritten by slotd ({since_ms}.{pid}) for {by}; slotd's UNDRAIN removes it\n"
        )
    }

    pub(super) fn load(path: &Path) -> Result<Option<Record>, RecordError> {
        let text = match read_named(path, limit::STATE) {
            Ok(text) => text,
            Err(OpenError::Missing { .. }) => return Ok(None),
            Err(error) => return Err(IoError::from(error).into()),
        };
        let record = serde_json::from_slice(&text);
        record.map(Some).map_err(|source| RecordError::Damaged {
            path: path.to_path_buf(),
            source,
        })
    }

    pub(super) fn keep(&self, path: &Path) -> Result<(), RecordError> {
        failpoint::hit("drain.record").io_context("write", path)?;
        let text = serde_json::to_vec_pretty(self).map_err(|source| RecordError::Damaged {
            path: path.to_path_buf(),
            source,
        })?;
        rewrite(path, |file| file.write_all(&text))?;
        Ok(())
    }

    pub(super) fn remove(path: &Path) -> Result<(), RecordError> {
        failpoint::hit("drain.forget").io_context("remove", path)?;
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(IoError::new("remove", path, error).into());
            }
            _ => {}
        }
        let dir = path.parent().unwrap_or(path);
        let sync = || std::fs::File::open(dir)?.sync_all();
        sync().io_context("sync directory", dir)?;
        Ok(())
    }
}
