//! Why a configuration is refused: always with the place that says it.

use std::path::PathBuf;

use super::setting::Origin;
use crate::dir::OpenError;
use crate::exit::Exit;

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("the configuration file cannot be read: {0}")]
    Read(#[from] OpenError),
    /// It is no TOML.
    #[error("{} line {line}: {text}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1 on.
        line: usize,
        /// What is wrong there.
        text: String,
    },
    /// A key or a value makes no sense.
    #[error("{origin}: {text}")]
    Setting {
        /// Where it stands.
        origin: Origin,
        /// What is wrong with it.
        text: String,
    },
    /// There is no such command.
    #[error("there is no command {0:?} that takes options from a configuration")]
    NoCommand(String),
}

impl ConfigError {
    /// The exit code that fits.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::NoCommand(_) => Exit::Usage,
            _ => Exit::Config,
        }
    }
}
