//! The `key=value` words of an OK reply, in order.

use std::fmt::{self, Display};
use std::str::FromStr;

use super::escape::{EscapeError, escape, unescape};

/// Why a field of a reply could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FieldError {
    /// The reply has no such key.
    #[error("the reply has no {key}=")]
    Missing {
        /// The key that was looked for.
        key: &'static str,
    },
    /// The key is there, and its value is not what it should be.
    #[error("the reply's {key}={value} is not understood")]
    Malformed {
        /// The key.
        key: &'static str,
        /// Its value as it came.
        value: String,
    },
    /// The value is not well escaped.
    #[error("the reply's {key}=: {source}")]
    Escape {
        /// The key.
        key: &'static str,
        /// What is wrong with it.
        source: EscapeError,
    },
}

/// The `key=value` words of an OK reply. Order is kept; a key stands once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    /// Values are kept as they are on the wire, so that a list can be split before it is unescaped.
    words: Vec<(String, String)>,
}

impl Fields {
    /// No fields yet.
    #[must_use]
    pub fn new() -> Fields {
        Fields::default()
    }

    /// Adds a value, escaped where it must be.
    #[must_use]
    pub fn with(self, key: &str, value: impl Display) -> Fields {
        let word = escape(value.to_string().as_bytes());
        self.with_word(key, word)
    }

    /// Adds all of other fields.
    #[must_use]
    pub fn with_all(mut self, more: Fields) -> Fields {
        self.words.extend(more.words);
        self
    }

    /// Adds a comma-separated list; each item is escaped on its own.
    #[must_use]
    pub fn with_list<T: Display>(self, key: &str, items: impl IntoIterator<Item = T>) -> Fields {
        let mut word = String::new();
        for item in items {
            if !word.is_empty() {
                word.push(',');
            }
            word.push_str(&escape(item.to_string().as_bytes()));
        }
        self.with_word(key, word)
    }

    /// Adds a value that is already one word of printable ASCII without blanks, such as
    /// `uid:hex,uid:hex`.
    #[must_use]
    pub fn with_word(mut self, key: &str, word: String) -> Fields {
        debug_assert!(
            word.bytes().all(|b| b.is_ascii_graphic()),
            "not one word: {word:?}"
        );
        self.words.push((key.to_owned(), word));
        self
    }

    /// The value as it is on the wire.
    #[must_use]
    pub fn word(&self, key: &str) -> Option<&str> {
        self.words
            .iter()
            .find(|(k, _)| k == key)
            .map(|(_, v)| v.as_str())
    }

    /// The unescaped bytes of a value.
    ///
    /// # Errors
    /// The key is missing, or its value is not well escaped.
    pub fn bytes(&self, key: &'static str) -> Result<Vec<u8>, FieldError> {
        let word = self.word(key).ok_or(FieldError::Missing { key })?;
        unescape(word).map_err(|source| FieldError::Escape { key, source })
    }

    /// A value as text; bytes that are not UTF-8 are replaced.
    ///
    /// # Errors
    /// As [`Fields::bytes`].
    pub fn text(&self, key: &'static str) -> Result<String, FieldError> {
        Ok(String::from_utf8_lossy(&self.bytes(key)?).into_owned())
    }

    /// A value that `T` can parse, such as a number.
    ///
    /// # Errors
    /// The key is missing, or `T` does not take its value.
    pub fn get<T: FromStr>(&self, key: &'static str) -> Result<T, FieldError> {
        let text = self.text(key)?;
        text.parse()
            .map_err(|_| FieldError::Malformed { key, value: text })
    }

    /// As [`Fields::get`], but a missing key is `None`.
    ///
    /// # Errors
    /// The key is there and `T` does not take its value.
    pub fn get_optional<T: FromStr>(&self, key: &'static str) -> Result<Option<T>, FieldError> {
        match self.word(key) {
            None => Ok(None),
            Some(_) => self.get(key).map(Some),
        }
    }

    /// The unescaped items of a comma-separated list.
    ///
    /// # Errors
    /// As [`Fields::bytes`].
    pub fn list(&self, key: &'static str) -> Result<Vec<Vec<u8>>, FieldError> {
        let word = self.word(key).ok_or(FieldError::Missing { key })?;
        if word.is_empty() {
            return Ok(Vec::new());
        }
        word.split(',')
            .map(|item| unescape(item).map_err(|source| FieldError::Escape { key, source }))
            .collect()
    }

    /// The keys and their values as they are on the wire, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.words.iter().map(|(k, v)| (k.as_str(), v.as_str()))
    }

    /// Reads `key=value` words; `None` if one of them is not of that form or a key comes twice.
    pub(super) fn parse<'a>(words: impl Iterator<Item = &'a str>) -> Option<Fields> {
        let mut fields = Fields::new();
        for word in words {
            let (key, value) = word.split_once('=')?;
            let plain =
                !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            if !plain || fields.word(key).is_some() {
                return None;
            }
            fields.words.push((key.to_owned(), value.to_owned()));
        }
        Some(fields)
    }
}

impl Display for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (key, word)) in self.iter().enumerate() {
            let gap = if i == 0 { "" } else { " " };
            write!(f, "{gap}{key}={word}")?;
        }
        Ok(())
    }
}
