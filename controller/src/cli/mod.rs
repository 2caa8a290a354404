//! The `controller` command: the only part of this crate that reads arguments, prints, or decides
//! an exit code. Everything it does is a library call.

mod afterwards;
mod args;
mod around;
mod bench;
mod bench_listing;
mod bench_live;
mod benches;
mod canaries;
mod certs;
mod claims;
mod clean;
mod config;
mod control;
mod cutover;
mod demo;
mod drain;
mod each;
mod events;
mod examples;
mod expected;
mod fleet;
mod hints;
mod hooks;
mod imap;
mod limits;
mod live;
mod metrics;
mod migrate;
mod moves;
mod murder;
mod new_page;
mod of_murder;
mod out_of_service;
mod outcome;
mod pairs;
mod panic_file;
mod plan;
mod precompute;
mod preflight;
mod progress;
mod report;
mod rollback;
mod runs;
mod screen;
mod session;
mod signals;
mod state;
mod status;
mod targets;
mod text;
mod undone;
mod verify;
mod watch;

use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use indexfile::config::{Start, StartError};
use indexfile::exit::Exit;
use indexfile::program::under_own_name;

use crate::error::RunError;

/// Moves the mailboxes of a Cyrus master and its replica to SHA-1 GUIDs and index version 10, or
/// back, with the servers running: each mailbox on both hosts, or on neither.
#[derive(Debug, Parser)]
#[command(name = "controller", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Tell what a run would do; change nothing.
    Plan(plan::Args),
    /// Look at the hosts, and at a few mailboxes, as a run does before it begins; change nothing.
    Preflight(preflight::Args),
    /// Have all hosts hash their messages ahead of a run, and watch them.
    Precompute(precompute::PrecomputeArgs),
    /// Do all of an upgrade or downgrade up to the decision, and roll it back: would it succeed,
    /// and how long are mailboxes locked?
    Rehearse(migrate::RehearseArgs),
    /// Upgrade mailboxes to SHA-1 GUIDs and index version 10.
    Upgrade(migrate::UpgradeArgs),
    /// Downgrade mailboxes to an earlier index version.
    Downgrade(migrate::DowngradeArgs),
    /// Undo a run: bring each mailbox that it changed back to the version it had.
    Rollback(rollback::RollbackArgs),
    /// Change mailboxes over to a version of Cyrus 2.4 and later, while no server runs.
    Cutover(cutover::CutoverArgs),
    /// Take up mailboxes that the last run rolled back.
    Retry(migrate::RetryArgs),
    /// Settle what a crash left open, and do nothing else.
    Recover(migrate::RecoverArgs),
    /// Compare GUIDs with message files, and master with replica; change nothing.
    Verify(verify::VerifyArgs),
    /// Remove cyrus.sha1s, .OLD and stray files of mailboxes that the last run has done.
    Clean(clean::CleanArgs),
    /// Tell how far the last run is, and what it is doing right now.
    Status(status::StatusArgs),
    /// Let a running controller begin nothing new until it is resumed; no lock is held meanwhile.
    Pause(control::Args),
    /// Let a paused controller go on.
    Resume(control::Args),
    /// Let a running controller finish what is under way, and end.
    Stop(control::Args),
    /// Let a running controller roll back what is not decided, carry out what is, and end at once.
    Panic(control::Args),
    /// Change a limit of a running controller.
    Set(control::SetArgs),
    /// Tell the story of the last run: totals, lock times, failures and what to do about them.
    Report(report::ReportArgs),
    /// Take one host out of service: keep its users out, wait until nobody is left and all is
    /// replicated. Without --side, tell which hosts are.
    Drain(drain::DrainArgs),
    /// Put a host into service again, once its mounts are there and both hosts are alike.
    Undrain(drain::UndrainArgs),
    /// What concerns all pairs of a fleet file.
    Fleet(fleet::FleetArgs),
    /// Make and look after the certificates by which hosts and controllers know one another.
    Certs(certs::CertsArgs),
    /// Show what configuration counts: of file, environment and command line.
    Config(indexfile::config::ShowArgs),
    /// Show a whole migration on two mail stores made for it: no Cyrus, no root, a few seconds.
    Demo(demo::DemoArgs),
    /// Measure how fast a fleet of two hosts goes on this machine, on a store made for it.
    Bench(bench::BenchArgs),
    /// A slotd that ends with its parent.
    #[command(name = crate::demo::SUBCOMMAND, hide = true)]
    DemoSlotd(demo::ChildArgs),
    /// A client of a mailbox that ends with its parent.
    #[command(name = crate::bench::live::SUBCOMMAND, hide = true)]
    BenchClient(bench_live::ChildArgs),
}

