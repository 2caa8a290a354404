//! `precompute verify`.

use indexfile::exit::Exit;
use indexfile::walk::Leaves;
use indicatif::BinaryBytes;

use super::output::{Findings, complain};
use super::run::Load;
use super::selection::Selection;
use crate::pass::Observer;
use crate::verify;
use indexfile::finding::Finding;

/// Arguments of `verify`.
#[derive(Debug, clap::Args)]
#[command(after_help = after_help!(
    "verify --imapd-conf /etc/imapd.conf"
    "verify --imapd-conf /etc/imapd.conf --json user.joe"
))]
pub struct Args {
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    load: Load,
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
    let governor = args.load.governor();
    let findings = Findings::default();
    let steps = selected.steps(Leaves::Skip);
    let summary = match verify::run(steps, args.load.jobs, &governor, &findings) {
        Ok(summary) => summary,
        Err(error) => {
            complain(&error);
            return Exit::Io;
        }
    };
    let text = || {
        Some(format!(
            "{} mailboxes with {} caches, {} entries: {} right, {} stale, {} wrong ({} read), \
             {} errors, {:.2} s",
            summary.mailboxes,
            summary.caches,
            summary.entries,
            summary.right,
            summary.stale,
            summary.wrong,
            BinaryBytes(summary.bytes),
            findings.count(),
            summary.seconds,
        ))
    };
    let printed = findings.print(args.json, &summary, text);
    findings.exit(printed, summary.mailboxes, summary.stopped)
}
