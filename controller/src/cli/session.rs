//! One invocation of a command that changes mailboxes: what such commands have in common, from
//! their arguments to the report at their end. One stop and one progress serve all that it does, on
//! all its pairs; each pair has its own controls and its own part of the journal.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;
use indexfile::exit::Exit;
use parking_lot::Mutex;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::args::{AlertArgs, Output, Work};
use super::hooks::{HookArgs, Hooked, LogArgs, keys};
use super::limits::LimitArgs;
use super::metrics::{Metrics, MetricsArgs, Seen};
use super::pairs::{Hosts, Pair};
use super::panic_file::PanicFile;
use super::progress::{OfPair, Progress};
use super::state::StateFile;
use super::{Fail, signals, text};
use crate::control::{self, Control, Controls, Socket, watch_conditions};
use crate::error::RunError;
use crate::event_log::{EventLog, Severity};
use crate::fleet::side_by_side;
use crate::hooks::{Event, Hooks};
use crate::journal::{Journal, JournalError, JournalStore, Verb};
use crate::observer::Observer;
use crate::run::{FleetRun, Parts, Settings};
use crate::stop::stop_pair;

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
    panic_file: PanicFile,
    #[command(flatten)]
    hooks: HookArgs,
    #[command(flatten)]
    metrics: MetricsArgs,
    #[command(flatten)]
    log: LogArgs,
    #[command(flatten)]
    pub(super) output: Output,
}

impl Common {
    /// Refuses what does not go with such a run.
    pub(super) fn check(&self, verb: Verb) -> Result<(), Fail> {
        if let Some(text) = self.work.refused_for(verb) {
            return Err(Fail::new(Exit::Usage, text));
        }
        if verb.crosses() {
            self.hosts.check_whole()?;
        }
        Ok(())
    }

    /// Why a run did not begin: where another command would, that one is spelled out.
    pub(super) fn fail(&self, error: &RunError) -> Fail {
        let text = match error {
            RunError::Other(other) => {
                let hosts = self.hosts.spelled_whole();
                other.sentence(&format!("{hosts} --state {}", self.state.shown()))
            }
            error => error.to_string(),
        };
        Fail::new(error.exit(), text)
    }

    /// The hosts and the state file again, for a hint.
    pub(super) fn spelled(&self) -> String {
        let state = self.state.shown();
        format!("{} --state {state}", self.hosts.spelled())
    }
}

/// An invocation. Must be begun on the runtime.
pub(super) struct Session {
    pub(super) common: Common,
    /// What all pairs have in common.
    pub(super) settings: Settings,
    /// In order of their names.
    pub(super) pairs: Vec<AtWork>,
    pub(super) store: Arc<dyn JournalStore>,
    /// The newest run that was finished when this began.
    pub(super) finished_before: i64,
    pub(super) hooks: Arc<Hooks>,
    pub(super) log: Arc<EventLog>,
    progress: Arc<Progress>,
    _metrics: Metrics,
    _socket: Option<Socket>,
}

/// A pair that is worked on.
pub(super) struct AtWork {
    pub(super) pair: Pair,
    pub(super) parts: Arc<Mutex<Parts>>,
    pub(super) control: Arc<Control>,
    /// Its epoch was raised above that of a host; once is enough, unless another controller does
    /// the same on another database.
    pub(super) raised: AtomicBool,
}

impl AtWork {
    pub(super) fn parts(&self) -> Parts {
        self.parts.lock().clone()
    }

    pub(super) fn control(&self) -> &Arc<Control> {
        &self.control
    }
}

