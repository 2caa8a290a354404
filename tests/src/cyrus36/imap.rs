//! As much of an IMAP client as it takes to read a mailbox, and what it reads.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use stores::judge::image::{hex, sha1_of};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A mailbox as its reader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mailbox {
    /// UIDVALIDITY.
    pub uidvalidity: u32,
    /// UIDNEXT.
    pub uidnext: u32,
    /// HIGHESTMODSEQ.
    pub highestmodseq: u64,
    /// The messages, by UID.
    pub messages: Vec<Message>,
}

/// A message as IMAP has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// UID.
    pub uid: u32,
    /// System flags and keywords, `\Seen` and `\Recent` too.
    pub flags: BTreeSet<String>,
    /// INTERNALDATE as it is written.
    pub internaldate: String,
    /// MODSEQ.
    pub modseq: u64,
    /// RFC822.SIZE, in bytes.
    pub size: usize,
    /// SHA-1 of all its bytes, lower-case hex.
    pub sha1: String,
}

/// A line of an answer, and the literals that were in it.
#[derive(Clone, Debug)]
struct Line {
    text: String,
    literals: Vec<Vec<u8>>,
}

/// A session.
#[derive(Debug)]
pub struct Imap {
    from: BufReader<UnixStream>,
    commands: u32,
}

impl Imap {
    /// Connects and logs in; any password is right.
    ///
    /// # Panics
    /// If the server says anything but OK.
    #[must_use]
    pub fn login(socket: &Path, user: &str) -> Self {
        let stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut session = Self {
            from: BufReader::new(stream),
            commands: 0,
        };
        let greeting = session.line().text;
        assert!(greeting.starts_with("* OK"), "{greeting}");
        let _ = session.ask(&format!("LOGIN {user} secret"));
        session
    }

    /// Sends a command; its untagged answers.
    ///
    /// # Panics
    /// If it ends in anything but OK.
    pub fn ask(&mut self, command: &str) -> Vec<String> {
        let lines = self.lines_of(command);
        lines.into_iter().map(|line| line.text).collect()
    }

    /// The same of a server that may close instead: its lines until then; `None` if it had closed.
    pub fn try_ask(&mut self, command: &str) -> Option<Vec<String>> {
        self.commands += 1;
        let tag = format!("a{} ", self.commands);
        // What it said before it closed can be read all the same.
        let _ = self
            .from
            .get_mut()
            .write_all(format!("{tag}{command}\r\n").as_bytes());
        let mut lines = Vec::new();
        while let Some(line) = self.hear() {
            if line.starts_with(&tag) {
                return Some(lines);
            }
            lines.push(line);
        }
        (!lines.is_empty()).then_some(lines)
    }

    /// Begins IDLE.
    ///
    /// # Panics
    /// If the server does not.
    pub fn idle(&mut self) {
        self.commands += 1;
        let sent = format!("a{} IDLE\r\n", self.commands);
        self.from.get_mut().write_all(sent.as_bytes()).unwrap();
        let said = self.hear().unwrap_or_default();
        assert!(said.starts_with('+'), "{said}");
    }

    /// What the server says next, within two minutes; `None` once it has closed.
    ///
    /// # Panics
    /// If it says nothing for so long.
    pub fn hear(&mut self) -> Option<String> {
        let patience = Duration::from_secs(120);
        self.from
            .get_mut()
            .set_read_timeout(Some(patience))
            .unwrap();
        let mut bytes = Vec::new();
        match self.from.read_until(b'\n', &mut bytes) {
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
            read => read.unwrap(),
        };
        let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
        (!bytes.is_empty()).then_some(line)
    }

    /// Adds a message to a mailbox.
    ///
    /// # Panics
    /// If the server refuses.
    pub fn append(&mut self, mailbox: &str, message: &str) {
        let length = message.len();
        let _ = self.ask(&format!("APPEND {mailbox} {{{length}+}}\r\n{message}"));
    }

    fn lines_of(&mut self, command: &str) -> Vec<Line> {
        self.commands += 1;
        let tag = format!("a{} ", self.commands);
        let sent = format!("{tag}{command}\r\n");
        self.from.get_mut().write_all(sent.as_bytes()).unwrap();
        let mut lines = Vec::new();
        loop {
            let line = self.line();
            if let Some(answer) = line.text.strip_prefix(&tag) {
                assert!(answer.starts_with("OK"), "{command}: {answer}");
                return lines;
            }
            lines.push(line);
        }
    }

