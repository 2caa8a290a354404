//! Where an IMAP server listens: `HOST:PORT`, `imap://HOST` or `imaps://HOST`.

use std::fmt::{self, Display};
use std::str::FromStr;

use crate::login::HostPort;

/// The port of IMAP.
const IMAP: u16 = 143;
/// The port of IMAP over TLS.
const IMAPS: u16 = 993;

/// The address of an IMAP server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Its host and port.
    pub place: HostPort,
    /// TLS begins at once, without STARTTLS.
    pub implicit_tls: bool,
}

/// Why a text is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no address of an IMAP server: expected HOST:PORT, imap://HOST or imaps://HOST"
)]
pub struct AddressError {
    /// The text.
    pub text: String,
}

impl FromStr for Address {
    type Err = AddressError;

    /// Port 993 means TLS at once, as `imaps` does; any other port means STARTTLS.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (rest, default) = match (text.strip_prefix("imaps://"), text.strip_prefix("imap://")) {
            (Some(rest), _) => (rest, IMAPS),
            (_, Some(rest)) => (rest, IMAP),
            _ => (text, IMAP),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let place = HostPort::parse(rest, default).ok_or_else(|| AddressError {
            text: text.to_owned(),
        })?;
        let implicit_tls = default == IMAPS || place.port == IMAPS;
        Ok(Self {
            place,
            implicit_tls,
        })
    }
}

impl Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.implicit_tls { "imaps" } else { "imap" };
        write!(f, "{scheme}://{}", self.place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_and_a_port_are_enough_and_993_is_tls_at_once() {
        for (text, shown) in [
            ("mail:1143", "imap://mail:1143"),
            ("mail", "imap://mail:143"),
            ("mail:993", "imaps://mail:993"),
            ("imaps://mail", "imaps://mail:993"),
            ("imaps://mail:1993/", "imaps://mail:1993"),
            ("imap://[::1]:143", "imap://[::1]:143"),
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), shown);
        }
        for text in [
            "",
            ":143",
            "mail:0",
            "mail:70000",
            "http://mail",
            "a b:143",
            "mail:143x",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
