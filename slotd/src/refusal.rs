//! Why a mailbox was refused: what becomes `NO [CODE] text` on the wire.

use indexfile::mailbox::{ConfError, HeaderError};
use indexfile::{ConvertError, IoError, ReadError};
use precompute::message::MessageError;

use crate::fs::{OpenError, code_of};
use crate::intent::LogError;
use crate::protocol::{Code, Reply};

/// A refusal, with the class of its reason and one sentence that says what and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Refusal {
    /// The class.
    pub code: Code,
    /// The sentence.
    pub text: String,
}

impl Refusal {
    /// Makes one.
    #[must_use]
    pub fn new(code: Code, text: impl Into<String>) -> Refusal {
        Refusal {
            code,
            text: text.into(),
        }
    }

    /// The reply that says so.
    #[must_use]
    pub fn to_reply(&self) -> Reply {
        Reply::no(self.code, &self.text)
    }
}

impl From<IoError> for Refusal {
    fn from(error: IoError) -> Refusal {
        Refusal::new(code_of(&error.source), error.to_string())
    }
}

impl From<OpenError> for Refusal {
    fn from(error: OpenError) -> Refusal {
        let code = match &error {
            OpenError::Io(io) | OpenError::Denied(io) => code_of(&io.source),
            // What is not there, or is a link or a fifo, proves nothing about the mailbox's being
            // gone.
            _ => Code::Damaged,
        };
        Refusal::new(code, error.to_string())
    }
}

impl From<ReadError> for Refusal {
    fn from(error: ReadError) -> Refusal {
        match error {
            ReadError::Io(io) => io.into(),
            error => Refusal::new(Code::Damaged, format!("{}: {error}", error.code())),
        }
    }
}

impl From<LogError> for Refusal {
    fn from(error: LogError) -> Refusal {
        Refusal::new(Code::Io, error.to_string())
    }
}

impl From<ConvertError> for Refusal {
    fn from(error: ConvertError) -> Refusal {
        match error {
            ConvertError::Read(error) => error.into(),
            error => Refusal::new(Code::Unsupported, error.to_string()),
        }
    }
}

impl From<HeaderError> for Refusal {
    fn from(error: HeaderError) -> Refusal {
        match error {
            HeaderError::Io(io) => io.into(),
            error => Refusal::new(Code::Damaged, error.to_string()),
        }
    }
}

impl From<ConfError> for Refusal {
    fn from(error: ConfError) -> Refusal {
        Refusal::new(Code::NoMailbox, error.to_string())
    }
}

impl From<MessageError> for Refusal {
    fn from(error: MessageError) -> Refusal {
        let code = match &error {
            MessageError::Denied { .. } => Code::Denied,
            MessageError::Stopped { .. } => Code::Expired,
            MessageError::Io { source, .. } => code_of(source),
            _ => Code::NoMessage,
        };
        Refusal::new(code, error.to_string())
    }
}
