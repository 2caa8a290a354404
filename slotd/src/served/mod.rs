//! Who serves the store: a Cyrus of 2.3 or earlier, whose locks are ours, or a later one, whose
//! locks are not.
//!
//! Cyrus 2.4 and later lock a mailbox by its *name*, in files of their own, and do not look at the
//! inode behind cyrus.index again: what slotd locks keeps nobody out there, and what is written
//! meanwhile goes to the dead file. Such servers keep mailboxes of version 6 to 10 for years, so
//! the version of an index says nothing about who serves it.
//!
//! What is found is [`Evidence`]; [`judge`] is the rule, and pure. [`Watch`] keeps what was found
//! while slotd runs: a proof that is met later, in a mailbox's own cyrus.header, counts for the
//! whole store from then on. Proofs are kept in the state directory (`served.json`), because a lock
//! directory in memory is empty after the next boot.
//!
//! Nothing in the store is changed here; a crash leaves the old `served.json` or the new one.

mod gather;
mod mailbox;
mod stopped;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use indexfile::IoError;
use indexfile::dir::{OpenError, limit, read_named};
use indexfile::mailbox::ImapdConf;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

pub use stopped::{Holder, Scan};

use crate::fs::rewrite;
use crate::protocol::Code;
use crate::refusal::Refusal;
use crate::store::Place;

const FILE_NAME: &str = "served.json";
/// What is said about running processes is looked up again when it is older than this.
const FRESH: Duration = Duration::from_secs(1);
/// So many reasons are spelled out.
const TOLD: usize = 3;

/// Who serves a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// Cyrus 2.3 or earlier, as far as everything that was looked at says.
    Cyrus23,
    /// Cyrus 2.4 or later.
    Cyrus24,
    /// It could not be found out.
    Unknown,
}

impl Served {
    /// The word in `HELLO`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Served::Cyrus23 => "2.3",
            Served::Cyrus24 => "2.4+",
            Served::Unknown => "unknown",
        }
    }
}

/// Something that tells a later Cyrus from one of 2.3.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    /// A mailbox name lock: 2.4 and later leave them for ever, 2.3 has none.
    NameLock(PathBuf),
    /// A twoskip database, which 2.5 brought.
    Twoskip(PathBuf),
    /// A mailboxes.db with entries in the list form of 2.5.
    ListEntries(PathBuf),
    /// A user's file that 2.3 does not know: conversations, counters and the like.
    UserFile(PathBuf),
    /// A cyrus.header in the list form of 3.6.
    ListHeader(PathBuf),
    /// A unique id in the form of 2.5 and later; 2.3 makes 16 hexadecimal digits.
    UniqueId(PathBuf),
    /// An index of version 12 or later.
    Version(PathBuf, u32),
    /// `imapd.conf` asks for a database format that 2.3 does not start with.
    Format(String),
    /// An option of `imapd.conf` that 2.3 does not know: somebody wrote it for a later server.
    Option(String),
    /// A directory for name locks, without any.
    EmptyLockDirectory(PathBuf),
    /// Something that could not be looked at, and why.
    Unseen(PathBuf, String),
}

impl Evidence {
    /// Whether no Cyrus of 2.3 can have left it. What is no proof is a doubt.
    #[must_use]
    pub fn is_proof(&self) -> bool {
        !matches!(
            self,
            Evidence::Option(_) | Evidence::EmptyLockDirectory(_) | Evidence::Unseen(..)
        )
    }
}

impl std::fmt::Display for Evidence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Evidence::NameLock(path) => write!(f, "{} is a mailbox name lock", path.display()),
            Evidence::Twoskip(path) => write!(f, "{} is a twoskip database", path.display()),
            Evidence::ListEntries(path) => {
                write!(f, "{} has entries in the form of 2.5", path.display())
            }
            Evidence::UserFile(path) => {
                write!(f, "{} is a file that 2.3 does not know", path.display())
            }
            Evidence::ListHeader(path) => {
                write!(f, "{} has the list form of 3.6", path.display())
            }
            Evidence::UniqueId(path) => {
                write!(
                    f,
                    "{} has a unique id in the form of 2.5 and later",
                    path.display()
                )
            }
            Evidence::Version(path, version) => {
                write!(f, "{} has version {version}", path.display())
            }
            Evidence::Format(option) => {
                write!(f, "imapd.conf says {option}, with which 2.3 does not start")
            }
            Evidence::Option(option) => {
                write!(
                    f,
                    "imapd.conf has the option {option}, which 2.3 does not know"
                )
            }
            Evidence::EmptyLockDirectory(path) => write!(
                f,
                "{} is a directory for mailbox name locks",
                path.display()
            ),
            Evidence::Unseen(path, why) => {
                write!(f, "{} could not be looked at: {why}", path.display())
            }
        }
    }
}

