//! The `indexfile` command: the only part of this crate that prints or decides an exit code.

/// Runs the command line.
#[must_use]
pub fn main() -> std::process::ExitCode {
    crate::exit::Exit::Usage.into()
}
