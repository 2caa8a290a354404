//! Where a slotd listens: `unix:/path`, `tls://HOST:PORT` or `HOST:PORT`.

use std::fmt::{self, Display};
use std::path::PathBuf;
use std::str::FromStr;

/// An address of a slotd.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Addr {
    /// A Unix socket.
    Unix(PathBuf),
    /// TLS, with certificates on both ends.
    Tls {
        /// A name or a number, IPv6 without its brackets: the certificate there is one of it.
        host: String,
        /// The port; 0 for listening means any free one.
        port: u16,
    },
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
#[error("{text:?} is no address of a slotd: expected unix:/path, tls://HOST:PORT or HOST:PORT")]
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
        let (is_tls, place) = match text.strip_prefix("tls://") {
            Some(place) => (true, place),
            None => (false, text),
        };
        let (host, port) = place.rsplit_once(':').ok_or_else(fail)?;
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        if host.is_empty() || host.contains('/') || (bare.is_none() && host.contains(':')) {
            return Err(fail());
        }
        let port = port.parse().map_err(|_| fail())?;
        let host = bare.unwrap_or(host).to_owned();
        Ok(if is_tls {
            Addr::Tls { host, port }
        } else {
            Addr::Tcp { host, port }
        })
    }
}

impl Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Addr::Unix(path) => write!(f, "unix:{}", path.display()),
            Addr::Tls { host, port } => write!(f, "tls://{}", Place(host, *port)),
            Addr::Tcp { host, port } => Place(host, *port).fmt(f),
        }
    }
}

/// A host and a port.
struct Place<'a>(&'a str, u16);

impl Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place(host, port) = self;
        if host.contains(':') {
            write!(f, "[{host}]:{port}")
        } else {
            write!(f, "{host}:{port}")
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
            "tls://imap1.example.com:4711",
            "tls://[::1]:4711",
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
            "tls://",
            "tls://imap1",
            "tls://:4711",
            "ssl://imap1:4711",
        ] {
            assert!(text.parse::<Addr>().is_err(), "{text:?}");
        }
    }
}
