//! What a configuration may say to precompute, and `config show`.

use std::path::Path;

use clap::Command;
use indexfile::config::{Program, ShowArgs, variable};
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

pub(super) fn show(command: &Command, file: Option<&Path>, args: &ShowArgs) -> Exit {
    match PROGRAM.show(command, file, args, &variable) {
        Ok(text) => written(line(&text.trim_end())),
        Err(error) => {
            complain(&error);
            error.exit()
        }
    }
}
