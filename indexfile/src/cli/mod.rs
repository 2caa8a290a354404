//! The `indexfile` command: the only part of this crate that prints or decides an exit code.

/// What `--help` of a command ends with: examples and the exit codes.
macro_rules! after_help {
    ($($example:literal)* ; $data:literal) => {
        concat!(
            "Examples:\n", $("  indexfile ", $example, "\n",)* "
Exit codes:
  0   all done
  64  usage
  65  ", $data, "
  67  no such mailbox
  74  I/O error
  77  not permitted
  78  configuration"
        )
    };
}

mod check;
mod convert;
mod diff;
mod dump;
mod fail;
mod guids;
mod new_file;

use crate::exit::Exit;
use crate::program::under_own_name;
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use std::io::Write;
use std::process::ExitCode;

/// Read, check, convert and compare Cyrus index and expunge files.
#[derive(Debug, Parser)]
#[command(name = "indexfile", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print a file's header and records.
    Dump(dump::Args),
    /// Write a file again in version 6 to 10, or a mailbox's files as one of version 12 to 19.
    Convert(convert::Args),
    /// Say what is wrong with a file, a mailbox or a tree; change nothing.
    Check(check::Args),
    /// Compare two files field by field, by UID.
    Diff(diff::Args),
}

/// All that may stand on the command line.
#[must_use]
pub fn command() -> clap::Command {
    under_own_name(Cli::command())
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let stdout = std::io::stdout().lock();
    let mut out = std::io::BufWriter::with_capacity(64 << 10, stdout);
    let exit = run(std::env::args_os(), &mut out, &mut std::io::stderr().lock());
    exit.into()
}

/// Runs a command line: reports go to `out`, text for people and errors to `err`.
pub fn run(
    args: impl IntoIterator<Item = impl Into<std::ffi::OsString> + Clone>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Exit {
    let parsed = command().try_get_matches_from(args);
    let cli = match parsed.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(e) if e.use_stderr() => {
            let _ = write!(err, "{e}");
            return Exit::Usage;
        }
        // --help and --version are answers, not errors.
        Err(e) => {
            let _ = write!(out, "{e}").and_then(|()| out.flush());
            return Exit::Ok;
        }
    };
    let done = match cli.command {
        Command::Dump(args) => dump::run(&args, out),
        Command::Convert(args) => convert::run(&args, out, err),
        Command::Check(args) => check::run(&args, out, err),
        Command::Diff(args) => diff::run(&args, out),
    };
    match done.and_then(|exit| Ok(out.flush().map(|()| exit)?)) {
        Ok(exit) => exit,
        Err(fail) if fail.broken_pipe => fail.exit,
        Err(fail) => {
            let _ = out.flush();
            let _ = writeln!(err, "indexfile: {}", fail.text);
            fail.exit
        }
    }
}
