//! `controller bench`.

use std::path::PathBuf;

use clap::Args;
use indexfile::exit::Exit;

use super::{Fail, text};
use crate::bench::{self, Options};

#[derive(Debug, Args)]
pub(super) struct BenchArgs {
    /// Work in this directory, new or empty, and leave everything there.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Mailboxes.
    #[arg(long, value_name = "N", default_value_t = 1000,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    mailboxes: u32,
    /// Messages in each.
    #[arg(long, value_name = "N", default_value_t = 25,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    messages: u32,
    /// Measured runs of each way, after one to warm up.
    #[arg(long, value_name = "N", default_value_t = 5,
          value_parser = clap::value_parser!(u16).range(1..=1000))]
    runs: u16,
    /// Mailboxes at once.
    #[arg(long, value_name = "N", default_value_t = 16,
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    parallel: u16,
    /// Measure a change-over to this version instead, 12 to 19: prepared, done, verified; once.
    #[arg(long, value_name = "VERSION", value_parser = clap::value_parser!(u8).range(12..=19))]
    change_over: Option<u8>,
    /// Print the figures as JSON.
    #[arg(long, conflicts_with = "markdown")]
    json: bool,
    /// Print the figures as a table for docs/benchmarks.md.
    #[arg(long)]
    markdown: bool,
    /// Say nothing while it works.
    #[arg(long, short)]
    quiet: bool,
}

/// Measures and prints. This is the main thread, as the slotds need.
pub(super) fn bench(args: BenchArgs) -> Result<Exit, Fail> {
    let options = Options {
        dir: args.dir,
        mailboxes: args.mailboxes as usize,
        messages: args.messages,
        runs: args.runs.into(),
        parallel: args.parallel.into(),
        change_over: args.change_over,
    };
    let note = |line: &str| {
        if !args.quiet {
            text::note(line);
        }
    };
    let figures = bench::run(&options, &note).map_err(|e| Fail::new(e.exit(), e.to_string()))?;
    if args.json {
        let value = serde_json::to_value(&figures).map_err(std::io::Error::from)?;
        text::json(&value)?;
    } else if args.markdown {
        text::say(bench::markdown(&figures).trim_end())?;
    } else {
        text::say(bench::text(&figures).trim_end())?;
    }
    Ok(Exit::Ok)
}
