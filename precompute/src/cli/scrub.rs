//! `precompute scrub`: findings on standard output as they come, progress on standard error.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indexfile::exit::Exit;
use indexfile::walk::Leaves;
use indicatif::{BinaryBytes, ProgressBar, ProgressStyle};
use serde_json::json;

use super::output::{complain, concluded, line, written};
use super::run::Load;
use super::selection::Selection;
use crate::scrub::{self, Counters, Options, Summary};
use indexfile::finding::Finding;

/// Arguments of `scrub`.
#[derive(Debug, clap::Args)]
#[command(after_help = after_help!(
    "scrub --imapd-conf /etc/imapd.conf"
    "scrub --imapd-conf /etc/imapd.conf --mailboxes list --json"
    "scrub --spool /var/spool/imap --recursive --nice"
))]
pub struct Args {
    #[command(flatten)]
    selection: Selection,
    /// Where archived messages lie (archivepartition of 3.x)
    #[arg(long, value_name = "DIR", requires = "spool")]
    archive: Option<PathBuf>,
    #[command(flatten)]
    load: Load,
    /// Seconds that a file must be unchanged before it is reported as damaged
    #[arg(long, value_name = "SECONDS", default_value_t = 2,
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    settle: u64,
    /// Print findings and summary as JSON Lines
    #[arg(long)]
    json: bool,
    /// Print only findings: no progress, no summary
    #[arg(long, short)]
    quiet: bool,
}

/// Runs it.
pub fn main(args: &Args) -> Exit {
    let selected = match args.selection.load_all(args.archive.as_deref()) {
        Ok(selected) => selected,
        Err(exit) => return exit,
    };
    let governor = args.load.governor();
    let options = Options {
        jobs: args.load.jobs,
        settle: Duration::from_secs(args.settle),
        ..Options::default()
    };
    let counters = Counters::default();
    let bar = bar(args.quiet);
    let (over, failed) = (AtomicBool::new(false), AtomicBool::new(false));
    let report = |finding: &Finding| {
        let result = bar.suspend(|| print(args.json, finding));
        // Findings that cannot be printed are not worth reading for.
        if result.is_err() && !failed.swap(true, Ordering::Relaxed) {
            written(result);
            governor.stop();
        }
    };
    let summary = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| watch(&counters, &bar, args.quiet, &over));
        let steps = selected.steps(Leaves::Read);
        let summary = scrub::run(steps, &options, &governor, &counters, report);
        over.store(true, Ordering::Release);
        watcher.thread().unpark();
        summary
    });
    bar.finish_and_clear();
    let summary = match summary {
        Ok(summary) => summary,
        Err(error) => {
            complain(&error);
            return Exit::Io;
        }
    };
    let output = conclude(args, &summary);
    match summary.exit() {
        Exit::Ok => concluded(output, summary.mailboxes),
        exit => exit,
    }
}

fn print(as_json: bool, finding: &Finding) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if as_json {
        writeln!(out, "{}", json!({ "finding": finding }))?;
    } else {
        writeln!(out, "{finding}")?;
    }
    // A scrub may run for days; what it finds is wanted now.
    out.flush()
}

fn conclude(args: &Args, summary: &Summary) -> Exit {
    if args.json {
        return written(line(&json!({ "summary": summary })));
    }
    if args.quiet {
        return Exit::Ok;
    }
    let text = format!(
        "{} mailboxes, {} messages: {} compared ({}), {} without SHA-1 in the index, \
         {} findings, {:.2} s{}",
        summary.mailboxes,
        summary.messages,
        summary.compared,
        BinaryBytes(summary.bytes),
        summary.old_style,
        summary.findings,
        summary.seconds,
        if summary.stopped {
            "; stopped before the end"
        } else {
            ""
        },
    );
    written(line(&text))
}

fn bar(quiet: bool) -> ProgressBar {
    if quiet || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{spinner} {elapsed_precise} {msg}");
    ProgressBar::new_spinner()
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
}

/// Shows how far it is: all the time on a terminal, one line a minute elsewhere.
fn watch(counters: &Counters, bar: &ProgressBar, quiet: bool, over: &AtomicBool) {
    let (started, every) = (Instant::now(), Duration::from_secs(60));
    let mut next = every;
    while !over.load(Ordering::Acquire) {
        std::thread::park_timeout(Duration::from_millis(200));
        let elapsed = started.elapsed();
        if quiet || (bar.is_hidden() && elapsed < next) {
            continue;
        }
        let now = counters.summary(false, elapsed.as_secs_f64());
        let rate = now
            .bytes
            .checked_div(elapsed.as_secs())
            .unwrap_or(now.bytes);
        let text = format!(
            "{} mailboxes, {} messages, {} read, {}/s, {} findings",
            now.mailboxes,
            now.messages,
            BinaryBytes(now.bytes),
            BinaryBytes(rate),
            now.findings
        );
        if bar.is_hidden() {
            next += every;
            complain(&text);
        } else {
            bar.set_message(text);
            bar.tick();
        }
    }
}
