//! `--hooks` and `--log-to`: what is said to the operator's programs, and to syslog or journald, at
//! each event of a run.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use indexfile::exit::Exit;
use serde_json::{Value, json};

use super::progress::OfPair;
use super::{Fail, text};
use crate::event_log::{EventLog, LogTo, Severity};
use crate::hooks::{Event, Hooks, Tell};
use crate::journal::{Ended, Verb};
use crate::observer::{Finished, Observer};

#[derive(Debug, Args)]
pub(super) struct HookArgs {
    /// A directory of programs that are run at the events of a run, each with the name of its event
    /// and JSON on its standard input: see docs/controller.md.
    #[arg(long, value_name = "DIR")]
    hooks: Option<PathBuf>,
    /// Seconds that one of them may take; then it is killed.
    #[arg(long, value_name = "SECONDS", default_value_t = 30,
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    hook_limit: u64,
}

/// Where the log goes.
#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
enum LogArg {
    #[default]
    Stderr,
    Syslog,
    Journald,
}

#[derive(Debug, Args)]
pub(super) struct LogArgs {
    /// Where what happens is written besides standard error, a line of key=<value> for each event.
    #[arg(long, value_name = "WHERE", value_enum, default_value = "stderr")]
    log_to: LogArg,
}

impl LogArgs {
    /// Opens it; where there is none, that is said once.
    pub(super) fn open(&self) -> Arc<EventLog> {
        let to = match self.log_to {
            LogArg::Stderr => LogTo::Stderr,
            LogArg::Syslog => LogTo::Syslog,
            LogArg::Journald => LogTo::Journald,
        };
        Arc::new(EventLog::open(to).unwrap_or_else(|error| {
            text::complain(&format!("--log-to: {error}: standard error alone has it"));
            EventLog::default()
        }))
    }
}

impl HookArgs {
    /// The hooks, if there are any.
    pub(super) fn open(&self, tell: Tell) -> Result<Arc<Hooks>, Fail> {
        let Some(path) = &self.hooks else {
            return Ok(Arc::new(Hooks::none()));
        };
        let limit = Duration::from_secs(self.hook_limit);
        let hooks = Hooks::of_directory(path, limit, tell);
        let hooks = hooks.map_err(|error| Fail::new(Exit::Config, format!("--hooks: {error}")))?;
        Ok(Arc::new(hooks))
    }
}

/// What every hook gets: the command, its target, and, in a fleet, the pair.
pub(super) fn keys((verb, to): (Verb, u8), pair: &str) -> Value {
    let mut keys = json!({ "command": verb.as_str(), "to": to });
    if !pair.is_empty() {
        keys["pair"] = pair.into();
    }
    keys
}

/// What happens on one pair, with the hooks of its mailboxes.
pub(super) struct Hooked {
    pub(super) inner: OfPair,
    pub(super) hooks: Arc<Hooks>,
    pub(super) of: (Verb, u8),
    pub(super) log: Arc<EventLog>,
}

impl Hooked {
    fn log(&self, severity: Severity, event: &str, text: &str) {
        let pair = self.inner.name.as_str();
        self.log
            .write(severity, event, &[("pair", pair), ("text", text)]);
    }

    /// An attempt that failed for good.
    fn failed(&self, event: Event, what: &Finished<'_>) {
        let (severity, word) = match event {
            Event::InDoubt => (Severity::Critical, "in-doubt"),
            _ => (Severity::Warning, "mailbox-failed"),
        };
        let reason = what.failure.map_or("", |failure| failure.reason.as_str());
        let side = what.failure.and_then(|failure| failure.side);
        let keys = [
            ("pair", self.inner.name.as_str()),
            ("mailbox", what.name),
            ("reason", reason),
            ("side", side.map_or("", crate::two_phase::Side::as_str)),
            ("text", what.failure.map_or("", |failure| &failure.text)),
        ];
        self.log.write(severity, word, &keys);
    }
}

impl Observer for Hooked {
    fn begins(&self, mailboxes: u64, done: u64) {
        self.inner.begins(mailboxes, done);
    }

    fn finished(&self, what: &Finished<'_>) {
        let event = match what.ended {
            Ended::RolledBack => Some(Event::AfterMailboxFailed),
            Ended::InDoubt => Some(Event::InDoubt),
            _ => None,
        };
        if let Some(event) = event {
            self.failed(event, what);
        }
        if let Some(event) = event.filter(|event| self.hooks.has(*event)) {
            let mut keys = keys(self.of, &self.inner.name);
            keys["mailbox"] = what.name.into();
            if let Some(failure) = what.failure {
                keys["reason"] = failure.reason.as_str().into();
                keys["side"] = failure.side.map(crate::two_phase::Side::as_str).into();
                keys["text"] = failure.text.as_str().into();
            }
            self.hooks.tell(event, keys);
        }
        self.inner.finished(what);
    }

    fn say(&self, text: &str) {
        self.log(Severity::Info, "note", text);
        self.inner.say(text);
    }

    fn warn(&self, text: &str) {
        self.log(Severity::Warning, "warning", text);
        self.inner.warn(text);
    }

    fn alarm(&self, text: &str) {
        self.inner.alarm(text);
    }
}
