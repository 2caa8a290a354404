//! Why a fleet file cannot be used.

use std::path::PathBuf;

use indexfile::exit::Exit;

/// Why a fleet file cannot be used. Each names the file, and the pair or line if there is one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FleetError {
    /// It cannot be read.
    #[error("fleet file {path}: {source}")]
    Io {
        /// Its path.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// It is no TOML, or has a key that there is not, or a value of the wrong kind.
    #[error("fleet file {path} line {line}: {text}")]
    Syntax {
        /// Its path.
        path: PathBuf,
        /// The line, from 1 on.
        line: usize,
        /// The reason, in the parser's words.
        text: String,
    },
    /// It is too long to be one.
    #[error("fleet file {path} has {bytes} bytes, and at most {limit} are read")]
    Long {
        /// Its path.
        path: PathBuf,
        /// Its length in bytes.
        bytes: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// A value makes no sense.
    #[error("fleet file {path}: {at}: {text}")]
    Value {
        /// Its path.
        path: PathBuf,
        /// The table, as it stands in the file.
        at: String,
        /// Why.
        text: String,
    },
    /// It names no pair.
    #[error("fleet file {path} has no pair: name each as a table, [pairs.NAME]")]
    Empty {
        /// Its path.
        path: PathBuf,
    },
    /// A pair was asked for that it does not have.
    #[error("fleet file {path} has no pair {name:?}; it has {known}")]
    NoPair {
        /// Its path.
        path: PathBuf,
        /// What was asked for.
        name: String,
        /// The names that it has.
        known: String,
    },
}

impl FleetError {
    /// The exit code that fits.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            // What was named does not exist.
            Self::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                Exit::Config
            }
            Self::Io { source, .. } => Exit::of_io(source),
            Self::NoPair { .. } => Exit::Usage,
            _ => Exit::Config,
        }
    }
}
