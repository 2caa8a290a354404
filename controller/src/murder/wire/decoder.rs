//! Bytes of a mupdate server to [`Event`]s.

use super::error::{MAX_LINE, MAX_WORDS, WireError};
use super::event::{Event, of_words};

/// Longest literal in bytes, but for an ACL. Cyrus allows 490 for a name.
pub const MAX_STRING: usize = 4 << 10;
/// Longest ACL in bytes. One of ten thousand users has some hundred KiB.
pub const MAX_ACL: usize = 4 << 20;
/// Which word of an answer is the ACL: that after `TAG MAILBOX name location`.
const ACL: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before a word.
    Gap,
    /// In a word without quotes.
    Atom,
    /// In a quoted string.
    Quoted,
    /// After a backslash in it.
    Escaped,
    /// After a quoted string or a literal: a blank or the end of the line.
    After,
    /// In the digits of a literal's length.
    Length(Option<usize>),
    /// After the `+` of it.
    Plus(usize),
    /// After its closing brace.
    Closed(usize),
    /// After the CR behind that.
    ClosedCr(usize),
    /// In a literal, with this many bytes to come.
    Literal(usize),
    /// After the CR of a line's end.
    Cr,
    /// After an error.
    Failed,
}

/// Takes bytes as they come and gives what they say, an [`Event`] at a time. Its memory is that of
/// one answer: at most [`MAX_LINE`] and a few [`MAX_STRING`], and a [`MAX_ACL`].
#[derive(Debug)]
pub struct Decoder {
    state: State,
    /// Of this line.
    words: Vec<Vec<u8>>,
    word: Vec<u8>,
    /// Bytes of this line outside of literals.
    line: usize,
}

impl Default for Decoder {
    fn default() -> Self {
        Self {
            state: State::Gap,
            words: Vec::new(),
            word: Vec::new(),
            line: 0,
        }
    }
}

impl Decoder {
    /// Whether it is between two lines, so that a connection that ends here ends in good order.
    #[must_use]
    pub fn is_between(&self) -> bool {
        self.state == State::Gap && self.line == 0
    }

    /// Takes bytes from the beginning of `input` until something is complete; `None` once all of
    /// them are taken and it is not.
    ///
    /// # Errors
    /// This is no mupdate server. All that follows is an error too.
    pub fn decode(&mut self, input: &mut &[u8]) -> Result<Option<Event>, WireError> {
        let result = self.run(input);
        if result.is_err() {
            *self = Self {
                state: State::Failed,
                ..Self::default()
            };
        }
        result
    }

    fn run(&mut self, input: &mut &[u8]) -> Result<Option<Event>, WireError> {
        loop {
            if let State::Literal(left) = self.state {
                let taken = left.min(input.len());
                let (bytes, rest) = input.split_at(taken);
                self.word.extend_from_slice(bytes);
                *input = rest;
                self.state = State::Literal(left - taken);
                if taken < left {
                    return Ok(None);
                }
                self.end_word()?;
                self.state = State::After;
            }
            let Some((&byte, rest)) = input.split_first() else {
                return Ok(None);
            };
            *input = rest;
            self.line += 1;
            if self.line > MAX_LINE {
                return Err(WireError::LongLine);
            }
            if self.step(byte)? {
                self.line = 0;
                self.state = State::Gap;
                return of_words(std::mem::take(&mut self.words)).map(Some);
            }
        }
    }

    /// One byte outside of a literal; whether it ends the line.
    fn step(&mut self, byte: u8) -> Result<bool, WireError> {
        let wrong = |place| Err(WireError::Byte { byte, place });
        match (self.state, byte) {
            (State::Gap | State::Atom | State::After, b'\r') => {
                if self.state == State::Atom {
                    self.end_word()?;
                }
                self.state = State::Cr;
            }
            (State::Cr, b'\n') => return Ok(true),
            (State::Cr, _) => return wrong("after a carriage return"),
            (State::Gap | State::After, b' ') => self.state = State::Gap,
            (State::Gap, b'"') => self.state = State::Quoted,
            (State::Gap, b'{') => self.state = State::Length(None),
            (State::Gap | State::Atom | State::Quoted | State::Escaped, 0 | b'\n') => {
                return wrong("in a line");
            }
            (State::Quoted | State::Escaped, b'\r') => return wrong("in a quoted string"),
            (State::Atom, b' ') => {
                self.end_word()?;
                self.state = State::Gap;
            }
            (State::Gap | State::Atom, _) => {
                self.word.push(byte);
                self.state = State::Atom;
            }
            (State::Quoted, b'"') => {
                self.end_word()?;
                self.state = State::After;
            }
            (State::Quoted, b'\\') => self.state = State::Escaped,
            (State::Quoted | State::Escaped, _) => {
                self.word.push(byte);
                self.state = State::Quoted;
            }
            (State::After, _) => return wrong("behind a string"),
            (State::Length(so_far), b'0'..=b'9') => {
                let digits = so_far.unwrap_or(0).saturating_mul(10);
                let len = digits.saturating_add(usize::from(byte - b'0'));
                self.state = State::Length(Some(len));
            }
            (State::Length(Some(len)), b'+') => self.state = State::Plus(len),
            (State::Length(Some(len)) | State::Plus(len), b'}') => {
                let limit = if self.words.len() == ACL {
                    MAX_ACL
                } else {
                    MAX_STRING
                };
                if len > limit {
                    return Err(WireError::LongLiteral { len, limit });
                }
                self.state = State::Closed(len);
            }
            (State::Closed(len), b'\r') => self.state = State::ClosedCr(len),
            (State::ClosedCr(len), b'\n') => self.state = State::Literal(len),
            (State::Length(_) | State::Plus(_) | State::Closed(_) | State::ClosedCr(_), _) => {
                return wrong("in the length of a literal");
            }
            (State::Literal(_) | State::Failed, _) => return wrong("after an error"),
        }
        Ok(false)
    }

    fn end_word(&mut self) -> Result<(), WireError> {
        if self.words.len() == MAX_WORDS {
            return Err(WireError::ManyWords);
        }
        self.words.push(std::mem::take(&mut self.word));
        Ok(())
    }
}
