//! Mailboxes that came to a pair while a run over several pairs worked: they are done in the same
//! run.
//!
//! A crash leaves them pending in a run that is open again, which the same command goes on with.

use std::sync::Arc;
use std::time::Instant;

use super::context::{Parts, Shared};
use super::engine::{look, sum_up, work};
use super::queue::Scope;
use super::recover::settle_open;
use super::summary::Summary;
use crate::control::Control;
use crate::error::RunError;
use crate::hosts::Sides;
use crate::journal::{Candidate, RunId};
use crate::survey::{Excluded, Work};

/// Adds mailboxes to the run that this pair has finished, and works on them. What the pair has of
/// them already is left as it is. What the whole run amounts to on this pair.
///
/// # Errors
/// Another run has begun there since, or it could not go on.
pub async fn take_in(
    parts: Parts,
    run: RunId,
    newcomers: &[Candidate],
    control: &Arc<Control>,
) -> Result<Summary, RunError> {
    let begun = Instant::now();
    let last = parts.journal.last_of(parts.settings.verb)?;
    if last.is_none_or(|last| last.id != run) {
        return Err(RunError::Nothing(format!(
            "another run than {} has begun since",
            run.0
        )));
    }
    let (shared, _) = Shared::begin(parts, control, Sides::AsGiven).await?;
    let summary = add_and_work(&shared, run, newcomers, begun).await;
    shared.end().await;
    summary
}

async fn add_and_work(
    shared: &Arc<Shared>,
    run: RunId,
    newcomers: &[Candidate],
    begun: Instant,
) -> Result<Summary, RunError> {
    let recovered = settle_open(shared).await?;
    look(&shared.parts, Work::default()).await?;
    let left_out = &shared.parts.settings.leave_out;
    let stays_out = |one: &&Candidate| left_out.may_have(one.partition.as_deref());
    let (out, newcomers): (Vec<&Candidate>, Vec<&Candidate>) =
        newcomers.iter().partition(stays_out);
    for one in out {
        shared.parts.observer.say(&format!(
            "{} moved here to a partition that leave-out names, and is left as it is",
            one.name
        ));
    }
    let newcomers: Vec<Candidate> = newcomers.into_iter().cloned().collect();
    shared.parts.journal.add(run, &newcomers)?;
    let names = newcomers.iter().map(|one| one.name.clone());
    work(shared, run, &Scope::Names(names.collect())).await?;
    sum_up(shared, run, begun, Excluded::default(), recovered.settled)
}
