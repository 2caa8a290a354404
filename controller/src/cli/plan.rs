//! `plan`: what a run would do. Opens nothing for writing, here or on the hosts.

use std::sync::Arc;

use indexfile::exit::Exit;

use super::Fail;
use super::args::Mailboxes;
use super::each::{Notes, on_each};
use super::expected::{Past, Planned};
use super::pairs::Hosts;
use super::state::StateFile;
use super::targets::Targets;
use crate::error::RunError;
use crate::journal::Candidate;
use crate::stop::StopSignal;
use crate::survey::{Asking, Plan, list, survey_and_look};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    hosts: Hosts,
    #[command(flatten)]
    state: StateFile,
    #[command(flatten)]
    mailboxes: Mailboxes,
    /// The index version wanted.
    #[arg(long, value_name = "N", default_value_t = 10,
          value_parser = target)]
    to: u32,
    /// Look into each mailbox on both hosts; without it, only the list is looked at.
    #[arg(long)]
    deep: bool,
    /// Mailboxes a second to expect of a run; without it, as many as the last rehearsal or run did.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
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

/// What is asked of each pair.
#[derive(Clone, Copy)]
struct Asked {
    to: u32,
    deep: bool,
    parallel: usize,
}

pub(super) fn plan(args: &Args) -> Result<Exit, Fail> {
    let asked = Asked {
        to: args.to,
        deep: args.deep,
        parallel: args.parallel.into(),
    };
    let (hosts, mailboxes) = (&args.hosts, &args.mailboxes);
    let past = Arc::new(Past::of(&args.state, hosts, args.rate));
    let exit = |planned: &Planned| planned.plan.exit();
    on_each(
        hosts,
        mailboxes,
        args.json,
        exit,
        move |targets, at, stop| {
            let past = Arc::clone(&past);
            async move {
                let pair = targets.pairs[at].name.clone();
                let plan = plan_of(asked, targets, at, stop).await?;
                Ok(past.expect(&pair, plan))
            }
        },
    )
}

/// The plan of one pair.
async fn plan_of(
    asked: Asked,
    targets: Arc<Targets>,
    at: usize,
    stop: StopSignal,
) -> Result<Plan, RunError> {
    let mut plan = Plan::new(asked.to, asked.deep);
    let pair = &targets.pairs[at];
    let connect = &pair.connect();
    let sources = targets.sources(at, &Notes::of(pair), &stop).await?;
    let looked = if asked.deep {
        let asking = Asking {
            connect,
            parallel: asked.parallel,
            stop: &stop,
            question: Arc::new(slotd::protocol::Command::Status),
            then: None,
        };
        survey_and_look(&asking, sources, |a| plan.answered(&a)).await
    } else {
        let listed = |one: &Candidate| plan.listed(one.partition.as_deref());
        list(connect, sources, &stop, listed).await
    };
    let (excluded, found) = match looked {
        Err(RunError::Empty(_)) if targets.may_be_empty() => Default::default(),
        looked => looked?,
    };
    plan.note_excluded(excluded);
    plan.preflight = found;
    plan.check_disk_space();
    Ok(plan)
}
