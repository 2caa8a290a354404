//! `pause`, `resume`, `stop`, `set`: a running controller is told over its socket, beside the state
//! file, and answers at once.

use std::fmt::Write as _;
use std::time::Duration;

use indexfile::exit::Exit;
use serde_json::Value;

use super::args::{StateFile, UnusedHosts};
use super::{Fail, text};
use crate::control::{Ask, ask, socket_path};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    state: StateFile,
    #[command(flatten)]
    _hosts: UnusedHosts,
    /// Print the answer as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct SetArgs {
    #[command(flatten)]
    common: Args,
    /// parallel, target-lock (milliseconds), max-load, max-io (percent), flag-file, wait-command, window.
    #[arg(value_name = "LIMIT")]
    key: String,
    /// Its value; off takes it away.
    #[arg(value_name = "VALUE")]
    value: String,
}

pub(super) fn pause(args: &Args) -> Result<Exit, Fail> {
    tell(args, &Ask::Pause)
}

pub(super) fn resume(args: &Args) -> Result<Exit, Fail> {
    tell(args, &Ask::Resume)
}

pub(super) fn stop(args: &Args) -> Result<Exit, Fail> {
    tell(args, &Ask::Stop)
}

pub(super) fn set(args: &SetArgs) -> Result<Exit, Fail> {
    tell(
        &args.common,
        &Ask::Set {
            key: args.key.clone(),
            value: args.value.clone(),
        },
    )
}

fn tell(args: &Args, what: &Ask) -> Result<Exit, Fail> {
    let live = ask(&socket_path(&args.state.state), what)?;
    if args.json {
        text::json(&live)?;
    } else {
        text::say(&describe(&live))?;
    }
    Ok(Exit::Ok)
}

/// What a running controller says of itself, for a person.
pub(super) fn describe(live: &Value) -> String {
    let number = |key: &str| live[key].as_u64().unwrap_or(0);
    let rate = live["rate"].as_f64().unwrap_or(0.0);
    let eta = live["eta_seconds"]
        .as_u64()
        .map_or("unknown".to_owned(), |s| {
            text::duration(Duration::from_secs(s))
        });
    let mut out = format!(
        "running: {} of {} mailboxes, {rate:.0}/s, ETA {eta}; {} under way, at most {}",
        number("done"),
        number("mailboxes"),
        number("under_way"),
        number("allowed").min(number("parallel"))
    );
    // Writing to a String cannot fail.
    if number("failed") > 0 {
        let _ = write!(out, ", {} failed", number("failed"));
    }
    if let Some(why) = live["waiting"].as_str() {
        let _ = write!(out, "\nwaiting: {why}");
    }
    let slowest = live["slowest"].as_array().into_iter().flatten();
    let slowest: Vec<String> = slowest
        .filter_map(|s| Some(format!("{} {:.1} ms", s[0].as_str()?, s[1].as_f64()?)))
        .collect();
    if !slowest.is_empty() {
        let _ = write!(out, "\nlongest locks: {}", slowest.join(", "));
    }
    out
}
