//! Why a command could not do its work.

use indexfile::exit::Exit;
use indexfile::mailbox::list::ListError;

use slotd::client::ClientError;
use slotd::protocol::Code;

use crate::journal::{JournalError, RunInfo};
use crate::two_phase::Side;

/// Why a run could not go on. What happened to single mailboxes is no error but in the summary.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The journal.
    #[error(transparent)]
    Journal(JournalError),
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
    /// A slotd and we do not trust one another, or it lets us order nothing. It does not pass by
    /// itself.
    #[error("{side}: {text}")]
    Denied {
        /// `master` or `replica`.
        side: &'static str,
        /// Why.
        text: String,
    },
    /// A slotd's disk is full, or does not work. It does not pass by itself.
    #[error("{side}: {text}")]
    Disk {
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
    /// Another controller has the pair, with a higher epoch: this one's is over.
    #[error("another controller has taken over, and this one has stopped: {0}")]
    TakenOver(String),
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
    /// What was asked for has no mailbox that is listed, and may have some that are not.
    #[error("{text}")]
    LeftOut {
        /// The code that fits.
        exit: Exit,
        /// What is not listed, and why.
        text: String,
    },
    /// The list could not be kept while it was read.
    #[error("the mailbox list cannot be kept in a temporary file: {0}")]
    Spool(String),
    /// It was stopped before it had begun.
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

impl From<JournalError> for RunError {
    /// A claim that is lost ends a run as a host's word of the one that took over does.
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::Fenced { .. } => Self::TakenOver(format!("the journal says {error}")),
            error => Self::Journal(error),
        }
    }
}

/// A run that is not finished, where another one was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherRun {
    /// It.
    pub run: RunInfo,
    /// Its mailboxes that are not done.
    pub left: u64,
    /// Whether the fleet file leaves out other partitions than it did.
    pub left_out_others: bool,
}

