//! Why bytes are no answer of a mupdate server.

/// Most bytes of an answer that are not in literals: those of its words, quotes and blanks.
pub const MAX_LINE: usize = 8 << 10;
/// Most words of an answer.
pub(super) const MAX_WORDS: usize = 64;

/// Why bytes are no answer of a mupdate server. Nothing after it can be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// A line is too long.
    #[error("a line of more than {MAX_LINE} bytes")]
    LongLine,
    /// A line has too many words.
    #[error("a line of more than {MAX_WORDS} words")]
    ManyWords,
    /// A literal is too long.
    #[error("a literal of {len} bytes, where {limit} are allowed")]
    LongLiteral {
        /// Its length, in bytes.
        len: usize,
        /// The longest that is taken, in bytes.
        limit: usize,
    },
    /// A byte stands where none such can be.
    #[error("the byte '{}' {place}", byte.escape_ascii())]
    Byte {
        /// The byte.
        byte: u8,
        /// Where.
        place: &'static str,
    },
    /// A line of another protocol, or of none.
    #[error("a line that is no answer: \"{line}\"")]
    Unknown {
        /// Its beginning, escaped.
        line: String,
    },
}
