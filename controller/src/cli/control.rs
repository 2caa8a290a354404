//! `pause`, `resume`, `stop`, `set`: commands to a running controller, over the socket next to its
//! state file; it answers at once.

use std::fmt::Write as _;
use std::time::Duration;

use indexfile::exit::Exit;
use serde_json::Value;

use super::args::UnusedHosts;
use super::state::StateFile;
use super::{Fail, text};
use crate::control::{Ask, LIMITS, ask_pair, of_pair};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    state: StateFile,
    #[command(flatten)]
    _hosts: UnusedHosts,
    /// Only this pair of a fleet.
    #[arg(long, value_name = "NAME")]
    pair: Option<String>,
    /// Print the answer as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
#[command(after_help = limits())]
pub(super) struct SetArgs {
    #[command(flatten)]
    common: Args,
    /// Which limit: one of those below.
    #[arg(value_name = "LIMIT")]
    key: String,
    /// Its value; `off` takes it away.
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

/// The table of limits, for `set --help`.
fn limits() -> String {
    let mut out = "Limits:\n".to_owned();
    for limit in &LIMITS {
        let name = format!("{} {}", limit.name, limit.unit);
        // Writing to a String cannot fail.
        let _ = writeln!(out, "  {name:<24} {}", limit.help);
    }
    out
}

fn tell(args: &Args, what: &Ask) -> Result<Exit, Fail> {
    let live = ask_pair(&args.state.socket_path(), what, args.pair.as_deref())?;
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
    let rate = |of: &Value, key: &str| of[key].as_f64().unwrap_or(0.0);
    let time = |key: &str| {
        let seconds = live[key].as_u64()?;
        Some(text::duration(Duration::from_secs(seconds)))
    };
    let mut eta = time("eta_seconds").unwrap_or_else(|| "unknown".to_owned());
    for (key, by) in [
        ("eta_messages_seconds", "messages"),
        ("eta_bytes_seconds", "bytes"),
    ] {
        if let Some(time) = time(key) {
            let _ = write!(eta, ", by {by} {time}");
        }
    }
    let mut out = format!(
        "running: {} of {} mailboxes, {:.0}/s, {:.0} messages/s, ETA {eta}; {} under way, at most \
         {}",
        number("done"),
        number("mailboxes"),
        rate(live, "rate"),
        rate(live, "messages_rate"),
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
    for parked in live["parked"].as_array().into_iter().flatten() {
        let _ = write!(out, "\nparked: {}", parked.as_str().unwrap_or_default());
    }
    for host in live["hosts"].as_array().into_iter().flatten() {
        let _ = write!(
            out,
            "\n{}: {:.0} committed/s, locks held {:.1} ms on average, longest {:.1} ms (last \
             minute)",
            host["side"].as_str().unwrap_or_default(),
            rate(host, "rate"),
            rate(host, "mean_lock_ms"),
            rate(host, "longest_lock_ms")
        );
    }
    let limits = LIMITS.iter().filter_map(|limit| {
        let value = live["limits"][limit.name].as_str()?;
        (value != limit.default).then(|| format!("{} {value}", limit.name))
    });
    let limits: Vec<String> = limits.collect();
    if !limits.is_empty() {
        let _ = write!(out, "\nlimits: {}", limits.join(", "));
    }
    let slowest = live["slowest"].as_array().into_iter().flatten();
    let slowest: Vec<String> = slowest
        .filter_map(|s| Some(format!("{} {:.1} ms", s[0].as_str()?, s[1].as_f64()?)))
        .collect();
    if !slowest.is_empty() {
        let _ = write!(out, "\nlongest locks: {}", slowest.join(", "));
    }
    for (name, pair) in live["pairs"].as_object().into_iter().flatten() {
        let _ = write!(out, "\n{}", of_pair(name, &line(pair)));
    }
    out
}

/// A pair of a fleet in one line.
fn line(live: &Value) -> String {
    let number = |key: &str| live[key].as_u64().unwrap_or(0);
    let (done, all) = (number("done"), number("mailboxes"));
    let mut out = format!(
        "{done} of {all} mailboxes, {:.0}/s, {} under way",
        live["rate"].as_f64().unwrap_or(0.0),
        number("under_way")
    );
    // Writing to a String cannot fail.
    if number("failed") > 0 {
        let _ = write!(out, ", {} failed", number("failed"));
    }
    if done < all
        && let Some(why) = live["waiting"].as_str()
    {
        let _ = write!(out, ", waiting: {why}");
    }
    out
}
