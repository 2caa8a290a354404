//! Who serves the store: a Cyrus of 2.3 or earlier, whose locks are ours, or a later one, whose
//! locks are not.
//!
//! Cyrus 2.4 and later lock a mailbox by its *name*, in files of their own, and do not look at the
//! inode behind cyrus.index again: what slotd locks keeps nobody out there, and what is written
//! meanwhile goes to the dead file. Such servers keep mailboxes of version 6 to 10 for years, so
//! the version of an index says nothing about who serves it.
//!
//! What is found is [`Evidence`]; [`judge`] is the rule, and pure. [`Watch`] keeps what was found
//! while slotd runs: a proof that is met later, in a mailbox's own cyrus.header or in what a server
//! that came meanwhile has left, counts for the whole store from then on. Proofs are kept in the
//! state directory (`served.json`), because a lock directory in memory is empty after the next
//! boot.
//!
//! Nothing in the store is changed here; a crash leaves the old `served.json` or the new one.

mod cyrus_conf;
mod entries;
mod evidence;
mod fence;
mod gather;
mod kept;
mod mailbox;
mod masters;
mod not_fenced;
pub(crate) mod proc;
mod sockets;
mod stopped;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use indexfile::IoError;
use indexfile::mailbox::ImapdConf;
use parking_lot::Mutex;

pub use evidence::{Evidence, Served, judge};
pub use not_fenced::NotFenced;
pub use stopped::{Holder, Scan, Unseen};

use fence::Fence;
use kept::Kept;

use crate::lock::MailboxLocks;
use crate::protocol::Code;
use crate::refusal::Refusal;
use crate::store::Place;

const PROC: &str = "/proc";
/// What is said about running processes is looked up again when it is older than this.
const FRESH: Duration = Duration::from_secs(1);
/// And what a server leaves as soon as it works: a few small files, so that it may be often.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Another process that has a file below one of these directories open, if one is seen.
#[must_use]
pub fn holder(roots: &[PathBuf]) -> Option<Holder> {
    stopped::scan(Path::new(PROC), roots)
        .holders
        .into_iter()
        .next()
}

/// Whether a process has a file below one of these directories open; `None` where the system does
/// not let us look.
pub(crate) fn has_open(process: &proc::Process, roots: &[PathBuf]) -> Option<bool> {
    stopped::has_open(process, roots)
}

/// Why a slotd does not start although its operator says that the server is stopped.
#[derive(Debug, thiserror::Error)]
#[error("the server is said to be stopped, but {holder}")]
pub struct StillRunning {
    /// Who has what open.
    pub holder: Holder,
}

/// What is known about who serves one store.
#[derive(Debug)]
pub struct Watch {
    conf: ImapdConf,
    kept: Kept,
    /// The operator says that no server runs.
    stopped: bool,
    /// Where a server has files open while it runs.
    roots: Vec<PathBuf>,
    fence: Fence,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    evidence: Vec<Evidence>,
    scanned: Option<Instant>,
    /// When the store was looked at last for what a server leaves.
    looked: Option<Instant>,
}

impl Watch {
    /// Looks at the store and keeps what was found in the state directory. `stopped`: the operator
    /// says that no server runs.
    ///
    /// # Errors
    /// The state directory cannot be read or written.
    pub fn begin(
        conf: &ImapdConf,
        roots: &[PathBuf],
        state_dir: &Path,
        stopped: bool,
    ) -> Result<Watch, IoError> {
        let (kept, mut evidence) = Kept::read(state_dir)?;
        for found in gather::look(conf, roots) {
            // By their texts: a path that is none is kept as near to it as text can be.
            let text = found.to_string();
            if !evidence.iter().any(|known| known.to_string() == text) {
                evidence.push(found);
            }
        }
        kept.write(&evidence, stopped)?;
        // Where a running server has something open: its own files, and the mailboxes'.
        let mut all = roots.to_vec();
        all.extend(conf.config_directory().map(Path::to_path_buf));
        Ok(Watch {
            conf: conf.clone(),
            kept,
            stopped,
            roots: all,
            fence: Fence::new(conf, roots),
            state: Mutex::new(State {
                evidence,
                scanned: None,
                looked: Some(Instant::now()),
            }),
        })
    }

    /// With a `cyrus.conf` that does not lie beside `imapd.conf`.
    #[must_use]
    pub fn with_cyrus_conf(mut self, file: Option<PathBuf>) -> Watch {
        self.fence.cyrus_conf = file;
        self
    }

    /// Who serves it, as far as is known by now.
    #[must_use]
    pub fn served(&self) -> Served {
        judge(&self.state.lock().evidence)
    }

