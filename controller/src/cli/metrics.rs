//! `--metrics` and `--metrics-file` of the commands that run.

use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use clap::Args;
use indexfile::exit::Exit;
use parking_lot::Mutex;
use slotd::metrics::{MetricsAddr, Page, serve, write_file};
use tokio::task::JoinSet;

use super::{Fail, text};
use crate::clock::now_ms;
use crate::control::Control;
use crate::journal::{RunId, Totals, Verb};
use crate::metrics::{PairNow, page};
use crate::run::Parts;
use crate::two_phase::Side;

/// How often the file is written.
const FILE_EVERY: Duration = Duration::from_secs(15);
/// How often the journal is counted at most, which takes a while where it is large.
const COUNT_EVERY: Duration = Duration::from_secs(10);
/// And that takes at most one part in this number of the time.
const SHARE: u32 = 20;

/// Where metrics go.
#[derive(Clone, Debug, Args)]
pub(super) struct MetricsArgs {
    /// Serve metrics for Prometheus here while the command works, at /metrics: PORT of the
    /// loopback, or ADDRESS:PORT.
    #[arg(long, value_name = "[ADDRESS:]PORT")]
    metrics: Option<MetricsAddr>,
    /// Write metrics into FILE (NAME.prom) every 15 seconds and at the end, for `node_exporter`.
    #[arg(long, value_name = "FILE")]
    metrics_file: Option<PathBuf>,
}

/// What the journal of a pair said when it was asked last.
type Known = Result<Option<(i64, Totals)>, ()>;

/// What the journals said when they were asked last.
struct Counted {
    of: Vec<Known>,
    /// The run of each pair then.
    runs: Vec<i64>,
    at: Instant,
    took: Duration,
}

/// A pair whose numbers are served.
pub(super) struct Seen {
    /// Its name; empty without a fleet file.
    pub(super) name: String,
    pub(super) control: Arc<Control>,
    pub(super) parts: Arc<Mutex<Parts>>,
}

/// The pairs of a command, and what is known of them.
struct Source {
    pairs: Vec<Seen>,
    counted: Mutex<Option<Counted>>,
}

/// Serves the metrics of a command, until it is dropped; then the file is written once more.
pub(super) struct Metrics {
    source: Arc<Source>,
    file: Option<PathBuf>,
    _tasks: JoinSet<()>,
}

impl Metrics {
    /// Begins to. Must be called on the runtime.
    pub(super) fn begin(args: &MetricsArgs, pairs: Vec<Seen>) -> Result<Self, Fail> {
        let source = Arc::new(Source {
            pairs,
            counted: Mutex::new(None),
        });
        let mut tasks = JoinSet::new();
        if let Some(addr) = args.metrics {
            let failed = |error: std::io::Error| {
                let text = format!("cannot serve metrics on {addr}: {error}");
                Fail::new(Exit::of_io(&error), text)
            };
            let listener = addr.bind().map_err(failed)?;
            let at = listener.local_addr().map_err(failed)?;
            text::note(&format!("metrics at http://{at}/metrics"));
            let of = Arc::downgrade(&source);
            tasks.spawn(serve(listener, move || openmetrics(Weak::clone(&of))));
        }
        if let Some(path) = &args.metrics_file {
            let written = write_file(path, source.page(false));
            written.map_err(|error| {
                let text = format!("--metrics-file: {error}");
                Fail::new(Exit::of_io(&error.source), text)
            })?;
            tasks.spawn(keep_writing(Arc::downgrade(&source), path.clone()));
        }
        Ok(Self {
            source,
            file: args.metrics_file.clone(),
            _tasks: tasks,
        })
    }
}

impl Drop for Metrics {
    fn drop(&mut self) {
        if let Some(path) = &self.file
            && let Err(error) = write_file(path, self.source.page(true))
        {
            text::complain(&format!("--metrics-file is not of the end: {error}"));
        }
    }
}

impl Source {
    /// The numbers now. `anew`: the journals are counted now, however long ago that was done.
    fn page(&self, anew: bool) -> Page {
        let known = self.count(anew);
        let sides: Vec<Vec<Side>> = self.pairs.iter().map(sides).collect();
        let pairs = self.pairs.iter().zip(&sides).zip(known);
        let now = pairs.map(|((pair, sides), totals)| PairNow {
            name: &pair.name,
            control: &pair.control,
            sides,
            totals,
            cert_days: pair.parts.lock().connect.cert_days(),
        });
        page(now_ms(), now)
    }

    fn count(&self, anew: bool) -> Vec<Known> {
        let mut counted = self.counted.lock();
        let is_old = |c: &Counted| c.at.elapsed() >= COUNT_EVERY.max(c.took * SHARE);
        // A run that has begun since was not counted yet.
        let runs: Vec<i64> = self
            .pairs
            .iter()
            .map(|pair| pair.control.live().run)
            .collect();
        let is_of_these = |c: &Counted| c.runs == runs;
        match counted.as_ref() {
            Some(known) if !anew && !is_old(known) && is_of_these(known) => known.of.clone(),
            _ => {
                let begun = Instant::now();
                let of: Vec<Known> = self.pairs.iter().map(ask).collect();
                *counted = Some(Counted {
                    of: of.clone(),
                    runs,
                    at: Instant::now(),
                    took: begun.elapsed(),
                });
                of
            }
        }
    }
}

fn sides(pair: &Seen) -> Vec<Side> {
    let connect = Arc::clone(&pair.parts.lock().connect);
    let mut sides = Side::ALL.to_vec();
    sides.retain(|side| connect.address(*side).is_some());
    sides
}

/// As `status` does.
fn ask(pair: &Seen) -> Known {
    let journal = Arc::clone(&pair.parts.lock().journal);
    let run = match pair.control.live().run {
        0 => match journal.last_of(Verb::Upgrade).map_err(drop)? {
            None => journal.last_run().map_err(drop)?,
            last => last,
        }
        .map(|run| run.id),
        run => Some(RunId(run)),
    };
    let Some(run) = run else { return Ok(None) };
    let totals = journal.totals(run).map_err(drop)?;
    Ok(Some((run.0, totals)))
}

async fn openmetrics(source: Weak<Source>) -> Option<String> {
    // The journal is read, which may take a while.
    let made = tokio::task::spawn_blocking(move || {
        let source = source.upgrade()?;
        Some(source.page(false).into_openmetrics())
    });
    made.await.ok().flatten()
}

async fn keep_writing(source: Weak<Source>, path: PathBuf) {
    let mut failed = None;
    loop {
        tokio::time::sleep(FILE_EVERY).await;
        let (of, to) = (Weak::clone(&source), path.clone());
        let written = tokio::task::spawn_blocking(move || {
            let source = of.upgrade()?;
            write_file(&to, source.page(false)).err()
        });
        let error = written.await.ok().flatten().map(|error| error.to_string());
        if let Some(text) = error.as_ref().filter(|_| error != failed) {
            text::complain(&format!("--metrics-file: {text}"));
        }
        failed = error;
    }
}
