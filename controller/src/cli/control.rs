//! `pause`, `resume`, `stop`, `panic`, `set`: commands to a running controller, over the socket
//! next to its state file; it answers at once.

use std::fmt::Write as _;

use indexfile::exit::Exit;
use serde_json::Value;

use super::args::UnusedHosts;
use super::state::{How, StateFile};
use super::{Fail, live, text};
use crate::control::{Ask, LIMITS, Limit, OFF, ServeError, ask_pair, of_pair};

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
    /// Which limit: one of those below. Without one, they are listed.
    #[arg(value_name = "LIMIT")]
    key: Option<String>,
    /// Its value; `off` takes it away. Without one, or with `?`, the value that it has is printed.
    #[arg(value_name = "VALUE")]
    value: Option<String>,
}

pub(super) fn pause(args: &Args) -> Result<Exit, Fail> {
    tell(args, &Ask::Pause)
}

/// Of a controller that ended while it was paused the journal knows that it was.
pub(super) fn resume(args: &Args) -> Result<Exit, Fail> {
    let asked = ask_pair(
        &args.state.socket_path(),
        &Ask::Resume,
        args.pair.as_deref(),
    );
    let nobody = match asked {
        Err(nobody @ ServeError::Nobody { .. }) if args.state.is_there() => nobody,
        live => return show(args, &live?),
    };
    let store = args.state.open(How::Existing)?;
    let mut resumed = Vec::new();
    let asked = |name: &String| args.pair.as_ref().is_none_or(|pair| pair == name);
    for name in store.pairs()?.into_iter().filter(asked) {
        let journal = store.pair(&name)?;
        if journal.paused()?.is_some() {
            journal.set_paused(None)?;
            resumed.push(name);
        }
    }
    if resumed.is_empty() {
        return Err(Fail::new(
            Exit::Unavailable,
            format!("{nobody}, and its journal has nothing that is paused"),
        ));
    }
    if args.json {
        text::json(&serde_json::json!({ "resumed": resumed }))?;
        return Ok(Exit::Ok);
    }
    for name in resumed {
        text::say(&of_pair(
            &name,
            "no longer paused; no controller is running",
        ))?;
    }
    Ok(Exit::Ok)
}

pub(super) fn stop(args: &Args) -> Result<Exit, Fail> {
    tell(args, &Ask::Stop)
}

pub(super) fn panic(args: &Args) -> Result<Exit, Fail> {
    tell(args, &Ask::Panic)
}

pub(super) fn set(args: &SetArgs) -> Result<Exit, Fail> {
    let Some(key) = args.key.clone() else {
        return list(args.common.json);
    };
    match args.value.as_deref() {
        None | Some("?") => read(&args.common, &key),
        Some(value) => {
            let value = value.to_owned();
            tell(&args.common, &Ask::Set { key, value })
        }
    }
}

/// Names all limits. Nobody has to run for that.
fn list(json: bool) -> Result<Exit, Fail> {
    if !json {
        text::say(limits().trim_end())?;
        return Ok(Exit::Ok);
    }
    let limit = |limit: &Limit| {
        serde_json::json!({
            "name": limit.name,
            "unit": limit.unit,
            "bounds": limit.range(),
            "default": limit.default,
            "help": limit.help,
        })
    };
    text::json(&LIMITS.iter().map(limit).collect())?;
    Ok(Exit::Ok)
}

/// Prints the value that a limit has in a running controller; of a fleet, on each pair.
fn read(args: &Args, key: &str) -> Result<Exit, Fail> {
    if !LIMITS.iter().any(|limit| limit.name == key) {
        let text = format!("there is no limit called {key:?}; controller set names them");
        return Err(Fail::new(Exit::Usage, text));
    }
    let live = ask_pair(
        &args.state.socket_path(),
        &Ask::Status,
        args.pair.as_deref(),
    )?;
    let value = |of: &Value| of["limits"][key].as_str().unwrap_or(OFF).to_owned();
    let asked = |(name, _): &(&String, &Value)| args.pair.as_ref().is_none_or(|p| p == *name);
    let pairs: Vec<_> = live::pairs(&live).filter(asked).collect();
    if args.json {
        let mut out = serde_json::json!({});
        if pairs.is_empty() {
            out[key] = value(&live).into();
        }
        for (name, pair) in pairs {
            out["pairs"][name][key] = value(pair).into();
        }
        text::json(&out)?;
        return Ok(Exit::Ok);
    }
    if pairs.is_empty() {
        text::say(&format!("{key} {}", value(&live)))?;
    }
    for (name, pair) in pairs {
        text::say(&of_pair(name, &format!("{key} {}", value(pair))))?;
    }
    Ok(Exit::Ok)
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
    show(args, &live)
}

fn show(args: &Args, live: &Value) -> Result<Exit, Fail> {
    if args.json {
        text::json(live)?;
    } else {
        text::say(&live::describe(live))?;
    }
    Ok(Exit::Ok)
}
