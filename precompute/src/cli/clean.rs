//! `precompute clean`.

use indexfile::exit::Exit;
use indexfile::walk::Leaves;
use serde_json::json;

use super::output::{Findings, complain, concluded, line, print_json, written};
use super::selection::Selection;
use crate::clean::{Cleaned, clean};

/// Arguments of `clean`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    selection: Selection,
    /// Only say what would be removed
    #[arg(long)]
    dry_run: bool,
    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn main(args: &Args) -> Exit {
    let selected = match args.selection.load() {
        Ok(selected) => selected,
        Err(exit) => return exit,
    };
    let findings = Findings::default();
    let (mut mailboxes, mut removed) = (0u64, 0u64);
    for step in selected.steps(Leaves::Skip) {
        let result = step.and_then(|target| clean(&target, args.dry_run));
        match result {
            Ok(Cleaned { files }) => {
                mailboxes += 1;
                removed += files;
            }
            Err(finding) => complain(&findings.add(finding)),
        }
    }
    let output = if args.json {
        print_json(&json!({
            "mailboxes": mailboxes,
            "removed": removed,
            "dry_run": args.dry_run,
            "errors": findings.count(),
            "findings": findings.json(),
        }))
    } else {
        let verb = if args.dry_run {
            "would be removed"
        } else {
            "removed"
        };
        let text = format!(
            "{mailboxes} mailboxes, {removed} files {verb}, {} errors",
            findings.count()
        );
        written(line(&text))
    };
    match findings.exit() {
        Exit::Ok => concluded(output, mailboxes),
        exit => exit,
    }
}
