//! The command line of slotd.

mod args;
mod config;
mod metrics;
mod mount;
mod open;
mod serve;
mod service;
mod tls;
mod trust;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::{Command, CommandFactory as _};
use indexfile::config::{Start, StartError};
use indexfile::exit::Exit;
use indexfile::program::under_own_name;

use args::{Args, Verb};
pub use tls::TlsArgs;

use crate::session::AUDIT;

/// Runs the command line and gives the exit code of the contract.
#[must_use]
pub fn main() -> ExitCode {
    obey(Start::of_process(&config::PROGRAM, command()))
}

/// The configuration file of the packages: every option, as a comment.
#[must_use]
pub fn configuration() -> String {
    config::PROGRAM.template(command())
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
    obey(Start::of(command(), words))
}

fn obey(start: Result<Start<Args>, StartError>) -> ExitCode {
    let start = match start {
        Ok(start) => start,
        Err(error) => {
            match &error {
                StartError::CommandLine(error) => _ = error.print(),
                StartError::Config(error) => eprintln!("slotd: {error}"),
            }
            return error.exit().into();
        }
    };
    let file = start.file().map(Path::to_owned);
    init_log(start.args.verbose, start.args.quiet);
    let result = match start.args.verb {
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
    let audit = level.max(match quiet {
        true => LevelFilter::ERROR,
        false => LevelFilter::INFO,
    });
    let usual = || Targets::new().with_default(level).with_target(AUDIT, audit);
    let filter = wanted.unwrap_or_else(usual);
    let log = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false);
    let _ = tracing_subscriber::registry()
        .with(filter)
        .with(log)
        .try_init();
}
