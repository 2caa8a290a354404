//! Why lists cannot be compared.

use indexfile::exit::Exit;
use indexfile::mailbox::list::ListError;

/// Why lists cannot be compared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompareError {
    /// The temporary file.
    #[error("the lists of the Murder cannot be kept in a temporary file: {0}")]
    Spool(#[from] rusqlite::Error),
    /// A backend's own list.
    #[error("the own list of {server}: {source}")]
    Own {
        /// The backend.
        server: String,
        /// What is wrong with it.
        source: ListError,
    },
    /// The master's list was not read to its end.
    #[error("the master's list is not whole")]
    NotWhole,
}

impl CompareError {
    /// The exit code that fits.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Spool(_) => Exit::Io,
            Self::Own {
                source: ListError::Io { source, .. },
                ..
            } => Exit::of_io(source),
            Self::Own { .. } => Exit::Data,
            Self::NotWhole => Exit::Unavailable,
        }
    }
}
