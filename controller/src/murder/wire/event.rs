//! What a mupdate server says.

use std::fmt;

use super::error::WireError;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Done.
    Ok,
    /// Refused.
    No,
    /// Not understood, or not allowed now.
    Bad,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "OK",
            Self::No => "NO",
            Self::Bad => "BAD",
        })
    }
}

/// How the server introduces itself: `* OK MUPDATE ...`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Banner {
    /// Its `servername`.
    pub host: String,
    /// `Cyrus IMAP`, `Cyrus Murder`.
    pub program: String,
    /// Its version.
    pub version: String,
    /// `(master)`, or of a frontend the address of its master.
    pub role: String,
}

impl Banner {
    /// Whether it is the master. A frontend shows the last state that it has, and nothing says so
    /// while its own master is away.
    #[must_use]
    pub fn is_master(&self) -> bool {
        self.role == "(master)"
    }
}

impl fmt::Display for Banner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            host,
            program,
            version,
            role,
        } = self;
        write!(f, "{host}, {program} {version} {role}")
    }
}

/// What the server says about one name. Names, locations and ACLs are bytes as they came: nothing
/// of them is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A mailbox that is active.
    Mailbox {
        /// Its name.
        name: Vec<u8>,
        /// `server!partition`
        location: Vec<u8>,
        /// Identifiers and rights, TABs between them.
        acl: Vec<u8>,
    },
    /// A name that is reserved: the mailbox is being created or moved, or a crash left this.
    Reserve {
        /// Its name.
        name: Vec<u8>,
        /// `server!partition`
        location: Vec<u8>,
    },
    /// While changes are streamed: there is no such name any more.
    Delete {
        /// The name.
        name: Vec<u8>,
    },
}

impl Entry {
    /// The name it is about.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        match self {
            Self::Mailbox { name, .. } | Self::Reserve { name, .. } | Self::Delete { name } => name,
        }
    }

    /// Where it is; `None` of a name that is gone.
    #[must_use]
    pub fn location(&self) -> Option<&[u8]> {
        match self {
            Self::Mailbox { location, .. } | Self::Reserve { location, .. } => Some(location),
            Self::Delete { .. } => None,
        }
    }
}

/// One answer, or one part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A line before the banner: what the server can do, such as `AUTH` with its mechanisms.
    Capability {
        /// Upper-case.
        name: String,
        /// What follows it.
        values: Vec<String>,
    },
    /// The server's introduction: a command can be sent now.
    Banner(Banner),
    /// `* BYE`: it closes the connection.
    Bye {
        /// Why.
        text: String,
    },
    /// An empty line, or one that begins with `+`: it waits for more of the command.
    Continue,
    /// Something about one name.
    Entry {
        /// Of the command.
        tag: String,
        /// What.
        entry: Entry,
    },
    /// A command is over.
    Done {
        /// Of the command.
        tag: String,
        /// How.
        status: Status,
        /// Its words, printable.
        text: String,
    },
}

/// Printable form of bytes from the wire: what is not printable ASCII is escaped, and no more than
/// 100 bytes of it are shown.
#[must_use]
pub fn shown(bytes: &[u8]) -> String {
    const MOST: usize = 100;
    let mut text = bytes[..bytes.len().min(MOST)].escape_ascii().to_string();
    if bytes.len() > MOST {
        text.push_str("...");
    }
    text
}

/// A line as its words.
pub(super) fn of_words(mut words: Vec<Vec<u8>>) -> Result<Event, WireError> {
    if words.is_empty() {
        return Ok(Event::Continue);
    }
    let tag = words.remove(0);
    if tag == b"+" {
        return Ok(Event::Continue);
    }
    let unknown = |words: &[Vec<u8>]| WireError::Unknown {
        line: shown(&[&tag[..], b" ", &words.join(&b' ')].concat()),
    };
    let Some(verb) = words.first().map(|word| word.to_ascii_uppercase()) else {
        return Err(unknown(&words));
    };
    if verb == b"BYE" {
        return Ok(Event::Bye {
            text: text(&words[1..]),
        });
    }
    if tag == b"*" {
        if verb != b"OK" {
            let plain = |b: &u8| b.is_ascii_alphanumeric() || *b == b'-';
            if verb.is_empty() || !verb.iter().all(plain) {
                return Err(unknown(&words));
            }
            return Ok(Event::Capability {
                name: shown(&verb),
                values: words[1..].iter().map(|word| shown(word)).collect(),
            });
        }
        let [_, mupdate, host, program, version, role] = words.as_slice() else {
            return Err(unknown(&words));
        };
        if !mupdate.eq_ignore_ascii_case(b"MUPDATE") {
            return Err(unknown(&words));
        }
        return Ok(Event::Banner(Banner {
            host: shown(host),
            program: shown(program),
            version: shown(version),
            role: shown(role),
        }));
    }
    let status = match verb.as_slice() {
        b"OK" => Some(Status::Ok),
        b"NO" => Some(Status::No),
        b"BAD" => Some(Status::Bad),
        _ => None,
    };
    if let Some(status) = status {
        return Ok(Event::Done {
            tag: shown(&tag),
            status,
            text: text(&words[1..]),
        });
    }
    let wrong = unknown(&words);
    let mut rest = words.into_iter().skip(1);
    let entry = match (verb.as_slice(), rest.next(), rest.next(), rest.next()) {
        (b"MAILBOX", Some(name), Some(location), Some(acl)) => Entry::Mailbox {
            name,
            location,
            acl,
        },
        (b"RESERVE", Some(name), Some(location), None) => Entry::Reserve { name, location },
        (b"DELETE", Some(name), None, None) => Entry::Delete { name },
        _ => return Err(wrong),
    };
    if rest.next().is_some() {
        return Err(wrong);
    }
    Ok(Event::Entry {
        tag: shown(&tag),
        entry,
    })
}

/// What a person reads: the words with blanks between them.
fn text(words: &[Vec<u8>]) -> String {
    shown(&words.join(&b' '))
}
