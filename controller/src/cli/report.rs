//! `report`: what the journal tells of a run. It needs no slotd, and changes nothing.

use std::path::Path;

use clap::Args;
use indexfile::exit::Exit;

use super::args::UnusedHosts;
use super::new_page::NewPageArgs;
use super::state::StateFile;
use super::status::{open, rehearsed_since};
use super::{Fail, text};
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
    #[arg(long, conflicts_with = "html")]
    json: bool,
    /// The run to tell about, by number; without it, the last that is no rehearsal, if there is
    /// one.
    #[arg(long, value_name = "RUN")]
    run: Option<i64>,
    /// How many of the slowest mailboxes are named.
    #[arg(long, value_name = "N", default_value_t = 10)]
    slowest: usize,
    /// A line for each failed mailbox.
    #[arg(long, conflicts_with = "html")]
    failed: bool,
    #[command(flatten)]
    html: NewPageArgs,
}

/// The page about a run.
fn page_about(
    args: &ReportArgs,
    store: &dyn JournalStore,
    run: &RunOfPairs,
) -> Result<String, Fail> {
    let fleet = args.hosts.fleet().unwrap_or(Path::new("FILE"));
    let options = PageOptions {
        slowest: args.slowest,
        fleet: fleet.display().to_string(),
        state: args.state.shown(),
        now_ms: now_ms(),
    };
    Ok(page(store, run, &options)?)
}

pub(super) fn report(args: &ReportArgs) -> Result<Exit, Fail> {
    let (store, last) = open(&args.state)?;
    let run = match args.run {
        None => {
            if let Some(line) = rehearsed_since(store.as_ref(), &last)? {
                text::note(&line);
            }
            last
        }
        Some(number) => store.run(RunId(number))?.ok_or_else(|| {
            let text = format!("there is no run {number}; the last is {}", last.id.0);
            Fail::new(Exit::Usage, text)
        })?,
    };
    let page = args.html.write(|| page_about(args, store.as_ref(), &run))?;
    if let Some(path) = page {
        let path = path.display();
        text::say(&format!("{path}: the page about run {}", run.id.0))?;
        return Ok(Exit::Ok);
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
