//! What a run is told, how it is stopped, and why it cannot go on.

use std::time::Duration;

use indexfile::exit::Exit;
use slotd::protocol::{Rehash, Write};
use tokio::sync::watch;

use super::breaker::MaxFailures;
use crate::control::Limits;
use crate::journal::{JournalError, REHASH, RunId, RunInfo, Verb};
use crate::listing::ListError;
use crate::two_phase::{Plan, Side};

/// How a run works. Checked by the command line; fixed while it runs.
#[allow(clippy::struct_excessive_bools)] // independent switches of the command line
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// What to do.
    pub verb: Verb,
    /// The index version wanted; in a rollback 0, as each mailbox has its own.
    pub to: u8,
    /// The run that a rollback undoes.
    pub undoes: Option<RunId>,
    /// How hard it may work at its start.
    pub limits: Limits,
    /// Passes over what failed for a reason that may pass; 1 is no second pass.
    pub passes: u32,
    /// The pause before the second pass; it doubles with each one. Jitter is added.
    pub pass_pause: Duration,
    /// Further attempts for a decided transaction before it is reported as in doubt.
    pub settle_attempts: u8,
    /// The pause before the first of them; it doubles with each one, up to five seconds.
    pub settle_pause: Duration,
    /// Whether new files are written before the locks are taken. Messages are hashed before in any
    /// case.
    pub prepare: Write,
    /// A UID on one side only is a failure.
    pub require_in_sync: bool,
    /// Remove the `.OLD` files once both sides are committed.
    pub drop_old: bool,
    /// How many failures the run goes on with.
    pub max_failures: MaxFailures,
    /// The run that is given up, if it is the one that was stopped and another one is wanted.
    pub abandon: Option<RunId>,
    /// On the way down no UUID comes back: GUIDs are cut, on both hosts alike.
    pub cut: bool,
    /// The operator says that the servers of both hosts are stopped: a process that has a file of a
    /// store open refuses the run.
    pub servers_stopped: bool,
    /// In an upgrade to version 10, every GUID is compared with its message.
    pub rehash: Option<Rehash>,
}

/// What a person must know before mailboxes get an index of version 10, quiet or not. What slotd
/// can see does not tell 2.3.9 from 2.3.10: the same files, the same locks.
pub const SERVERS_BEFORE_2_3_10: &str = "\
WARNING: Cyrus 2.3.0 to 2.3.9 damage an index of version 10 (flags and GUIDs are overwritten): every server that \
opens these mailboxes, on both hosts, must be 2.3.10 or later";

impl Settings {
    /// Whether it makes indexes that servers before 2.3.10 damage.
    #[must_use]
    pub fn is_too_new_for_2_3_9(&self) -> bool {
        self.verb == Verb::Upgrade && self.to >= 10 && self.rehash != Some(Rehash::Report)
    }

    /// An upgrade to version 10 with the defaults of the command line.
    #[must_use]
    pub fn upgrade() -> Self {
        Self {
            verb: Verb::Upgrade,
            to: 10,
            undoes: None,
            limits: Limits::default(),
            passes: 3,
            pass_pause: Duration::from_secs(2),
            settle_attempts: 8,
            settle_pause: Duration::from_millis(100),
            prepare: Write::Auto,
            require_in_sync: false,
            drop_old: false,
            max_failures: MaxFailures::default(),
            abandon: None,
            cut: false,
            servers_stopped: false,
            rehash: None,
        }
    }

    /// The options that say what is done to a mailbox, as they are given: with others it is another
    /// run.
    #[must_use]
    pub fn part_of_the_run(&self) -> Vec<String> {
        let cut = self.cut.then(|| "--uuids cut".to_owned());
        let rehash = self.rehash.map(|r| format!("{REHASH}{}", r.as_str()));
        cut.into_iter().chain(rehash).collect()
    }

    /// The plan of one transaction: to bring both sides to version `to`, or in a rollback those to
    /// their versions before that have one. `restores`: with the identifiers that they had.
    #[must_use]
    pub fn plan(&self, to: u8, replica: bool, back: [Option<u8>; 2], restores: bool) -> Plan {
        let before = back.into_iter().flatten().next();
        let only = match back {
            [Some(_), None] if replica => Some(Side::Master),
            [None, Some(_)] => Some(Side::Replica),
            _ => None,
        };
        Plan {
            to: before.unwrap_or(to),
            master: true,
            replica,
            only,
            uuids_old: before.is_some() && restores,
            // What is prepared are new GUIDs, and files.
            prepare: before.is_none() && (to >= 10 || self.prepare != Write::Never),
            require_in_sync: self.require_in_sync,
            drop_old: self.drop_old,
            settle_attempts: self.settle_attempts,
        }
    }
}

/// How urgently a run is to end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// It goes on.
    #[default]
    No,
    /// Begin nothing new; let what is under way end.
    Finish,
    /// Roll back what is not decided, carry out what is, and end.
    Now,
}

/// Tells a run to stop. Urgency only grows.
#[derive(Clone, Debug)]
pub struct StopHandle(watch::Sender<Stop>);

impl StopHandle {
    /// Asks for the run to end.
    pub fn stop(&self, how: Stop) {
        self.0.send_if_modified(|now| {
            let more = how > *now;
            *now = (*now).max(how);
            more
        });
    }