impl Session {
    /// Begins it for these pairs. `words`: what the run is of, as it was given.
    pub(super) async fn begin(
        common: Common,
        mut settings: Settings,
        pairs: Vec<Pair>,
        store: Arc<dyn JournalStore>,
        words: &str,
    ) -> Result<Arc<Self>, Fail> {
        common.panic_file.check().await?;
        raise_the_limit_on_files();
        common.work.apply(&mut settings);
        settings.fleet = fleet_run(&common.hosts, &pairs, words);
        let finished_before = finished(store.as_ref(), settings.verb)?;
        let (handle, stop) = stop_pair();
        let mut limits = Vec::with_capacity(pairs.len());
        for pair in &pairs {
            let own = common.limits.of_pair(&pair.limits);
            limits.push(own.map_err(|fail| Fail::new(fail.exit, pair.line(&fail.text)))?);
        }
        let control = |limits: &crate::control::Limits| Arc::new(Control::new(limits.clone()));
        let controls: Vec<Arc<Control>> = limits.iter().map(control).collect();
        for control in &controls {
            tokio::spawn(watch_conditions(Arc::clone(control)));
        }
        let named = pairs.iter().map(|pair| pair.name.clone());
        let all = Controls::new(named.zip(controls.iter().map(Arc::clone)).collect());
        let progress = Arc::new(Progress::new(settings.verb, common.output, all.clone()));
        let line = Arc::clone(&progress);
        let tell = move |text: &str| line.line(text);
        let hooks = common.hooks.open(Arc::new(tell.clone()))?;
        let log = common.log.open();
        tokio::spawn(Arc::clone(&progress).tick());
        common.panic_file.watch(&handle, tell.clone());
        signals::watch(handle.clone(), tell);
        let mut at_work = Vec::with_capacity(pairs.len());
        for ((pair, limits), control) in pairs.into_iter().zip(limits).zip(controls) {
            let observer = OfPair {
                name: pair.name.clone(),
                progress: Arc::clone(&progress),
            };
            let observer = Hooked {
                inner: observer,
                hooks: Arc::clone(&hooks),
                of: (settings.verb, settings.to),
                log: Arc::clone(&log),
            };
            let parts = Parts {
                settings: Settings {
                    limits,
                    leave_out: pair.leave_out.clone(),
                    ..settings.clone()
                },
                connect: Arc::clone(&pair.slotds) as Arc<_>,
                journal: open_pair(&common.state, store.as_ref(), &pair)?,
                observer: Arc::new(observer) as Arc<dyn Observer>,
                alerts: common.alert.alerts(&common.hosts, &common.state),
                stop: stop.clone(),
                places: pair.places.clone(),
            };
            let parts = Arc::new(Mutex::new(parts));
            come_up(&common, &pair, &parts, &control, (&hooks, &log))?;
            at_work.push(AtWork {
                pair,
                parts,
                control,
                raised: AtomicBool::new(false),
            });
        }
        let seen = at_work.iter().map(|at_work| Seen {
            name: at_work.pair.name.clone(),
            control: Arc::clone(&at_work.control),
            parts: Arc::clone(&at_work.parts),
        });
        let metrics = Metrics::begin(&common.metrics, seen.collect())?;
        // From now on a pause is kept.
        let socket = open_socket(&common.state, all, handle);
        Ok(Arc::new(Self {
            common,
            settings,
            pairs: at_work,
            store,
            finished_before,
            hooks,
            log,
            progress,
            _metrics: metrics,
            _socket: socket,
        }))
    }

    /// Does something for each of these pairs, side by side; what came of it, in their order.
    pub(super) async fn each<T, W>(
        self: &Arc<Self>,
        which: impl IntoIterator<Item = usize>,
        work: impl Fn(Arc<Self>, usize) -> W,
    ) -> Vec<(usize, T)>
    where
        T: Send + 'static,
        W: Future<Output = T> + Send + 'static,
    {
        let work = which.into_iter().map(|at| {
            let working = work(Arc::clone(self), at);
            async move { (at, working.await) }
        });
        side_by_side(work).await
    }

    /// Whether it is of a fleet file.
    pub(super) fn is_fleet(&self) -> bool {
        self.pairs.iter().any(|at_work| at_work.pair.is_named())
    }

