//! A host out of service: what `DRAIN` is asked for, and the answers of `HOST`, `DRAIN`, `KICK` and
//! `UNDRAIN`.

use std::fmt::{self, Display};
use std::str::FromStr;

use super::answer::{Value, answer, plain};
use super::{FieldError, Fields, escape, unescape};

/// `DRAIN by=WHO [announce=TEXT] [shutdown=TEXT]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrainRequest {
    /// Who drains the host, in words.
    pub by: String,
    /// For `msg/motd`: one line of at most [`DrainRequest::MAX`] printable ASCII characters.
    pub announce: Option<String>,
    /// For `msg/shutdown`, likewise. Without it, users still come in.
    pub shutdown: Option<String>,
}

impl DrainRequest {
    /// The longest text, in characters: Cyrus reads a line of 1024 bytes into a reply of its own.
    pub const MAX: usize = 400;
}

/// Whether users get in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, strum::Display, strum::EnumString)]
#[strum(serialize_all = "lowercase")]
pub enum HostState {
    /// As ever.
    #[default]
    Open,
    /// Somebody has begun to drain the host; users still get in.
    Announced,
    /// `msg/shutdown` of slotd's keeps them out.
    Drained,
    /// `msg/shutdown` of somebody else's does.
    Shut,
    /// slotd cannot tell.
    Unknown,
}
plain!(HostState);

/// Whether a file is there, and whether slotd wrote it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, strum::Display, strum::EnumString)]
#[strum(serialize_all = "lowercase")]
pub enum Whose {
    /// It is not there.
    #[default]
    None,
    /// slotd wrote it.
    Ours,
    /// Somebody else did.
    Foreign,
}
plain!(Whose);

/// A session of a user, or a delivery.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionFacts {
    /// The process.
    pub pid: u32,
    /// `imapd`, `pop3d`, `lmtpd`, ...
    pub program: String,
    /// Who is logged in; empty for a delivery.
    pub user: String,
    /// The client's name and address, as Cyrus writes it.
    pub client: String,
    /// Mailbox and command, as far as they are known.
    pub what: String,
}

impl SessionFacts {
    /// For a person.
    #[must_use]
    pub fn words(&self) -> String {
        let SessionFacts {
            pid, program, user, ..
        } = self;
        let whose = if user.is_empty() { "a delivery" } else { user };
        let mut words = format!("{whose} ({program}, process {pid}");
        for more in [&self.client, &self.what] {
            if !more.is_empty() {
                words += ", ";
                words += more;
            }
        }
        words.push(')');
        words
    }
}

/// As an item of a list: `PID:PROGRAM:USER:WHAT:CLIENT`, the three in the middle escaped.
impl Display for SessionFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.pid)?;
        for part in [&self.program, &self.user, &self.what] {
            write!(f, ":{}", escape(part.as_bytes()))?;
        }
        write!(f, ":{}", self.client)
    }
}

impl FromStr for SessionFacts {
    type Err = ();

