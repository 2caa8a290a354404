//! `status` and `report`: what the journal tells, while a run works or afterwards. Neither needs a
//! slotd, and neither writes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use indexfile::exit::Exit;

use super::args::StateFile;
use super::{Fail, text};
use crate::journal::{Journal, RunInfo, SqliteJournal, Totals};
use crate::report::Story;

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    state: StateFile,
    /// Print it as JSON.
    #[arg(long)]
    json: bool,
    /// Print it again every second until the run ends.
    #[arg(long, conflicts_with = "json")]
    watch: bool,
}

#[derive(Debug, Args)]
pub(super) struct ReportArgs {
    #[command(flatten)]
    state: StateFile,
    /// Print it as JSON.
    #[arg(long)]
    json: bool,
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
    let last = last.ok_or_else(|| Fail {
        exit: Exit::Config,
        text: format!("{}: no run was started yet", state.state.display()),
    })?;
    Ok((journal, last))
}

pub(super) fn status(args: &StatusArgs) -> Result<Exit, Fail> {
    let mut before: Option<(SystemTime, u64)> = None;
    loop {
        let (journal, run) = open(&args.state)?;
        let totals = journal.totals(run.id)?;
        let left = totals.pending + totals.open;
        let now = SystemTime::now();
        if args.json {
            text::json(&status_json(&run, &totals))?;
            return Ok(Exit::Ok);
        }
        let rate = before.map(|(then, was)| {
            let seconds = now.duration_since(then).unwrap_or_default().as_secs_f64();
            per_second(was.saturating_sub(left), seconds)
        });
        text::say(&status_text(&run, &totals, rate))?;
        if !args.watch || run.finished_ms.is_some() {
            return Ok(Exit::Ok);
        }
        before = Some((now, left));
        std::thread::sleep(Duration::from_secs(1));
    }
}

#[allow(clippy::cast_precision_loss)] // for a person to read
fn per_second(count: u64, seconds: f64) -> f64 {
    count as f64 / seconds.max(0.001)
}

fn status_json(run: &RunInfo, t: &Totals) -> serde_json::Value {
    serde_json::json!({
        "run": run.id.0,
        "command": run.spec.verb.as_str(),
        "to": run.spec.to,
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
        "gone": t.gone,
        "messages": t.messages,
        "cached": t.cached,
        "hashed": t.hashed,
    })
}

fn status_text(run: &RunInfo, t: &Totals, rate: Option<f64>) -> String {
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
    let rate = match rate {
        Some(rate) => format!(", {rate:.0}/s"),
        None => String::new(),
    };
    format!(
        "run {}: {} to version {}, {state}, begun {} ago{rate}\n\
         {} mailboxes: {} done, {} unchanged, {} pending, {} rolled back, {} open, {} in doubt, {} gone",
        run.id.0,
        run.spec.verb.as_str(),
        run.spec.to,
        text::duration(took),
        t.mailboxes,
        t.upgraded,
        t.unchanged,
        t.pending,
        t.rolled_back,
        t.open,
        t.in_doubt,
        t.gone
    )
}

pub(super) fn report(args: &ReportArgs) -> Result<Exit, Fail> {
    let (journal, run) = open(&args.state)?;
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
