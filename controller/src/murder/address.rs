//! Where a mupdate server listens: `mupdate://HOST:PORT`.

use std::fmt::{self, Display};
use std::str::FromStr;

use crate::login::HostPort;

/// The port that IANA registered for MUPDATE.
const PORT: u16 = 3905;

/// The address of a mupdate master, or of a frontend's mupdate.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    /// Its host and port.
    pub place: HostPort,
}

/// Why a text is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no address of a mupdate server: expected mupdate://HOST:PORT")]
pub struct AddressError {
    /// The text.
    pub text: String,
}

impl FromStr for Address {
    type Err = AddressError;

    /// `mupdate://HOST:PORT` or `murder://HOST:PORT`. Without a port it is 3905; a slash at the end
    /// is allowed, as Cyrus writes it in its capability `MUPDATE=mupdate://HOST/`.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let fail = || AddressError {
            text: text.to_owned(),
        };
        let rest = ["mupdate://", "murder://"]
            .iter()
            .find_map(|scheme| text.strip_prefix(scheme))
            .ok_or_else(fail)?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let place = HostPort::parse(rest, PORT).ok_or_else(fail)?;
        Ok(Self { place })
    }
}

impl Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mupdate://{}", self.place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_printed_as_it_is_read() {
        for (text, printed) in [
            ("mupdate://mupdate.test:3905", "mupdate://mupdate.test:3905"),
            ("murder://mupdate.test:3906", "mupdate://mupdate.test:3906"),
            ("mupdate://mupdate.test/", "mupdate://mupdate.test:3905"),
            ("mupdate://127.0.0.1", "mupdate://127.0.0.1:3905"),
            ("mupdate://[::1]:3905", "mupdate://[::1]:3905"),
            ("mupdate://[::1]", "mupdate://[::1]:3905"),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), printed, "{text}");
            assert_eq!(printed.parse(), Ok(address), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_and_named() {
        for text in [
            "",
            "mupdate.test:3905",
            "imap://mupdate.test:3905",
            "mupdate://",
            "mupdate://:3905",
            "mupdate://host:0",
            "mupdate://host:+1",
            "mupdate://host:70000",
            "mupdate://host:",
            "mupdate://::1:3905",
            "mupdate://[::1",
            "mupdate://[host]:1",
            "mupdate://[::1]1",
            "mupdate://user@host:3905",
            "mupdate://host:3905/x",
            "mupdate://ho\r\nst",
        ] {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("{text:?} is no")), "{error}");
        }
    }
}
