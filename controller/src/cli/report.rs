//! `report`: what the journal tells of a run. It needs no slotd, and changes nothing.

use std::path::{Path, PathBuf};

use clap::Args;
use indexfile::exit::Exit;

use super::args::UnusedHosts;
use super::state::StateFile;
use super::status::open;
use super::{Fail, new_page, text};
use crate::clock::now_ms;
use crate::journal::{JournalStore, RunId, RunOfPairs};
use crate::report::{Disagreements, PageOptions, Story, page};

#[derive(Debug, Args)]
pub(super) struct ReportArgs {
    #[command(flatten)]
    state: StateFile,
    #[command(flatten)]
    hosts: UnusedHosts,
    /// Print it as JSON.
    #[arg(long)]
    json: bool,
    /// The run to tell about, by number; without it, the last.
    #[arg(long, value_name = "RUN")]
    run: Option<i64>,
    /// How many of the slowest mailboxes are named.
    #[arg(long, value_name = "N", default_value_t = 10)]
    slowest: usize,
    /// A line for each failed mailbox.
    #[arg(long)]
    failed: bool,
    /// Write a page for a browser that explains the run, in one file that needs no other. A file
    /// that is there already is kept, and the command refused.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["json", "failed"])]
    html: Option<PathBuf>,
    /// Let the new page replace a file that is there.
    #[arg(long, requires = "html")]
    replace: bool,
}

/// Writes the page about a run to a new file.
fn write_page(
    args: &ReportArgs,
    store: &dyn JournalStore,
    run: &RunOfPairs,
    path: &Path,
) -> Result<Exit, Fail> {
    let fleet = args.hosts.fleet().unwrap_or(Path::new("FILE"));
    let options = PageOptions {
        slowest: args.slowest,
        fleet: fleet.display().to_string(),
        state: args.state.shown(),
        now_ms: now_ms(),
    };
    new_page::write(path, args.replace, || Ok(page(store, run, &options)?))?;
    text::say(&format!(
        "{}: the page about run {}",
        path.display(),
        run.id.0
    ))?;
    Ok(Exit::Ok)
}

pub(super) fn report(args: &ReportArgs) -> Result<Exit, Fail> {
    let (store, last) = open(&args.state)?;
    let run = match args.run {
        None => last,
        Some(number) => store.run(RunId(number))?.ok_or_else(|| {
            let text = format!("there is no run {number}; the last is {}", last.id.0);
            Fail::new(Exit::Usage, text)
        })?,
    };
    if let Some(path) = &args.html {
        return write_page(args, store.as_ref(), &run, path);
    }
    let mut stories = serde_json::Map::new();
    for pair in run.pairs.iter().filter(|pair| pair.is_started()) {
        let journal = store.pair(&pair.name)?;
        let Some(info) = journal.run(run.id)? else {
            continue;
        };
        let story = Story::collect(journal.as_ref(), &info, args.slowest)?;
        if args.json {
            let value = serde_json::to_value(&story).map_err(std::io::Error::from)?;
            stories.insert(pair.name.clone(), value);
        } else if pair.name.is_empty() {
            text::say(story.to_string().trim_end())?;
        } else {
            text::say(&format!("{}:\n{}", pair.name, story.to_string().trim_end()))?;
        }
        if args.failed {
            text::failures(journal.as_ref(), run.id, run.verb, true)?;
        }
    }
    let disagreements = Disagreements(store.disagreements(run.id)?);
    if args.json {
        let mut value = match stories.remove("") {
            Some(only) => only,
            None => serde_json::json!({ "run": run.id.0, "pairs": stories }),
        };
        if !disagreements.0.is_empty() {
            value["murder"] = disagreements.to_json();
        }
        text::json(&value)?;
    } else if !disagreements.0.is_empty() {
        text::say(disagreements.to_string().trim_end())?;
    }
    Ok(Exit::Ok)
}