/// The configuration file of the packages: every option, as a comment.
#[must_use]
pub fn configuration() -> String {
    config::PROGRAM.template(command())
}

/// All that may stand on the command line.
#[must_use]
pub fn command() -> clap::Command {
    let cli = Cli::command().mut_subcommand("verify", imap::without_hosts);
    under_own_name(config::PROGRAM.prepare(examples::add(cli)))
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let start = match Start::<Cli>::of_process(&config::PROGRAM, command()) {
        Ok(start) => start,
        Err(error) => {
            match &error {
                StartError::CommandLine(error) => _ = error.print(),
                StartError::Config(error) => text::complain(&error.to_string()),
            }
            return error.exit().into();
        }
    };
    events::choose(form(&start.matches));
    if std::env::args_os().any(|word| state::shows_password(&word.to_string_lossy())) {
        text::complain(
            "every user of this host can read a password on the command line: give it as \
             PGPASSWORD, or the address in the configuration file or as REGUID_STATE",
        );
        return Exit::Usage.into();
    }
    let file = start.file().map(Path::to_owned);
    let done = match start.args.command {
        Command::Plan(args) => plan::plan(&args),
        Command::Preflight(args) => preflight::preflight(&args),
        Command::Precompute(args) => precompute::precompute(&args),
        Command::Rehearse(args) => migrate::rehearse(args),
        Command::Upgrade(args) => migrate::upgrade(args),
        Command::Downgrade(args) => migrate::downgrade(args),
        Command::Rollback(args) => rollback::rollback(args),
        Command::Cutover(args) => cutover::cutover(args),
        Command::Retry(args) => migrate::retry(args),
        Command::Recover(args) => migrate::recover(args),
        Command::Status(args) => status::status(&args),
        Command::Verify(args) => verify::verify(&args),
        Command::Clean(args) => clean::clean(&args),
        Command::Pause(args) => control::pause(&args),
        Command::Resume(args) => control::resume(&args),
        Command::Stop(args) => control::stop(&args),
        Command::Panic(args) => control::panic(&args),
        Command::Set(args) => control::set(&args),
        Command::Report(args) => report::report(&args),
        Command::Drain(args) => drain::drain(&args),
        Command::Undrain(args) => drain::undrain(&args),
        Command::Fleet(args) => fleet::fleet(args),
        Command::Certs(args) => certs::certs(&args),
        Command::Config(args) => config::show(&command(), file.as_deref(), &args),
        Command::Demo(args) => demo::demo(args),
        Command::Bench(args) => bench::bench(args),
        Command::DemoSlotd(args) => return demo::child(args),
        Command::BenchClient(args) => return bench_live::child(&args),
    };
    match done {
        Ok(exit) => exit.into(),
        Err(fail) => {
            text::complain(&fail.text);
            fail.exit.into()
        }
    }
}

/// How progress is to be shown, where a command has any.
fn form(matches: &clap::ArgMatches) -> events::Form {
    let mut innermost = matches;
    while let Some((_, matches)) = innermost.subcommand() {
        innermost = matches;
    }
    let form = innermost.try_get_one::<events::Form>("progress");
    form.ok().flatten().copied().unwrap_or_default()
}

/// Why a command ended without doing its work.
#[derive(Debug)]
pub(crate) struct Fail {
    pub(crate) exit: Exit,
    pub(crate) text: String,
}

impl Fail {
    pub(crate) fn new(exit: Exit, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { exit, text }
    }
}

impl From<RunError> for Fail {
    fn from(error: RunError) -> Self {
        Self::new(error.exit(), error.to_string())
    }
}

impl From<crate::journal::JournalError> for Fail {
    fn from(error: crate::journal::JournalError) -> Self {
        RunError::from(error).into()
    }
}

impl From<crate::control::ServeError> for Fail {
    fn from(error: crate::control::ServeError) -> Self {
        use crate::control::ServeError as E;
        let exit = match &error {
            E::Io { source, .. } => Exit::of_io(source),
            E::Nobody { .. } => Exit::Unavailable,
            E::Refused(_) => Exit::Usage,
        };
        Self::new(exit, error.to_string())
    }
}

impl From<indexfile::IoError> for Fail {
    fn from(error: indexfile::IoError) -> Self {
        Self::new(Exit::of_io(&error.source), error.to_string())
    }
}

impl From<std::io::Error> for Fail {
    fn from(error: std::io::Error) -> Self {
        Self::new(Exit::of_io(&error), error.to_string())
    }
}
