//! What a configuration may say to slotd, and `config show`.

use std::io::Write as _;
use std::path::Path;

use clap::Command;
use indexfile::config::{Program, ShowArgs, variable};
use indexfile::exit::Exit;

use super::Failure;

/// slotd's file, and its variables.
pub(super) const PROGRAM: Program = Program {
    file: "/etc/reguid/slotd.toml",
    prefix: "REGUID_SLOTD_",
    apart: &[],
    typed: &[],
    belongs: &[("tls-key", "tls-cert")],
    shown: str::to_owned,
};

pub(super) fn show(
    command: &Command,
    file: Option<&Path>,
    args: &ShowArgs,
) -> Result<Exit, Failure> {
    let text = PROGRAM.show(command, file, args, &variable);
    let text = text.map_err(|error| Failure::new(error.exit(), error.to_string()))?;
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::new(Exit::Io, format!("stdout: {e}")))
        }
        _ => Ok(Exit::Ok),
    }
}