/// The rule: one proof is enough, and one doubt is enough not to know.
#[must_use]
pub fn judge(evidence: &[Evidence]) -> Served {
    if evidence.iter().any(Evidence::is_proof) {
        Served::Cyrus24
    } else if evidence.is_empty() {
        Served::Cyrus23
    } else {
        Served::Unknown
    }
}

/// Another process that has a file below one of these directories open, if one is seen.
#[must_use]
pub fn holder(roots: &[PathBuf]) -> Option<Holder> {
    stopped::scan(roots).holders.into_iter().next()
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
    file: PathBuf,
    /// The operator says that no server runs.
    stopped: bool,
    /// Where a server has files open while it runs.
    roots: Vec<PathBuf>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    evidence: Vec<Evidence>,
    scanned: Option<Instant>,
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
        let file = state_dir.join(FILE_NAME);
        let mut evidence = known(&file)?;
        for found in gather::look(conf, roots) {
            if !evidence.contains(&found) {
                evidence.push(found);
            }
        }
        // Where a running server has something open: its own files, and the mailboxes'.
        let mut all = roots.to_vec();
        all.extend(conf.config_directory().map(Path::to_path_buf));
        let watch = Watch {
            file,
            stopped,
            roots: all,
            state: Mutex::new(State {
                evidence,
                scanned: None,
            }),
        };
        watch.keep(&watch.state.lock())?;
        Ok(watch)
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

    /// Why it is not taken for one of 2.3, in words; empty if it is.
    #[must_use]
    pub fn reasons(&self) -> String {
        reasons(&self.state.lock().evidence)
    }

    /// Looks once whether the server that is said to be stopped is; gives what could not be looked
    /// at.
    ///
    /// # Errors
    /// A process has one of its files open.
    pub fn verify_stopped(&self) -> Result<Scan, StillRunning> {
        let scan = stopped::scan(&self.roots);
        match scan.holders.first() {
            Some(holder) => Err(StillRunning {
                holder: holder.clone(),
            }),
            None => Ok(scan),
        }
    }

    /// Whether a mailbox may be locked: asked before its locks, and again under them.
    ///
    /// # Errors
    /// [`Code::Served`] with the reasons, or with the process that has something open although the
    /// server is said to be stopped.
    pub fn admit(&self, place: &Place) -> Result<(), Refusal> {
        if let Some(evidence) = mailbox::look(place) {
            self.note(evidence);
        }
        let mut state = self.state.lock();
        let served = judge(&state.evidence);
        if served == Served::Cyrus23 && !self.stopped {
            return Ok(());
        }
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
                    reasons(&state.evidence)
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

    /// Notes what was met in a mailbox. A proof is written down.
    pub fn note(&self, evidence: Evidence) {
        let mut state = self.state.lock();
        let known = state.evidence.iter().any(Evidence::is_proof);
        if known || state.evidence.contains(&evidence) {
            return;
        }
        tracing::warn!("{evidence}: no Cyrus of 2.3 serves this store");
        state.evidence.push(evidence);
        if let Err(error) = self.keep(&state) {
            tracing::error!("{error}");
        }
    }

    fn keep(&self, state: &State) -> Result<(), IoError> {
        let proofs: Vec<&Evidence> = state.evidence.iter().filter(|e| e.is_proof()).collect();
        let record = serde_json::json!({
            "served": judge(&state.evidence).as_str(), "stopped": self.stopped, "proofs": proofs,
            "because": reasons(&state.evidence),
        });
        rewrite(&self.file, |file| writeln!(file, "{record:#}")).map(drop)
    }
}

/// The proofs that an earlier start wrote down.
fn known(file: &Path) -> Result<Vec<Evidence>, IoError> {
    let text = match read_named(file, limit::STATE) {
        Ok(text) => text,
        Err(OpenError::Missing { .. }) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let kept = serde_json::from_slice::<serde_json::Value>(&text)
        .ok()
        .and_then(|record| serde_json::from_value(record.get("proofs")?.clone()).ok());
    Ok(kept.unwrap_or_else(|| {
        let why = "it is damaged, or a later release wrote it".to_owned();
        vec![Evidence::Unseen(file.to_path_buf(), why)]
    }))
}

fn reasons(evidence: &[Evidence]) -> String {
    let proofs = evidence.iter().any(Evidence::is_proof);
    let all: Vec<String> = evidence
        .iter()
        .filter(|e| e.is_proof() == proofs)
        .map(ToString::to_string)
        .collect();
    let mut text = all[..all.len().min(TOLD)].join("; ");
    if all.len() > TOLD {
        text.push_str("; and more");
    }
    text
}

#[cfg(test)]
mod tests;
