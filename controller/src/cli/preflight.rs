//! `preflight`: what a run looks at before it begins, without the run.

use std::sync::Arc;

use indexfile::exit::Exit;

use super::Fail;
use super::args::{Mailboxes, UnusedState};
use super::each::{Notes, on_each};
use super::pairs::Hosts;
use super::targets::Targets;
use crate::error::RunError;
use crate::stop::StopSignal;
use crate::survey::Looked;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    hosts: Hosts,
    #[command(flatten)]
    _state: UnusedState,
    #[command(flatten)]
    mailboxes: Mailboxes,
    /// Print it as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn preflight(args: &Args) -> Result<Exit, Fail> {
    let (hosts, mailboxes) = (&args.hosts, &args.mailboxes);
    on_each(hosts, mailboxes, args.json, Looked::exit, look)
}

/// The look at one pair.
async fn look(targets: Arc<Targets>, at: usize, stop: StopSignal) -> Result<Looked, RunError> {
    let pair = &targets.pairs[at];
    let sources = targets.sources(at, &Notes::of(pair), &stop).await?;
    match Looked::at(&pair.connect(), sources, &stop).await {
        Err(RunError::Empty(_)) if targets.may_be_empty() => Ok(Looked::default()),
        looked => looked,
    }
}
