//! `precompute run`.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::builder::TypedValueParser as _;
use indexfile::exit::Exit;
use indexfile::walk::Leaves;
use indicatif::BinaryBytes;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::output::{Findings, complain};
use super::progress::Progress;
use super::root::Root;
use super::selection::Selection;
use super::signals;
use super::watch::Watch;
use crate::governor::Governor;
use crate::hash::{Kernel, MAX_LANES};
use crate::nice;
use crate::pass::{self, Options, Summary};
use crate::worker_pool::default_jobs;

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
#[command(after_help = after_help!(
    "run --imapd-conf /etc/imapd.conf"
    "run --imapd-conf /etc/imapd.conf --nice --max-rate 50M --while-load-below 8"
    "run --imapd-conf /etc/imapd.conf --json user.joe user.joe.Sent"
))]
pub struct Args {
    #[command(flatten)]
    selection: Selection,
    /// Hash all messages, not only those without a SHA-1 in the index
    #[arg(long)]
    all_messages: bool,
    /// Look at every message, not only at names, inode numbers and one message in 64
    ///
    /// Cyrus never changes a message in place. After something else changed a few (an editor, a
    /// restore by `cp`), this finds them. Without it they keep their old entries, which slotd and
    /// `precompute verify` know by the times of the file and do not believe.
    #[arg(long)]
    look_at_all: bool,
    /// Messages hashed side by side on one core, where the processor has SHA-NI
    #[arg(long, value_name = "N", default_value_t = MAX_LANES, hide = true)]
    lanes: usize,
    #[command(flatten)]
    load: Load,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    root: Root,
}

/// What a run prints.
#[derive(Debug, clap::Args)]
struct Output {
    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
    /// Print only findings: no progress, no summary
    #[arg(long, short)]
    quiet: bool,
    /// Seconds between progress lines, if standard error is not a terminal
    #[arg(long, value_name = "SECONDS", default_value_t = 60,
          value_parser = clap::value_parser!(u64).range(1..))]
    line_every: u64,
}

/// How much of the machine a command may take from the live server.
#[derive(Clone, Debug, clap::Args)]
pub struct Load {
    /// Threads, at most; a cold disk needs more requests in flight than there are cores
    #[arg(long, value_name = "N", default_value_t = default_jobs(),
          value_parser = clap::value_parser!(u16).range(1..=1024).map(usize::from))]
    pub jobs: usize,
    /// Bytes read per second, at most; K, M and G are powers of 1024
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    max_rate: Option<u64>,
    /// Run in the idle I/O class, at the lowest CPU priority
    #[arg(long)]
    nice: bool,
    /// Pause while the 1-minute load average is at or above this
    #[arg(long, value_name = "LOAD")]
    while_load_below: Option<f64>,
    /// Pause while this file exists; SIGUSR1 pauses and continues as well
    #[arg(long, value_name = "FILE")]
    pause_file: Option<PathBuf>,
}

/// `64`, `64K`, `64M`, `64G`.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let (digits, shift) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (&text[..at], 10),
        Some((at, 'm' | 'M')) => (&text[..at], 20),
        Some((at, 'g' | 'G')) => (&text[..at], 30),
        _ => (text, 0),
    };
    let number: u64 = digits
        .parse()
        .map_err(|_| format!("{text:?} is no number of bytes"))?;
    match number.checked_mul(1 << shift) {
        Some(0) | None => Err(format!("{text:?} is out of range")),
        Some(bytes) => Ok(bytes),
    }
}

impl Load {
    /// Sets all of it up. To be called before any thread is started.
    pub fn governor(&self) -> Arc<Governor> {
        let governor = Arc::new(Governor::new(self.max_rate));
        if self.nice
            && let Err(error) = nice::idle()
        {
            complain(&format!("--nice has no effect here: {error}"));
        }
        signals::listen(&governor);
        let watch = Watch {
            pause_file: self.pause_file.clone(),
            load_below: self.while_load_below,
        };
        watch.start(&governor);
        governor
    }
}

fn kernel(lanes: usize) -> Kernel {
    match Kernel::detect() {
        kernel if lanes < kernel.lanes() => kernel.with_lanes(lanes),
        kernel => kernel,
    }
}

/// Many threads with several messages open each may need more than the soft limit on descriptors;
/// the hard one is ours to use.
fn raise_the_limit_on_files() {
    let limit = getrlimit(Resource::Nofile);
    let current = limit.maximum;
    // With less, there are fewer threads.
    let _ = setrlimit(Resource::Nofile, Rlimit { current, ..limit });
}

/// Runs it.
pub fn main(args: &Args) -> Exit {
    let selected = match args.selection.load() {
        Ok(selected) => selected,
        Err(exit) => return exit,
    };
    if let Err(exit) = args.root.leave(&selected.directories()) {
        return exit;
    }
    raise_the_limit_on_files();
    let governor = args.load.governor();
    let options = Options {
        all_messages: args.all_messages,
        look_at_all: args.look_at_all,
        jobs: args.load.jobs,
        kernel: kernel(args.lanes),
        ..Options::default()
    };
    let findings = Findings::default();
    let line_every = Duration::from_secs(args.output.line_every);
    let progress = Progress::new(&findings, args.output.quiet, line_every);
    let over = AtomicBool::new(false);
    let summary = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let over = || over.load(Ordering::Acquire);
            progress.watch(&selected, args.all_messages, &governor, &over);
        });
        let summary = pass::run(selected.steps(Leaves::Skip), &options, &governor, &progress);
        over.store(true, Ordering::Release);
        watcher.thread().unpark();
        summary
    });
    progress.finish();
    let summary = match summary {
        Ok(summary) => summary,
        Err(error) => {
            complain(&error);
            return Exit::Io;
        }
    };
    let text = || (!args.output.quiet).then(|| text(&summary));
    let printed = findings.print(args.output.json, &summary, text);
    findings.exit(printed, summary.mailboxes, summary.stopped)
}

fn text(summary: &Summary) -> String {
    format!(
        "{} mailboxes, {} messages: {} hashed ({}), {} cached{}, {} linked, {} errors, {:.2} s{}",
        summary.mailboxes,
        summary.messages,
        summary.hashed,
        BinaryBytes(summary.bytes),
        summary.cached,
        match summary.trusted {
            0 => String::new(),
            n => format!(" ({n} by name)"),
        },
        summary.linked,
        summary.errors,
        summary.seconds,
        if summary.stopped {
            "; stopped before the end, run again"
        } else {
            ""
        },
    )
}

#[cfg(test)]
mod tests {
    use super::parse_bytes;

    #[test]
    fn rates_are_read_with_their_units() {
        assert_eq!(parse_bytes("64"), Ok(64));
        assert_eq!(parse_bytes("64K"), Ok(65_536));
        assert_eq!(parse_bytes("3m"), Ok(3 << 20));
        assert_eq!(parse_bytes("1G"), Ok(1 << 30));
        for bad in ["", "K", "0", "-1", "1T", "1.5M", "99999999999G"] {
            assert!(parse_bytes(bad).is_err(), "{bad}");
        }
    }
}
