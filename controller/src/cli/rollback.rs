//! `rollback`: one run, all runs, or those since a date.

use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use indexfile::exit::Exit;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::args::{Abandon, Ahead, parse_names};
use super::migrate::{OLD_SERVERS, ONE_PAIR};
use super::session::{Common, Session, with_runtime};
use super::state::How;
use super::undone::{self, Nothing, OfPair};
use super::{Fail, text};
use crate::clock::now_ms;
use crate::error::RunError;
use crate::fleet::{Wanted, end_undone, to_undo};
use crate::journal::{JournalStore, RunId, Verb};
use crate::run::{self, Settings, Summary, Undo, Undone};

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
    let store: Arc<dyn JournalStore> = Arc::from(common.state.open(How::Existing)?);
    let wanted = match (args.since, number) {
        (Some(since), _) => Wanted::Since(since.as_millisecond()),
        (None, _) if args.all => Wanted::All,
        (None, Some(run)) => Wanted::Run(RunId(run)),
        (None, None) => Wanted::Last,
    };
    let found = {
        let pairs: Vec<&str> = pairs.iter().map(|pair| pair.name.as_str()).collect();
        to_undo(store.as_ref(), &pairs, wanted, &names)?
    };
    let (mut at_work, mut undos, mut nothing) = (Vec::new(), Vec::new(), Nothing::new());
    for (pair, found) in pairs.into_iter().zip(found) {
        match found {
            Ok(of_pair) => {
                at_work.push(pair);
                undos.push(of_pair);
            }
            Err(why) => {
                text::note(&pair.line(&why));
                nothing.push((pair.name, why));
            }
        }
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
        let begun = Instant::now();
        let session = Session::begin(common, settings, at_work, store, "").await?;
        let undos = Arc::new(undos);
        let done = session.each(0..session.pairs.len(), |session, at| {
            let undos = Arc::clone(&undos);
            async move {
                let mut before = Vec::new();
                let work = on_pair(&session, at, &undos[at], &mut before);
                let last = Box::pin(session.around_pair(at, work)).await;
                OfPair { before, last }
            }
        });
        let work = async {
            let done = done.await;
            session.end_progress();
            let ended = end(&session, &undos, &done, &nothing);
            let exit = undone::report(&session, done, &nothing, begun).await?;
            ended.map(|()| exit)
        };
        session.around(work).await
    })
}

/// Takes back one run after the other. `before`: those that another one followed.
async fn on_pair(
    session: &Session,
    at: usize,
    undos: &[Undo],
    before: &mut Vec<Summary>,
) -> Result<Undone, RunError> {
    let at_work = &session.pairs[at];
    at_work.pair.check_left_out().await?;
    loop {
        let (parts, control) = (at_work.parts(), at_work.control());
        let between = |summary: &Summary| before.push(summary.clone());
        let undone = run::rollback_each(parts, undos.to_vec(), control, between).await;
        if !session.raises(at, &undone)? {
            return undone;
        }
    }
}

/// What pairs with nothing to bring back have left open is finished.
fn end(
    session: &Session,
    undos: &[Vec<Undo>],
    done: &[(usize, OfPair)],
    nothing: &Nothing,
) -> Result<(), Fail> {
    let is_over = |of: &OfPair| matches!(&of.last, Ok(undone) if undone.next.is_none());
    let ended = done.iter().filter(|(_, of)| is_over(of));
    let ended = ended.map(|(at, _)| session.pairs[*at].pair.name.as_str());
    let over: Vec<&str> = ended
        .chain(nothing.iter().map(|(name, _)| name.as_str()))
        .collect();
    let undos: Vec<Undo> = undos.iter().flatten().cloned().collect();
    Ok(end_undone(session.store.as_ref(), &undos, &over, now_ms())?)
}
