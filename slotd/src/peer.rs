//! Who is at the other end of a connection, as far as its socket proves it.

use std::fmt::{self, Display};
use std::net::{IpAddr, SocketAddr};

use crate::protocol::{Role, escape};

/// The other end of a connection: what limits by peer count by.
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

/// Who it is in particular: what the audit names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Who {
    /// A process on this host, as the kernel knew it when it connected.
    Process {
        /// Its user.
        uid: u32,
        /// Its number then; another process may have it since.
        pid: i32,
    },
    /// The holder of a certificate that an authority of ours signed.
    Holder {
        /// Its common name.
        name: String,
        /// What it is; `None` if the certificate does not say.
        role: Option<Role>,
        /// The number of the certificate, hexadecimal.
        serial: String,
        /// From where it connected.
        address: SocketAddr,
    },
    /// Who connected from there, and is known by nothing else.
    Address(SocketAddr),
    /// The system does not say.
    #[default]
    Unknown,
}

/// Words for a line of a log, the first of which is who it is, and the others `key=value`.
impl Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Who::Process { uid, pid } => write!(f, "uid:{uid} pid={pid}"),
            Who::Holder {
                name,
                role,
                serial,
                address,
            } => {
                // So that no holder can be called as a user or an address is.
                write!(f, "cert:{}", escape(name.as_bytes()))?;
                match role {
                    Some(role) => write!(f, " role={role}")?,
                    None => f.write_str(" role=none")?,
                }
                write!(f, " serial={serial} address={address}")
            }
            Who::Address(address) => write!(f, "{address}"),
            Who::Unknown => f.write_str("unknown"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_holder_of_a_certificate_is_taken_for_a_user_or_makes_a_word_of_its_own() {
        let address = "10.0.0.1:4711".parse().unwrap();
        let who = |name: &str| {
            let of = Who::Holder {
                name: name.to_owned(),
                role: Some(Role::Viewer),
                serial: "1f".to_owned(),
                address,
            };
            of.to_string()
        };
        assert_eq!(
            who("night-run"),
            "cert:night-run role=viewer serial=1f address=10.0.0.1:4711"
        );
        for name in [
            "uid:0",
            "a b",
            "x role=controller",
            "line\nend",
            "",
            "\u{1b}[2J",
        ] {
            let words = who(name);
            assert_eq!(words.split(' ').count(), 4, "{words}");
            assert!(words.starts_with("cert:"), "{words}");
            assert!(
                words.bytes().all(|b| b.is_ascii_graphic() || b == b' '),
                "{words}"
            );
        }
    }
}
