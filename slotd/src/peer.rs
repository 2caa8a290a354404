//! Who is at the other end of a connection, as far as its socket proves it.

use std::fmt::{self, Display};
use std::net::IpAddr;

/// The other end of a connection: what limits by peer count by, and what the audit names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Peer {
    /// The user of a process on this host, as the kernel knew it when it connected.
    User(u32),
    /// A host, by its address.
    Address(IpAddr),
    /// The system does not say; all of these are one peer.
    #[default]
    Unknown,
}

impl Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::User(uid) => write!(f, "uid:{uid}"),
            Peer::Address(address) => write!(f, "{address}"),
            Peer::Unknown => f.write_str("unknown"),
        }
    }
}
