//! Where the master says that a mailbox is: `server!partition`.

use std::fmt::{self, Display};

/// Longest server or partition name, in bytes: that of a host name, and of a directory.
const MAX_PART: usize = 255;

/// A backend and, where it is named, a partition of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Location {
    /// `servername` of the backend's `imapd.conf`.
    pub server: String,
    /// The partition; `None` where nothing follows the exclamation mark.
    pub partition: Option<String>,
}

impl Location {
    /// Reads what the master says. `None` if it names no server: an entry without an exclamation
    /// mark is of an old release or was made by hand, and of one with control characters or bytes
    /// outside of ASCII nothing is believed.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        if !text.bytes().all(|b| (b' '..=b'~').contains(&b)) {
            return None;
        }
        let (server, partition) = text.split_once('!')?;
        if server.is_empty() || server.len() > MAX_PART || partition.len() > MAX_PART {
            return None;
        }
        Some(Self {
            server: server.to_owned(),
            partition: (!partition.is_empty()).then(|| partition.to_owned()),
        })
    }
}

impl Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let partition = self.partition.as_deref().unwrap_or_default();
        write!(f, "{}!{partition}", self.server)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_a_server_and_a_partition() {
        for (text, server, partition) in [
            ("be1.test!default", "be1.test", Some("default")),
            ("be1.test!a b", "be1.test", Some("a b")),
            ("be1.test!", "be1.test", None),
            ("be1!p!q", "be1", Some("p!q")),
        ] {
            let location = Location::from_bytes(text.as_bytes()).unwrap();
            assert_eq!(location.server, server);
            assert_eq!(location.partition.as_deref(), partition);
            assert_eq!(location.to_string(), text);
        }
    }

    #[test]
    fn what_names_no_server_is_no_location() {
        let long = format!("{}!p", "s".repeat(MAX_PART + 1));
        for bytes in [
            &b""[..],
            b"default",
            b"!default",
            b"be1\n!p",
            b"be1!p\0",
            b"caf\xe9!p",
            long.as_bytes(),
        ] {
            assert_eq!(Location::from_bytes(bytes), None, "{bytes:?}");
        }
    }
}
