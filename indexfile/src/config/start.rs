//! The start of a program: its command line, with what file and environment give, understood.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{ArgMatches, Command, FromArgMatches};

use super::options::FILE;
use super::{ConfigError, Program};
use crate::exit::Exit;

/// A command line that was understood.
#[derive(Debug)]
pub struct Start<T> {
    /// What it asks for.
    pub args: T,
    /// The same, as it stands there.
    pub matches: ArgMatches,
}

/// Why a command line is not carried out.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// What file or environment give is refused.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// It cannot be understood; or it asks for help or the version, which are answers.
    #[error(transparent)]
    CommandLine(#[from] clap::Error),
}

impl StartError {
    /// The exit code that fits.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Config(error) => error.exit(),
            Self::CommandLine(error) if error.use_stderr() => Exit::Usage,
            Self::CommandLine(_) => Exit::Ok,
        }
    }
}

impl<T: FromArgMatches> Start<T> {
    /// A command line without any configuration, the program's name first.
    ///
    /// # Errors
    /// [`StartError::CommandLine`]
    pub fn of(mut command: Command, words: Vec<OsString>) -> Result<Self, StartError> {
        let matches = command.try_get_matches_from_mut(words)?;
        let args = T::from_arg_matches(&matches)?;
        Ok(Self { args, matches })
    }

    /// This process's, with what file and environment give. The command is one that
    /// [`Program::prepare`] gave.
    ///
    /// # Errors
    /// [`StartError`]
    pub fn of_process(program: &Program, command: Command) -> Result<Self, StartError> {
        let words = std::env::args_os().collect();
        let (command, words) = program.configure(command, words, &variable)?;
        Self::of(command, words)
    }

    /// The file that `--config` names.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.matches.get_one::<PathBuf>(FILE).map(PathBuf::as_path)
    }
}

/// A variable of this process's environment.
#[must_use]
pub fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}
