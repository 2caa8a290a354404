//! What a configuration may say to slotd, and `config show`.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::Path;

use clap::Command;
use indexfile::config::{ConfigError, Program, ShowArgs};
use indexfile::exit::Exit;

use super::Failure;

/// slotd's file, and its variables.
pub(super) const PROGRAM: Program = Program {
    file: "/etc/reguid/slotd.toml",
    prefix: "REGUID_SLOTD_",
    apart: &[],
    typed: &[],
    belongs: &[],
    shown: str::to_owned,
};

/// A command line with what file and environment give.
pub(super) fn configure(
    command: Command,
    words: Vec<OsString>,
) -> Result<(Command, Vec<OsString>), ConfigError> {
    PROGRAM.configure(command, words, &|name| std::env::var_os(name))
}

pub(super) fn show(
    command: &Command,
    file: Option<&Path>,
    args: &ShowArgs,
) -> Result<Exit, Failure> {
    let text = PROGRAM.show(command, file, args, &|name| std::env::var_os(name));
    let text = text.map_err(|error| Failure::new(error.exit(), error.to_string()))?;
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::new(Exit::Io, format!("stdout: {e}")))
        }
        _ => Ok(Exit::Ok),
    }
}
