//! What was found of a user's mail.

use std::collections::BTreeMap;
use std::fmt;

use indexfile::exit::Exit;
use serde::Serialize;

use crate::words::words;

/// Findings that are kept with their words; of all others only the number is.
const SHOWN: usize = 100;

words! {
    /// The kind of a finding; its word stays from release to release.
    Code {
        /// Nothing was seen at all: no INBOX, or no message.
        Nothing = "nothing",
        /// A mailbox cannot be opened, or its messages cannot be fetched.
        Refused = "refused",
        /// STATUS, EXAMINE and FETCH say other numbers.
        Count = "count",
        /// A message has another number of bytes than its RFC822.SIZE, or none.
        Size = "size",
        /// A GUID (EMAILID) is not the SHA-1 of the message.
        Guid = "guid",
        /// A mailbox that was there is gone.
        Missing = "missing",
        /// UIDVALIDITY has changed: every client downloads the mailbox again.
        Uidvalidity = "uidvalidity",
        /// UIDNEXT went back.
        Uidnext = "uidnext",
        /// A message that was there is gone.
        Gone = "gone",
        /// There is a message under a UID that was free before.
        Appeared = "appeared",
        /// The bytes of a message have changed.
        Bytes = "bytes",
        /// INTERNALDATE has changed.
        Date = "date",
        /// Flags have changed.
        Flags = "flags",
    }
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Its kind.
    pub code: Code,
    /// The mailbox, as the server spells it.
    pub mailbox: String,
    /// The message.
    pub uid: Option<u32>,
    /// What is wrong, in words.
    pub text: String,
}

/// What was seen, and what is wrong with it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ImapReport {
    /// Mailboxes that were opened.
    pub mailboxes: u64,
    /// Messages that were read.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Messages whose GUID the server says (EMAILID), and was compared with the SHA-1.
    pub guids: u64,
    /// Mailboxes that are compared with what was seen before; none without `--against`.
    pub compared: Option<u64>,
    /// Messages that came since.
    pub new: u64,
    /// Findings by kind.
    pub counts: BTreeMap<Code, u64>,
    /// The first of them.
    pub findings: Vec<Finding>,
}

impl ImapReport {
    /// Adds a finding.
    pub fn add(&mut self, code: Code, mailbox: &str, uid: Option<u32>, text: impl Into<String>) {
        *self.counts.entry(code).or_default() += 1;
        if self.findings.len() < SHOWN {
            self.findings.push(Finding {
                code,
                mailbox: mailbox.to_owned(),
                uid,
                text: text.into(),
            });
        }
    }

    /// The exit code that fits.
    #[must_use]
    pub fn exit(&self) -> Exit {
        if self.counts.is_empty() {
            Exit::Ok
        } else {
            Exit::Data
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] ", self.code.as_str())?;
        if !self.mailbox.is_empty() {
            write!(f, "{}", self.mailbox.escape_debug())?;
            if let Some(uid) = self.uid {
                write!(f, " UID {uid}")?;
            }
            f.write_str(": ")?;
        }
        f.write_str(&self.text)
    }
}

impl fmt::Display for ImapReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        let all: u64 = self.counts.values().sum();
        let shown = self.findings.len() as u64;
        if all > shown {
            writeln!(f, "and {} more", all - shown)?;
        }
        writeln!(
            f,
            "seen: {} messages in {} mailboxes, {} bytes; GUIDs compared: {}",
            self.messages, self.mailboxes, self.bytes, self.guids
        )?;
        if let Some(compared) = self.compared {
            writeln!(
                f,
                "compared with before: {compared} mailboxes, {} new messages",
                self.new
            )?;
        }
        match all {
            0 => writeln!(f, "nothing is wrong"),
            _ => writeln!(f, "{all} findings"),
        }
    }
}
