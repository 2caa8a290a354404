//! The command line of slotd.

mod args;
mod config;
mod serve;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use indexfile::exit::Exit;

use args::{Args, Verb};

/// Runs the command line and gives the exit code of the contract.
#[must_use]
pub fn main() -> ExitCode {
    run(std::env::args_os().collect())
}

/// Runs a command line, the program's name first, in this process: the demo's children are slotds
/// so.
#[must_use]
pub fn run(argv: Vec<OsString>) -> ExitCode {
    let argv = match config::expand(argv) {
        Ok(argv) => argv,
        Err(text) => {
            eprintln!("slotd: {text}");
            return Exit::Config.into();
        }
    };
    let args = match Args::try_parse_from(argv) {
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
        Verb::Mount(mount) => serve::mount(&mount),
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
