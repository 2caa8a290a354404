//! The text forms: `NAME<TAB>...` of `ctl_mboxlist -d`, and plain names.
//!
//! | release | line |
//! |---|---|
//! | up to 2.3.3 | `NAME<TAB>PARTITION<TAB>ACL` |
//! | 2.3.4 to 2.3.9 | `NAME<TAB>TYPE PARTITION<TAB>ACL` |
//! | 2.3.10 to 3.4 | `NAME<TAB>TYPE PARTITION ACL` |
//!
//! A digit after the first TAB begins a TYPE, as Cyrus's own undump has it.

use super::{Item, Skip, name};

/// Bits of TYPE, with what they mean for us, the most specific first. Releases 3.2 and 3.4 have 256
/// for a place in the hierarchy that only its children made.
const TYPE_BITS: [(u32, Skip); 5] = [
    (1, Skip::Remote),
    (16, Skip::Deleted),
    (2, Skip::Reserved),
    (8, Skip::Moving),
    (256, Skip::Intermediate),
];

/// A `#` alone, or one with a blank or a TAB behind it.
pub(super) fn is_comment(line: &[u8]) -> bool {
    matches!(line, [b'#'] | [b'#', b' ' | b'\t', ..])
}

/// `#news`, and what is below it.
fn is_news(line: &[u8]) -> bool {
    line.strip_prefix(b"#news")
        .is_some_and(|rest| matches!(rest, [] | [b'.', ..]))
}

pub(super) fn entry(bytes: &[u8]) -> Result<Item, String> {
    let Some(tab) = bytes.iter().position(|b| *b == b'\t') else {
        if bytes.first() == Some(&b'#') && !is_news(bytes) {
            return Ok(Item::Skipped(Skip::CommentedOut));
        }
        return Ok(Item::Mailbox {
            name: name(bytes)?,
            partition: None,
        });
    };
    let name = name(&bytes[..tab])?;
    let rest = &bytes[tab + 1..];
    let bad = |what: &str| format!("{what} after the name {name}");
    let (kind, rest) = if rest.first().is_some_and(u8::is_ascii_digit) {
        let end = rest
            .iter()
            .position(|b| *b == b' ')
            .ok_or_else(|| bad("a type without a partition"))?;
        let digits = std::str::from_utf8(&rest[..end]).ok();
        let kind: Option<u32> = digits.and_then(|d| d.parse().ok());
        (
            kind.ok_or_else(|| bad("a type that is no number"))?,
            &rest[end + 1..],
        )
    } else {
        (0, rest)
    };
    if let Some((_, skip)) = TYPE_BITS.iter().find(|(bit, _)| kind & bit != 0) {
        return Ok(Item::Skipped(*skip));
    }
    let end = rest
        .iter()
        .position(|b| matches!(b, b' ' | b'\t'))
        .unwrap_or(rest.len());
    let location =
        std::str::from_utf8(&rest[..end]).map_err(|_| bad("a partition that is no text"))?;
    // With a server before it: `server!partition`.
    let partition = location
        .rsplit_once('!')
        .map_or(location, |(_, partition)| partition);
    if partition.is_empty() {
        return Err(bad("no partition"));
    }
    Ok(Item::Mailbox {
        name,
        partition: Some(partition.to_owned()),
    })
}