    /// A line, with `{}` for each literal in it.
    fn line(&mut self) -> Line {
        let (mut text, mut literals) = (String::new(), Vec::new());
        loop {
            let mut bytes = Vec::new();
            self.from.read_until(b'\n', &mut bytes).unwrap();
            assert!(bytes.ends_with(b"\r\n"), "the server closed: {text}");
            text += String::from_utf8_lossy(&bytes).trim_end();
            let Some((before, length)) = literal(&text) else {
                return Line { text, literals };
            };
            let mut bytes = vec![0; length];
            self.from.read_exact(&mut bytes).unwrap();
            literals.push(bytes);
            text.truncate(before);
            text += "{}";
        }
    }

    /// Names that LIST, or LSUB, has of all mailboxes for this user, sorted.
    ///
    /// # Panics
    /// If the server says anything but OK.
    #[must_use]
    pub fn names(&mut self, command: &str) -> Vec<String> {
        let lines = self.ask(&format!("{command} \"\" *"));
        let mut names: Vec<String> = lines.iter().map(|line| last_word(line)).collect();
        names.sort();
        names
    }

    /// Reads a mailbox, and changes nothing in it: EXAMINE, and FETCH with BODY.PEEK[].
    ///
    /// # Panics
    /// If an answer is not understood.
    #[must_use]
    pub fn mailbox(&mut self, name: &str) -> Mailbox {
        let opened = self.ask(&format!("EXAMINE \"{name}\"")).join("\n");
        let mut mailbox = Mailbox {
            uidvalidity: number(&opened, "[UIDVALIDITY ", "]"),
            uidnext: number(&opened, "[UIDNEXT ", "]"),
            highestmodseq: number(&opened, "[HIGHESTMODSEQ ", "]"),
            messages: Vec::new(),
        };
        let items = "UID FLAGS INTERNALDATE MODSEQ RFC822.SIZE BODY.PEEK[]";
        for line in self.lines_of(&format!("UID FETCH 1:* ({items})")) {
            if line.text.contains(" FETCH (") {
                mailbox.messages.push(message_in(&line));
            }
        }
        mailbox
    }

    /// UIDs that a search in the mailbox opened last finds.
    ///
    /// # Panics
    /// If an answer is not understood.
    #[must_use]
    pub fn search(&mut self, what: &str) -> Vec<u32> {
        let lines = self.ask(&format!("UID SEARCH {what}"));
        let found = lines.iter().find_map(|l| l.strip_prefix("* SEARCH"));
        let found = found.unwrap_or_else(|| panic!("{lines:?}"));
        let numbers = found.split_whitespace().map(str::parse);
        numbers.collect::<Result<_, _>>().unwrap()
    }
}

/// Where the literal that ends `text` begins, and how long it is.
fn literal(text: &str) -> Option<(usize, usize)> {
    let inner = text.strip_suffix('}')?;
    let at = inner.rfind('{')?;
    Some((at, inner[at + 1..].parse().ok()?))
}

/// The mailbox name at the end of a LIST line.
fn last_word(line: &str) -> String {
    match line.strip_suffix('"') {
        Some(quoted) => quoted.rsplit('"').next().unwrap_or_default().to_owned(),
        None => line.rsplit(' ').next().unwrap_or_default().to_owned(),
    }
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let rest = text.split_once(before).map(|(_, rest)| rest);
    let found = rest.and_then(|rest| rest.split_once(after));
    found.unwrap_or_else(|| panic!("no {before} in {text}")).0
}

fn number<T: std::str::FromStr>(text: &str, before: &str, after: &str) -> T {
    let digits = between(text, before, after);
    digits
        .parse()
        .unwrap_or_else(|_| panic!("{before}{digits}"))
}

fn message_in(line: &Line) -> Message {
    let text = line.text.as_str();
    let [bytes] = line.literals.as_slice() else {
        panic!("not one literal: {text}");
    };
    // What follows each number is the next item or the end of the list.
    let words = |key: &str| {
        let rest = text
            .split_once(key)
            .unwrap_or_else(|| panic!("no {key} in {text}"))
            .1;
        let digits = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        rest[..digits].to_owned()
    };
    let flags = between(text, "FLAGS (", ")").split_whitespace();
    Message {
        uid: words("UID ").parse().unwrap(),
        flags: flags.map(str::to_owned).collect(),
        internaldate: between(text, "INTERNALDATE \"", "\"").to_owned(),
        modseq: number(text, "MODSEQ (", ")"),
        size: words("RFC822.SIZE ").parse().unwrap(),
        sha1: hex(&sha1_of(bytes)),
    }
}
