//! The second walk of the master, at the end of a run over every mailbox.
//!
//! A mailbox that is gone at its turn may have been renamed, and the list does not know its new
//! name. A run that was stopped and went on knows no more what its walk left out. In both cases the
//! master is walked once more: what is new is worked on, and what is left out is known.
//!
//! A crash leaves what is new pending in the run, which the same command goes on with.

use std::sync::Arc;

use super::begin::{fill, requeue};
use super::context::Shared;
use crate::error::RunError;
use crate::journal::{Filter, RunId, State, for_each_row};
use crate::stop::Stop;
use crate::survey::{Excluded, Source, Spool};

/// Walks once more if that can tell anything, and adds what is new to the run: whether anything is,
/// and what was left out.
///
/// # Errors
/// The master does not answer, or the journal cannot be written.
pub(super) async fn walk_again(
    shared: &Arc<Shared>,
    run: RunId,
    sources: &[Source],
    resumed: bool,
) -> Result<Option<(bool, Excluded)>, RunError> {
    let parts = &shared.parts;
    let journal = parts.journal.as_ref();
    // What others listed for us stays as it is.
    let walks = sources.iter().any(|s| s.is_walk() && s.list().is_none());
    let before = journal.totals(run)?;
    let ended = parts.stop.level() != Stop::No
        || shared.outages.lost().is_some()
        || shared.breaker.is_tripped();
    if !walks || ended || !(resumed || before.gone > 0) {
        return Ok(None);
    }
    let spool = match Spool::read(sources.to_vec(), &parts.connect, &parts.stop).await {
        Err(RunError::Stopped) => return Ok(None),
        spool => spool?,
    };
    if before.gone == 0 {
        return Ok(Some((false, spool.excluded)));
    }
    fill(parts, run, &spool)?;
    // What was gone and is there again, as after two renames.
    let mut fault = None;
    for_each_row(journal, run, Filter::In(State::Gone), |row| {
        match spool.has(&row.name) {
            Ok(true) => requeue(parts, row.id),
            Ok(false) => {}
            Err(error) => fault = Some(error),
        }
    })?;
    if let Some(error) = fault {
        return Err(error);
    }
    shared.flush()?;
    let new = journal.totals(run)?.pending.saturating_sub(before.pending);
    if new > 0 {
        parts.observer.say(&format!(
            "{new} mailbox(es) came meanwhile, or have another name now: they are worked on too"
        ));
    }
    Ok(Some((new > 0, spool.excluded)))
}
