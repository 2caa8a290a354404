//! The intent log: records, given to the kernel one by one, and one sync for all who wait.
//!
//! A record has its place in the file when [`IntentLog::start`] or [`IntentLog::end`] returns, so
//! records are in the order in which these were called; what [`IntentLog::wait`] waits for is the
//! sync that brings it to stable storage.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use indexfile::{IoContext, IoError};
use parking_lot::{Condvar, Mutex, MutexGuard};

use super::contents::Contents;
use super::file::{COMPACT_AT, LogFile};
use super::record::{Intent, Line, Scratch};
use super::unreadable::{self, Unreadable};
use crate::failpoint;

const FILE_NAME: &str = "intents.log";
/// A log that failed is written anew after this long at first, and after twice as long each time,
/// up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Why the log could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// An I/O error.
    #[error(transparent)]
    Io(#[from] IoError),
    /// A record could not be made; does not happen.
    #[error("intent log: {0}")]
    Json(#[from] serde_json::Error),
    /// An earlier write or sync failed, so nobody knows what is on stable storage.
    #[error("{} failed earlier ({reason}); slotd writes a new one as soon as that works", path.display())]
    Failed {
        /// The log.
        path: PathBuf,
        /// The first failure.
        reason: String,
    },
}

/// The intent log of a state directory. One process has it; the state directory's lock sees to
/// that.
#[derive(Debug)]
pub struct IntentLog {
    path: PathBuf,
    state: Mutex<State>,
    /// Damaged records of this log and of earlier ones.
    unreadable: Vec<Unreadable>,
    /// Signalled when a sync is over.
    synced: Condvar,
}

/// An intent on its way to stable storage.
#[derive(Clone, Copy, Debug)]
#[must_use = "it is durable only once it has been waited for"]
pub struct PendingIntent {
    /// Of the intent.
    pub id: u64,
    number: u64,
}

#[derive(Debug)]
struct State {
    log: LogFile,
    /// A second handle, for the thread that syncs.
    file: Option<File>,
    /// Number of the last record that was given to the kernel.
    appended: u64,
    /// Number of the last record on stable storage.
    durable: u64,
    contents: Contents,
    failed: Option<Failed>,
    syncs: u64,
}

/// A file that failed is never written or synced again. A new one takes its place, with what this
/// process knows to be open.
#[derive(Debug)]
struct Failed {
    reason: String,
    /// When a new one may be tried.
    next: Instant,
    /// How long to wait after that.
    pause: Duration,
}

impl IntentLog {
    /// Reads what there is and goes on after it. A last record that is not whole was never acted
    /// upon.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn open(state_dir: &Path) -> Result<IntentLog, LogError> {
        let path = state_dir.join(FILE_NAME);
        let contents = Contents::read(&path)?;
        let unreadable = unreadable::find(&path)?;
        for record in &unreadable {
            let about = record.mailbox.as_deref().unwrap_or("an unknown mailbox");
            tracing::error!("{record} is a damaged record of the intent log, about {about}");
        }
        let (log, file) = rewritten(&contents, &path)?;
        let state = State {
            log,
            file: Some(file),
            appended: 0,
            durable: 0,
            contents,
            failed: None,
            syncs: 0,
        };
        Ok(IntentLog {
            path,
            state: Mutex::new(state),
            unreadable,
            synced: Condvar::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Intents that are not settled.
    #[must_use]
    pub fn open_intents(&self) -> Vec<Intent> {
        self.lock().contents.open.values().cloned().collect()
    }

    /// The unsettled intents of one mailbox, oldest first.
    #[must_use]
    pub fn open_of(&self, mailbox: &str) -> Vec<Intent> {
        let mut all = self.open_intents();
        all.retain(|i| i.mailbox == mailbox);
        all
    }

    /// Whether that mailbox has an intent that is not settled.
    #[must_use]
    pub fn is_open(&self, mailbox: &str) -> bool {
        let state = self.lock();
        state.contents.open.values().any(|i| i.mailbox == mailbox)
    }

    /// Whether a record that this release does not understand may be about that mailbox.
    #[must_use]
    pub fn concerns(&self, mailbox: &str) -> bool {
        self.lock().contents.concerns(mailbox)
    }

    /// Whether open intents, or a note of scratch files, tell why there are files of ours in a
    /// mailbox.
    #[must_use]
    pub fn explains(&self, mailbox: &str) -> bool {
        let state = self.lock();
        let mut open = state.contents.open.values().map(|i| &i.mailbox);
        let mut touched = state.contents.touched.keys().map(|s| &s.mailbox);
        open.any(|m| m == mailbox) || touched.any(|m| m == mailbox)
    }

    /// The damaged records whose copies still lie there.
    pub fn unreadable(&self) -> impl Iterator<Item = &Unreadable> {
        self.unreadable.iter().filter(|record| record.is_there())
    }

    /// How often the log was synced since it was opened.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    /// Notes an intent, whose `id` is set here, and returns when it is on stable storage.
    ///
    /// # Errors
    /// It is not; then nothing may be renamed, and the log is of no more use.
    pub fn begin(&self, intent: Intent) -> Result<u64, LogError> {
        // One that turns round is durable the other way already, and stays open if this fails.
        let before = self.lock().contents.open.get(&intent.id).cloned();
        let pending = self.start(intent)?;
        if let Err(error) = self.wait(pending) {
            let open = &mut self.lock().contents.open;
            open.extend(before.map(|before| (pending.id, before)));
            return Err(error);
        }
        Ok(pending.id)
    }

    /// Notes an intent, whose `id` is set here. It is on stable storage when [`IntentLog::wait`]
    /// has returned, and not before.
    ///
    /// # Errors
    /// It could not be written; the log is of no more use.
    pub fn start(&self, mut intent: Intent) -> Result<PendingIntent, LogError> {
        let mut state = self.usable()?;
        if intent.id == 0 {
            intent.id = state.contents.next_id;
            state.contents.next_id += 1;
        }
        let id = intent.id;
        let line = Line::Begin(intent.clone()).to_text()?;
        let number = state.append(&line, &self.path)?;
        state.contents.open.insert(id, intent);
        Ok(PendingIntent { id, number })
    }

    /// Returns when an intent is on stable storage.
    ///
    /// # Errors
    /// As of [`IntentLog::begin`].
    pub fn wait(&self, pending: PendingIntent) -> Result<(), LogError> {
        let result = self.wait_durable(self.lock(), pending.number);
        if result.is_err() {
            // It was not acted upon. On disk it may be, and recovery will see that nothing was
            // renamed.
            self.lock().contents.open.remove(&pending.id);
        }
        result
    }

    /// Notes that an intent is settled: given to the kernel at once, so that a kill does not lose
    /// it; on stable storage with the next one that begins.
    ///
    /// When the log has failed it is settled for this process all the same: else a command
    /// that settles open intents first would find this one for ever. The next process finds it in
    /// the log and sees that it is settled.
    pub fn end(&self, id: u64) {
        let mut state = self.lock();
        if state.contents.open.remove(&id).is_none() || state.failed.is_some() {
            return;
        }
        let line = Line::End { id }.to_text().map_err(std::io::Error::from);
        match line.and_then(|line| state.log.note(&line)) {
            // For `flush`.
            Ok(()) => state.appended += 1,
            Err(error) => tracing::error!("{}: {error}", self.path.display()),
        }
    }

    /// Mailboxes in which there may be scratch files.
    #[must_use]
    pub fn touched(&self) -> Vec<Scratch> {
        self.lock().contents.touched.keys().cloned().collect()
    }

    /// Notes that scratch files are about to be made, and returns when that is on stable storage:
    /// so that recovery finds what a kill or a power cut leaves.
    ///
    /// # Errors
    /// The log cannot be written.
    pub fn touch(&self, scratch: &Scratch) -> Result<(), LogError> {
        let mut state = self.usable()?;
        let count = state.contents.touched.entry(scratch.clone()).or_default();
        *count += 1;
        let number = if *count > 1 {
            // Of another, who may be waiting for it still.
            state.appended
        } else {
            let line = Line::Touch(scratch.clone()).to_text()?;
            state.append(&line, &self.path)?
        };
        self.wait_durable(state, number)
    }

    /// Notes that one who had scratch files in a mailbox has none any more.
    pub fn clear(&self, scratch: &Scratch) {
        let mut state = self.lock();
        let Some(count) = state.contents.touched.get_mut(scratch) else {
            return;
        };
        *count = count.saturating_sub(1);
        if *count > 0 {
            return;
        }
        state.contents.touched.remove(scratch);
        let line = Line::Clear(scratch.clone()).to_text();
        // A lost one makes recovery look once more.
        if let Err(error) = line
            .map_err(std::io::Error::from)
            .and_then(|line| state.log.note(&line))
        {
            tracing::warn!("{}: {error}", self.path.display());
        }
    }

    /// Syncs whatever is not: on the way out.
    ///
    /// # Errors
    /// The system's.
    pub fn flush(&self) -> Result<(), LogError> {
        let state = self.usable()?;
        let wanted = state.appended;
        self.wait_durable(state, wanted)
    }

    /// Whether an intent could be written at all.
    ///
    /// # Errors
    /// An earlier write or sync failed, and no new log could be written since.
    pub fn usable_now(&self) -> Result<(), LogError> {
        self.usable().map(drop)
    }

    fn usable(&self) -> Result<MutexGuard<'_, State>, LogError> {
        let mut state = self.lock();
        state.renew(&self.path, Instant::now());
        match state.failure(&self.path) {
            Some(error) => Err(error),
            None => Ok(state),
        }
    }

    /// The first to come syncs for all who have appended by then; the others wait for it.
    fn wait_durable<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        wanted: u64,
    ) -> Result<(), LogError> {
        loop {
            if let Some(error) = state.failure(&self.path) {
                return Err(error);
            }
            if state.durable >= wanted {
                return Ok(());
            }
            // Somebody has taken the file to sync it.
            let Some(file) = state.file.take() else {
                self.synced.wait(&mut state);
                continue;
            };
            let upto = state.appended;
            drop(state);
            let result = sync(&file).io_context("sync", &self.path);
            state = self.lock();
            state.file = Some(file);
            state.syncs += 1;
            match result {
                Ok(()) => {
                    state.durable = upto;
                    if state.log.position() > COMPACT_AT {
                        state.compact(&self.path);
                    }
                }
                Err(error) => state.fail(&error),
            }
            self.synced.notify_all();
        }
    }
}

fn sync(file: &File) -> std::io::Result<()> {
    failpoint::hit("intent.sync")?;
    file.sync_data()
}

/// A new file with what is open, and a second handle of it.
fn rewritten(contents: &Contents, path: &Path) -> Result<(LogFile, File), LogError> {
    let log = LogFile::replace(path, &contents.to_text()?)?;
    let file = log.handle().io_context("duplicate", path)?;
    Ok((log, file))
}

impl State {
    fn failure(&self, path: &Path) -> Option<LogError> {
        self.failed.as_ref().map(|failed| LogError::Failed {
            path: path.to_path_buf(),
            reason: failed.reason.clone(),
        })
    }

    fn fail(&mut self, error: &impl ToString) {
        self.failed.get_or_insert_with(|| Failed {
            reason: error.to_string(),
            next: Instant::now() + PAUSE,
            pause: PAUSE,
        });
    }

    /// Puts a new file in the place of one that failed, once it is time. It has what is open:
    /// every other waiter got the failure and acted upon nothing, and a crash will not find what it
    /// waited for.
    fn renew(&mut self, path: &Path, now: Instant) {
        let Some(failed) = &mut self.failed else {
            return;
        };
        // Whoever syncs the old file has its handle, and gives it back first.
        if now < failed.next || self.file.is_none() {
            return;
        }
        failed.pause = (failed.pause * 2).min(PAUSE_MAX);
        failed.next = now + failed.pause;
        let renewed = failpoint::hit("intent.renew")
            .io_context("write", path)
            .map_err(LogError::from)
            .and_then(|()| rewritten(&self.contents, path));
        match renewed {
            Ok((log, file)) => {
                tracing::warn!("{}: written anew after it had failed", path.display());
                (self.log, self.file) = (log, Some(file));
                self.durable = self.appended;
                self.failed = None;
            }
            Err(error) => tracing::error!("{}: {error}", path.display()),
        }
    }

    /// Gives a line to the kernel, and its number; what fails is final.
    fn append(&mut self, line: &str, path: &Path) -> Result<u64, LogError> {
        let written = failpoint::hit("intent.write").and_then(|()| self.log.note(line));
        if let Err(error) = written.io_context("write", path) {
            self.fail(&error);
            return Err(error.into());
        }
        self.appended += 1;
        Ok(self.appended)
    }

    /// Writes the file anew with what is open, records that nobody has synced yet among it.
    fn compact(&mut self, path: &Path) {
        match rewritten(&self.contents, path) {
            Ok((log, file)) => {
                (self.log, self.file) = (log, Some(file));
                self.durable = self.appended;
            }
            Err(error) => self.fail(&error),
        }
    }
}

#[cfg(test)]
mod tests;
