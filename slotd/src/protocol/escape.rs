//! URI escapes: how mailbox names and other values travel as one word.
//!
//! Every byte outside `A-Z a-z 0-9 - . _ ~` becomes `%XX`. The other direction takes any byte that
//! is not a blank or a control character as it is, so that a person can type `user.joe&AOk-`.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

/// RFC 3986 "unreserved" stays, the rest is escaped.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Why a word is not a well-formed escaped value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EscapeError {
    /// A `%` that two hexadecimal digits do not follow.
    #[error("'%' without two hexadecimal digits at byte {at}")]
    BadPercent {
        /// Offset in the escaped word, in bytes.
        at: usize,
    },
}

/// Escapes any bytes to one printable ASCII word.
#[must_use]
pub fn escape(bytes: &[u8]) -> String {
    Cow::from(percent_encode(bytes, ESCAPED)).into_owned()
}

/// A text for a person: it makes no line of its own, and moves no cursor.
pub(crate) fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// Undoes [`escape`].
///
/// # Errors
/// A `%` that is not followed by two hexadecimal digits. Nothing is guessed.
pub fn unescape(word: &str) -> Result<Vec<u8>, EscapeError> {
    let bytes = word.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        if byte == b'%' {
            let digit = |i: usize| bytes.get(i).and_then(|b| char::from(*b).to_digit(16));
            let (Some(high), Some(low)) = (digit(at + 1), digit(at + 2)) else {
                return Err(EscapeError::BadPercent { at });
            };
            out.push(u8::try_from(high * 16 + low).map_err(|_| EscapeError::BadPercent { at })?);
            at += 3;
        } else {
            out.push(byte);
            at += 1;
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_with_blanks_and_ampersands_becomes_one_word() {
        assert_eq!(
            escape(b"user.alice.With space &AOk-t"),
            "user.alice.With%20space%20%26AOk-t"
        );
        assert_eq!(
            unescape("user.alice.With%20space &AOk-t").as_deref(),
            Ok(&b"user.alice.With space &AOk-t"[..])
        );
    }

    #[test]
    fn a_lone_percent_is_refused_with_its_place() {
        for (word, at) in [
            ("%", 0),
            ("a%", 1),
            ("a%4", 1),
            ("ab%zz", 2),
            ("%41%4", 3),
            ("%+1", 0),
        ] {
            assert_eq!(
                unescape(word),
                Err(EscapeError::BadPercent { at }),
                "{word}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_bytes_survive_the_trip(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let word = escape(&bytes);
            prop_assert!(word.bytes().all(|b| b.is_ascii_graphic() && b != b'=' && b != b','));
            prop_assert_eq!(unescape(&word), Ok(bytes));
        }

        #[test]
        fn no_input_makes_unescape_panic(word in "\\PC*") {
            let _ = unescape(&word);
        }
    }
}
