//! The state file: its lock, its version, and what brings a file of an earlier version to this one.
//!
//! A crash while a file is made or extended leaves it as it was: each is one transaction.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::io::Errno;
use slotd::fs::open_own;

use super::{JournalError, earlier, schema};
use crate::chart::visible;

/// `PRAGMA application_id` of our files: `regu` in ASCII.
pub const APPLICATION_ID: i32 = 0x7265_6775;
/// `PRAGMA user_version`: the schema's.
pub const USER_VERSION: i32 = 8;

/// The path of the file itself, links resolved: all processes must lock the same file.
///
/// # Errors
/// It has two names, so that no lock beside it keeps the other one out.
pub(super) fn resolved(path: &Path) -> Result<PathBuf, JournalError> {
    use std::os::unix::fs::MetadataExt;
    let real = resolve(path);
    if std::fs::metadata(&real).is_ok_and(|meta| meta.is_file() && meta.nlink() > 1) {
        let what = "it has a second name (a hard link), by which another controller could open it"
            .to_owned();
        return Err(JournalError::NotOurs { path: real, what });
    }
    Ok(real)
}

/// Follows symbolic links, also one that leads to a file that is not there yet.
#[must_use]
pub fn resolve(path: &Path) -> PathBuf {
    const MOST: usize = 40;
    let mut path = path.to_path_buf();
    for _ in 0..MOST {
        if let Ok(real) = path.canonicalize() {
            return real;
        }
        let Ok(target) = std::fs::read_link(&path) else {
            break;
        };
        path = path.parent().unwrap_or(Path::new("")).join(target);
    }
    path
}

/// The lock beside a state file. It ends with the process, however that ends.
pub(super) struct Ownership(File);

impl Drop for Ownership {
    /// Unlocks: closed alone it would stay locked as long as a child that was just started has not
    /// come to its exec, as it has a copy of every descriptor until then.
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}

pub(super) fn take_ownership(path: &Path) -> Result<Ownership, JournalError> {
    let mut lock_name = path.as_os_str().to_owned();
    lock_name.push(".lock");
    let lock_path = PathBuf::from(lock_name);
    // Made through a link that lies there it would be a file elsewhere, and no lock of this one.
    let file = open_own(&lock_path, true).map_err(|e| io(&lock_path, &e))?;
    match file.try_lock() {
        Ok(()) => Ok(Ownership(file)),
        Err(TryLockError::WouldBlock) => Err(JournalError::InUse {
            path: path.to_owned(),
        }),
        Err(TryLockError::Error(error)) => Err(io(&lock_path, &error)),
    }
}

/// Opens a connection to that file.
///
/// What the file's permissions do not allow is found out first: `SQLite` says of it only that the
/// file cannot be opened.
pub(super) fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, JournalError> {
    let mut wanted = Access::READ_OK;
    wanted.set(
        Access::WRITE_OK,
        flags.contains(OpenFlags::SQLITE_OPEN_READ_WRITE),
    );
    // By name: closing a descriptor of the file would end the locks of this process on it.
    if accessat(CWD, path, wanted, AtFlags::EACCESS) == Err(Errno::ACCESS) {
        return Err(io(path, &Errno::ACCESS.into()));
    }
    let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(|e| sqlite(path, &e))?;
    connection
        .busy_timeout(Duration::from_secs(10))
        .map_err(|e| sqlite(path, &e))?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

pub(super) fn check_or_create(connection: &Connection, path: &Path) -> Result<(), JournalError> {
    let fail = |error: rusqlite::Error| sqlite(path, &error);
    let objects: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(|error| not_ours(path, &error))?;
    if objects > 0 || marks(connection, path)?.0 != 0 {
        extend(connection, path)?;
        check(connection, path)?;
    }
    // The journal mode is a property of the file; both calls are no-ops on a file of ours.
    connection
        .query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))
        .map_err(fail)?;
    connection
        .execute_batch("PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;")
        .map_err(fail)?;
    if objects == 0 {
        // One transaction: a crash leaves an empty file or a whole one.
        let create = format!(
            "BEGIN IMMEDIATE; {} PRAGMA application_id = {APPLICATION_ID}; \
             PRAGMA user_version = {USER_VERSION}; COMMIT;",
            schema::create()
        );
        connection.execute_batch(&create).map_err(fail)?;
    }
    Ok(())
}

/// Whose file it is, and of which version.
fn marks(connection: &Connection, path: &Path) -> Result<(i32, i32), JournalError> {
    let pragma = |name: &str| {
        let sql = format!("PRAGMA {name}");
        let value = connection.query_row(&sql, [], |row| row.get(0));
        value.map_err(|error| not_ours(path, &error))
    };
    Ok((pragma("application_id")?, pragma("user_version")?))
}

/// Brings a file of an earlier version to this one; nothing that is in it changes.
fn extend(connection: &Connection, path: &Path) -> Result<(), JournalError> {
    let (id, version) = marks(connection, path)?;
    if id != APPLICATION_ID {
        return Ok(());
    }
    let Some(steps) = earlier::steps(version) else {
        return Ok(());
    };
    // A table that others refer to is made anew; they refer to its name all the while.
    let sql = format!(
        "PRAGMA foreign_keys = OFF; BEGIN IMMEDIATE; {steps} PRAGMA user_version = \
         {USER_VERSION}; COMMIT;"
    );
    connection
        .execute_batch(&sql)
        .map_err(|error| sqlite(path, &error))
}

pub(super) fn check(connection: &Connection, path: &Path) -> Result<(), JournalError> {
    let (id, version) = marks(connection, path)?;
    let what = if id != APPLICATION_ID {
        format!("its application_id is {id:#x}, not {APPLICATION_ID:#x}")
    } else if version != USER_VERSION {
        format!("its version is {version}, and this release reads {USER_VERSION}")
    } else {
        return Ok(());
    };
    Err(JournalError::NotOurs {
        path: path.to_owned(),
        what,
    })
}

pub(super) fn sync_directory(path: &Path) -> Result<(), JournalError> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(parent)
        .and_then(|directory| directory.sync_all())
        .map_err(|e| io(parent, &e))
}

pub(super) fn sqlite(path: &Path, error: &rusqlite::Error) -> JournalError {
    if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseCorrupt) {
        let what = format!("{}: {}", path.display(), said(error));
        return JournalError::Damaged { what };
    }
    JournalError::Sqlite {
        path: path.to_owned(),
        text: said(error),
    }
}

/// What `SQLite` says, in one line: not the whole statement, and no byte of a damaged file that
/// moves a cursor.
pub(super) fn said(error: &rusqlite::Error) -> String {
    let text = match error {
        rusqlite::Error::SqlInputError { msg, .. } => msg.clone(),
        other => other.to_string(),
    };
    visible(&text).into_owned()
}

fn not_ours(path: &Path, error: &rusqlite::Error) -> JournalError {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase) => JournalError::NotOurs {
            path: path.to_owned(),
            what: "it is no SQLite file".to_owned(),
        },
        _ => sqlite(path, error),
    }
}

pub(super) fn io(path: &Path, error: &std::io::Error) -> JournalError {
    JournalError::Io {
        path: path.to_owned(),
        kind: error.kind(),
        text: error.to_string(),
    }
}
