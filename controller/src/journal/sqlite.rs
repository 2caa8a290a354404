//! The journal in one `SQLite` file, in WAL mode with `synchronous=FULL`.
//!
//! `SQLite` syncs the WAL at each commit, so a commit that returned is on disk; the directory is
//! synced when the file is made. The file `STATE.lock` beside it carries the lock that keeps a
//! second controller out; readers (`status`, `report`, `sqlite3`) need no lock.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use indexfile::mailbox::MailboxName;
use rusqlite::{Connection, OpenFlags, params};

use super::history::Changed;
use super::model::{
    Change, Filter, Identity, Listed, MailboxId, OpenTransaction, Row, RunId, RunInfo, RunSpec,
    Totals,
};
use super::writer::Writer;
use super::{Durability, Journal, JournalError, Receipt, schema, sqlite_read};
use crate::two_phase::Side;

/// `PRAGMA application_id` of our files: `regu` in ASCII.
pub const APPLICATION_ID: i32 = 0x7265_6775;
/// `PRAGMA user_version`: the schema's.
pub const USER_VERSION: i32 = 3;

/// A journal in a file.
pub struct SqliteJournal {
    path: PathBuf,
    writer: Option<Writer>,
    reader: Mutex<Connection>,
    /// Held for the lock on it; released when the process ends, however it ends.
    _owner: Option<File>,
}

impl SqliteJournal {
    /// Opens or creates the state file for a run, and keeps every other controller out.
    ///
    /// # Errors
    /// It is in use, is not one of ours, or cannot be opened.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        let path = &resolved(path)?;
        let owner = take_ownership(path)?;
        let fresh = !path.exists();
        let connection = connect(
            path,
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
        )?;
        check_or_create(&connection, path)?;
        if fresh {
            sync_directory(path)?;
        }
        let reader = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let writer = Writer::start(connection, path.to_owned()).map_err(|e| io(path, &e))?;
        Ok(Self {
            path: path.to_owned(),
            writer: Some(writer),
            reader: Mutex::new(reader),
            _owner: Some(owner),
        })
    }

    /// As [`SqliteJournal::open`], for work that only goes on with what is in it.
    ///
    /// # Errors
    /// There is no such file. Else as [`SqliteJournal::open`].
    pub fn open_existing(path: &Path) -> Result<Self, JournalError> {
        if path.exists() {
            Self::open(path)
        } else {
            Err(JournalError::Missing {
                path: path.to_owned(),
            })
        }
    }

    /// Opens an existing state file for reading, beside a running controller or without one.
    ///
    /// # Errors
    /// There is none, or it is not one of ours.
    pub fn open_read_only(path: &Path) -> Result<Self, JournalError> {
        if !path.exists() {
            return Err(JournalError::Missing {
                path: path.to_owned(),
            });
        }
        let reader = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        check(&reader, path)?;
        Ok(Self {
            path: path.to_owned(),
            writer: None,
            reader: Mutex::new(reader),
            _owner: None,
        })
    }

    /// The state file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn read<T>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, sqlite_read::ReadFault>,
    ) -> Result<T, JournalError> {
        let reader: MutexGuard<'_, Connection> = self
            .reader
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        work(&reader).map_err(|fault| match fault {
            sqlite_read::ReadFault::Sqlite(error) => sqlite(&self.path, &error),
            sqlite_read::ReadFault::Damaged(what) => JournalError::Damaged { what },
        })
    }

    fn write(
        &self,
        durability: Durability,
        apply: impl FnOnce(&Connection) -> rusqlite::Result<()> + Send + 'static,
    ) -> Receipt {
        if let Some(writer) = &self.writer {
            writer.submit(durability, apply)
        } else {
            let (done, receipt) = Receipt::pair();
            let _ = done.send(Err(JournalError::Poisoned {
                first: "it was opened for reading only".to_owned(),
            }));
            receipt
        }
    }

    /// Writes and hands a value back, durable on return.
    pub(super) fn write_now<T: Send + 'static>(
        &self,
        apply: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, JournalError> {
        let (sender, receiver) = std::sync::mpsc::channel();
        let receipt = self.write(Durability::Durable, move |connection| {
            let _ = sender.send(apply(connection)?);
            Ok(())
        });
        wait(receipt)?;
        receiver.recv().map_err(|_| JournalError::Poisoned {
            first: "its writer has ended".to_owned(),
        })
    }
}

/// Waits for a receipt, inside or outside an async runtime.
fn wait(receipt: Receipt) -> Result<(), JournalError> {
    if tokio::runtime::Handle::try_current().is_ok() {
        // Blocking a runtime thread is not allowed through tokio's own channels; a plain thread is.
        std::thread::scope(|scope| {
            scope
                .spawn(|| receipt.wait_blocking())
                .join()
                .unwrap_or_else(|_| {
                    Err(JournalError::Poisoned {
                        first: "its waiter panicked".to_owned(),
                    })
                })
        })
    } else {
        receipt.wait_blocking()
    }
}

impl Journal for SqliteJournal {
    fn last_run(&self) -> Result<Option<RunInfo>, JournalError> {
        self.read(sqlite_read::last_run)
    }