    fn from_str(item: &str) -> Result<SessionFacts, ()> {
        let mut parts = item.splitn(5, ':');
        let mut next = || parts.next().ok_or(());
        let text = |word: &str| {
            let bytes = unescape(word).map_err(|_| ())?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        Ok(SessionFacts {
            pid: next()?.parse().map_err(|_| ())?,
            program: text(next()?)?,
            user: text(next()?)?,
            what: text(next()?)?,
            client: next()?.to_owned(),
        })
    }
}

answer! {
    /// `HOST`, and, without sessions and replication, `DRAIN`.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct HostDrain {
        /// Whether users get in.
        pub state: HostState = "host",
        /// Since when the host is announced or drained, milliseconds since 1970.
        pub since: Option<u64> = "since",
        /// Who did that, in words.
        pub by: Option<String> = "by",
        /// What users read.
        pub text: Option<String> = "text",
        /// `msg/shutdown`.
        pub shutdown: Whose = "shutdown",
        /// Of one that is not slotd's: whose it may be, in words.
        pub shutdown_of: Option<String> = "shutdown_of",
        /// `msg/motd`.
        pub motd: Whose = "motd",
        /// As `shutdown_of`.
        pub motd_of: Option<String> = "motd_of",
        /// Sessions of users, and deliveries.
        pub users: u32 = "users" via or_default,
        /// Sessions of administrators.
        pub admins: u32 = "admins" via or_default,
        /// Connections on which nobody has logged in.
        pub nobodies: u32 = "nobodies" via or_default,
        /// The first [`HostDrain::MAX`] of the users'.
        pub sessions: Vec<SessionFacts> = "sessions" via or_default,
        /// Why nobody can tell who is there, if so.
        pub unseen: Option<String> = "unseen",
        /// `sync_log` of `imapd.conf`: what changes is logged for replication.
        pub sync_log: bool = "sync_log" via or_default,
        /// The oldest log that replication has not worked off.
        pub sync_left: Option<String> = "sync_left",
        /// `sync_repeat_interval`, milliseconds.
        pub sync_repeat_ms: u64 = "sync_repeat_ms" via or_default,
        /// `sync_shutdown_file`: where it is made, `sync_client` ends.
        pub sync_shutdown: Option<String> = "sync_shutdown",
        /// Roots that are not mounted, or are refused for another reason: one sentence each.
        pub roots_refused: Vec<String> = "roots_refused" via or_default,
    }
}

impl HostDrain {
    /// The most sessions that are listed: some 300 bytes each.
    pub const MAX: usize = 100;
}

/// `KICK`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kicked {
    /// To whom SIGTERM was sent; on the wire the first [`HostDrain::MAX`].
    pub kicked: Vec<SessionFacts>,
    /// To whom not, one sentence each.
    pub left: Vec<String>,
}

impl Kicked {
    /// For the wire.
    #[must_use]
    pub fn to_fields(&self) -> Fields {
        let most = HostDrain::MAX;
        Fields::new()
            .with("kicked", self.kicked.len())
            .with_list("list", self.kicked.iter().take(most))
            .with_list("left", self.left.iter().take(most))
    }

    /// From the wire.
    ///
    /// # Errors
    /// A field is missing or malformed.
    pub fn from_fields(fields: &Fields) -> Result<Kicked, FieldError> {
        Ok(Kicked {
            kicked: Value::read(fields, "list")?,
            left: Value::read(fields, "left")?,
        })
    }
}

answer! {
    /// `UNDRAIN`
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Undrained {
        /// `msg/shutdown` of slotd's was there, and is removed.
        pub shutdown: bool = "shutdown",
        /// Likewise `msg/motd`.
        pub motd: bool = "motd",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_host_says_of_its_sessions_goes_over_the_wire_and_back() {
        let session = SessionFacts {
            pid: 7,
            program: "imapd".to_owned(),
            user: "a:b,c d".to_owned(),
            client: "host [2001:db8::1]".to_owned(),
            what: "user.joe Idle".to_owned(),
        };
        let found = HostDrain {
            state: HostState::Shut,
            since: Some(1),
            by: Some("ann, on imap9".to_owned()),
            shutdown: Whose::Foreign,
            shutdown_of: Some("user root, and says \"x\"".to_owned()),
            users: 2,
            sessions: vec![session.clone(), SessionFacts::default()],
            sync_left: Some("/conf/sync/a, b/log-run".to_owned()),
            roots_refused: vec!["/mail is not mounted".to_owned()],
            ..HostDrain::default()
        };
        assert_eq!(HostDrain::from_fields(&found.to_fields()), Ok(found));
        let kicked = Kicked {
            kicked: vec![session],
            left: vec!["process 8: no, it is not".to_owned()],
        };
        assert_eq!(Kicked::from_fields(&kicked.to_fields()), Ok(kicked));
        let done = Undrained {
            shutdown: true,
            motd: false,
        };
        assert_eq!(Undrained::from_fields(&done.to_fields()), Ok(done));
    }
}
