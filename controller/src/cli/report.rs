//! `status` and `report`: what the journal tells, while a run works or afterwards. Neither needs a
//! slotd, and neither writes.

use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use indexfile::IoContext;
use indexfile::exit::Exit;

use super::args::UnusedHosts;
use super::control::describe;
use super::state::{How, StateFile};
use super::{Fail, text};
use crate::clock::now_ms;
use crate::control::{Ask, ask, of_pair};
use crate::journal::{JournalStore, RunId, RunInfo, RunOfPairs, Totals};
use crate::report::{Disagreements, PageOptions, Story, page};
use crate::whole_file::{Before, WholeFile};

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    state: StateFile,
    #[command(flatten)]
    _hosts: UnusedHosts,
    /// Print it as JSON.
    #[arg(long)]
    json: bool,
    /// Print it again every second while a controller is running.
    #[arg(long, conflicts_with = "json")]
    watch: bool,
}

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

/// The state file, and its last run.
fn open(state: &StateFile) -> Result<(Box<dyn JournalStore>, RunOfPairs), Fail> {
    let store = state.open(How::Read)?;
    let last = store.last_run()?;
    let last = last.ok_or_else(|| {
        let text = format!("{}: no run was started yet", state.shown());
        Fail::new(Exit::Config, text)
    })?;
    Ok((store, last))
}

pub(super) fn status(args: &StatusArgs) -> Result<Exit, Fail> {
    loop {
        let (store, run) = open(&args.state)?;
        // That no controller is running is the usual case, and no error here.
        let live = ask(&args.state.socket_path(), &Ask::Status).ok();
        if args.json {
            let mut value = status_json(store.as_ref(), &run)?;
            value["running"] = live.unwrap_or_default();
            text::json(&value)?;
            return Ok(Exit::Ok);
        }
        text::say(&status_text(store.as_ref(), &run)?)?;
        if let Some(live) = &live {
            text::say(&describe(live))?;
        }
        if !args.watch || live.is_none() {
            return Ok(Exit::Ok);
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// What a run amounts to on each pair where it has begun.
fn totals(
    store: &dyn JournalStore,
    run: &RunOfPairs,
) -> Result<Vec<(String, RunInfo, Totals)>, Fail> {
    let mut each = Vec::new();
    for pair in run.pairs.iter().filter(|pair| pair.is_started()) {
        let journal = store.pair(&pair.name)?;
        if let Some(info) = journal.run(run.id)? {
            each.push((pair.name.clone(), info, journal.totals(run.id)?));
        }
    }
    Ok(each)
}

fn sum(each: &[(String, RunInfo, Totals)]) -> Totals {
    let mut all = Totals::default();
    for (_, _, totals) in each {
        all += *totals;
    }
    all
}

fn status_json(store: &dyn JournalStore, run: &RunOfPairs) -> Result<serde_json::Value, Fail> {
    let each = totals(store, run)?;
    let to_json = |totals: &Totals| -> Result<serde_json::Value, Fail> {
        let mut value = serde_json::to_value(totals).map_err(std::io::Error::from)?;
        value["open"] = totals.open.into();
        Ok(value)
    };
    let mut value = to_json(&sum(&each))?;
    for (key, of_run) in [
        ("run", run.id.0.into()),
        ("command", run.verb.as_str().into()),
        ("to", run.to.into()),
        ("undoes", run.undoes.map(|run| run.0).into()),
        ("started_at", run.started_ms.into()),
        ("finished_at", run.finished_ms.into()),
    ] {
        value[key] = of_run;
    }
    for (name, info, totals) in &each {
        let hosts = [
            ("master", info.spec.master.as_str().into()),
            ("replica", info.spec.replica.as_deref().into()),
        ];
        if name.is_empty() {
            for (key, host) in hosts {
                value[key] = host;
            }
            continue;
        }
        let mut pair = to_json(totals)?;
        pair["finished_at"] = info.finished_ms.into();
        for (key, host) in hosts {
            pair[key] = host;
        }
        value["pairs"][name] = pair;
    }
    for pair in run.pairs.iter().filter(|pair| !pair.is_started()) {
        value["pairs"][&pair.name] = serde_json::Value::Null;
    }
    for claim in store.claims()? {
        let (host, pid) = claim.by.unzip();
        value["claims"][&claim.pair] = serde_json::json!({
            "epoch": claim.epoch,
            "host": host,
            "pid": pid,
            "left_ms": claim.left_ms,
        });
    }
    Ok(value)
}

fn status_text(store: &dyn JournalStore, run: &RunOfPairs) -> Result<String, Fail> {
    let end = run.finished_ms.unwrap_or_else(now_ms);
    let took = Duration::from_millis(u64::try_from(end - run.started_ms).unwrap_or(0));
    let state = if run.finished_ms.is_some() {
        "finished"
    } else {
        "not finished"
    };
    let each = totals(store, run)?;
    let t = sum(&each);
    let mut text = format!(
        "run {}: {}, {state}, begun {} ago\n{}, {} open",
        run.id.0,
        run.task(),
        text::duration(took),
        t.sentence(run.verb),
        t.open
    );
    for pair in run.pairs.iter().filter(|pair| !pair.name.is_empty()) {
        let found = each.iter().find(|(name, ..)| *name == pair.name);
        let line = match found {
            None => "not begun".to_owned(),
            Some((_, info, totals)) => {
                let end = match info.finished_ms {
                    Some(_) => "finished",
                    None => "not finished",
                };
                format!("{end}: {}, {} open", totals.sentence(run.verb), totals.open)
            }
        };
        text.push('\n');
        text.push_str(&of_pair(&pair.name, &line));
    }
    for claim in store.claims()? {
        let line = match (claim.by, claim.left_ms) {
            (Some((host, pid)), Some(left)) if left > 0 => {
                format!("claimed by process {pid} on {host}, epoch {}", claim.epoch)
            }
            _ => format!("claimed by no controller, epoch {}", claim.epoch),
        };
        text.push('\n');
        text.push_str(&of_pair(&claim.pair, &line));
    }
    Ok(text)
}

/// Writes the page about a run to a new file.
fn write_page(
    args: &ReportArgs,
    store: &dyn JournalStore,
    run: &RunOfPairs,
    path: &Path,
) -> Result<Exit, Fail> {
    let there = || {
        let text = format!(
            "{} is there already: give another name, or --replace",
            path.display()
        );
        Fail::new(Exit::Io, text)
    };
    let before = if args.replace {
        Before::Replaced
    } else {
        Before::Kept
    };
    // Known at once, and not after a long run has been read.
    if before == Before::Kept && path.symlink_metadata().is_ok() {
        return Err(there());
    }
    let mut file = WholeFile::create(path)?;
    let fleet = args.hosts.fleet().unwrap_or(Path::new("FILE"));
    let options = PageOptions {
        slowest: args.slowest,
        fleet: fleet.display().to_string(),
        state: args.state.shown(),
        now_ms: now_ms(),
    };
    let text = page(store, run, &options)?;
    file.write_all(text.as_bytes()).io_context("write", path)?;
    match file.publish(before) {
        Err(error) if error.source.kind() == ErrorKind::AlreadyExists => Err(there()),
        done => {
            done?;
            text::say(&format!(
                "{}: the page about run {}",
                path.display(),
                run.id.0
            ))?;
            Ok(Exit::Ok)
        }
    }
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
