//! What surrounds the work of a command and that on each pair: the hooks that may refuse it, and
//! what is said of its end.

use indexfile::exit::Exit;
use serde::Serialize;
use serde_json::Value;

use super::Fail;
use super::hooks::keys;
use super::session::Session;
use crate::error::RunError;
use crate::event_log::Severity;
use crate::hooks::Event;
use crate::journal::Verb;
use crate::run::{Recovered, Summary, Undone};

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
        let (command, to) = self.of();
        let (command, to) = (command.as_str(), to.to_string());
        let keys = [("command", command), ("to", to.as_str())];
        self.log.write(Severity::Info, "run-started", &keys);
        let ended = work.await;
        let (exit, error) = match &ended {
            Ok(exit) => (*exit, None),
            Err(fail) => (fail.exit, Some(fail.text.as_str())),
        };
        let code = exit.code().to_string();
        let keys = [
            ("command", command),
            ("to", to.as_str()),
            ("exit", code.as_str()),
            ("text", error.unwrap_or_default()),
        ];
        self.log.write(Severity::Info, "run-ended", &keys);
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