impl OtherRun {
    /// What can be done, with the arguments that say which hosts and which state file.
    #[must_use]
    pub fn sentence(&self, common: &str) -> String {
        let Self { run, left, .. } = self;
        let (id, spec) = (run.id.0, &run.spec);
        let go_on = run.go_on(common);
        let (why, before) = match (self.left_out_others, spec.left_out()) {
            (false, _) => (String::new(), ""),
            (true, None) => (
                ": leave-out in the fleet file was empty then".to_owned(),
                "Set that back, and go",
            ),
            (true, Some(partitions)) => (
                format!(": leave-out in the fleet file was {partitions} then"),
                "Set that back, and go",
            ),
        };
        let go = if before.is_empty() { "Go" } else { before };
        format!(
            "run {id} ({}, {}) was stopped with {left} mailbox(es) left, and this is another one\
             {why}. {go} on with it:\n  \
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
    /// A call that brought no answer to go on with, by what that says: about trust, about the
    /// host's disk, or that it is away.
    pub(crate) fn unanswered(side: &'static str, error: &ClientError) -> Self {
        let text = error.to_string();
        match error.code() {
            Some(code) => Self::refused(side, code, text),
            None if error.is_untrusted() => Self::Denied { side, text },
            None => Self::Unavailable { side, text },
        }
    }

    /// A refusal of something that no run goes on without.
    pub(crate) fn refused(side: &'static str, code: Code, text: String) -> Self {
        match code {
            Code::Denied => Self::Denied { side, text },
            Code::NoSpace | Code::Io => Self::Disk { side, text },
            _ => Self::Unavailable { side, text },
        }
    }

    /// The same, of one pair of several.
    #[must_use]
    pub fn of_pair(self, pair: &str) -> Self {
        match self {
            Self::Unavailable { side, text } => Self::Unavailable {
                side,
                text: format!("(pair {pair}) {text}"),
            },
            Self::Full { side, text } => Self::Full {
                side,
                text: format!("(pair {pair}) {text}"),
            },
            Self::Denied { side, text } => Self::Denied {
                side,
                text: format!("(pair {pair}) {text}"),
            },
            Self::Disk { side, text } => Self::Disk {
                side,
                text: format!("(pair {pair}) {text}"),
            },
            Self::TakenOver(text) => Self::TakenOver(format!("pair {pair}: {text}")),
            Self::Config(text) => Self::Config(format!("pair {pair}: {text}")),
            error => error,
        }
    }

    /// Whether a slotd does not answer, which may pass by itself.
    #[must_use]
    pub fn is_away(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Full { .. })
    }

    /// Which side does not answer.
    #[must_use]
    pub fn away(&self) -> [bool; 2] {
        let (Self::Unavailable { side: away, .. } | Self::Full { side: away, .. }) = self else {
            return [false; 2];
        };
        Side::ALL.map(|side| side.as_str() == *away)
    }

    /// The exit code that fits.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Journal(JournalError::NotOurs { .. } | JournalError::Damaged { .. }) => {
                Exit::Data
            }
            Self::Journal(
                JournalError::InUse { .. }
                | JournalError::Missing { .. }
                | JournalError::Pairs { .. }
                | JournalError::Unfit { .. }
                | JournalError::Claimed { .. },
            )
            | Self::Config(_)
            | Self::Other(_)
            | Self::Nothing(_) => Exit::Config,
            Self::Stopped | Self::TakenOver(_) => Exit::RolledBack,
            Self::Journal(
                JournalError::Postgres { .. }
                | JournalError::Lost { .. }
                | JournalError::Timeline { .. },
            )
            | Self::Unavailable { .. }
            | Self::Full { .. } => Exit::Unavailable,
            Self::Denied { .. }
            | Self::Journal(JournalError::Io {
                kind: std::io::ErrorKind::PermissionDenied,
                ..
            }) => Exit::Denied,
            Self::Disk { .. } | Self::Journal(_) | Self::Spool(_) | Self::Local(_) => Exit::Io,
            Self::List(ListError::Io { source, .. }) | Self::ListFile { source, .. } => {
                Exit::of_io(source)
            }
            Self::Preflight { exit, .. } | Self::LeftOut { exit, .. } => *exit,
            Self::List(_) | Self::Empty(_) => Exit::Data,
            Self::NoMailbox(_) => Exit::NoMailbox,
        }
    }
}

#[cfg(test)]
mod tests {
    use slotd::client::Addr;

    use super::*;

    #[test]
    fn what_does_not_pass_by_itself_is_not_taken_for_a_host_that_is_away() {
        let socket = |kind: std::io::ErrorKind| {
            let addr: Addr = "unix:/run/slotd.sock".parse().unwrap();
            ClientError::unconnected(addr, kind.into())
        };
        let refused = |code| ClientError::Refused {
            code,
            text: "cannot write coordinators.tmp".to_owned(),
        };
        for (error, exit, away) in [
            (
                socket(std::io::ErrorKind::PermissionDenied),
                Exit::Denied,
                false,
            ),
            (
                socket(std::io::ErrorKind::NotFound),
                Exit::Unavailable,
                true,
            ),
            (refused(Code::NoSpace), Exit::Io, false),
            (refused(Code::Io), Exit::Io, false),
            (refused(Code::Denied), Exit::Denied, false),
            (refused(Code::Draining), Exit::Unavailable, true),
        ] {
            let found = RunError::unanswered("master", &error);
            assert_eq!((found.exit(), found.is_away()), (exit, away), "{found}");
            let found = found.of_pair("be1");
            assert!(found.to_string().contains("(pair be1)"), "{found}");
        }
        let forbidden = socket(std::io::ErrorKind::PermissionDenied).to_string();
        assert!(
            forbidden.starts_with("not permitted to connect to slotd at unix:/run/slotd.sock: "),
            "{forbidden}"
        );
    }
}
