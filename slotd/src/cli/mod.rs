//! The command line of slotd.

mod args;
mod config;
mod mount;
mod open;
mod serve;
mod service;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Command, CommandFactory as _, FromArgMatches as _};
use indexfile::exit::Exit;
use indexfile::program::under_own_name;

use args::{Args, Verb};

/// Runs the command line and gives the exit code of the contract.
#[must_use]
pub fn main() -> ExitCode {
    match config::configure(command(), std::env::args_os().collect()) {
        Ok((command, words)) => run_as(command, words),
        Err(error) => {
            eprintln!("slotd: {error}");
            error.exit().into()
        }
    }
}

/// The configuration file of the packages: every option, as a comment.
#[must_use]
pub fn configuration() -> String {
    let command = indexfile::program::under_packaged_name(command());
    config::PROGRAM.template(&command)
}

/// All that may stand on the command line.
#[must_use]
pub fn command() -> Command {
    under_own_name(config::PROGRAM.prepare(Args::command()))
}

/// Runs a command line, the program's name first, in this process, without any configuration: the
/// demo's children are slotds so.
#[must_use]
pub fn run(words: Vec<OsString>) -> ExitCode {
    run_as(command(), words)
}

fn run_as(mut command: Command, words: Vec<OsString>) -> ExitCode {
    let parsed = command.try_get_matches_from_mut(words);
    let file = parsed
        .as_ref()
        .ok()
        .and_then(|m| m.get_one::<PathBuf>("config").cloned());
    let args = match parsed.and_then(|matches| Args::from_arg_matches(&matches)) {
        Ok(args) => args,
        Err(error) => {
            let _ = error.print();
            let exit = if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Ok
            };
            return exit.into();
        }
    };
    init_log(args.verbose, args.quiet);
    let result = match args.verb {
        Verb::Serve(serve) => serve::serve(&serve),
        Verb::Recover(recover) => serve::recover(&recover),
        Verb::Mount(mount) => mount::mount(&mount),
        Verb::Config(args) => config::show(&self::command(), file.as_deref(), &args),
    };
    match result {
        Ok(exit) => exit.into(),
        Err(failure) => {
            eprintln!("slotd: {}", failure.text);
            failure.exit.into()
        }
    }
}

/// A failure, for a person.
struct Failure {
    exit: Exit,
    text: String,
}

impl Failure {
    fn new(exit: Exit, text: impl Into<String>) -> Failure {
        Failure {
            exit,
            text: text.into(),
        }
    }
}

/// Messages go to stderr; `REGUID_LOG` overrules the flags.
fn init_log(verbose: u8, quiet: bool) {
    use tracing_subscriber::filter::{LevelFilter, Targets};
    use tracing_subscriber::layer::SubscriberExt as _;
    use tracing_subscriber::util::SubscriberInitExt as _;

    let level = match (quiet, verbose) {
        (true, _) => LevelFilter::ERROR,
        (_, 0) => LevelFilter::WARN,
        (_, 1) => LevelFilter::INFO,
        _ => LevelFilter::DEBUG,
    };
    let wanted = std::env::var("REGUID_LOG").ok();
    let wanted = wanted.and_then(|text| text.parse::<Targets>().ok());
    let filter = wanted.unwrap_or_else(|| Targets::new().with_default(level));
    let log = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false);
    let _ = tracing_subscriber::registry()
        .with(filter)
        .with(log)
        .try_init();
}
