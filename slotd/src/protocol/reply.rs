//! Replies: `OK key=value ...`, `NO [CODE] text`, `BAD text`.

use std::fmt::Display;

use super::{Fields, MAX_LINE, trim_line_end};

/// Why a command was refused. Each code says who can do something about it.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    strum::Display,
    strum::EnumString,
    strum::IntoStaticStr,
    strum::EnumIter,
)]
#[strum(serialize_all = "UPPERCASE")]
#[non_exhaustive]
pub enum Code {
    /// There is no such mailbox here, or its name cannot be one.
    NoMailbox,
    /// It is not on the partition that was named, and is on another; the text says which.
    Elsewhere,
    /// It is on more than one partition, and which one is meant was not said.
    TwoPlaces,
    /// Somebody else holds a lock; the text says who. Trying again later can work.
    Locked,
    /// The file system that should hold the mailbox is not mounted, or is another one.
    Unmounted,
    /// Its header or index is missing, and something of it is there: it is being made, renamed or
    /// deleted, or damaged. Trying again later tells.
    Incomplete,
    /// A file is not what it should be; the text says which, what and where. Nothing was changed.
    Damaged,
    /// A record's message file is missing or has another size, so that its GUID cannot be known.
    NoMessage,
    /// The SHA-1 of a message of this host is not what another host expects; the text has both.
    Differs,
    /// No space left, or quota used up. Nothing was left behind.
    NoSpace,
    /// An I/O error.
    Io,
    /// The command does not fit the state of this connection.
    State,
    /// The operating system does not permit it.
    Denied,
    /// The server is stopping and takes no new mailbox.
    Draining,
    /// Every connection that the server can serve is taken by one that is at work.
    Full,
    /// It is committed already and cannot be rolled back any more.
    TooLate,
    /// The transaction was rolled back by the server: its controller stalled, or it took too long.
    Expired,
    /// This server cannot do that: a version it does not write, a feature that is off.
    Unsupported,
    /// The store is served by a Cyrus of 2.4 or later, or by nobody knows what: our locks would
    /// protect nothing.
    Served,
    /// The change-over needs the fence, and it does not stand; the text says why not.
    Unfenced,
    /// A coordinator with a higher epoch has this store; the text begins with `epoch=N`, its
    /// number, for [`fencing_epoch`].
    Fenced,
    /// Another coordinator is at work on this store; the text names it.
    Busy,
    /// A code that this build does not know; only ever parsed.
    Unknown,
}

impl Code {
    /// The word on the wire, in upper case.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// The code of a word; [`Code::Unknown`] for one that a newer server may have.
    #[must_use]
    pub fn from_word(word: &str) -> Code {
        word.parse().unwrap_or(Code::Unknown)
    }

    /// Whether trying the same again later can work without anybody repairing anything.
    #[must_use]
    pub fn is_transient(self) -> bool {
        matches!(
            self,
            Code::Locked
                | Code::Draining
                | Code::Full
                | Code::Expired
                | Code::Incomplete
                | Code::Unmounted
                | Code::NoSpace
                | Code::Busy
        )
    }
}

/// The epoch that keeps a coordinator out, as the text of [`Code::Fenced`] gives it.
#[must_use]
pub fn fencing_epoch(text: &str) -> Option<u64> {
    let (word, _) = text.split_once(' ')?;
    word.strip_prefix("epoch=")?.parse().ok()
}

/// Why a line is not a reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a reply of slotd: {line:?}")]
pub struct ReplyError {
    /// The start of the line as it came.
    pub line: String,
}

/// One answer to one command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Done; the fields tell what.
    Ok(Fields),
    /// Understood and refused, or tried and failed. The text is one sentence for a person.
    No {
        /// The class of the reason.
        code: Code,
        /// What, where, and if possible what to do.
        text: String,
    },
    /// Not understood.
    Bad(String),
}

impl Reply {
    /// A refusal.
    #[must_use]
    pub fn no(code: Code, text: impl Display) -> Reply {
        Reply::No {
            code,
            text: text.to_string(),
        }
    }

    /// Reads a line, with or without its end.
    ///
    /// # Errors
    /// The line is no reply; the error has its start.
    pub fn parse(line: &[u8]) -> Result<Reply, ReplyError> {
        let fail = || ReplyError {
            line: String::from_utf8_lossy(line).chars().take(120).collect(),
        };
        let line = trim_line_end(line);
        // It may be shown on a terminal.
        if line.iter().any(u8::is_ascii_control) {
            return Err(fail());
        }
        let text = std::str::from_utf8(line).map_err(|_| fail())?;
        let (first, rest) = text.split_once(' ').unwrap_or((text, ""));
        match first {
            "OK" => Fields::parse(rest.split(' ').filter(|w| !w.is_empty()))
                .map(Reply::Ok)
                .ok_or_else(fail),
            "NO" => {
                let (code, text) = rest
                    .strip_prefix('[')
                    .and_then(|r| r.split_once(']'))
                    .ok_or_else(fail)?;
                Ok(Reply::No {
                    code: Code::from_word(code),
                    text: text.trim_start().to_owned(),
                })
            }
            "BAD" => Ok(Reply::Bad(rest.to_owned())),
            _ => Err(fail()),
        }
    }

