//! `precompute verify`.

use indexfile::exit::Exit;
use indexfile::walk::Leaves;
use indicatif::BinaryBytes;
use serde_json::json;

use super::output::{Findings, complain, concluded, line, print_json, written};
use super::run::Kindness;
use super::selection::Selection;
use crate::pass::Observer;
use crate::verify::{self, Options};
use crate::worker_pool::default_jobs;
use indexfile::finding::Finding;

use clap::builder::TypedValueParser as _;

/// Arguments of `verify`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    selection: Selection,
    /// Threads
    #[arg(long, value_name = "N", default_value_t = default_jobs(),
          value_parser = clap::value_parser!(u16).range(1..=1024).map(usize::from))]
    jobs: usize,
    #[command(flatten)]
    kind: Kindness,
    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
}

impl Observer for Findings {
    fn finding(&self, finding: Finding) {
        complain(&self.add(finding));
    }
}

/// Runs it.
pub fn main(args: &Args) -> Exit {
    let selected = match args.selection.load() {
        Ok(selected) => selected,
        Err(exit) => return exit,
    };
    let governor = args.kind.governor();
    let findings = Findings::default();
    let options = Options { jobs: args.jobs };
    let summary = match verify::run(selected.steps(Leaves::Skip), &options, &governor, &findings) {
        Ok(summary) => summary,
        Err(error) => {
            complain(&error);
            return Exit::Io;
        }
    };
    let seconds = summary.elapsed.as_secs_f64();
    let output = if args.json {
        print_json(&json!({
            "mailboxes": summary.mailboxes,
            "caches": summary.caches,
            "entries": summary.entries,
            "right": summary.right,
            "stale": summary.stale,
            "wrong": summary.wrong,
            "bytes": summary.bytes,
            "errors": findings.count(),
            "seconds": seconds,
            "stopped": summary.stopped,
            "findings": findings.json(),
        }))
    } else {
        written(line(&format!(
            "{} mailboxes with {} caches, {} entries: {} right, {} stale, {} wrong ({} read), {} errors, {seconds:.2} s",
            summary.mailboxes,
            summary.caches,
            summary.entries,
            summary.right,
            summary.stale,
            summary.wrong,
            BinaryBytes(summary.bytes),
            findings.count(),
        )))
    };
    match findings.exit() {
        Exit::Ok if summary.stopped => Exit::RolledBack,
        Exit::Ok => concluded(output, summary.mailboxes),
        exit => exit,
    }
}
