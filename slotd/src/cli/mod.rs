//! The command line of slotd.

/// What `--help` of a command ends with: examples and the exit codes that it can end with.
macro_rules! after_help {
    ($($example:literal)* ; $($more:literal)*) => {
        concat!(
            "Examples:\n", $("  slotd ", $example, "\n",)* "
Exit codes:
  0   all done
  64  usage
  65  a file of slotd's or of the store is damaged
", $($more, "\n",)* "  \
  74  I/O error
  77  not permitted
  78  configuration"
        )
    };
}

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

#[cfg(test)]
mod tests {
    /// What `--help` has, with the lines that go on joined.
    fn help(name: &str) -> String {
        let mut all = super::command();
        let command = all.find_subcommand_mut(name).unwrap();
        let help = command.render_long_help().to_string();
        let long = help.lines().find(|line| line.chars().count() > 100);
        assert_eq!(long, None, "{name}");
        help.replace("\\\n", " ")
    }

    #[test]
    fn every_command_has_examples_that_it_understands_and_its_exit_codes() {
        for name in ["serve", "recover", "mount"] {
            let help = help(name);
            assert!(help.contains("Exit codes:\n  0   all done"), "{help}");
            assert!(help.contains("\n  74  I/O error"), "{help}");
            let examples = help.lines().filter(|line| line.starts_with("  slotd "));
            let mut count = 0;
            for example in examples {
                let words = example.replace('\'', "");
                let parsed = super::command().try_get_matches_from(words.split_whitespace());
                assert!(parsed.is_ok(), "{example}: {}", parsed.unwrap_err());
                count += 1;
            }
            assert!(count > 0, "{name}");
        }
    }
}
