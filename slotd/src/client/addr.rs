//! Where a slotd listens: `unix:/path` or `HOST:PORT`.

use std::fmt::{self, Display};
use std::path::PathBuf;
use std::str::FromStr;

/// An address of a slotd.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Addr {
    /// A Unix socket.
    Unix(PathBuf),
    /// TCP.
    Tcp {
        /// A name or a number, IPv6 without its brackets.
        host: String,
        /// The port; 0 for listening means any free one.
        port: u16,
    },
}

/// Why a text is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no address of a slotd: expected unix:/path or HOST:PORT")]
pub struct AddrError {
    /// The text.
    pub text: String,
}

impl FromStr for Addr {
    type Err = AddrError;

    fn from_str(text: &str) -> Result<Addr, AddrError> {
        let fail = || AddrError {
            text: text.to_owned(),
        };
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.starts_with('/') && !path.contains('\0') {
                Ok(Addr::Unix(path.into()))
            } else {
                Err(fail())
            };
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(fail)?;
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        if host.is_empty() || (bare.is_none() && host.contains(':')) {
            return Err(fail());
        }
        let port = port.parse().map_err(|_| fail())?;
        Ok(Addr::Tcp {
            host: bare.unwrap_or(host).to_owned(),
            port,
        })
    }
}

impl Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Addr::Unix(path) => write!(f, "unix:{}", path.display()),
            Addr::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Addr::Tcp { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_printed_as_it_is_read() {
        for text in [
            "unix:/run/slotd.sock",
            "localhost:2005",
            "127.0.0.1:0",
            "[::1]:2005",
        ] {
            assert_eq!(text.parse::<Addr>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "unix:",
            "unix:relative",
            "localhost",
            ":1",
            "h:65536",
            "::1:25",
            "h:x",
            "/run/slotd.sock",
        ] {
            assert!(text.parse::<Addr>().is_err(), "{text:?}");
        }
    }
}