    /// Whether the operator says that no server runs.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Why it is not taken for one of 2.3, in words, and where proofs are kept; empty if it is.
    #[must_use]
    pub fn reasons(&self) -> String {
        self.kept.reasons(&self.state.lock().evidence)
    }

    /// Looks once whether the server that is said to be stopped is; gives what could not be looked
    /// at.
    ///
    /// # Errors
    /// A process has one of its files open.
    pub fn verify_stopped(&self) -> Result<Scan, StillRunning> {
        let scan = stopped::scan(Path::new(PROC), &self.roots);
        match scan.holders.first() {
            Some(holder) => Err(StillRunning {
                holder: holder.clone(),
            }),
            None => Ok(scan),
        }
    }

    /// Whether the fence stands: no server runs, none will serve the store if it is started, and no
    /// later Cyrus ever opened it. What was proven is believed for a second, and never across a
    /// change of `msg/shutdown`.
    ///
    /// # Errors
    /// What stands against it, or could not be looked at.
    pub fn fence(&self) -> Result<(), NotFenced> {
        let known = self.state.lock().evidence.clone();
        self.fence.verify(&known).map_err(|error| match error {
            NotFenced::Opened { why } => NotFenced::Opened {
                why: self.kept.with_place(why, &known),
            },
            other => other,
        })
    }

    /// Whether a mailbox may be locked: asked before its locks, and again under them.
    ///
    /// # Errors
    /// [`Code::Served`] with the reasons, or with the process that has something open although the
    /// server is said to be stopped. Who says so by `msg/shutdown` is believed while the fence
    /// stands.
    pub fn admit(&self, place: &Place) -> Result<(), Refusal> {
        self.admit_with(mailbox::look(place))
    }

    /// The same under its locks.
    ///
    /// # Errors
    /// As of [`Watch::admit`].
    pub fn admit_locked(&self, locks: &MailboxLocks) -> Result<(), Refusal> {
        self.admit_with(mailbox::look_locked(locks))
    }

    fn admit_with(&self, found: Option<Evidence>) -> Result<(), Refusal> {
        if let Some(evidence) = found {
            self.note(evidence);
        }
        self.look_again();
        let served = self.served();
        if !self.stopped && (served == Served::Cyrus23 || self.fence().is_ok()) {
            return Ok(());
        }
        let mut state = self.state.lock();
        if !self.stopped {
            let who = match served {
                Served::Cyrus24 => {
                    "a Cyrus of 2.4 or later serves this store, and slotd's locks do not keep it \
                     out"
                }
                _ => {
                    "nobody knows which Cyrus serves this store, and slotd's locks keep only 2.3 \
                     out"
                }
            };
            return Err(Refusal::new(
                Code::Served,
                format!(
                    "{who} ({}); if it is stopped, start slotd with --server-stopped",
                    self.kept.reasons(&state.evidence)
                ),
            ));
        }
        if state.scanned.is_none_or(|at| at.elapsed() > FRESH) {
            self.verify_stopped()
                .map_err(|error| Refusal::new(Code::Served, error.to_string()))?;
            state.scanned = Some(Instant::now());
        }
        Ok(())
    }

    /// Looks whether another server has come since. What cannot be looked at now was looked at when
    /// slotd started: it is no new doubt.
    fn look_again(&self) {
        let is_due = |at: &mut Option<Instant>| {
            let due = at.is_none_or(|at| at.elapsed() > LOOK_AGAIN);
            if due {
                *at = Some(Instant::now());
            }
            due
        };
        if is_due(&mut self.state.lock().looked) {
            let found = gather::look_shortly(&self.conf).into_iter();
            found.filter(Evidence::is_proof).for_each(|e| self.note(e));
        }
    }

    /// The same as a refusal.
    ///
    /// # Errors
    /// [`Code::Unfenced`]
    pub fn check_fence(&self) -> Result<(), Refusal> {
        self.fence().map_err(|why| {
            let text = format!("the change-over needs the fence, which does not stand: {why}");
            Refusal::new(Code::Unfenced, text)
        })
    }

    /// Notes what was met in a mailbox. A proof is written down.
    pub fn note(&self, evidence: Evidence) {
        let mut state = self.state.lock();
        let known = state.evidence.iter().any(Evidence::is_lasting);
        if known || state.evidence.contains(&evidence) {
            return;
        }
        tracing::warn!("{evidence}: no Cyrus of 2.3 serves this store");
        state.evidence.push(evidence);
        if let Err(error) = self.kept.write(&state.evidence, self.stopped) {
            tracing::error!("{error}");
        }
    }
}

#[cfg(test)]
mod tests;
