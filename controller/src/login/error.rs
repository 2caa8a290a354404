//! What can go wrong on the way to another server, and before.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use indexfile::dir::OpenError;
use indexfile::exit::Exit;

/// What went wrong with a connection. `doing` is what was under way, a command or `the banner`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// Its name leads to no address.
    #[error("its name cannot be resolved: {0}")]
    Resolve(io::Error),
    /// No server listens there.
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    /// The connection broke.
    #[error("the connection broke during {doing}: {source}")]
    Io {
        /// What was under way.
        doing: &'static str,
        /// What the operating system says.
        source: io::Error,
    },
    /// No answer in time.
    #[error("no answer to {doing} within {limit:?}")]
    Timeout {
        /// What was under way.
        doing: &'static str,
        /// The limit that passed.
        limit: Duration,
    },
    /// It closed the connection.
    #[error("it closed the connection during {doing}")]
    Closed {
        /// What was under way.
        doing: &'static str,
    },
    /// The password would go over the network as it is.
    #[error(
        "it offers no STARTTLS, and the password would go over the network in clear: set \
         tls_server_cert and tls_server_key in its imapd.conf, or allow it (--murder-insecure, \
         --imap-insecure)"
    )]
    Clear,
    /// TLS was demanded.
    #[error("it offers no STARTTLS, which is demanded")]
    NoTls,
    /// Its certificate, or what it should be checked against, is not right.
    #[error("its certificate is not accepted: {0}")]
    Certificate(String),
    /// No TLS could be agreed on.
    #[error("no TLS: {0}")]
    Tls(String),
}

impl LinkError {
    /// The exit code that fits.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Clear | Self::NoTls | Self::Certificate(_) => Exit::Config,
            _ => Exit::Unavailable,
        }
    }

    /// Whether the same may go well later: the server, or the way to it, is away.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Resolve(_)
                | Self::Connect(_)
                | Self::Io { .. }
                | Self::Timeout { .. }
                | Self::Closed { .. }
        )
    }
}

/// Why what is needed to log in cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// A file cannot be read.
    #[error("{what}: {source}")]
    File {
        /// Which file it is.
        what: &'static str,
        /// Why.
        source: OpenError,
    },
    /// Others may read, or write, the password.
    #[error(
        "the password file {} may be read or written by every user of this host (mode {mode:03o}): \
         chmod o= it",
        path.display()
    )]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// There is no password in it, or it cannot be one.
    #[error("the password file {} {what}", path.display())]
    Password {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Certificates cannot be used.
    #[error("the CA file {} has no certificate that can be used: {text}", path.display())]
    Ca {
        /// The file.
        path: PathBuf,
        /// Why.
        text: String,
    },
    /// What was asked for cannot be had.
    #[error("{0}")]
    Contradiction(&'static str),
}

impl SetupError {
    /// The exit code that fits: 78, and 77 where we may not read a file.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::File {
                source: OpenError::Denied(_),
                ..
            } => Exit::Denied,
            _ => Exit::Config,
        }
    }
}
