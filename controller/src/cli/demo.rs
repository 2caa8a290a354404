//! `controller demo`, and the hidden subcommand under which its children are slotds.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use indexfile::exit::Exit;

use super::Fail;
use super::args::Output;
use super::progress::{OfPair, Progress};
use crate::control::{Control, Controls, Limits};
use crate::demo::{self, Display, Options};
use crate::journal::Verb;
use crate::observer::Observer;

#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// Leave the stores in this directory, new or empty, to look at.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Mailboxes.
    #[arg(long, value_name = "N", default_value_t = 300,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    mailboxes: u32,
    /// Messages in each, on average.
    #[arg(long, value_name = "N", default_value_t = 20,
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    messages: u32,
    #[command(flatten)]
    output: Output,
}

/// Arguments of a child.
#[derive(Debug, Args)]
pub(super) struct ChildArgs {
    /// The process to end with.
    parent: u32,
    /// Arguments of slotd.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<OsString>,
}

/// Is a slotd until its parent ends.
pub(super) fn child(args: ChildArgs) -> ExitCode {
    demo::be_slotd(args.parent, args.args)
}

/// Runs the demo. This is the main thread, as the demo needs.
pub(super) fn demo(args: DemoArgs) -> Result<Exit, Fail> {
    let options = Options {
        keep: args.keep,
        mailboxes: args.mailboxes as usize,
        messages: args.messages,
    };
    // The bar names what a run waits for; this one waits for nothing.
    let unlimited = Arc::new(Control::new(Limits::default()));
    let controls = Controls::only(unlimited);
    let progress = Arc::new(Progress::new(Verb::Upgrade, args.output, controls));
    let observer = OfPair {
        name: String::new(),
        progress: Arc::clone(&progress),
    };
    let observer = Arc::new(observer) as Arc<dyn Observer>;
    let display = Display {
        observer,
        end: Box::new(move || progress.end()),
    };
    let mut say: Box<dyn Write> = if args.output.json {
        Box::new(io::stderr())
    } else {
        Box::new(io::stdout())
    };
    let (report, exit) = demo::run(&options, &display, say.as_mut())
        .map_err(|e| Fail::new(e.exit(), e.to_string()))?;
    if args.output.json {
        let mut out = io::stdout().lock();
        serde_json::to_writer_pretty(&mut out, &report).map_err(io::Error::from)?;
        writeln!(out)?;
    }
    Ok(exit)
}
