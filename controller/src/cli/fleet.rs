//! `fleet`: what concerns all pairs of a fleet file.

use clap::{Args, Subcommand};
use indexfile::exit::Exit;

use super::pairs::{Hosts, Pair};
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
    Check(CheckArgs),
}

#[derive(Debug, Args)]
struct CheckArgs {
    #[command(flatten)]
    hosts: Hosts,
    /// Print it as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn fleet(args: &FleetArgs) -> Result<Exit, Fail> {
    let Command::Check(args) = &args.command;
    if !args.hosts.are_of_a_fleet() {
        let text = "fleet check is about the pairs of a file: give --fleet FILE";
        return Err(Fail::new(Exit::Usage, text));
    }
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
