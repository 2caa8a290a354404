//! A command that failed: one clear sentence and an exit code.

use crate::error::IoError;
use crate::exit::Exit;
use crate::mailbox::{ConfError, HeaderError};
use crate::message::MessageError;
use crate::read_error::ReadError;
use crate::sha1s::CacheError;
use crate::stream_copy::{ConvertError, CopyError};
use rustix::io::Errno;
use std::fmt::Display;

/// Why a command ends with an exit code that is not 0.
#[derive(Debug)]
pub(super) struct Fail {
    pub(super) exit: Exit,
    pub(super) text: String,
    /// The reader of our output went away, as `head` does: nothing to complain about.
    pub(super) broken_pipe: bool,
}

impl Fail {
    pub(super) fn new(exit: Exit, text: impl Display) -> Self {
        Self {
            exit,
            text: text.to_string(),
            broken_pipe: false,
        }
    }
}

impl From<std::io::Error> for Fail {
    /// For output only; errors on files come as [`IoError`].
    fn from(e: std::io::Error) -> Self {
        let broken_pipe = e.kind() == std::io::ErrorKind::BrokenPipe;
        let exit = if broken_pipe { Exit::Ok } else { Exit::Io };
        Self {
            exit,
            text: format!("cannot write the output: {e}"),
            broken_pipe,
        }
    }
}

impl From<IoError> for Fail {
    fn from(e: IoError) -> Self {
        Self::new(Exit::of_io(&e.source), e)
    }
}

impl From<ReadError> for Fail {
    fn from(e: ReadError) -> Self {
        Self::new(e.exit(), e)
    }
}

impl From<ConvertError> for Fail {
    fn from(e: ConvertError) -> Self {
        Self::new(e.exit(), e)
    }
}

impl From<CacheError> for Fail {
    fn from(e: CacheError) -> Self {
        match e {
            CacheError::Io(e) => e.into(),
            _ => Self::new(Exit::Data, e),
        }
    }
}

impl From<HeaderError> for Fail {
    fn from(e: HeaderError) -> Self {
        match e {
            HeaderError::Io(e) => e.into(),
            _ => Self::new(Exit::Data, e),
        }
    }
}

impl From<ConfError> for Fail {
    fn from(e: ConfError) -> Self {
        Self::new(e.exit(), e)
    }
}

impl From<MessageError> for Fail {
    fn from(e: MessageError) -> Self {
        match e {
            MessageError::Io { op, path, source } => IoError::new(op, &path, source).into(),
            MessageError::Denied { op, path } => {
                IoError::new(op, &path, Errno::ACCESS.into()).into()
            }
            MessageError::NoSpool { path } => {
                IoError::new("open", &path, Errno::NOENT.into()).into()
            }
            MessageError::Missing { path } => Self::new(
                Exit::Data,
                format!("message file {} is missing", path.display()),
            ),
            _ => Self::new(Exit::Data, e),
        }
    }
}

impl From<CopyError<Fail>> for Fail {
    fn from(e: CopyError<Fail>) -> Self {
        match e {
            CopyError::Convert(e) => e.into(),
            CopyError::Read(e) => e.into(),
            CopyError::Decide(fail) => fail,
            CopyError::Write(e) => {
                Self::new(Exit::of_io(&e), format!("cannot write the new file: {e}"))
            }
            CopyError::DropNeedsSeek { uid } => {
                Self::new(Exit::Data, CopyError::<Fail>::DropNeedsSeek { uid })
            }
        }
    }
}

impl Display for Fail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}
