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
            let mut value = status_json(&run, &totals);
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

fn status_json(run: &RunInfo, t: &Totals) -> serde_json::Value {
    serde_json::json!({
        "run": run.id.0,
        "command": run.spec.verb.as_str(),
        "to": run.spec.to,
        "undoes": run.spec.undoes.map(|run| run.0),
        "master": run.spec.master,
        "replica": run.spec.replica,
        "started_at": run.started_ms,
        "finished_at": run.finished_ms,
        "mailboxes": t.mailboxes,
        "upgraded": t.upgraded,
        "unchanged": t.unchanged,
        "rolled_back": t.rolled_back,
        "pending": t.pending,
        "open": t.open,
        "in_doubt": t.in_doubt,
        "waiting": t.waiting,
        "gone": t.gone,
        "messages": t.messages,
        "cached": t.cached,
        "hashed": t.hashed,
    })
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
        "run {}: {}, {state}, begun {} ago\n\
         {} mailboxes: {} done, {} unchanged, {} pending, {} rolled back, {} open, {} in doubt, {} waiting for a partition, {} gone",
        run.id.0,
        run.spec.task(),
        text::duration(took),
        t.mailboxes,
        t.upgraded,
        t.unchanged,
        t.pending,
        t.rolled_back,
        t.open,
        t.in_doubt,
        t.waiting,
        t.gone
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
        text::say(story.to_text().trim_end())?;
    }
    if args.failed {
        text::failures(&journal, run.id, true)?;
    }
    Ok(Exit::Ok)
}
