//! `plan`: what a run would do. Opens nothing for writing, here or on the hosts.

use std::sync::Arc;

use indexfile::exit::Exit;

use super::args::{Mailboxes, UnusedState};
use super::each::Each;
use super::pairs::Hosts;
use super::session::with_runtime;
use super::targets::Targets;
use super::{Fail, signals};
use crate::error::RunError;
use crate::stop::StopSignal;
use crate::survey::{Asking, Plan, list, survey_and_look};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    hosts: Hosts,
    #[command(flatten)]
    _state: UnusedState,
    #[command(flatten)]
    mailboxes: Mailboxes,
    /// The index version wanted.
    #[arg(long, value_name = "N", default_value_t = 10,
          value_parser = target)]
    to: u32,
    /// Look into each mailbox on both hosts; without it, only the list is looked at.
    #[arg(long)]
    deep: bool,
    /// Mailboxes a second to expect of a run; `report` tells what a smaller one did.
    #[arg(long, value_name = "N", default_value_t = 400,
          value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// Mailboxes at once.
    #[arg(long, value_name = "N", default_value_t = 8,
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    parallel: u16,
    /// Print it as JSON.
    #[arg(long)]
    json: bool,
}

/// A version that `upgrade` and `downgrade` write.
fn target(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(to @ 6..=10) => Ok(to),
        Ok(12..=19) => Err(
            "6 to 10; `controller cutover --to N --prepare` says what a change-over would refuse"
                .to_owned(),
        ),
        _ => Err("a version from 6 to 10 is expected".to_owned()),
    }
}

pub(super) fn plan(args: &Args) -> Result<Exit, Fail> {
    with_runtime(async move {
        let stop = signals::stop();
        let targets = Targets::of(&args.hosts, &args.mailboxes, false, &stop).await?;
        let mut each = Each::new(args.json);
        for (at, pair) in targets.pairs.iter().enumerate() {
            let plan = plan_of(args, (&targets, at), &stop).await;
            if let Some(plan) = each.take(pair, plan)? {
                each.say(pair, &plan, plan.exit())?;
            }
        }
        Ok(signals::exit(&stop, each.end()?))
    })
}

/// The plan of one pair.
async fn plan_of(
    args: &Args,
    (targets, at): (&Targets, usize),
    stop: &StopSignal,
) -> Result<Plan, RunError> {
    let mut plan = Plan::new(args.to, args.deep);
    let connect = &targets.pairs[at].connect();
    let sources = targets.sources(at).await?;
    let (excluded, found) = if args.deep {
        let asking = Asking {
            connect,
            parallel: args.parallel.into(),
            stop,
            question: Arc::new(slotd::protocol::Command::Status),
            then: None,
        };
        survey_and_look(&asking, sources, |a| plan.answered(&a)).await?
    } else {
        list(connect, sources, stop, |listed| {
            plan.listed(listed.partition.as_deref());
        })
        .await?
    };
    plan.note_excluded(excluded);
    plan.preflight = found;
    plan.check_disk_space();
    plan.expect(args.rate);
    Ok(plan)
}
