//! Why a certificate could not be made, revoked or shown.

use std::path::PathBuf;

use indexfile::IoError;
use indexfile::dir::OpenError;
use indexfile::exit::Exit;

/// Why it did not work. Nothing that was there before is another than before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertsError {
    /// A file cannot be read.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A file or directory cannot be made.
    #[error(transparent)]
    Io(#[from] IoError),
    /// A file of that name is there.
    #[error("{} is there already, and is left as it is: {advice}", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
        /// What to do instead.
        advice: &'static str,
    },
    /// Others may look into what keeps a key.
    #[error(
        "{} may be used by others than its owner (mode {mode:03o}), and an authority's key is \
         there: chmod go= it",
        path.display()
    )]
    Wide {
        /// The directory or file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A file is not what it should be.
    #[error("{}: {text}", path.display())]
    Contents {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        text: String,
    },
    /// What was asked for cannot be had.
    #[error("{0}")]
    Wanted(String),
}

impl CertsError {
    /// The exit code that fits.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Open(OpenError::Missing { .. }) | Self::Exists { .. } | Self::Wide { .. } => {
                Exit::Config
            }
            Self::Open(OpenError::Denied(_)) => Exit::Denied,
            Self::Open(OpenError::Io(error)) | Self::Io(error) => Exit::of_io(&error.source),
            Self::Open(_) | Self::Contents { .. } => Exit::Data,
            Self::Wanted(_) => Exit::Usage,
        }
    }
}
