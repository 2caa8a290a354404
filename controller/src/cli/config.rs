//! What a configuration may say to the controller, and `config show`.

use std::io::Write as _;
use std::path::Path;

use clap::Command;
use indexfile::config::{ConfigError, Program, ShowArgs, variable};
use indexfile::exit::Exit;

use super::Fail;
use super::state::without_password;
use crate::journal::is_postgres;

/// The controller's file, and its variables.
pub(super) const PROGRAM: Program = Program {
    file: "/etc/reguid/reguid.toml",
    prefix: "REGUID_",
    apart: &[
        "demo",
        "bench",
        "certs",
        crate::demo::SUBCOMMAND,
        crate::bench::live::SUBCOMMAND,
    ],
    // Each of them says what one run is to do, or what is so at this moment.
    typed: &[
        "abandon-run",
        "against",
        "all",
        "announce",
        "cutover prepare",
        "end",
        "despite-away",
        "failed",
        "force-live",
        "html",
        "imap",
        "kick",
        "no-way-back",
        "only-announce",
        "reason",
        "replace",
        "run",
        "save",
        "servers-stopped",
        "side",
        "since",
        "undo",
        "cutover verify",
        "watch",
    ],
    belongs: &[
        ("replica", "master"),
        ("tls-key", "tls-cert"),
        ("pairs", "fleet"),
        ("mailboxes", "names"),
        ("murder", "fleet"),
        ("murder-user", "murder"),
        ("password-file", "murder"),
        ("murder-ca-file", "murder"),
        ("murder-insecure", "murder"),
        ("murder-cache", "murder"),
        ("murder-from-cache", "murder-cache"),
        ("murder-dump", "murder"),
        ("imap-ca-file", "imap"),
        ("imap-insecure", "imap"),
    ],
    shown,
};

fn shown(value: &str) -> String {
    if is_postgres(value) {
        without_password(value)
    } else {
        value.to_owned()
    }
}

pub(super) fn show(command: &Command, file: Option<&Path>, args: &ShowArgs) -> Result<Exit, Fail> {
    let text = PROGRAM.show(command, file, args, &variable);
    let text = text.map_err(Fail::from)?;
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(Exit::Ok),
    }
}

impl From<ConfigError> for Fail {
    fn from(error: ConfigError) -> Self {
        Self::new(error.exit(), error.to_string())
    }
}