    /// Takes the progress off the screen.
    pub(super) fn end_progress(&self) {
        self.progress.end();
    }
}

/// A pair that was paused when its last controller ended is paused still. From now on its journal
/// keeps whether it is.
fn come_up(
    common: &Common,
    pair: &Pair,
    parts: &Arc<Mutex<Parts>>,
    control: &Control,
    (hooks, log): (&Arc<Hooks>, &Arc<EventLog>),
) -> Result<(), Fail> {
    let Parts {
        journal,
        observer,
        settings,
        ..
    } = parts.lock().clone();
    let paused = journal.paused()?;
    let was = AtomicBool::new(paused.is_some());
    if let Some(since) = paused {
        control.update(|state| state.paused = true);
        let only = if pair.is_named() {
            format!(" --pair {}", pair.name)
        } else {
            String::new()
        };
        observer.warn(&format!(
            "paused since {}, by `controller pause`: nothing begins before: controller \
             resume{only} --state {}",
            text::local_time(since),
            common.state.shown()
        ));
    }
    // The journal may be another one later, of a newer claim. The run's end does not wait for this.
    let (parts, hooks, log) = (Arc::downgrade(parts), Arc::clone(hooks), Arc::clone(log));
    let name = pair.name.clone();
    control.keep_pause(Box::new(move |since| {
        if was.swap(since.is_some(), Ordering::Relaxed) != since.is_some() {
            let event = match since {
                Some(_) => Event::Paused,
                None => Event::Resumed,
            };
            log.write(Severity::Info, event.as_str(), &[("pair", &name)]);
            hooks.tell(event, keys((settings.verb, settings.to), &name));
        }
        let Some(parts) = parts.upgrade() else {
            return Ok(());
        };
        let journal = Arc::clone(&parts.lock().journal);
        journal.set_paused(since)
    }));
    Ok(())
}

/// A pair's journal; of one that another controller works on, for reading, until it is claimed.
fn open_pair(
    state: &StateFile,
    store: &dyn JournalStore,
    pair: &Pair,
) -> Result<Arc<dyn Journal>, Fail> {
    match store.pair(&pair.name) {
        Err(JournalError::Claimed { .. }) if pair.is_named() => Ok(state.read_pair(&pair.name)?),
        journal => Ok(journal?),
    }
}

/// The newest run that is finished; 0 if there is none.
fn finished(store: &dyn JournalStore, verb: Verb) -> Result<i64, Fail> {
    Ok(store.last_of(verb)?.map_or(0, |run| match run.finished_ms {
        Some(_) => run.id.0,
        None => run.id.0 - 1,
    }))
}

/// What the pairs of a fleet have in common; nothing without a fleet file.
fn fleet_run(hosts: &Hosts, pairs: &[Pair], words: &str) -> Option<FleetRun> {
    if !pairs.iter().any(Pair::is_named) {
        return None;
    }
    let names: Vec<&str> = pairs.iter().map(|pair| pair.name.as_str()).collect();
    let restricted = hosts.spelled_pairs();
    let words = [restricted.as_str(), words];
    let words: Vec<&str> = words.into_iter().filter(|text| !text.is_empty()).collect();
    Some(FleetRun {
        pairs: names.join(","),
        words: words.join(" "),
    })
}

fn open_socket(
    state: &StateFile,
    controls: Controls,
    handle: crate::stop::StopHandle,
) -> Option<Socket> {
    if state.is_socket_taken() {
        text::complain(
            "another controller works in this directory: status, pause and resume reach that one, \
             and not this run",
        );
        return None;
    }
    match control::serve(&state.socket_path(), controls, handle) {
        Ok((socket, server)) => {
            tokio::spawn(server);
            Some(socket)
        }
        Err(error) => {
            text::complain(&format!(
                "{error}: status, pause and resume cannot reach this run"
            ));
            None
        }
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
