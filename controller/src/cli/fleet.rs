//! `fleet`: what concerns all pairs of a fleet file.

use clap::{Args, Subcommand};
use indexfile::exit::Exit;

use super::migrate::{RehearseArgs, rehearse};
use super::pairs::{Hosts, Pair};
use super::precompute::{PrecomputeArgs, precompute};
use super::session::with_runtime;
use super::{Fail, signals, text};
use crate::fleet::{Named, check};

#[derive(Debug, Args)]
pub(super) struct FleetArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Look at every host of the file, and refuse lines that are crossed; change nothing.
    Check(Box<CheckArgs>),
    /// As `controller precompute`, on the hosts of the file.
    Precompute(Box<PrecomputeArgs>),
    /// As `controller rehearse`, of the pairs of the file.
    Rehearse(Box<RehearseArgs>),
}

#[derive(Debug, Args)]
struct CheckArgs {
    #[command(flatten)]
    hosts: Hosts,
    /// Print it as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn fleet(args: FleetArgs) -> Result<Exit, Fail> {
    match args.command {
        Command::Check(args) => look(&args),
        Command::Precompute(args) => {
            of_a_fleet(&args.hosts, "precompute")?;
            precompute(&args)
        }
        Command::Rehearse(args) => {
            of_a_fleet(&args.run.common.hosts, "rehearse")?;
            rehearse(*args)
        }
    }
}

/// Refuses a command of a fleet without its file.
fn of_a_fleet(hosts: &Hosts, command: &str) -> Result<(), Fail> {
    if hosts.are_of_a_fleet() {
        return Ok(());
    }
    let text = format!("fleet {command} is about the pairs of a file: give --fleet FILE");
    Err(Fail::new(Exit::Usage, text))
}

fn look(args: &CheckArgs) -> Result<Exit, Fail> {
    of_a_fleet(&args.hosts, "check")?;
    let pairs = args.hosts.pairs()?;
    let named: Vec<Named> = pairs.iter().map(Pair::named).collect();
    let (look, stop) = with_runtime(async move {
        let stop = signals::stop();
        Ok((check(&named, &stop).await, stop))
    })?;
    if args.json {
        text::json(&serde_json::to_value(&look).map_err(std::io::Error::from)?)?;
    } else {
        text::say(look.to_string().trim_end())?;
    }
    Ok(signals::exit(&stop, look.exit()))
}
