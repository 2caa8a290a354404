//! The place of a server: a host and a TCP port.

use std::fmt::{self, Display};

/// Longest host name, in bytes: that of the DNS.
const MAX_HOST: usize = 253;

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostPort {
    /// A name or a number, IPv6 without its brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

impl HostPort {
    /// `HOST`, `HOST:PORT`, `[IPv6]` or `[IPv6]:PORT`; without a port it is `default`. `None` if it
    /// is nothing of that.
    #[must_use]
    pub fn parse(text: &str, default: u16) -> Option<Self> {
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (host, port) = rest.split_once(']')?;
            let number: std::net::Ipv6Addr = host.parse().ok()?;
            (number.to_string(), port)
        } else {
            let at = text.find(':').unwrap_or(text.len());
            (text[..at].to_owned(), &text[at..])
        };
        let named = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
        if host.is_empty() || host.len() > MAX_HOST || !host.chars().all(named) {
            return None;
        }
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => default,
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().ok()?,
            _ => return None,
        };
        (port != 0).then_some(Self { host, port })
    }
}

impl Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') {
            write!(f, "[{host}]:{port}")
        } else {
            write!(f, "{host}:{port}")
        }
    }
}
