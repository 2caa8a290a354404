//! Documents that were written to files.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use indexfile::exit::Exit;
use indexfile::{IoContext, IoError};
use serde::Deserialize;

use super::document::{Document, FORMAT};

/// No document is larger: thousands of measures take a megabyte.
const MOST: u64 = 64 << 20;

/// A document cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The file.
    #[error(transparent)]
    Io(#[from] IoError),
    /// It is something else.
    #[error("{path}: not what `controller bench --json` prints: {why}")]
    Other {
        /// The file.
        path: PathBuf,
        /// In what it differs.
        why: String,
    },
    /// It is no listing, or one of nothing.
    #[error("{path}: not what `controller bench listing --json` prints of a store: {why}")]
    NoListing {
        /// The file.
        path: PathBuf,
        /// In what it differs.
        why: String,
    },
    /// It is of another version of the format.
    #[error("{path}: a bench of format {format}, and this program reads format {FORMAT}")]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: u32,
    },
}

impl ReadError {
    /// The exit code that says the same.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Io(error) => Exit::of_io(&error.source),
            Self::Other { .. } | Self::NoListing { .. } | Self::Format { .. } => Exit::Data,
        }
    }
}

/// What every version of the format has.
#[derive(Deserialize)]
struct AnyFormat {
    format: u32,
}

/// The text of a file that has `most` bytes, in whole MiB, or less; `other` makes the error of one
/// that has more, or no text.
pub(super) fn text_of(
    path: &Path,
    most: u64,
    other: impl Fn(String) -> ReadError,
) -> Result<String, ReadError> {
    let file = File::open(path).io_context("open", path)?;
    let mut text = String::new();
    match file.take(most + 1).read_to_string(&mut text) {
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            return Err(other(error.to_string()));
        }
        read => read.io_context("read", path)?,
    };
    if text.len() as u64 > most {
        return Err(other(format!("it is larger than {} MiB", most >> 20)));
    }
    Ok(text)
}

impl Document {
    /// Reads one that `controller bench --json` printed.
    ///
    /// # Errors
    /// The file cannot be read, or is something else.
    pub fn read(path: &Path) -> Result<Self, ReadError> {
        let other = |why: String| ReadError::Other {
            path: path.to_owned(),
            why,
        };
        let text = text_of(path, MOST, other)?;
        let AnyFormat { format } = serde_json::from_str(&text).map_err(|e| other(e.to_string()))?;
        if format != FORMAT {
            return Err(ReadError::Format {
                path: path.to_owned(),
                format,
            });
        }
        serde_json::from_str(&text).map_err(|error| other(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn a_document_is_read_and_what_is_none_is_said_to_be() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        let read = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            Document::read(&path)
        };
        let document = sample::whole();
        let text = serde_json::to_string(&document).unwrap();
        assert_eq!(read(text.as_bytes()).unwrap(), document);
        let later = text.replacen("\"format\":1", "\"format\":2", 1);
        let error = read(later.as_bytes()).unwrap_err();
        assert!(error.to_string().contains("a bench of format 2"), "{error}");
        for bytes in [
            b"" as &[u8],
            b"{}",
            b"\xff",
            &text.as_bytes()[..text.len() / 2],
        ] {
            let error = read(bytes).unwrap_err();
            assert_eq!(error.exit(), Exit::Data, "{error}");
            assert!(error.to_string().contains("a.json: not what"), "{error}");
        }
        let none = Document::read(&dir.path().join("none")).unwrap_err();
        assert_eq!(none.exit(), Exit::Io, "{none}");
    }
}
