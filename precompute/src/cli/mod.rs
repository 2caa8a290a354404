//! The command line of `precompute`: arguments in, library calls, text or JSON out, exit codes.
//!
//! This is the only part of the crate that prints. Results and JSON go to standard output, progress
//! and findings to standard error.

/// What `--help` of a command ends with: examples and the exit codes.
macro_rules! after_help {
    ($($example:literal)*) => {
        concat!(
            "Examples:\n", $("  precompute ", $example, "\n",)* "
Exit codes:
  0   all done, nothing found
  64  usage
  65  something is damaged or was found, or there was nothing to do
  67  no such mailbox
  74  I/O error
  75  stopped before the end, or a message kept changing; run it again
  77  not permitted
  78  configuration"
        )
    };
}

mod bench;
mod clean;
mod config;
mod import;
mod output;
mod progress;
mod root;
mod run;
mod scrub;
mod selection;
mod show;
mod signals;
mod verify;
mod watch;

use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use indexfile::config::{Start, StartError};
use indexfile::program::under_own_name;

/// SHA-1 of Cyrus messages, computed before an upgrade and kept next to each index.
#[derive(Debug, Parser)]
#[command(name = "precompute", version, about, long_about = None)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Hash the messages that need a GUID and write cyrus.sha1s next to each index
    Run(run::Args),
    /// Compare the entries of cyrus.sha1s with the message files
    Verify(verify::Args),
    /// Compare every message with the GUID in its index; for any Cyrus from 2.3.10 on
    Scrub(scrub::Args),
    /// Remove the cyrus.sha1s files
    Clean(clean::Args),
    /// Measure it against sha1sum and openssl on a generated store
    Bench(bench::Args),
    /// Put SHA-1s that sha1sum computed earlier into the caches
    Import(import::Args),
    /// Print a cyrus.sha1s file: UID, size and SHA-1 of each message
    Show(show::Args),
    /// Show what configuration counts
    Config(indexfile::config::ShowArgs),
}

/// The configuration file of the packages: every option, as a comment.
#[must_use]
pub fn configuration() -> String {
    config::PROGRAM.template(command())
}

/// All that may stand on the command line.
#[must_use]
pub fn command() -> clap::Command {
    under_own_name(config::PROGRAM.prepare(Cli::command()))
}

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    let start = match Start::<Cli>::of_process(&config::PROGRAM, command()) {
        Ok(start) => start,
        Err(error) => {
            match &error {
                // With broken standard streams there is no place to report it.
                StartError::CommandLine(error) => _ = error.print(),
                StartError::Config(error) => output::complain(error),
            }
            return error.exit().into();
        }
    };
    let file = start.file().map(Path::to_owned);
    let exit = match start.args.command {
        Command::Run(args) => run::main(&args),
        Command::Verify(args) => verify::main(&args),
        Command::Scrub(args) => scrub::main(&args),
        Command::Clean(args) => clean::main(&args),
        Command::Bench(args) => bench::main(&args),
        Command::Import(args) => import::main(&args),
        Command::Show(args) => show::main(&args),
        Command::Config(args) => config::show(&command(), file.as_deref(), &args),
    };
    exit.into()
}