    fn identity(&self) -> Result<Identity, JournalError> {
        self.read(sqlite_read::identity)
    }

    fn run(&self, id: RunId) -> Result<Option<RunInfo>, JournalError> {
        self.read(|connection| sqlite_read::run(connection, id))
    }

    fn begin_run(&self, spec: &RunSpec, now_ms: i64) -> Result<RunId, JournalError> {
        let spec = spec.clone();
        self.write_now(move |connection| {
            connection.execute(
                "INSERT INTO run (command, to_version, undoes, master, replica, master_id, replica_id, selection, words, \
                 started_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                params![
                    spec.verb.as_str(),
                    spec.to,
                    spec.undoes.map(|run| run.0),
                    spec.master,
                    spec.replica,
                    spec.master_id,
                    spec.replica_id,
                    spec.selection,
                    spec.words,
                    now_ms
                ],
            )?;
            let run = RunId(connection.last_insert_rowid());
            connection.execute(
                "UPDATE journal SET master_id = coalesce(master_id, nullif(?, '')), \
                 replica_id = coalesce(replica_id, nullif(?, ''))",
                params![spec.master_id, spec.replica_id],
            )?;
            Ok(run)
        })
    }

    fn add(&self, run: RunId, listed: &[Listed]) -> Result<u64, JournalError> {
        let listed = listed.to_vec();
        self.write_now(move |connection| {
            let mut insert = connection.prepare_cached(
                "INSERT INTO mailbox (run, name, partition, named, back_master, back_replica) \
                 SELECT ?1, ?2, ?3, ?4, ?5, ?6 WHERE NOT EXISTS (SELECT 1 FROM mailbox WHERE run = ?1 AND name = ?2 \
                 AND (partition IS NULL OR ?3 IS NULL OR partition = ?3))",
            )?;
            let mut new = 0;
            for one in &listed {
                new += insert.execute(params![
                    run.0,
                    one.name.as_str(),
                    one.partition,
                    one.named,
                    one.back[0],
                    one.back[1]
                ])?;
            }
            Ok(new as u64)
        })
    }

    fn list_complete(&self, run: RunId) -> Result<(), JournalError> {
        self.write_now(move |connection| {
            connection
                .execute("UPDATE run SET list_complete = 1 WHERE id = ?", [run.0])
                .map(|_| ())
        })
    }

    fn finish_run(&self, run: RunId, now_ms: i64) -> Result<(), JournalError> {
        self.write_now(move |connection| {
            connection
                .execute(
                    "UPDATE run SET finished_at = ? WHERE id = ?",
                    [now_ms, run.0],
                )
                .map(|_| ())
        })
    }

    fn page(
        &self,
        run: RunId,
        filter: Filter,
        after: MailboxId,
        limit: u32,
    ) -> Result<Vec<Row>, JournalError> {
        self.read(|connection| sqlite_read::page(connection, run, filter, after, limit))
    }

    fn find_all(&self, run: RunId, name: &MailboxName) -> Result<Vec<Row>, JournalError> {
        self.read(|connection| sqlite_read::find_all(connection, run, name))
    }

    fn changed(
        &self,
        run: RunId,
        after: MailboxId,
        limit: u32,
    ) -> Result<Vec<Changed>, JournalError> {
        self.read(|connection| sqlite_read::changed(connection, run, after, limit))
    }

    fn open_transactions(
        &self,
        after: MailboxId,
        limit: u32,
    ) -> Result<Vec<OpenTransaction>, JournalError> {
        self.read(|connection| sqlite_read::open_transactions(connection, after, limit))
    }

    fn submit(&self, change: Change, durability: Durability) -> Receipt {
        self.write(durability, move |connection| apply(connection, &change))
    }

    fn flush(&self) -> Result<(), JournalError> {
        self.write_now(|_| Ok(()))
    }

    fn totals(&self, run: RunId) -> Result<Totals, JournalError> {
        self.read(|connection| sqlite_read::totals(connection, run))
    }
}

