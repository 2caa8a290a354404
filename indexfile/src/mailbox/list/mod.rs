//! Mailbox lists: text dumps of `ctl_mboxlist -d` of every release, its JSON of 3.6, plain names.
//!
//! In a list of plain names and text dumps, empty lines and comments are passed over. A comment
//! begins with `#` and a blank, or is a `#` alone. `#news` and what is below it is a mailbox name
//! (Cyrus's own prefix of netnews); any other word behind a `#` is a name that was commented
//! out, which is counted.
//!
//! What it promises: each line is a mailbox, or is skipped with a counted reason, or is
//! [`Item::Bad`] with its number; one bad entry does not end the list. An error ends it: then it
//! cannot be known what the rest of it is. Reads one line at a time, so memory does not grow with
//! the list. Keeps nothing, so a crash leaves nothing.

mod json;
mod text;

use std::collections::BTreeMap;
use std::fmt;
use std::io::BufRead;

use super::MailboxName;

/// Longest line read, in bytes. Cyrus itself stops at 16 KiB.
const MAX_LINE: usize = 1 << 20;

/// One entry of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A mailbox of this host.
    Mailbox {
        /// Its internal name.
        name: MailboxName,
        /// Its partition, where the list has it.
        partition: Option<String>,
    },
    /// A mailbox of this host whose directory is named after its unique id (Cyrus 3.6 and later).
    ByUniqueId {
        /// Its name, not checked: it leads to no directory.
        name: String,
        /// Its partition, where the list has it.
        partition: Option<String>,
        /// The unique id; empty where the list has none.
        uniqueid: String,
    },
    /// An entry that has no mailbox on this host.
    Skipped(Skip),
    /// An entry that is none: its name can be no mailbox's, or its line is not what a list has.
    Bad {
        /// Line number, from 1.
        line: u64,
        /// What is wrong with it.
        what: String,
    },
}

/// Why an entry is skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Skip {
    /// It lies on another server.
    Remote,
    /// It is only reserved: being created or moved in.
    Reserved,
    /// It is on its way to another server.
    Moving,
    /// It is a tombstone.
    Deleted,
    /// It is a place in the hierarchy without a directory.
    Intermediate,
    /// A name behind a `#`.
    CommentedOut,
    /// Its directory is named after its unique id (Cyrus 3.6 and later), for callers that count
    /// [`Item::ByUniqueId`] as skipped.
    ByUniqueId,
}

impl Skip {
    /// The word used in summaries.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Remote => "remote",
            Self::Reserved => "reserved",
            Self::Moving => "moving",
            Self::Deleted => "deleted",
            Self::Intermediate => "intermediate",
            Self::CommentedOut => "commented_out",
            Self::ByUniqueId => "by_unique_id",
        }
    }
}

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How many entries were skipped, by reason.
pub type Skipped = BTreeMap<Skip, u64>;

/// What is wrong with a list as a whole: nothing behind it can be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListError {
    /// It could not be read.
    #[error("mailbox list, line {line}: {source}")]
    Io {
        /// Line number, from 1.
        line: u64,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// A line is not what a list has.
    #[error("mailbox list, line {line}: {what}")]
    Line {
        /// Line number, from 1.
        line: u64,
        /// What is wrong with it.
        what: String,
    },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Unknown,
    Text,
    Json,
    JsonEnded,
}

/// Reads a list, entry by entry.
pub struct Reader<R> {
    input: R,
    line: u64,
    form: Form,
    failed: bool,
}

impl<R: BufRead> Reader<R> {
    /// A reader of any form of list; the first line shows which it is.
    pub fn new(input: R) -> Self {
        Self {
            input,
            line: 0,
            form: Form::Unknown,
            failed: false,
        }
    }

    /// The next line without its end; `None` at the end.
    fn next_line(&mut self) -> Result<Option<Vec<u8>>, ListError> {
        self.line += 1;
        let line = self.line;
        let mut bytes = Vec::new();
        let limit = MAX_LINE as u64 + 1;
        std::io::Read::take(&mut self.input, limit)
            .read_until(b'\n', &mut bytes)
            .map_err(|source| ListError::Io { line, source })?;
        if bytes.is_empty() {
            return Ok(None);
        }
        if bytes.len() > MAX_LINE {
            return Err(ListError::Line {
                line,
                what: format!("longer than {MAX_LINE} bytes"),
            });
        }
        for end in [b'\n', b'\r'] {
            if bytes.last() == Some(&end) {
                bytes.pop();
            }
        }
        Ok(Some(bytes))
    }

    fn entry(&mut self) -> Result<Option<Item>, ListError> {
        loop {
            let Some(bytes) = self.next_line()? else {
                if self.form == Form::Json {
                    let what = "the list ends before its closing brace".to_owned();
                    return Err(ListError::Line {
                        line: self.line,
                        what,
                    });
                }
                return Ok(None);
            };
            let line = self.line;
            if bytes.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            if self.form == Form::Unknown {
                self.form = if bytes.first() == Some(&b'{') {
                    Form::Json
                } else {
                    Form::Text
                };
            }
            match self.form {
                Form::Unknown | Form::Text if text::is_comment(&bytes) => {}
                Form::Unknown | Form::Text => {
                    let item = text::entry(&bytes);
                    return Ok(Some(item.unwrap_or_else(|what| Item::Bad { line, what })));
                }
                Form::JsonEnded => {
                    let what = "something follows the closing brace".to_owned();
                    return Err(ListError::Line { line, what });
                }
                Form::Json => match json::entry(&bytes) {
                    Ok(json::Line::Item(item)) => return Ok(Some(item)),
                    Ok(json::Line::Nothing) => {}
                    Ok(json::Line::End) => self.form = Form::JsonEnded,
                    Err(what) => return Ok(Some(Item::Bad { line, what })),
                },
            }
        }
    }
}

impl<R: BufRead> Iterator for Reader<R> {
    type Item = Result<Item, ListError>;

    /// After an error nothing more comes.
    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let entry = self.entry().transpose();
        self.failed = matches!(entry, Some(Err(_)));
        entry
    }
}

fn name(bytes: &[u8]) -> Result<MailboxName, String> {
    MailboxName::from_bytes(bytes).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
