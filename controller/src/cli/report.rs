//! `status` and `report`: what the journal tells, while a run works or afterwards. Neither needs a
//! slotd, and neither writes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use indexfile::exit::Exit;

use super::args::{StateFile, UnusedHosts};
use super::control::describe;
use super::{Fail, text};
use crate::control::{Ask, ask, socket_path};
use crate::journal::{Journal, RunId, RunInfo, SqliteJournal, Totals};
use crate::report::Story;

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
    _hosts: UnusedHosts,
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
}

fn open(state: &StateFile) -> Result<(SqliteJournal, RunInfo), Fail> {
    let journal = SqliteJournal::open_read_only(&state.state)?;
    let last = journal.last_run()?;
    let last = last.ok_or_else(|| {
        let text = format!("{}: no run was started yet", state.state.display());
        Fail::new(Exit::Config, text)
    })?;
    Ok((journal, last))
}

pub(super) fn status(args: &StatusArgs) -> Result<Exit, Fail> {
    loop {
        let (journal, run) = open(&args.state)?;
        let totals = journal.totals(run.id)?;
        // Nobody there is the usual case, and no error here.
        let live = ask(&socket_path(&args.state.state), &Ask::Status).ok();
        if args.json {
            let mut value = status_json(&run, &totals)?;
            value["running"] = live.unwrap_or_default();
            text::json(&value)?;
            return Ok(Exit::Ok);
        }
        text::say(&status_text(&run, &totals))?;
        if let Some(live) = &live {
            text::say(&describe(live))?;
        }
        if !args.watch || live.is_none() {
            return Ok(Exit::Ok);
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn status_json(run: &RunInfo, totals: &Totals) -> Result<serde_json::Value, Fail> {
    let mut value = serde_json::to_value(totals).map_err(std::io::Error::from)?;
    for (key, of_run) in [
        ("run", run.id.0.into()),
        ("command", run.spec.verb.as_str().into()),
        ("to", run.spec.to.into()),
        ("undoes", run.spec.undoes.map(|run| run.0).into()),
        ("master", run.spec.master.as_str().into()),
        ("replica", run.spec.replica.as_deref().into()),
        ("started_at", run.started_ms.into()),
        ("finished_at", run.finished_ms.into()),
        ("open", totals.open.into()),
    ] {
        value[key] = of_run;
    }
    Ok(value)
}

fn status_text(run: &RunInfo, t: &Totals) -> String {
    let end = run.finished_ms.unwrap_or_else(|| {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
    });
    let took = Duration::from_millis(u64::try_from(end - run.started_ms).unwrap_or(0));
    let state = if run.finished_ms.is_some() {
        "finished"
    } else {
        "not finished"
    };
    format!(
        "run {}: {}, {state}, begun {} ago\n{}, {} open",
        run.id.0,
        run.spec.task(),
        text::duration(took),
        t.sentence(run.spec.verb),
        t.open
    )
}

pub(super) fn report(args: &ReportArgs) -> Result<Exit, Fail> {
    let (journal, last) = open(&args.state)?;
    let run = match args.run {
        None => last,
        Some(number) => journal.run(RunId(number))?.ok_or_else(|| {
            let text = format!("there is no run {number}; the last is {}", last.id.0);
            Fail::new(Exit::Usage, text)
        })?,
    };
    let story = Story::collect(&journal, &run, args.slowest)?;
    if args.json {
        text::json(&serde_json::to_value(&story).map_err(std::io::Error::from)?)?;
    } else {
        text::say(story.to_string().trim_end())?;
    }
    if args.failed {
        text::failures(&journal, run.id, true)?;
    }
    Ok(Exit::Ok)
}
