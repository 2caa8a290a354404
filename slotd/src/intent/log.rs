//! The file of the intent log, with one fsync for all who wait.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use indexfile::{IoContext, IoError};

use super::file::LogFile;
use super::record::{Intent, Line, Scratch};
use crate::failpoint;

const FILE_NAME: &str = "intents.log";
/// When the file is longer than this it is written anew with the open intents only.
const COMPACT_AT: u64 = 32 << 20;

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
    #[error("{} failed earlier ({reason}); restart slotd, which reads it anew", path.display())]
    Failed {
        /// The log.
        path: PathBuf,
        /// The first failure.
        reason: String,
    },
}

/// The intent log of a state directory. One process has it; the state directory's lock sees to that.
#[derive(Debug)]
pub struct IntentLog {
    path: PathBuf,
    state: Mutex<State>,
    /// Signalled when a sync is over.
    synced: Condvar,
}

#[derive(Debug)]
struct State {
    /// What is there; none before it was read.
    log: Option<LogFile>,
    /// A second handle, of whoever syncs.
    file: Option<File>,
    /// Written by callers, not yet given to the kernel.
    pending: String,
    /// Number of the last record in `pending`.
    appended: u64,
    /// Number of the last record on stable storage.
    durable: u64,
    open: BTreeMap<u64, Intent>,
    /// How many sessions have scratch files in a mailbox.
    touched: BTreeMap<Scratch, u32>,
    next_id: u64,
    failed: Option<String>,
    syncs: u64,
}

