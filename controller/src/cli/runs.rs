//! A run on each pair, side by side: begun, and gone on with where it was stopped.

use std::sync::Arc;
use std::time::Duration;

use indexfile::exit::Exit;
use tokio::time::Instant;

use super::Fail;
use super::args::Mailboxes;
use super::moves::{self, Done, Moves};
use super::of_murder::{Lines, OfMurder};
use super::session::{Common, Session, with_runtime};
use super::state::How;
use super::targets::Targets;
use super::{canaries, signals, text};
use crate::clock::now_ms;
use crate::error::RunError;
use crate::fleet::{self, Begin};
use crate::hosts::backoff;
use crate::journal::{JournalError, JournalStore, RunId};
use crate::run::{self, Settings, Summary};
use crate::stop::Stop;

/// First and longest pause before a pair that could not be begun is tried again.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];

/// Runs on the mailboxes that were asked for.
pub(super) fn migrate(
    common: Common,
    mut settings: Settings,
    mailboxes: &Mailboxes,
) -> Result<Exit, Fail> {
    let words = [
        mailboxes.murder.words(),
        Some(run::words(&settings, &mailboxes.sources()?)),
    ];
    let words: Vec<String> = words
        .into_iter()
        .flatten()
        .filter(|w| !w.is_empty())
        .collect();
    let store: Arc<dyn JournalStore> = Arc::from(common.state.open(How::Make)?);
    with_runtime(async move {
        common.limits.check().await?;
        let quiet = common.output.quiet;
        let targets = {
            // The session has a stop of its own.
            let stop = signals::stop();
            let targets = Targets::of(&common.hosts, mailboxes, quiet, &stop).await?;
            targets.check(&Lines { quiet })?;
            Arc::new(targets)
        };
        if let Some(murder) = &targets.murder {
            settings.disagreements = murder.compared.disagreements();
        }
        let pairs = targets.pairs.clone();
        let session = Session::begin(
            common,
            settings,
            pairs,
            Arc::clone(&store),
            &words.join(" "),
        )
        .await?;
        let are_canaries = mailboxes.are_canaries();
        session
            .around(on_all(&session, store.as_ref(), &targets, are_canaries))
            .await
    })
}

async fn on_all(
    session: &Arc<Session>,
    store: &dyn JournalStore,
    targets: &Arc<Targets>,
    are_canaries: bool,
) -> Result<Exit, Fail> {
    let mut done = on_each(session, store, targets).await?;
    let moves = match &targets.murder {
        Some(murder) => {
            note(murder, session, &done);
            moves::follow(murder, session, &mut done).await?
        }
        None => Moves::default(),
    };
    let runs: Vec<(usize, i64)> = done
        .iter()
        .filter_map(|(at, result)| Some((*at, result.as_ref().ok()?.run)))
        .collect();
    let mut exits = vec![session.finish(done)?];
    exits.push(moves.tell());
    if let Some(murder) = &targets.murder
        && murder.tell_refused()
    {
        exits.push(Exit::RolledBack);
    }
    // What a rehearsal left is what was there.
    if are_canaries && !session.settings.verb.rehearses() {
        exits.push(canaries::verify(session, &runs).await);
    }
    Ok(fleet::worst(exits))
}

/// Keeps the comparison as it is now that pairs which were away have been compared too.
fn note(murder: &OfMurder, session: &Session, done: &Done) {
    let found = murder.compared.disagreements();
    if found == session.settings.disagreements {
        return;
    }
    let mut failed = None;
    for (at, result) in done {
        let Ok(summary) = result else { continue };
        let journal = session.pairs[*at].parts().journal;
        // A pair that another controller has finished cannot be written.
        match journal.note_disagreements(RunId(summary.run), &found) {
            Ok(()) => return,
            Err(error) => failed = Some(error),
        }
    }
    if let Some(error) = failed {
        text::complain(&format!(
            "what `report` says of the Murder is of the start: {error}"
        ));
    }
}

async fn on_each(
    session: &Arc<Session>,
    store: &dyn JournalStore,
    targets: &Arc<Targets>,
) -> Result<Vec<(usize, Result<Summary, RunError>)>, Fail> {
    let begin = match &session.settings.fleet {
        None => vec![Begin::Work; session.pairs.len()],
        Some(fleet) => fleet::begin(store, &session.settings, fleet, now_ms())
            .map_err(|error| session.common.fail(&error))?,
    };
    let done = session.each(0..session.pairs.len(), |session, at| {
        let (begin, targets) = (begin[at], Arc::clone(targets));
        async move {
            match begin {
                Begin::Work => {
                    let work = on_pair(&session, at, &targets);
                    Box::pin(session.around_pair(at, work)).await
                }
                Begin::Finished(run) => finished(&session, at, run),
            }
        }
    });
    Ok(done.await)
}

/// In a fleet, a pair whose host is away at the start is tried again for `--host-wait`, while the
/// others work.
async fn on_pair(session: &Session, at: usize, targets: &Targets) -> Result<Summary, RunError> {
    let (at_work, begun) = (&session.pairs[at], Instant::now());
    let control = at_work.control();
    let mut stop = at_work.parts().stop;
    let mut attempt = 0;
    loop {
        if let Begin::Finished(run) = session.claim(at).await? {
            return finished(session, at, run);
        }
        let result = async {
            let parts = at_work.parts();
            let sources = targets.sources(at, parts.observer.as_ref(), &parts.stop);
            run::run_controlled(parts.clone(), &sources.await?, control).await
        };
        let result = result.await;
        // The pair is another controller's now, or the server did not answer: it is claimed again,
        // and then what was open is settled by who has it.
        let over = match &result {
            Err(RunError::TakenOver(text)) => Some(text),
            Ok(summary) => summary.taken_over.as_ref(),
            Err(_) => None,
        };
        let again = match (over, &result) {
            (Some(text), _) if stop.level() == Stop::No => {
                session.raise(at, text)? || (session.is_fleet() && !session.has_claim(at))
            }
            (_, Err(RunError::Journal(JournalError::Lost { .. }))) => session.is_fleet(),
            _ => false,
        };
        if again && stop.level() == Stop::No {
            let why = match &result {
                Err(error) => error.to_string(),
                Ok(_) => over.cloned().unwrap_or_default(),
            };
            at_work.parts().observer.say(&why);
            continue;
        }
        let error = match &result {
            Err(error) if error.is_away() => error,
            _ => return result,
        };
        let waits = session.is_fleet() && stop.level() == Stop::No;
        if !waits || begun.elapsed() >= control.limits().host_wait {
            return result;
        }
        if attempt == 0 {
            let text = format!("{error}: it is tried again for --host-wait");
            at_work.parts().observer.say(&text);
        }
        attempt += 1;
        control.holds(Some(error.to_string()));
        control.hosts_away(error.away());
        tokio::select! {
            () = tokio::time::sleep(backoff(PAUSES[0], attempt, PAUSES[1])) => {}
            () = stop.reached(Stop::Finish) => {}
        }
        control.holds(None);
    }
}

/// A pair that has nothing left to do in a run that others have still to finish.
fn finished(session: &Session, at: usize, run: RunId) -> Result<Summary, RunError> {
    let parts = session.pairs[at].parts();
    let text = format!("it is done in run {}", run.0);
    parts.observer.say(&text);
    Ok(run::summary_of(parts.journal.as_ref(), run)?)
}
