//! `controller bench live`, and the hidden subcommand under which its children are clients.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use indexfile::exit::Exit;
use slotd::protocol::Write;

use super::{Fail, text};
use crate::bench::live::{self, Options};
use crate::control::Limits;
use crate::demo::ends_with;

#[derive(Debug, Args)]
pub(super) struct LiveArgs {
    /// Work in this directory, new or empty, and leave everything there.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Clients at once, each a process.
    #[arg(long, value_name = "N", default_value_t = 4,
          value_parser = clap::value_parser!(u16).range(1..=1000))]
    clients: u16,
    /// What each client does in a second: 70 of 100 are STOREs.
    #[arg(long, value_name = "N", default_value_t = 50,
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
    /// Messages of a mailbox: each of these sizes is measured.
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "100,20000,200000",
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    messages: Vec<u32>,
    /// Mailboxes of each size; without it 1 to 16, fewer of large ones.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=10_000))]
    mailboxes: Option<u16>,
    /// Seconds of each round, with a run and again without.
    #[arg(long, value_name = "S", default_value_t = 10,
          value_parser = clap::value_parser!(u16).range(1..=3600))]
    seconds: u16,
    /// Rounds, after a short one to warm up.
    #[arg(long, value_name = "N", default_value_t = 3,
          value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// Have the runs write their new files under the locks, not before.
    #[arg(long)]
    no_prepare: bool,
    /// Milliseconds that locks should be held, as `upgrade` takes it.
    #[arg(long, value_name = "MS")]
    target_lock: Option<String>,
    #[command(flatten)]
    shape: Shape,
    /// Say nothing while it works.
    #[arg(long, short)]
    quiet: bool,
}

/// As what the figures are printed; as text without either.
#[derive(Debug, Args)]
struct Shape {
    /// Print the figures as JSON.
    #[arg(long, conflicts_with = "markdown")]
    json: bool,
    /// Print the figures as tables for docs/benchmarks.md.
    #[arg(long)]
    markdown: bool,
}

/// Arguments of a client.
#[derive(Debug, Args)]
pub(super) struct ChildArgs {
    /// The process to end with.
    parent: u32,
    /// What it does.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

/// Is a client until it has done its work, or its parent ends.
pub(super) fn child(args: &ChildArgs) -> ExitCode {
    if !ends_with(args.parent) {
        return ExitCode::SUCCESS;
    }
    let mut out = io::stdout().lock();
    match live::be_client(&args.args, &mut io::stdin().lock(), &mut out) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            text::complain(&error.to_string());
            Exit::of_io(&error).into()
        }
    }
}

/// Measures and prints. This is the main thread, as the children need.
pub(super) fn live(args: &LiveArgs) -> Result<Exit, Fail> {
    let mut messages = args.messages.clone();
    messages.sort_unstable();
    messages.dedup();
    let mut limits = Limits::default();
    if let Some(target) = &args.target_lock {
        let set = limits.set("target-lock", target);
        set.map_err(|error| Fail::new(Exit::Usage, error))?;
    }
    let options = Options {
        dir: args.dir.clone(),
        clients: args.clients.into(),
        rate: args.rate,
        messages,
        mailboxes: args.mailboxes.map(usize::from),
        lasts: Duration::from_secs(args.seconds.into()),
        rounds: args.rounds.into(),
        prepare: if args.no_prepare {
            Write::Never
        } else {
            Write::Auto
        },
        limits,
    };
    let note = |line: &str| {
        if !args.quiet {
            text::note(line);
        }
    };
    let document = live::run(&options, &note).map_err(|e| Fail::new(e.exit(), e.to_string()))?;
    if args.shape.json {
        let value = serde_json::to_value(&document).map_err(io::Error::from)?;
        text::json(&value)?;
    } else if args.shape.markdown {
        text::say(document.markdown().trim_end())?;
    } else {
        text::say(document.text().trim_end())?;
    }
    Ok(Exit::Ok)
}