fn apply(connection: &Connection, change: &Change) -> rusqlite::Result<()> {
    match change {
        Change::Decide { mailbox, before } => connection
            .prepare_cached(
                "UPDATE mailbox SET state = 'decided', in_doubt = 0, before_master = ?, before_replica = ?, \
                 forward_master = 0, forward_replica = 0 WHERE id = ?",
            )?
            .execute(params![before[0], before[1], mailbox.0]),
        Change::Identify { mailbox, uniqueids } => connection
            .prepare_cached(
                "UPDATE mailbox SET uniqueid_master = ?, uniqueid_replica = ? WHERE id = ?",
            )?
            .execute(params![uniqueids[0], uniqueids[1], mailbox.0]),
        Change::Forward { mailbox, side } => connection
            .prepare_cached(match side {
                Side::Master => "UPDATE mailbox SET forward_master = 1 WHERE id = ?",
                Side::Replica => "UPDATE mailbox SET forward_replica = 1 WHERE id = ?",
            })?
            .execute([mailbox.0]),
        Change::Reverse { mailbox } => connection
            .prepare_cached("UPDATE mailbox SET state = 'reversing' WHERE id = ?")?
            .execute([mailbox.0]),
        Change::Requeue { mailbox } => connection
            .prepare_cached("UPDATE mailbox SET state = 'pending' WHERE id = ? AND state IN ('rolled_back', 'gone')")?
            .execute([mailbox.0]),
        Change::Finish { mailbox, attempt } => {
            let side = attempt.side.map(Side::as_str);
            let reason = attempt.reason.map(crate::two_phase::Reason::as_str);
            let f = &attempt.figures;
            let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
            let lock = f.lock_us.map(|us| us.map(count));
            connection
                .prepare_cached(
                    "INSERT INTO attempt (mailbox, started_at, finished_at, outcome, reason, side, detail, \
                     lock_us_master, lock_us_replica) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                )?
                .execute(params![
                    mailbox.0,
                    attempt.started_ms,
                    attempt.finished_ms,
                    attempt.ended.as_str(),
                    reason,
                    side,
                    attempt.detail,
                    lock[0],
                    lock[1]
                ])?;
            connection
                .prepare_cached(
                    "UPDATE mailbox SET state = coalesce(?, state), in_doubt = ?, attempts = attempts + 1, \
                     reason = ?, side = ?, detail = ?, messages = ?, altered = ?, cached = ?, hashed = ?, lag = ?, \
                     lock_us_master = ?, lock_us_replica = ?, finished_at = ? WHERE id = ?",
                )?
                .execute(params![
                    attempt.ended.state().map(super::State::as_str),
                    attempt.ended == super::Ended::InDoubt,
                    reason,
                    side,
                    attempt.detail,
                    count(f.messages),
                    count(f.altered),
                    count(f.cached),
                    count(f.hashed),
                    count(f.lag),
                    lock[0],
                    lock[1],
                    attempt.finished_ms,
                    mailbox.0
                ])
        }
    }
    .map(|_| ())
}

/// The file itself, by whatever links it is reached: its lock must be the same for everybody.
///
/// # Errors
/// It has two names, so that no lock beside it keeps the other one out.
fn resolved(path: &Path) -> Result<PathBuf, JournalError> {
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

fn take_ownership(path: &Path) -> Result<File, JournalError> {
    let mut lock_name = path.as_os_str().to_owned();
    lock_name.push(".lock");
    let lock_path = PathBuf::from(lock_name);
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&lock_path)
        .map_err(|e| io(&lock_path, &e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(JournalError::InUse {
            path: path.to_owned(),
        }),
        Err(TryLockError::Error(error)) => Err(io(&lock_path, &error)),
    }
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, JournalError> {
    let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(|e| sqlite(path, &e))?;
    connection
        .busy_timeout(Duration::from_secs(10))
        .map_err(|e| sqlite(path, &e))?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

fn check_or_create(connection: &Connection, path: &Path) -> Result<(), JournalError> {
    let fail = |error: rusqlite::Error| sqlite(path, &error);
    let objects: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(|error| not_ours(path, &error))?;
    let id: i32 = connection
        .query_row("PRAGMA application_id", [], |row| row.get(0))
        .map_err(fail)?;
    if objects > 0 || id != 0 {
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

/// Brings a file of an earlier version to this one: columns more, nothing changed.
fn extend(connection: &Connection, path: &Path) -> Result<(), JournalError> {
    let pragma = |name: &str| {
        let sql = format!("PRAGMA {name}");
        let value = connection.query_row(&sql, [], |row| row.get::<_, i32>(0));
        value.map_err(|error| not_ours(path, &error))
    };
    if pragma("application_id")? != APPLICATION_ID {
        return Ok(());
    }
    let steps = match pragma("user_version")? {
        1 => [schema::FROM_1, &schema::from_2()].concat(),
        2 => schema::from_2(),
        _ => return Ok(()),
    };
    // A table that others refer to is made anew; they refer to its name all the while.
    let sql = format!(
        "PRAGMA foreign_keys = OFF; BEGIN IMMEDIATE; {steps} PRAGMA user_version = {USER_VERSION}; COMMIT;"
    );
    connection
        .execute_batch(&sql)
        .map_err(|error| sqlite(path, &error))
}

fn check(connection: &Connection, path: &Path) -> Result<(), JournalError> {
    let pragma = |name: &str| -> Result<i32, JournalError> {
        connection
            .query_row(&format!("PRAGMA {name}"), [], |row| row.get(0))
            .map_err(|error| not_ours(path, &error))
    };
    let (id, version) = (pragma("application_id")?, pragma("user_version")?);
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

fn sync_directory(path: &Path) -> Result<(), JournalError> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(parent)
        .and_then(|directory| directory.sync_all())
        .map_err(|e| io(parent, &e))
}

fn sqlite(path: &Path, error: &rusqlite::Error) -> JournalError {
    JournalError::Sqlite {
        path: path.to_owned(),
        text: error.to_string(),
    }
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

fn io(path: &Path, error: &std::io::Error) -> JournalError {
    JournalError::Io {
        path: path.to_owned(),
        text: error.to_string(),
    }
}