    /// One step more urgent than before: what each SIGINT or SIGTERM does. Returns what it is now.
    #[allow(clippy::must_use_candidate)] // called for what it does
    pub fn escalate(&self) -> Stop {
        let next = if *self.0.borrow() == Stop::No {
            Stop::Finish
        } else {
            Stop::Now
        };
        self.stop(next);
        next
    }
}

/// The run's end of it.
#[derive(Clone, Debug)]
pub struct StopSignal(watch::Receiver<Stop>);

impl StopSignal {
    /// How urgent it is.
    #[must_use]
    pub fn level(&self) -> Stop {
        *self.0.borrow()
    }

    /// Returns once it is at least so urgent; never if the handle is gone and it is not.
    pub async fn reached(&mut self, level: Stop) {
        if self.0.wait_for(|now| *now >= level).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// A handle and its signal.
#[must_use]
pub fn stop_pair() -> (StopHandle, StopSignal) {
    let (sender, receiver) = watch::channel(Stop::No);
    (StopHandle(sender), StopSignal(receiver))
}

/// Why a run could not go on. What happened to single mailboxes is no error but in the summary.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The mailbox list.
    #[error(transparent)]
    List(#[from] ListError),
    /// The mailbox list could not be opened.
    #[error("mailbox list {path}: {source}")]
    ListFile {
        /// Its path.
        path: std::path::PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// A slotd does not answer, or not as it should.
    #[error("{side}: {text}")]
    Unavailable {
        /// `master` or `replica`.
        side: &'static str,
        /// Why.
        text: String,
    },
    /// A slotd serves as many connections as it can already.
    #[error("the {side}'s slotd is there, and has no connection free: {text}")]
    Full {
        /// `master` or `replica`.
        side: &'static str,
        /// Its own words.
        text: String,
    },
    /// This process ran out of something.
    #[error("{0}")]
    Local(String),
    /// Master and replica, as given, do not fit each other or the state file.
    #[error("{0}")]
    Config(String),
    /// Names that the run does not have.
    #[error("no such mailbox in this run: {0}")]
    NoMailbox(String),
    /// There is nothing to take up.
    #[error("{0}")]
    Nothing(String),
    /// What was asked for has no mailbox.
    #[error("{0}")]
    Empty(String),
    /// The list could not be kept while it was read.
    #[error("the mailbox list cannot be kept in a temporary file: {0}")]
    Spool(String),
    /// It was told to stop before it had begun.
    #[error("stopped before the list was read to its end; nothing was begun")]
    Stopped,
    /// Every mailbox would be refused, so nothing was begun.
    #[error("{text}; nothing was begun")]
    Preflight {
        /// The code that fits.
        exit: Exit,
        /// What was found at the hosts.
        text: String,
    },
    /// The run that was stopped is another one than this.
    #[error("{0}")]
    Other(Box<OtherRun>),
}

/// A run that is not finished, where another one was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherRun {
    /// It.
    pub run: RunInfo,
    /// Its mailboxes that are not done.
    pub left: u64,
}

impl OtherRun {
    /// What can be done, with the arguments that say which hosts and which state file.
    #[must_use]
    pub fn sentence(&self, common: &str) -> String {
        let Self { run, left } = self;
        let (id, spec) = (run.id.0, &run.spec);
        let words = match spec.words.as_str() {
            "" => String::new(),
            words => format!(" {words}"),
        };
        let target = match (spec.verb, spec.undoes) {
            (Verb::Rollback, Some(run)) => format!(" {}", run.0),
            _ => format!(" --to {}", spec.to),
        };
        // What is in the journal already need not be listed again, and a list may be gone by now.
        let go_on = if run.list_complete && (words.contains("--mailboxes ") || !spec.is_known()) {
            format!("controller retry {common}")
        } else {
            format!("controller {}{target} {common}{words}", spec.verb.as_str())
        };
        format!(
            "run {id} ({}, {}) was stopped with {left} mailbox(es) left, and this is another one. Go on with it:\n  \
             {go_on}\nor give it up and begin this one: the same command with --abandon-run {id}",
            spec.task(),
            spec.of_what(),
        )
    }
}

impl std::fmt::Display for OtherRun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.sentence("(hosts and --state as before)"))
    }
}

impl RunError {
    /// The exit code that fits.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Journal(JournalError::NotOurs { .. } | JournalError::Damaged { .. }) => {
                Exit::Data
            }
            Self::Journal(JournalError::InUse { .. } | JournalError::Missing { .. })
            | Self::Config(_)
            | Self::Other(_)
            | Self::Nothing(_) => Exit::Config,
            Self::Journal(_) | Self::Spool(_) | Self::Local(_) => Exit::Io,
            Self::List(ListError::Io { source, .. }) | Self::ListFile { source, .. } => {
                Exit::of_io(source)
            }
            Self::Preflight { exit, .. } => *exit,
            Self::List(_) | Self::Empty(_) => Exit::Data,
            Self::Stopped => Exit::RolledBack,
            Self::Unavailable { .. } | Self::Full { .. } => Exit::Unavailable,
            Self::NoMailbox(_) => Exit::NoMailbox,
        }
    }
}
