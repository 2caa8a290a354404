//! `precompute scrub`: findings on standard output as they come, progress on standard error.

use std::io::{self, BufRead as _, BufReader, IsTerminal as _, Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::builder::TypedValueParser as _;
use indexfile::exit::Exit;
use indexfile::mailbox::ImapdConf;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::output::{complain, human_bytes, line, print_json, written};
use super::run::Kindness;
use crate::pass::default_jobs;
use crate::scrub::names::{ListReader, Resolver, Wanted};
use crate::scrub::walk::{Step, Walk};
use crate::scrub::{self, Finding, Mailbox, Options, Progress, Summary};

/// Arguments of `scrub`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Cyrus's configuration; says where mailboxes lie
    #[arg(long, value_name = "FILE", required_unless_present = "spool")]
    imapd_conf: Option<PathBuf>,
    /// A list of mailboxes: names, or the output of `ctl_mboxlist -d`; - is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "spool")]
    mailboxes: Option<PathBuf>,
    /// Names of mailboxes; without any and without a list, all that the partitions hold
    #[arg(value_name = "NAME", conflicts_with = "spool")]
    names: Vec<String>,
    /// One mailbox directory, or a tree of them, without any configuration
    #[arg(long, value_name = "DIR", conflicts_with = "imapd_conf")]
    spool: Option<PathBuf>,
    /// Where the cyrus.* files lie, if not beside the messages
    #[arg(long, value_name = "DIR", requires = "spool")]
    meta: Option<PathBuf>,
    /// Where archived messages lie (archivepartition of 3.x)
    #[arg(long, value_name = "DIR", requires = "spool")]
    archive: Option<PathBuf>,
    /// With --spool: also the mailboxes below one
    #[arg(long, short, requires = "spool")]
    recursive: bool,
    /// Threads; more than cores, because a cold disk wants many requests in flight
    #[arg(long, value_name = "N", default_value_t = default_jobs(),
          value_parser = clap::value_parser!(u16).range(1..=1024).map(usize::from))]
    jobs: usize,
    #[command(flatten)]
    kind: Kindness,
    /// Seconds that something must be still before it is taken for damage
    #[arg(long, value_name = "SECONDS", default_value_t = 2,
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    settle: u64,
    /// Print findings and summary as JSON Lines
    #[arg(long)]
    json: bool,
    /// No progress, no summary; only findings
    #[arg(long, short)]
    quiet: bool,
}

type Steps = Box<dyn Iterator<Item = Step> + Send>;

/// Runs it.
pub fn main(args: &Args) -> Exit {
    let steps = match steps(args) {
        Ok(steps) => steps,
        Err(exit) => return exit,
    };
    let governor = args.kind.governor();
    let options = Options {
        jobs: args.jobs,
        settle: Duration::from_secs(args.settle),
        ..Options::default()
    };
    let progress = Progress::default();
    let bar = bar(args.quiet);
    let (over, failed) = (AtomicBool::new(false), AtomicBool::new(false));
    let report = |finding: &Finding| {
        let result = bar.suspend(|| tell(args.json, finding));
        // Findings that nobody gets are worth no reading.
        if result.is_err() && !failed.swap(true, Ordering::Relaxed) {
            written(result);
            governor.stop();
        }
    };
    let summary = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| watch(&progress, &bar, args.quiet, &over));
        let summary = scrub::run(steps, &options, &governor, &progress, report);
        over.store(true, Ordering::Release);
        watcher.thread().unpark();
        summary
    });
    bar.finish_and_clear();
    let output = conclude(args, &summary);
    match summary.exit() {
        Exit::Ok => output,
        exit => exit,
    }
}

/// The mailboxes; what is wrong with the arguments has been said when it fails.
fn steps(args: &Args) -> Result<Steps, Exit> {
    if let Some(spool) = &args.spool {
        let (meta, archive) = (args.meta.as_deref(), args.archive.as_deref());
        let one = Mailbox::plain(spool, meta, archive);
        let there = |path: &Path| path.symlink_metadata().is_ok();
        if !args.recursive && (there(&one.index) || there(&one.header)) {
            return Ok(Box::new(std::iter::once(Ok(one))));
        }
        return Ok(Box::new(Walk::plain(spool, meta, archive)));
    }
    let Some(path) = &args.imapd_conf else {
        return Err(Exit::Usage); // clap does not let this happen
    };
    let conf = ImapdConf::load(path).map_err(|error| {
        complain(&error);
        Exit::Config
    })?;
    let conf = Arc::new(conf);
    let mut wanted: Vec<Wanted> = args.names.iter().map(|name| Wanted::name(name)).collect();
    if let Some(path) = &args.mailboxes {
        wanted.extend(list(path)?);
    } else if wanted.is_empty() {
        return Ok(Box::new(Walk::new(&conf)));
    }
    Ok(Box::new(Resolver::new(conf, wanted.into_iter())))
}

fn list(path: &Path) -> Result<Vec<Wanted>, Exit> {
    let failed = |error: io::Error| {
        complain(&format!("cannot read {}: {error}", path.display()));
        Exit::of_io(&error)
    };
    let source: Box<dyn Read> = if path == Path::new("-") {
        Box::new(io::stdin())
    } else {
        Box::new(std::fs::File::open(path).map_err(failed)?)
    };
    let mut reader = ListReader::default();
    let mut wanted = Vec::new();
    for (number, line) in (1..).zip(BufReader::new(source).split(b'\n')) {
        let Ok(line) = String::from_utf8(line.map_err(failed)?) else {
            complain(&format!("{} line {number}: not UTF-8", path.display()));
            return Err(Exit::Data);
        };
        match reader.line(&line) {
            Ok(mailbox) => wanted.extend(mailbox),
            Err(error) => {
                complain(&format!("{}: {error}", path.display()));
                return Err(Exit::Usage);
            }
        }
    }
    Ok(wanted)
}

fn tell(as_json: bool, finding: &Finding) -> io::Result<()> {
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
        return print_json(&json!({ "summary": summary }));
    }
    if args.quiet {
        return Exit::Ok;
    }
    let text = format!(
        "{} mailboxes, {} messages: {} compared ({}), {} without SHA-1 in the index, {} findings, {:.2} s{}",
        summary.mailboxes,
        summary.messages,
        summary.compared,
        human_bytes(summary.bytes),
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
fn watch(progress: &Progress, bar: &ProgressBar, quiet: bool, over: &AtomicBool) {
    let (started, every) = (Instant::now(), Duration::from_secs(60));
    let mut next = every;
    while !over.load(Ordering::Acquire) {
        std::thread::park_timeout(Duration::from_millis(200));
        let elapsed = started.elapsed();
        if quiet || (bar.is_hidden() && elapsed < next) {
            continue;
        }
        let now = progress.summary(false, elapsed.as_secs_f64());
        let rate = now
            .bytes
            .checked_div(elapsed.as_secs())
            .unwrap_or(now.bytes);
        let text = format!(
            "{} mailboxes, {} messages, {} read, {}/s, {} findings",
            now.mailboxes,
            now.messages,
            human_bytes(now.bytes),
            human_bytes(rate),
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
