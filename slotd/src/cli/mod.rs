//! The command line of slotd.

mod arenas;
mod args;
mod config;
mod log;
mod metrics;
mod mount;
mod open;
mod options;
mod reload;
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
use reload::{Again, Given};
pub use tls::TlsArgs;

/// Runs the command line and gives the exit code of the contract.
#[must_use]
pub fn main() -> ExitCode {
    obey(|| Start::of_process(&config::PROGRAM, command()))
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
    obey(move || Start::of(command(), words.clone()))
}

/// `read` reads the command line and the configuration, now and at each SIGHUP.
fn obey(read: impl Fn() -> Result<Start<Args>, StartError> + Send + Sync + 'static) -> ExitCode {
    let start = match read() {
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
    let level = log::init(&start.args);
    let given = Given::of(&command(), &start.matches);
    let result = match start.args.verb {
        Verb::Serve(serve) => {
            let again = Again {
                read: Box::new(read),
                given,
                level,
            };
            serve::serve(&serve, again)
        }
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
