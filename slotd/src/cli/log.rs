//! `--log-to`: messages go to standard error, or to syslog or journald instead.

use std::io::{self, Write};
use std::sync::Arc;

use tracing::{Level, Metadata};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, Registry, reload};

use super::args::{Args, LogArg};
use crate::audit::TARGET as AUDIT;
use crate::log_sink::{LogTo, Severity, Sink};

impl From<LogArg> for LogTo {
    fn from(arg: LogArg) -> Self {
        match arg {
            LogArg::Stderr => Self::Stderr,
            LogArg::Syslog => Self::Syslog,
            LogArg::Journald => Self::Journald,
        }
    }
}

/// A daemon that gets each line as a message of its own, with its severity.
struct Lines(Arc<Sink>);

struct LineWriter(Arc<Sink>, Severity);

impl<'a> MakeWriter<'a> for Lines {
    type Writer = LineWriter;

    fn make_writer(&'a self) -> LineWriter {
        LineWriter(Arc::clone(&self.0), Severity::Info)
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> LineWriter {
        let severity = match *meta.level() {
            Level::ERROR => Severity::Error,
            Level::WARN => Severity::Warning,
            Level::INFO => Severity::Info,
            _ => Severity::Debug,
        };
        LineWriter(Arc::clone(&self.0), severity)
    }
}

impl Write for LineWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // A line that is lost stops no mailbox.
        let _ = self.0.send(self.1, &String::from_utf8_lossy(line));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is logged, which can be changed while messages are written.
pub(super) struct Verbosity(reload::Handle<Targets, Registry>);

impl Verbosity {
    /// What is logged from now on.
    pub(super) fn change(&self, args: &Args) {
        // Only where another logger was there before, as in a test.
        if let Err(error) = self.0.reload(filter(args)) {
            tracing::debug!("the level of the log stays: {error}");
        }
    }
}

/// What the flags ask for; `REGUID_LOG` overrules them.
fn filter(args: &Args) -> Targets {
    let level = match (args.quiet, args.verbose) {
        (true, _) => LevelFilter::ERROR,
        (_, 0) => LevelFilter::WARN,
        (_, 1) => LevelFilter::INFO,
        _ => LevelFilter::DEBUG,
    };
    let wanted = std::env::var("REGUID_LOG").ok();
    let wanted = wanted.and_then(|text| text.parse::<Targets>().ok());
    let audit = level.max(if args.quiet {
        LevelFilter::ERROR
    } else {
        LevelFilter::INFO
    });
    let usual = || Targets::new().with_default(level).with_target(AUDIT, audit);
    wanted.unwrap_or_else(usual)
}

/// From now on messages go there; to standard error, with a sentence, where that is not to be had.
pub(super) fn init(args: &Args) -> Verbosity {
    let (filter, handle) = reload::Layer::new(filter(args));
    let sink = Sink::open(args.log_to.into(), "reguid-slotd").unwrap_or_else(|error| {
        eprintln!("slotd: --log-to: {error}: messages go to standard error");
        None
    });
    let layer = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_target(false);
    // A daemon has a time and a severity for each line.
    let layer = match sink {
        None => layer.with_writer(io::stderr).boxed(),
        Some(sink) => layer
            .with_writer(Lines(Arc::new(sink)))
            .with_level(false)
            .without_time()
            .boxed(),
    };
    let _ = tracing_subscriber::registry()
        .with(layer.with_filter(filter))
        .try_init();
    Verbosity(handle)
}
