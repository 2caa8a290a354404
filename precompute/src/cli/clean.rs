//! `precompute clean`.

use indexfile::exit::Exit;
use indexfile::walk::Leaves;
use serde_json::json;

use super::output::{Findings, complain};
use super::root::Root;
use super::selection::Selection;
use crate::clean::clean;

/// Arguments of `clean`.
#[derive(Debug, clap::Args)]
#[command(after_help = after_help!(
    "clean --imapd-conf /etc/imapd.conf --dry-run"
    "clean --imapd-conf /etc/imapd.conf"
))]
pub struct Args {
    #[command(flatten)]
    selection: Selection,
    /// Count the files, but do not remove them
    #[arg(long)]
    dry_run: bool,
    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    root: Root,
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
    let findings = Findings::default();
    let (mut mailboxes, mut removed) = (0u64, 0u64);
    for step in selected.steps(Leaves::Skip) {
        let result = step.and_then(|target| clean(&target, args.dry_run));
        match result {
            Ok(files) => {
                mailboxes += 1;
                removed += files;
            }
            Err(finding) => complain(&findings.add(finding)),
        }
    }
    let summary = json!({
        "mailboxes": mailboxes,
        "removed": removed,
        "dry_run": args.dry_run,
    });
    let verb = if args.dry_run {
        "would be removed"
    } else {
        "removed"
    };
    let errors = findings.count();
    let text = || {
        Some(format!(
            "{mailboxes} mailboxes, {removed} files {verb}, {errors} errors"
        ))
    };
    let printed = findings.print(args.json, &summary, text);
    findings.exit(printed, mailboxes, false)
}
