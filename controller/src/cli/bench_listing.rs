//! `controller bench listing`: what a live store is like.

use std::sync::Arc;

use clap::Args;
use indexfile::exit::Exit;
use slotd::protocol::{Command, Status};

use super::Fail;
use super::args::Mailboxes;
use super::each::{Notes, on_each};
use super::pairs::Hosts;
use super::targets::Targets;
use crate::bench::listing::{Lister, Listing};
use crate::error::RunError;
use crate::stop::StopSignal;
use crate::survey::{Asking, survey};
use crate::two_phase::Side;

#[derive(Debug, Args)]
pub(super) struct ListingArgs {
    #[command(flatten)]
    hosts: Hosts,
    #[command(flatten)]
    mailboxes: Mailboxes,
    /// Mailboxes at once.
    #[arg(long, value_name = "N", default_value_t = 4,
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    parallel: u16,
    /// Print it as JSON, for `bench --listing`.
    #[arg(long)]
    json: bool,
}

pub(super) fn listing(args: &ListingArgs) -> Result<Exit, Fail> {
    let parallel = args.parallel.into();
    on_each(
        &args.hosts,
        &args.mailboxes,
        args.json,
        Listing::exit,
        move |targets, at, stop| of_pair(parallel, targets, at, stop),
    )
}

/// Of the master of one pair: what its slotd answers to `STATUS`.
async fn of_pair(
    parallel: usize,
    targets: Arc<Targets>,
    at: usize,
    stop: StopSignal,
) -> Result<Listing, RunError> {
    let pair = &targets.pairs[at];
    let sources = targets.sources(at, &Notes::of(pair), &stop).await?;
    let asking = Asking {
        connect: &pair.connect(),
        parallel,
        stop: &stop,
        question: Arc::new(Command::Status),
        then: None,
    };
    let mut lister = Lister::default();
    survey(&asking, sources, |answered| {
        let said = answered.said[Side::Master.index()].as_ref();
        match said.and_then(|said| Status::from_fields(said.as_ref().ok()?).ok()) {
            Some(status) => lister.add(&status),
            None => lister.add_unanswered(),
        }
    })
    .await?;
    Ok(lister.listing())
}
