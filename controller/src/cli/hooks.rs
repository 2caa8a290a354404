//! `--hooks`: what is said to the operator's programs at each event of a run.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use indexfile::exit::Exit;
use serde::Serialize;
use serde_json::{Value, json};

use super::Fail;
use super::progress::OfPair;
use super::session::Session;
use crate::error::RunError;
use crate::hooks::{Event, Hooks, Tell};
use crate::journal::{Ended, Verb};
use crate::observer::{Finished, Observer};
use crate::run::{Recovered, Summary, Undone};

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

/// What every hook is told: the command, its target, and, in a fleet, the pair.
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
        self.inner.say(text);
    }

    fn warn(&self, text: &str) {
        self.inner.warn(text);
    }

    fn alarm(&self, text: &str) {
        self.inner.alarm(text);
    }
}

/// What the work on a pair came to.
pub(super) trait Came {
    /// The exit code that fits.
    fn exit(&self) -> Exit;
    /// It, as JSON.
    fn told(&self) -> Value;
}

fn value(of: &impl Serialize) -> Value {
    serde_json::to_value(of).unwrap_or_default()
}

impl Came for Summary {
    fn exit(&self) -> Exit {
        Summary::exit(self)
    }
    fn told(&self) -> Value {
        value(self)
    }
}

impl Came for Recovered {
    fn exit(&self) -> Exit {
        Recovered::exit(self)
    }
    fn told(&self) -> Value {
        value(self)
    }
}

impl Came for Undone {
    fn exit(&self) -> Exit {
        Undone::exit(self)
    }
    fn told(&self) -> Value {
        value(&self.summary)
    }
}

impl Session {
    fn of(&self) -> (Verb, u8) {
        (self.settings.verb, self.settings.to)
    }

    /// The work of the command, between `before-run`, which may refuse it, and `after-run`.
    pub(super) async fn around(
        &self,
        work: impl Future<Output = Result<Exit, Fail>>,
    ) -> Result<Exit, Fail> {
        let mut all = keys(self.of(), "");
        let names = self.pairs.iter().map(|at_work| at_work.pair.name.as_str());
        if self.is_fleet() {
            all["pairs"] = names.collect();
        }
        if let Err(text) = self.hooks.ask(Event::BeforeRun, all.clone()).await {
            self.end_progress();
            let text = format!("{text}; nothing was begun");
            return Err(Fail::new(Exit::RolledBack, text));
        }
        let ended = work.await;
        let (exit, error) = match &ended {
            Ok(exit) => (*exit, None),
            Err(fail) => (fail.exit, Some(fail.text.as_str())),
        };
        all["exit"] = exit.code().into();
        all["error"] = error.into();
        self.hooks.tell(Event::AfterRun, all);
        self.hooks.finish().await;
        ended
    }

    /// The work on a pair, between `before-pair`, which may refuse it, and `after-pair`.
    pub(super) async fn around_pair<T: Came>(
        &self,
        at: usize,
        work: impl Future<Output = Result<T, RunError>>,
    ) -> Result<T, RunError> {
        let mut keys = keys(self.of(), &self.pairs[at].pair.name);
        if let Err(text) = self.hooks.ask(Event::BeforePair, keys.clone()).await {
            let exit = Exit::RolledBack;
            return Err(RunError::Preflight { exit, text });
        }
        let done = work.await;
        match &done {
            Ok(came) => {
                keys["exit"] = came.exit().code().into();
                keys["summary"] = came.told();
            }
            Err(error) => {
                keys["exit"] = error.exit().code().into();
                keys["error"] = error.to_string().into();
            }
        }
        self.hooks.tell(Event::AfterPair, keys);
        done
    }
}
