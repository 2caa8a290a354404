//! I/O errors that say what was being done and to which path.
//!
//! A bare "Permission denied" is of no help at three in the morning; every I/O error that leaves
//! this workspace's libraries is one of these.

use std::io;
use std::path::{Path, PathBuf};

/// An I/O error with the operation that failed and the path it failed on.
#[derive(Debug, thiserror::Error)]
#[error("cannot {op} {}: {source}", path.display())]
pub struct IoError {
    /// What was being done, as a verb: "open", "read", "rename".
    pub op: &'static str,
    /// The path it was done to.
    pub path: PathBuf,
    /// The system's answer.
    pub source: io::Error,
}

impl IoError {
    /// Builds the error from its parts.
    #[must_use]
    pub fn new(op: &'static str, path: &Path, source: io::Error) -> Self {
        Self {
            op,
            path: path.to_path_buf(),
            source,
        }
    }

    /// The kind of the underlying error.
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }
}

/// Adds operation and path to an `io::Result`.
pub trait IoContext<T> {
    /// Turns the error into an [`IoError`] that names `op` (a verb) and `path`.
    ///
    /// # Errors
    /// The same failure, named.
    fn io_context(self, op: &'static str, path: &Path) -> Result<T, IoError>;
}

impl<T, E: Into<io::Error>> IoContext<T> for Result<T, E> {
    fn io_context(self, op: &'static str, path: &Path) -> Result<T, IoError> {
        self.map_err(|e| IoError::new(op, path, e.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_io_error_names_the_operation_and_the_path() {
        let e = std::fs::File::open("/nonexistent/cyrus.index")
            .io_context("open", Path::new("/nonexistent/cyrus.index"))
            .expect_err("there is no such file");
        assert_eq!(e.kind(), io::ErrorKind::NotFound);
        assert!(
            e.to_string()
                .starts_with("cannot open /nonexistent/cyrus.index: "),
            "{e}"
        );
    }
}
