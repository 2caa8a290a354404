//! What a configuration may say to precompute, and `config show`.

use std::ffi::OsString;
use std::path::Path;

use clap::Command;
use indexfile::config::{ConfigError, Program, ShowArgs};
use indexfile::exit::Exit;

use super::output::{complain, line, written};

/// precompute's file, and its variables.
pub(super) const PROGRAM: Program = Program {
    file: "/etc/reguid/precompute.toml",
    prefix: "REGUID_PRECOMPUTE_",
    apart: &["bench"],
    typed: &["as-of"],
    belongs: &[
        ("mailboxes", "names"),
        ("meta", "spool"),
        ("archive", "spool"),
        ("recursive", "spool"),
    ],
    shown: str::to_owned,
};

/// A command line with what file and environment give.
pub(super) fn configure(
    command: Command,
    words: Vec<OsString>,
) -> Result<(Command, Vec<OsString>), ConfigError> {
    PROGRAM.configure(command, words, &|name| std::env::var_os(name))
}

pub(super) fn show(command: &Command, file: Option<&Path>, args: &ShowArgs) -> Exit {
    match PROGRAM.show(command, file, args, &|name| std::env::var_os(name)) {
        Ok(text) => written(line(&text.trim_end())),
        Err(error) => {
            complain(&error);
            error.exit()
        }
    }
}
