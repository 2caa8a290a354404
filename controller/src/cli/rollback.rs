//! `rollback`: one run, all runs, or those since a date.

use std::sync::Arc;

use clap::Args;
use indexfile::exit::Exit;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use slotd::protocol::Command;

use super::args::{Abandon, Ahead, parse_names};
use super::migrate::OLD_SERVERS;
use super::session::{Common, Extra, Session, with_runtime};
use super::{Fail, text};
use crate::journal::{SqliteJournal, Verb};
use crate::run::{self, Settings, Undo, Undone};
use crate::survey::{Asking, Census, Source, survey};

#[derive(Debug, Args)]
pub(super) struct RollbackArgs {
    /// The run to undo: its number, as `status` and `report` show it, or `last` (the last one that
    /// is no rollback).
    #[arg(value_name = "RUN", required_unless_present_any = ["all", "since"])]
    run: Option<String>,
    /// Undo every run: each mailbox comes back to what it was before the first one changed it. What
    /// stands where RUN would is a NAME then.
    #[arg(long)]
    all: bool,
    /// Undo every run that began at DATE or later, one after the other, the last first:
    /// `2026-11-26`, `2026-11-26 22:00` (local time) or `2026-11-26T21:00:00Z`. What stands where
    /// RUN would is a NAME then.
    #[arg(long, value_name = "DATE", conflicts_with = "all", value_parser = date)]
    since: Option<Timestamp>,
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    ahead: Ahead,
    #[command(flatten)]
    abandon: Abandon,
    /// Only these of its mailboxes.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
}

/// A run as a person names it; `None` is the last one.
fn run_number(text: &str) -> Result<Option<i64>, Fail> {
    if text == "last" {
        return Ok(None);
    }
    match text.parse() {
        Ok(number) if number > 0 => Ok(Some(number)),
        _ => {
            let text = format!("{text:?} is neither the number of a run nor last");
            Err(Fail::new(Exit::Usage, text))
        }
    }
}

/// A moment in local time, or with its own offset.
fn date(text: &str) -> Result<Timestamp, String> {
    let moment = text.parse::<Timestamp>().or_else(|_| {
        let local = text.parse::<jiff::civil::DateTime>()?;
        Ok::<_, jiff::Error>(local.to_zoned(TimeZone::system())?.timestamp())
    });
    match moment {
        Ok(moment) if moment > Timestamp::now() => Err("lies in the future".to_owned()),
        Ok(moment) => Ok(moment),
        Err(_) => Err(
            "a date such as 2026-11-26, 2026-11-26 22:00 or 2026-11-26T21:00:00Z is expected"
                .to_owned(),
        ),
    }
}

pub(super) fn rollback(args: RollbackArgs) -> Result<Exit, Fail> {
    let (mut names, common) = (args.names, args.common);
    let by_number = !args.all && args.since.is_none();
    let number = match args.run {
        Some(run) if by_number => run_number(&run)?,
        Some(name) => {
            names.insert(0, name);
            None
        }
        None => None,
    };
    let names = parse_names(&names)?;
    let journal = Arc::new(SqliteJournal::open_existing(&common.state.state)?);
    let undos = match args.since {
        Some(since) => {
            let runs = run::runs_since(journal.as_ref(), since.as_millisecond())?;
            run::names_of_runs(journal.as_ref(), &runs, &names)?
        }
        None if args.all => vec![Undo { run: None, names }],
        None => {
            let run = run::run_to_undo(journal.as_ref(), number)?;
            let run = Some(run.id);
            vec![Undo { run, names }]
        }
    };
    text::note(OLD_SERVERS);
    let mut settings = Settings {
        verb: Verb::Rollback,
        to: 0,
        ..Settings::upgrade()
    };
    args.ahead.apply(&mut settings);
    args.abandon.apply(&mut settings);
    with_runtime(async move {
        common.limits.check().await?;
        let session = Session::begin(&common, settings, &journal);
        let mut printed = Ok(());
        let undone = run::rollback_each(session.parts(), undos, session.control(), |summary| {
            if printed.is_ok() {
                printed = session.report(summary, &Extra::default());
            }
        })
        .await;
        session.end_progress();
        let undone = undone.map_err(|error| common.fail(&error))?;
        printed?;
        report_last(&session, &undone, journal.as_ref()).await
    })
}

/// Prints what the last rollback came to, and which mailboxes have which index version then.
async fn report_last(
    session: &Session<'_>,
    undone: &Undone,
    journal: &SqliteJournal,
) -> Result<Exit, Fail> {
    let parts = session.parts();
    let asking = Asking {
        connect: &parts.connect,
        parallel: session.control().limits().parallel,
        stop: &parts.stop,
        question: Arc::new(Command::Status),
        then: None,
    };
    let mut census = Census::default();
    let walked = survey(&asking, vec![Source::Master], |a| census.answered(&a)).await;
    let earlier = undone
        .undo
        .run
        .map(|run| run::standing_before(journal, run));
    if let Err(error) = &walked {
        let text = format!("what is at which version was not counted: {error}");
        text::complain(&text);
    }
    let extra = Extra {
        census: walked.is_ok().then_some(&census),
        earlier: earlier.transpose()?.unwrap_or(0),
    };
    session.report(&undone.summary, &extra)?;
    if let (Some(run), Some(next)) = (undone.undo.run, undone.next.as_ref().and_then(|u| u.run)) {
        let why = match undone.summary.exit() {
            Exit::Ok => format!("it was stopped after run {} was taken back", run.0),
            _ => format!("run {} was not taken back whole", run.0),
        };
        text::note(&format!(
            "{why}, so run {} and what came before it was not begun: give the same command again",
            next.0
        ));
    }
    Ok(undone.exit())
}
