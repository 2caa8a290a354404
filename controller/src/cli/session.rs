//! One invocation of a command that changes mailboxes: what such commands have in common, from
//! their arguments to the report at their end. One stop, one set of controls and one progress
//! serve all that it does.

use std::sync::Arc;

use clap::Args;
use indexfile::exit::Exit;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::args::{AlertArgs, Hosts, LimitArgs, Output, StateFile, Work};
use super::progress::Progress;
use super::{Fail, afterwards, signals, text};
use crate::control::{self, Control, Socket, socket_path, watch_conditions};
use crate::error::RunError;
use crate::journal::{Journal, RunId, SqliteJournal, Verb};
use crate::observer::Observer;
use crate::run::{Parts, Settings, Summary};
use crate::stop::stop_pair;
use crate::survey::Census;

#[derive(Debug, Args)]
pub(super) struct Common {
    #[command(flatten)]
    pub(super) hosts: Hosts,
    #[command(flatten)]
    pub(super) state: StateFile,
    #[command(flatten)]
    work: Work,
    #[command(flatten)]
    pub(super) limits: LimitArgs,
    #[command(flatten)]
    alert: AlertArgs,
    #[command(flatten)]
    pub(super) output: Output,
}

impl Common {
    /// Refuses what does not go with such a run.
    pub(super) fn check(&self, verb: Verb) -> Result<(), Fail> {
        match self.work.refused_for(verb) {
            None => Ok(()),
            Some(text) => Err(Fail::new(Exit::Usage, text)),
        }
    }

    /// Why a run did not begin: where another command would, that one is spelled out.
    pub(super) fn fail(&self, error: &RunError) -> Fail {
        let text = match error {
            RunError::Other(other) => other.sentence(&self.spelled()),
            error => error.to_string(),
        };
        Fail::new(error.exit(), text)
    }

    /// The hosts and the state file again, for a hint.
    pub(super) fn spelled(&self) -> String {
        let state = self.state.state.display();
        format!("{} --state {state}", self.hosts.spelled())
    }
}

/// What is reported besides the summary of a rollback.
#[derive(Default)]
pub(super) struct Extra<'a> {
    pub(super) census: Option<&'a Census>,
    /// Earlier runs that stand.
    pub(super) earlier: u64,
}

/// An invocation. Must be begun on the runtime.
pub(super) struct Session<'a> {
    common: &'a Common,
    parts: Parts,
    progress: Arc<Progress>,
    control: Arc<Control>,
    _socket: Option<Socket>,
}

impl<'a> Session<'a> {
    pub(super) fn begin(
        common: &'a Common,
        mut settings: Settings,
        journal: &Arc<SqliteJournal>,
    ) -> Self {
        raise_the_limit_on_files();
        common.work.apply(&mut settings);
        let (handle, stop) = stop_pair();
        let signalled = handle.clone();
        settings.limits = common.limits.limits();
        let control = Arc::new(Control::new(settings.limits.clone()));
        tokio::spawn(watch_conditions(Arc::clone(&control)));
        let path = socket_path(&common.state.state);
        let socket = match control::serve(&path, Arc::clone(&control), handle) {
            Ok((socket, server)) => {
                tokio::spawn(server);
                Some(socket)
            }
            Err(error) => {
                let text = format!("{error}: status, pause and resume cannot reach this run");
                text::complain(&text);
                None
            }
        };
        let verb = settings.verb.as_str();
        let progress = Arc::new(Progress::new(verb, common.output, Arc::clone(&control)));
        tokio::spawn(Arc::clone(&progress).tick());
        let line = Arc::clone(&progress);
        signals::watch(signalled, move |text| line.line(text));
        let parts = Parts {
            settings,
            connect: common.hosts.slotds(),
            journal: Arc::clone(journal) as Arc<dyn Journal>,
            observer: Arc::clone(&progress) as Arc<dyn Observer>,
            alerts: common.alert.alerts(&common.hosts, &common.state),
            stop,
        };
        Self {
            common,
            parts,
            progress,
            control,
            _socket: socket,
        }
    }

    pub(super) fn parts(&self) -> Parts {
        self.parts.clone()
    }

    pub(super) fn control(&self) -> &Arc<Control> {
        &self.control
    }

    /// Takes the progress off the screen.
    pub(super) fn end_progress(&self) {
        self.progress.end();
    }

    /// Prints what came of a run.
    pub(super) fn finish(&self, result: Result<Summary, RunError>) -> Result<Exit, Fail> {
        self.end_progress();
        let summary = result.map_err(|error| self.common.fail(&error))?;
        self.report(&summary, &Extra::default())?;
        Ok(summary.exit())
    }

    /// Prints a summary, what failed, and what to do about it.
    pub(super) fn report(&self, summary: &Summary, extra: &Extra<'_>) -> Result<(), Fail> {
        self.progress.suspend(|| self.print(summary, extra))
    }

    fn print(&self, summary: &Summary, extra: &Extra<'_>) -> Result<(), Fail> {
        let (output, options) = (self.common.output, self.common.spelled());
        let verb: Verb = self.parts.settings.verb;
        let journal = self.parts.journal.as_ref();
        let failures = text::failures(journal, RunId(summary.run), !output.quiet)?;
        if output.json {
            let mut value = text::summary_json(summary, &failures)?;
            if let Some(census) = extra.census {
                value["hosts"] = serde_json::to_value(census).map_err(std::io::Error::from)?;
            }
            text::json(&value)?;
        } else {
            text::say(&text::summary(verb, summary))?;
            if let Some(census) = extra.census {
                text::say(census.to_string().trim_end())?;
            }
        }
        if extra.earlier > 0 {
            text::note(&format!(
                "{} earlier run(s) stand: controller rollback --all {options} brings back what was \
                 before all of them",
                extra.earlier
            ));
        }
        let mut lines = text::reasons(summary, &options);
        if verb.crosses() {
            let run = journal.run(RunId(summary.run))?;
            let whole = run.is_some_and(|run| run.spec.words.is_empty());
            let to = self.parts.settings.to;
            lines.extend(afterwards::after(verb, to, whole, summary, &options));
        }
        if !output.quiet {
            lines.extend(text::hints(summary, &failures, &options));
        }
        for line in &lines {
            text::note(line);
        }
        Ok(())
    }
}

/// Each mailbox at once takes a connection to each host; the hard limit is ours to use.
fn raise_the_limit_on_files() {
    let limit = getrlimit(Resource::Nofile);
    let current = limit.maximum;
    // With less, fewer mailboxes are worked on at once, and that is said.
    let _ = setrlimit(Resource::Nofile, Rlimit { current, ..limit });
}

/// Runs a command on the async runtime.
pub(super) fn with_runtime<T>(work: impl Future<Output = Result<T, Fail>>) -> Result<T, Fail> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let result = runtime.block_on(work);
    // A thread that reads a list from a pipe may wait there for ever; it holds nothing.
    runtime.shutdown_background();
    result
}
