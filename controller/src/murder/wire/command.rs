//! What we say to a mupdate server.

use std::fmt;

use indexfile::mailbox::MailboxName;

use super::base64;

/// All that can be said: there is no command here that changes the server's database.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Command<'a> {
    /// `STARTTLS`: everything after its OK is TLS.
    StartTls,
    /// `AUTHENTICATE "PLAIN"` with its initial response. The password stands in it as it is.
    AuthenticatePlain {
        /// The bare user name: Cyrus refuses `user@server` as of another realm.
        user: &'a str,
        /// The password.
        password: &'a [u8],
    },
    /// `LIST`: every mailbox, or those of one server.
    List {
        /// `servername` of a backend. The exclamation mark behind it is sent too, without which
        /// `be2.test` would match `be2.test2`.
        server: Option<&'a str>,
    },
    /// `FIND`: one mailbox.
    Find {
        /// Its name.
        name: &'a MailboxName,
    },
    /// `UPDATE`: every mailbox, and then every change until `LOGOUT`.
    Update,
    /// `NOOP`: while changes are streamed, all until now come before its OK.
    Noop,
    /// `LOGOUT`
    Logout,
}

impl Command<'_> {
    /// Its name on the wire.
    #[must_use]
    pub fn verb(&self) -> &'static str {
        match self {
            Self::StartTls => "STARTTLS",
            Self::AuthenticatePlain { .. } => "AUTHENTICATE",
            Self::List { .. } => "LIST",
            Self::Find { .. } => "FIND",
            Self::Update => "UPDATE",
            Self::Noop => "NOOP",
            Self::Logout => "LOGOUT",
        }
    }

    /// Appends it as a line with that tag.
    pub fn encode(&self, tag: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(tag.as_bytes());
        out.push(b' ');
        out.extend_from_slice(self.verb().as_bytes());
        match self {
            Self::AuthenticatePlain { user, password } => {
                let response = [b"\0", user.as_bytes(), b"\0", *password].concat();
                string(b"PLAIN", out);
                string(base64::encode(&response).as_bytes(), out);
            }
            Self::List { server: Some(name) } => string(format!("{name}!").as_bytes(), out),
            Self::Find { name } => string(name.as_str().as_bytes(), out),
            Self::List { server: None }
            | Self::StartTls
            | Self::Update
            | Self::Noop
            | Self::Logout => {}
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// Without user and password.
impl fmt::Debug for Command<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::List { server: Some(name) } => write!(f, "LIST {name:?}"),
            Self::Find { name } => write!(f, "FIND {:?}", name.as_str()),
            _ => f.write_str(self.verb()),
        }
    }
}

/// A blank and a string: quoted, or as a literal if a byte of it cannot be quoted. Atoms are
/// refused by Cyrus.
fn string(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b' ');
    if bytes.iter().all(|b| (b' '..=b'~').contains(b)) {
        out.push(b'"');
        for &byte in bytes {
            if matches!(byte, b'"' | b'\\') {
                out.push(b'\\');
            }
            out.push(byte);
        }
        out.push(b'"');
    } else {
        out.extend_from_slice(format!("{{{}+}}\r\n", bytes.len()).as_bytes());
        out.extend_from_slice(bytes);
    }
}
