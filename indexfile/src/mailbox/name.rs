//! The internal name of a mailbox, checked once.
//!
//! Promises: a [`MailboxName`] turned into a path never leaves the partition: no component is
//! empty, none holds a slash or a control character, and so none can be `.` or `..`.

use std::fmt::{self, Write as _};
use std::str::FromStr;

/// Longest name in bytes (`MAX_MAILBOX_NAME` of Cyrus).
pub const MAX_LEN: usize = 490;

/// An internal mailbox name: components joined by dots, `^` for a dot inside a component,
/// optionally `domain!` before it. What lies on disk is spelled the same way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MailboxName {
    text: String,
    /// Length of the domain, without the `!`.
    domain: Option<usize>,
}

/// Why a name is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// No name at all.
    #[error("the mailbox name is empty")]
    Empty,
    /// Longer than [`MAX_LEN`].
    #[error("the mailbox name is {len} bytes long, more than the {MAX_LEN} that Cyrus allows")]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// Two dots in a row, or one at an end.
    #[error("the mailbox name {name:?} has an empty component")]
    EmptyComponent {
        /// The name.
        name: String,
    },
    /// A slash, a control character or a byte outside of ASCII.
    #[error("the mailbox name {name:?} has the byte {byte:#04x}, which no mailbox name has")]
    BadByte {
        /// The name.
        name: String,
        /// The offending byte.
        byte: u8,
    },
    /// The part before `!` is not a domain.
    #[error("the mailbox name {name:?} has no proper domain before the exclamation mark")]
    BadDomain {
        /// The name.
        name: String,
    },
    /// A `%` escape that is not two hexadecimal digits.
    #[error("the mailbox name {name:?} has a broken % escape")]
    BadEscape {
        /// The escaped name.
        name: String,
    },
}

impl MailboxName {
    /// Checks an internal name.
    ///
    /// # Errors
    /// [`NameError`] says what is wrong with it.
    pub fn parse(name: &str) -> Result<Self, NameError> {
        Self::from_bytes(name.as_bytes())
    }

    /// Checks an internal name.
    ///
    /// # Errors
    /// [`NameError`] says what is wrong with it.
    pub fn from_bytes(name: &[u8]) -> Result<Self, NameError> {
        let shown = || {
            String::from_utf8_lossy(name)
                .chars()
                .take(80)
                .collect::<String>()
        };
        if name.is_empty() {
            return Err(NameError::Empty);
        }
        if name.len() > MAX_LEN {
            return Err(NameError::TooLong { len: name.len() });
        }
        if let Some(&byte) = name
            .iter()
            .find(|&&b| !(b' '..=b'~').contains(&b) || b == b'/')
        {
            return Err(NameError::BadByte {
                name: shown(),
                byte,
            });
        }
        let text = String::from_utf8_lossy(name).into_owned();
        let domain = text.find('!');
        if let Some(len) = domain {
            let good = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            let labels = text[..len].split('.').all(|l| !l.is_empty());
            if !labels || !text[..len].chars().all(good) || text[len + 1..].contains('!') {
                return Err(NameError::BadDomain { name: shown() });
            }
        }
        let parsed = Self { text, domain };
        if parsed.components().any(str::is_empty) {
            return Err(NameError::EmptyComponent { name: shown() });
        }
        Ok(parsed)
    }

    /// The internal name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The domain, if the name has one.
    #[must_use]
    pub fn domain(&self) -> Option<&str> {
        self.domain.map(|len| &self.text[..len])
    }

    /// The name without its domain.
    #[must_use]
    pub fn local(&self) -> &str {
        self.domain
            .map_or(self.text.as_str(), |len| &self.text[len + 1..])
    }

    /// The components of the local part.
    pub fn components(&self) -> impl Iterator<Item = &str> {
        self.local().split('.')
    }

    /// The name with everything but letters, digits and `-_.~` as `%XX`: one word on the wire.
    #[must_use]
    pub fn uri_escaped(&self) -> String {
        let mut out = String::with_capacity(self.text.len());
        for byte in self.text.bytes() {
            if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
                out.push(char::from(byte));
            } else {
                // Writing to a String cannot fail.
                let _ = write!(out, "%{byte:02X}");
            }
        }
        out
    }

    /// Undoes [`Self::uri_escaped`] and checks the result.
    ///
    /// # Errors
    /// [`NameError`]; in particular for names that hide a slash or a NUL behind an escape.
    pub fn from_uri_escaped(escaped: &str) -> Result<Self, NameError> {
        let bad = || NameError::BadEscape {
            name: escaped.chars().take(80).collect(),
        };
        let mut name = Vec::with_capacity(escaped.len());
        let mut bytes = escaped.bytes();
        while let Some(byte) = bytes.next() {
            if byte != b'%' {
                name.push(byte);
                continue;
            }
            let mut digit = || {
                char::from(bytes.next()?)
                    .to_digit(16)
                    .and_then(|d| u8::try_from(d).ok())
            };
            let (Some(high), Some(low)) = (digit(), digit()) else {
                return Err(bad());
            };
            name.push(high << 4 | low);
        }
        Self::from_bytes(&name)
    }
}

impl fmt::Display for MailboxName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for MailboxName {
    type Err = NameError;
    fn from_str(name: &str) -> Result<Self, NameError> {
        Self::parse(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_leave_the_partition_are_refused() {
        for bad in [
            "",
            ".",
            "..",
            "user.",
            ".user",
            "user..joe",
            "user.joe/../../etc",
            "/etc/passwd",
            "user.a\0b",
            "user.a\nb",
            "user.\x7f",
            "user.caf\u{e9}",
            "!user.joe",
            "..!user.joe",
            "a..b!user.joe",
            "ex.com!",
            "ex.com!a!b",
            "../x!user.joe",
            "ex com!user.joe",
        ] {
            assert!(MailboxName::parse(bad).is_err(), "{bad:?}");
        }
        for bad in [
            "%2e%2e%2f",
            "user.%00",
            "user.%2Fx",
            "user.%",
            "user.%4",
            "user.%zz",
            "user.%+1",
            "%2e%2e",
        ] {
            assert!(MailboxName::from_uri_escaped(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn odd_but_real_names_survive_the_wire() {
        let longest = format!("user.{}.{}", "x".repeat(242), "y".repeat(242));
        assert_eq!(longest.len(), MAX_LEN);
        let names = [
            "user.joe.Old^Stuff",
            "user.alice.With space &AOk-t&AOk- caf&AOk-",
            "user.alice.P&JjkmOSY5-&-more",
            "ex.com!user.joe.Old",
            "shared",
            "user.joe.100%",
            &longest,
        ];
        for name in names {
            let parsed = MailboxName::parse(name).expect(name);
            let escaped = parsed.uri_escaped();
            assert!(!escaped.contains(' '), "{escaped}");
            assert_eq!(MailboxName::from_uri_escaped(&escaped), Ok(parsed.clone()));
            assert_eq!(parsed.to_string(), name);
        }
        assert!(matches!(
            MailboxName::parse(&format!("{longest}z")),
            Err(NameError::TooLong { len: 491 })
        ));
    }

    #[test]
    fn the_domain_is_distinguished_from_the_rest() {
        let name = MailboxName::parse("ex.com!user.joe").expect("good");
        assert_eq!((name.domain(), name.local()), (Some("ex.com"), "user.joe"));
        assert_eq!(name.components().collect::<Vec<_>>(), ["user", "joe"]);
    }
}
