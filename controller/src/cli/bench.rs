//! `controller bench`.

use std::path::PathBuf;

use clap::Args;
use indexfile::exit::Exit;
use strum::IntoEnumIterator;

use super::benches::{Benches, benches};
use super::new_page::NewPageArgs;
use super::{Fail, text};
use crate::bench::{self, Options, Part};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct BenchArgs {
    #[command(subcommand)]
    benches: Option<Benches>,
    #[command(flatten)]
    measure: MeasureArgs,
}

/// What is measured, and on what.
#[derive(Debug, Args)]
struct MeasureArgs {
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
    /// Mailboxes at once: each of these numbers is measured.
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "1,4,16,64,256",
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    parallel: Vec<u16>,
    /// Only these parts; all of them without it, but for the change-over.
    #[arg(long, value_name = "PART,...", value_delimiter = ',')]
    only: Vec<Part>,
    /// Measure a change-over to this version as well, 12 to 19: prepared, done, verified; once.
    #[arg(long, value_name = "VERSION", value_parser = clap::value_parser!(u8).range(12..=19))]
    change_over: Option<u8>,
    /// Print the figures as JSON.
    #[arg(long, conflicts_with = "markdown")]
    json: bool,
    /// Print the figures as tables for docs/benchmarks.md.
    #[arg(long)]
    markdown: bool,
    #[command(flatten)]
    html: NewPageArgs,
    /// Say nothing while it works.
    #[arg(long, short)]
    quiet: bool,
}

/// Measures and prints. This is the main thread, as the slotds need.
pub(super) fn bench(args: BenchArgs) -> Result<Exit, Fail> {
    if let Some(command) = &args.benches {
        return benches(command);
    }
    measure(args.measure)
}

fn measure(args: MeasureArgs) -> Result<Exit, Fail> {
    args.html.refuse_what_is_there()?;
    let mut parallel: Vec<usize> = args.parallel.iter().map(|n| usize::from(*n)).collect();
    parallel.sort_unstable();
    parallel.dedup();
    let over = |part: &Part| *part == Part::ChangeOver;
    let mut parts: Vec<Part> = args.only;
    if parts.is_empty() {
        parts = Part::iter().filter(|part| !over(part)).collect();
    }
    if args.change_over.is_some() && !parts.iter().any(over) {
        parts.push(Part::ChangeOver);
    }
    let options = Options {
        dir: args.dir,
        mailboxes: args.mailboxes as usize,
        messages: args.messages,
        runs: args.runs.into(),
        parallel,
        parts,
        to: args.change_over.unwrap_or(16),
    };
    let note = |line: &str| {
        if !args.quiet {
            text::note(line);
        }
    };
    let document = bench::run(&options, &note).map_err(|e| Fail::new(e.exit(), e.to_string()))?;
    args.html.write(|| Ok(document.page()))?;
    if args.json {
        let value = serde_json::to_value(&document).map_err(std::io::Error::from)?;
        text::json(&value)?;
    } else if args.markdown {
        text::say(document.markdown().trim_end())?;
    } else {
        text::say(document.text().trim_end())?;
    }
    Ok(Exit::Ok)
}