impl IntentLog {
    /// Reads what there is and goes on after it. A last record that is not whole was never acted upon.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn open(state_dir: &Path) -> Result<IntentLog, LogError> {
        let path = state_dir.join(FILE_NAME);
        let mut text = Vec::new();
        match File::open(&path) {
            Ok(mut file) => {
                file.read_to_end(&mut text).io_context("read", &path)?;
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(IoError::new("open", &path, e).into()),
        }
        let mut open = BTreeMap::new();
        let mut touched = BTreeMap::new();
        let mut next_id = 1;
        for (number, line) in String::from_utf8_lossy(&text).lines().enumerate() {
            if line.is_empty() {
                continue;
            }
            match Line::parse(line) {
                Some(Line::Begin(intent)) => {
                    next_id = next_id.max(intent.id.saturating_add(1));
                    open.insert(intent.id, intent);
                }
                Some(Line::End { id }) => {
                    open.remove(&id);
                }
                Some(Line::Touch(scratch)) => {
                    touched.insert(scratch, 1);
                }
                Some(Line::Clear(scratch)) => {
                    touched.remove(&scratch);
                }
                // Records after it, if any, are whole and count: a hole can only be of records that
                // nobody was told about.
                None => tracing::warn!(
                    "{} line {}: not whole, left out",
                    path.display(),
                    number + 1
                ),
            }
        }
        let state = State {
            log: None,
            file: None,
            pending: String::new(),
            appended: 0,
            durable: 0,
            open,
            touched,
            next_id,
            failed: None,
            syncs: 0,
        };
        let log = IntentLog {
            path,
            state: Mutex::new(state),
            synced: Condvar::new(),
        };
        log.lock().compact(&log.path)?;
        Ok(log)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Intents that are not settled.
    #[must_use]
    pub fn open_intents(&self) -> Vec<Intent> {
        self.lock().open.values().cloned().collect()
    }

    /// The unsettled intents of one mailbox, oldest first.
    #[must_use]
    pub fn open_of(&self, mailbox: &str) -> Vec<Intent> {
        self.lock()
            .open
            .values()
            .filter(|i| i.mailbox == mailbox)
            .cloned()
            .collect()
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
    pub fn begin(&self, mut intent: Intent) -> Result<u64, LogError> {
        let mut state = self.usable()?;
        if intent.id == 0 {
            intent.id = state.next_id;
            state.next_id += 1;
        }
        let id = intent.id;
        let line = Line::Begin(intent.clone()).to_text()?;
        state.pending.push_str(&line);
        state.appended += 1;
        state.open.insert(id, intent);
        let wanted = state.appended;
        let result = self.wait_durable(state, wanted);
        if result.is_err() {
            // It was not acted upon. On disk it may be, and recovery will see that nothing was renamed.
            self.lock().open.remove(&id);
        }
        result.map(|()| id)
    }

    /// Notes that an intent is settled: given to the kernel at once, so that a kill does not lose it; on stable storage
    /// with the next one that begins.
    ///
    /// When the log has failed it is settled for this process all the same: else whoever settles open intents
    /// before going on would find this one for ever. The next process finds it in the log and sees that it is
    /// settled.
    pub fn end(&self, id: u64) {
        let mut state = self.lock();
        if state.open.remove(&id).is_none() || state.failed.is_some() {
            return;
        }
        let line = Line::End { id }.to_text().map_err(std::io::Error::from);
        match line.and_then(|line| state.note(&line)) {
            // For `flush`.
            Ok(()) => state.appended += 1,
            Err(error) => tracing::error!("{}: {error}", self.path.display()),
        }
    }

    /// Mailboxes in which there may be scratch files.
    #[must_use]
    pub fn touched(&self) -> Vec<Scratch> {
        self.lock().touched.keys().cloned().collect()
    }

    /// Notes that scratch files are about to be made, and returns when that is on stable storage: so that recovery finds
    /// what a kill or a power cut leaves.
    ///
    /// # Errors
    /// The log cannot be written.
    pub fn touch(&self, scratch: &Scratch) -> Result<(), LogError> {
        let mut state = self.usable()?;
        let count = state.touched.entry(scratch.clone()).or_default();
        *count += 1;
        if *count > 1 {
            return Ok(());
        }
        let line = Line::Touch(scratch.clone()).to_text()?;
        state.pending.push_str(&line);
        state.appended += 1;
        let wanted = state.appended;
        self.wait_durable(state, wanted)
    }

    /// Notes that one who had scratch files in a mailbox has none any more.
    pub fn clear(&self, scratch: &Scratch) {
        let mut state = self.lock();
        let Some(count) = state.touched.get_mut(scratch) else {
            return;
        };
        *count = count.saturating_sub(1);
        if *count > 0 {
            return;
        }
        state.touched.remove(scratch);
        let line = Line::Clear(scratch.clone()).to_text();
        // A lost one makes recovery look once more.
        if let Err(error) = line
            .map_err(std::io::Error::from)
            .and_then(|line| state.note(&line))
        {
            tracing::warn!("{}: {error}", self.path.display());
        }
    }

    /// Writes and syncs whatever is pending: on the way out.
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
    /// An earlier write or sync failed; what is on stable storage is not known before slotd reads it anew.
    pub fn usable_now(&self) -> Result<(), LogError> {
        self.usable().map(drop)
    }

    fn usable(&self) -> Result<MutexGuard<'_, State>, LogError> {
        let state = self.lock();
        match &state.failed {
            Some(reason) => Err(LogError::Failed {
                path: self.path.clone(),
                reason: reason.clone(),
            }),
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
            if let Some(reason) = &state.failed {
                return Err(LogError::Failed {
                    path: self.path.clone(),
                    reason: reason.clone(),
                });
            }
            if state.durable >= wanted {
                return Ok(());
            }
            // Somebody has taken the file to sync it.
            let Some(file) = state.file.take() else {
                state = self
                    .synced
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let batch = std::mem::take(&mut state.pending);
            let upto = state.appended;
            let place = state.log.as_mut().map_or(Ok(0), |l| l.reserve(batch.len()));
            drop(state);
            let result = place
                .and_then(|at| write_and_sync(&file, &batch, at))
                .io_context("write", &self.path);
            state = self.lock();
            state.file = Some(file);
            state.syncs += 1;
            match result {
                Ok(()) => {
                    state.durable = upto;
                    let length = state.log.as_ref().map_or(0, LogFile::position);
                    if length > COMPACT_AT && state.pending.is_empty() {
                        let compacted = state.compact(&self.path);
                        if let Err(error) = compacted {
                            state.failed = Some(error.to_string());
                        }
                    }
                }
                Err(error) => state.failed = Some(error.to_string()),
            }
            self.synced.notify_all();
        }
    }
}

fn write_and_sync(file: &File, batch: &str, at: u64) -> std::io::Result<()> {
    failpoint::hit("intent.write")?;
    file.write_all_at(batch.as_bytes(), at)?;
    failpoint::hit("intent.sync")?;
    file.sync_data()
}

impl State {
    fn note(&mut self, line: &str) -> std::io::Result<()> {
        self.log.as_mut().map_or(Ok(()), |log| log.note(line))
    }

    /// Writes the file anew with the open intents only.
    fn compact(&mut self, path: &Path) -> Result<(), LogError> {
        let mut text = String::new();
        for intent in self.open.values() {
            text.push_str(&Line::Begin(intent.clone()).to_text()?);
        }
        for scratch in self.touched.keys() {
            text.push_str(&Line::Touch(scratch.clone()).to_text()?);
        }
        let log = LogFile::replace(path, &text)?;
        self.file = Some(log.handle().io_context("duplicate", path)?);
        self.log = Some(log);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::Identity;
    use crate::intent::{Direction, IntentFile, Kind};
    use std::sync::Arc;

    fn intent(mailbox: &str) -> Intent {
        let id = Identity {
            dev: 1,
            ino: 2,
            born: Some(3),
        };
        Intent {
            id: 0,
            mailbox: mailbox.to_owned(),
            partition: "default".to_owned(),
            from: 9,
            to: 10,
            direction: Direction::Commit,
            drop_old: false,
            uuids_old: false,
            files: vec![IntentFile {
                kind: Kind::Index,
                old: id,
                new: Identity {
                    dev: 1,
                    ino: 3,
                    born: None,
                },
            }],
        }
    }

    #[test]
    fn what_began_and_did_not_end_is_open_after_a_restart() {
        let tmp = tempfile::tempdir().unwrap();
        let log = IntentLog::open(tmp.path()).unwrap();
        let first = log.begin(intent("user.a")).unwrap();
        let second = log.begin(intent("user.b")).unwrap();
        log.end(first);
        log.flush().unwrap();
        drop(log);
        let log = IntentLog::open(tmp.path()).unwrap();
        let open = log.open_intents();
        assert_eq!(
            open.iter()
                .map(|i| (i.id, i.mailbox.as_str()))
                .collect::<Vec<_>>(),
            [(second, "user.b")]
        );
        assert!(log.begin(intent("user.c")).unwrap() > second);
    }

    #[test]
    fn a_record_that_was_cut_anywhere_is_left_out_and_the_others_stay() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join(FILE_NAME);
        let log = IntentLog::open(tmp.path()).unwrap();
        log.begin(intent("user.a")).unwrap();
        let text = || {
            std::fs::read_to_string(&path)
                .unwrap()
                .trim_end()
                .to_owned()
                + "\n"
        };
        let one = text().len();
        log.begin(intent("user.b")).unwrap();
        let whole = text().into_bytes();
        drop(log);
        for cut in one..whole.len() - 1 {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let open = IntentLog::open(tmp.path()).unwrap().open_intents();
            assert_eq!(open.len(), 1, "cut at {cut}");
            assert_eq!(open[0].mailbox, "user.a");
        }
        for byte in one..whole.len() {
            let mut flipped = whole.clone();
            flipped[byte] ^= 0x10;
            std::fs::write(&path, &flipped).unwrap();
            let open = IntentLog::open(tmp.path()).unwrap().open_intents();
            assert_eq!(
                open.first().map(|i| i.mailbox.as_str()),
                Some("user.a"),
                "flipped at {byte}"
            );
            assert!(
                open.iter().skip(1).all(|i| i.mailbox == "user.b"),
                "flipped at {byte}"
            );
        }
    }

    #[test]
    fn after_a_failed_sync_nothing_begins_any_more() {
        let tmp = tempfile::tempdir().unwrap();
        let log = IntentLog::open(tmp.path()).unwrap();
        failpoint::with("intent.sync=1:eio", || {
            assert!(log.begin(intent("user.a")).is_err());
        });
        assert!(matches!(
            log.begin(intent("user.b")),
            Err(LogError::Failed { .. })
        ));
        assert!(log.open_intents().is_empty());
    }

    #[test]
    fn many_who_begin_at_once_share_syncs_and_all_are_durable() {
        let tmp = tempfile::tempdir().unwrap();
        let log = Arc::new(IntentLog::open(tmp.path()).unwrap());
        let threads: Vec<_> = (0..8)
            .map(|t| {
                let log = Arc::clone(&log);
                std::thread::spawn(move || {
                    for i in 0..25 {
                        log.begin(intent(&format!("user.t{t}.m{i}"))).unwrap();
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert!(log.syncs() <= 200);
        drop(log);
        assert_eq!(
            IntentLog::open(tmp.path()).unwrap().open_intents().len(),
            200
        );
    }
}
