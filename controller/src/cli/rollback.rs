//! `rollback`: one run, all runs, or those since a date.

use std::sync::Arc;

use clap::Args;
use indexfile::exit::Exit;
use indexfile::mailbox::MailboxName;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use slotd::protocol::Command;

use super::args::{Abandon, Ahead, parse_names};
use super::migrate::{OLD_SERVERS, ONE_PAIR};
use super::outcome::Extra;
use super::session::{AtWork, Common, Session, with_runtime};
use super::state::How;
use super::{Fail, text};
use crate::error::RunError;
use crate::fleet::worst;
use crate::journal::{Journal, Verb};
use crate::run::{self, Settings, Summary, Undo, Undone};
use crate::stop::Stop;
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
    let pairs = common.hosts.pairs()?;
    if !names.is_empty() && pairs.len() > 1 {
        return Err(Fail::new(Exit::Usage, ONE_PAIR));
    }
    let store = common.state.open(How::Existing)?;
    let wanted = Wanted {
        since: args.since,
        all: args.all,
        number,
        names,
    };
    let mut undos = Vec::with_capacity(pairs.len());
    for pair in &pairs {
        let of_pair = |fail: Fail| Fail::new(fail.exit, pair.line(&fail.text));
        undos.push(
            wanted
                .on(store.pair(&pair.name)?.as_ref())
                .map_err(of_pair)?,
        );
    }
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
        let session = Session::begin(common, settings, pairs, Arc::from(store), "").await?;
        let undos = Arc::new(undos);
        let done = session.each(0..session.pairs.len(), |session, at| {
            let undos = Arc::clone(&undos);
            async move {
                let work = on_pair(&session, at, undos[at].clone());
                Box::pin(session.around_pair(at, work)).await
            }
        });
        let work = async {
            let done = done.await;
            session.end_progress();
            report(&session, done).await
        };
        session.around(work).await
    })
}

/// What is to be undone.
struct Wanted {
    since: Option<Timestamp>,
    all: bool,
    number: Option<i64>,
    names: Vec<MailboxName>,
}

impl Wanted {
    /// On one pair.
    fn on(&self, journal: &dyn Journal) -> Result<Vec<Undo>, Fail> {
        let names = self.names.clone();
        Ok(match self.since {
            Some(since) => {
                let runs = run::runs_since(journal, since.as_millisecond())?;
                run::names_of_runs(journal, &runs, &names)?
            }
            None if self.all => vec![Undo { run: None, names }],
            None => {
                let run = run::run_to_undo(journal, self.number)?;
                let run = Some(run.id);
                vec![Undo { run, names }]
            }
        })
    }
}

/// Takes back one run after the other, and prints what came of each but the last.
async fn on_pair(session: &Session, at: usize, undos: Vec<Undo>) -> Result<Undone, RunError> {
    let at_work = &session.pairs[at];
    at_work.pair.check_left_out().await?;
    let mut printed = Ok(());
    let undone = loop {
        let between = |summary: &Summary| {
            if printed.is_ok() {
                printed = session.report(at_work, summary, &Extra::default());
            }
        };
        let (parts, control) = (at_work.parts(), at_work.control());
        let undone = run::rollback_each(parts, undos.clone(), control, between).await;
        if !session.raises(at, &undone)? {
            break undone?;
        }
    };
    // Standard output is closed: the work is done all the same, and the exit code says so.
    match printed {
        Ok(()) => Ok(undone),
        Err(fail) => Err(RunError::Local(fail.text)),
    }
}

/// Prints what the last rollback of each pair came to.
async fn report(
    session: &Session,
    done: Vec<(usize, Result<Undone, RunError>)>,
) -> Result<Exit, Fail> {
    let mut exits = Vec::new();
    for (at, result) in done {
        let at_work = &session.pairs[at];
        match result {
            Ok(undone) => exits.push(report_last(session, at_work, &undone).await?),
            Err(error) => {
                let fail = session.common.fail(&error);
                if !session.is_fleet() {
                    return Err(fail);
                }
                text::complain(&at_work.pair.line(&fail.text));
                exits.push(fail.exit);
            }
        }
    }
    Ok(worst(exits))
}

/// Prints what the last rollback came to, and which mailboxes have which index version then.
async fn report_last(session: &Session, at_work: &AtWork, undone: &Undone) -> Result<Exit, Fail> {
    let parts = at_work.parts();
    let asking = Asking {
        connect: &parts.connect,
        parallel: at_work.control().limits().parallel.without_locks(),
        stop: &parts.stop,
        question: Arc::new(Command::Status),
        then: None,
    };
    let mut census = Census::default();
    let walked = survey(&asking, vec![Source::Master], |a| census.answered(&a)).await;
    let journal = parts.journal.as_ref();
    let earlier = undone
        .undo
        .run
        .map(|run| run::standing_before(journal, run));
    if let Err(error) = &walked {
        let why = match parts.stop.level() {
            Stop::No => error.to_string(),
            Stop::Finish | Stop::Now => "the run was stopped".to_owned(),
        };
        let text = format!("what is at which version was not counted: {why}");
        text::complain(&at_work.pair.line(&text));
    }
    let extra = Extra {
        census: walked.is_ok().then_some(&census),
        earlier: earlier.transpose()?.unwrap_or(0),
    };
    session.report(at_work, &undone.summary, &extra)?;
    if let (Some(run), Some(next)) = (undone.undo.run, undone.next.as_ref().and_then(|u| u.run)) {
        let why = match undone.summary.exit() {
            Exit::Ok => format!("it was stopped after run {} was taken back", run.0),
            _ => format!("run {} was not taken back whole", run.0),
        };
        text::note(&at_work.pair.line(&format!(
            "{why}, so run {} and what came before it was not begun: give the same command again",
            next.0
        )));
    }
    Ok(undone.exit())
}