    /// The line to send, with its LF. Control characters in texts become `?`, and a text that would
    /// make the line longer than [`MAX_LINE`] is cut; fields that would are refused instead.
    #[must_use]
    pub fn to_line(&self) -> String {
        let mut line = match self {
            Reply::Ok(fields) => {
                let line = format!("OK {fields}");
                if line.len() >= MAX_LINE {
                    let length = line.len();
                    let text = format!("the answer has {length} bytes, and may have {MAX_LINE}");
                    return Reply::no(Code::Io, text).to_line();
                }
                line
            }
            Reply::No { code, text } => format!("NO [{code}] {}", one_line(text)),
            Reply::Bad(text) => format!("BAD {}", one_line(text)),
        };
        line.truncate(line.trim_end().len());
        line.push('\n');
        line
    }
}

/// Makes a text printable on one line.
fn one_line(text: &str) -> String {
    let limit = MAX_LINE / 2;
    let mut out = String::with_capacity(text.len().min(limit));
    for c in text.chars().take_while({
        let mut used = 0;
        move |c| {
            used += c.len_utf8();
            used <= limit
        }
    }) {
        out.push(if c.is_control() { '?' } else { c });
    }
    out.trim_start().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use strum::IntoEnumIterator as _;

    fn codes() -> impl Strategy<Value = Code> {
        let known = Code::iter().filter(|code| *code != Code::Unknown);
        proptest::sample::select(known.collect::<Vec<_>>())
    }

    fn replies() -> impl Strategy<Value = Reply> {
        let pairs = proptest::collection::btree_map("[a-z_][a-z0-9_]{0,8}", any::<String>(), 0..6);
        prop_oneof![
            pairs.prop_map(|m| Reply::Ok(m.iter().fold(Fields::new(), |f, (k, v)| f.with(k, v)))),
            (codes(), "[!-~]([ -~]{0,80}[!-~])?").prop_map(|(c, t)| Reply::no(c, t)),
            "[!-~]([ -~]{0,80}[!-~])?".prop_map(Reply::Bad),
        ]
    }

    #[test]
    fn every_code_of_the_contract_is_a_word_on_the_wire() {
        for word in "NOMAILBOX LOCKED UNMOUNTED DAMAGED NOMESSAGE NOSPACE IO STATE DENIED DRAINING \
             TOOLATE FENCED UNFENCED SERVED BUSY"
            .split(' ')
        {
            assert_eq!(Code::from_word(word).as_str(), word);
        }
    }

    #[test]
    fn the_epoch_of_a_fenced_reply_is_a_number() {
        assert_eq!(fencing_epoch("epoch=7 another one"), Some(7));
        for text in ["", "epoch=7", "epoch=x y", "7 is the epoch"] {
            assert_eq!(fencing_epoch(text), None, "{text}");
        }
    }

    #[test]
    fn a_text_with_line_breaks_stays_on_one_line() {
        let line = Reply::no(Code::Io, "a\r\nOK b\0").to_line();
        assert_eq!(line, "NO [IO] a??OK b?\n");
        assert!(Reply::Bad("x".repeat(3 * MAX_LINE)).to_line().len() <= MAX_LINE);
    }

    #[test]
    fn an_answer_that_no_client_takes_is_refused_in_its_place() {
        let of = |length: usize| Reply::Ok(Fields::new().with("a", "x".repeat(length))).to_line();
        assert_eq!(of(MAX_LINE - 6).len(), MAX_LINE);
        let refused = "NO [IO] the answer has 65536 bytes, and may have 65536\n";
        assert_eq!(of(MAX_LINE - 5), refused);
    }

    #[test]
    fn a_list_may_be_empty_and_its_items_may_hold_commas() {
        let reply = Reply::Ok(
            Fields::new()
                .with_list("names", ["a,b", "c d"])
                .with_list::<&str>("none", []),
        );
        let Ok(Reply::Ok(fields)) = Reply::parse(reply.to_line().as_bytes()) else {
            panic!("{reply:?}")
        };
        assert_eq!(
            fields.list("names"),
            Ok(vec![b"a,b".to_vec(), b"c d".to_vec()])
        );
        assert_eq!(fields.list("none"), Ok(vec![]));
    }

    proptest! {
        #[test]
        fn a_reply_survives_the_wire(reply in replies(), crlf in any::<bool>()) {
            let mut line = reply.to_line();
            if crlf {
                line.insert(line.len() - 1, '\r');
            }
            prop_assert_eq!(Reply::parse(line.as_bytes()), Ok(reply));
        }

        #[test]
        fn no_line_makes_the_parser_panic(line in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Reply::parse(&line);
        }

        #[test]
        fn near_replies_do_not_make_the_parser_panic(line in "(OK|NO|BAD)? \
            ?(\\[[A-Z]*\\]?)?([a-z]*=?[%a-f0-9]* ?)*") {
            if let Ok(Reply::Ok(fields)) = Reply::parse(line.as_bytes()) {
                let _ = (fields.list("a"), fields.get::<u64>("b"));
            }
        }
    }
}
