//! What one mailbox's own files say about who serves it.

use std::io::Read;
use std::path::Path;

use indexfile::mailbox::{HeaderFile, HeaderForm};

use super::Evidence;
use crate::lock::MailboxLocks;
use crate::store::Place;

/// How much of a cyrus.header is read: more than any whole one.
pub(super) const HEADER: u64 = 256 << 10;
/// The first version that 2.3 does not have.
const FIRST_LATER: u32 = 12;
/// The last one known.
const LAST: u32 = 20;

/// Looks at a mailbox that is about to be locked. A file that cannot be opened cannot be locked
/// either, and locking it says why. Its index is not asked: a later version there is refused for
/// itself, as UNSUPPORTED.
pub(super) fn look(place: &Place) -> Option<Evidence> {
    let path = place.header.path_of("cyrus.header");
    let file = place.header.open_file("cyrus.header", false).ok()?;
    let mut bytes = Vec::new();
    file.take(HEADER).read_to_end(&mut bytes).ok()?;
    of_header(&bytes, &path)
}

/// What a cyrus.header says. One that is damaged says nothing here; it is refused as such later.
pub(super) fn of_header(bytes: &[u8], path: &Path) -> Option<Evidence> {
    of_parsed(&HeaderFile::parse_at(bytes, path).ok()?, path)
}

/// What the cyrus.header of a locked mailbox says.
pub(super) fn look_locked(locks: &MailboxLocks) -> Option<Evidence> {
    let path = locks.place.header.path_of("cyrus.header");
    of_parsed(locks.header_file().ok()?, &path)
}

fn of_parsed(header: &HeaderFile, path: &Path) -> Option<Evidence> {
    if header.form == HeaderForm::Dlist {
        return Some(Evidence::ListHeader(path.to_path_buf()));
    }
    is_later(&header.uniqueid).then(|| Evidence::UniqueId(path.to_path_buf()))
}

/// 2.3 makes 16 hexadecimal digits; later releases a UUID of 36 characters, or 24 letters and
/// digits.
fn is_later(uniqueid: &str) -> bool {
    let bytes = uniqueid.as_bytes();
    match bytes.len() {
        36 => bytes.iter().enumerate().all(|(at, b)| match at {
            8 | 13 | 18 | 23 => *b == b'-',
            _ => b.is_ascii_hexdigit(),
        }),
        24 => bytes
            .iter()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()),
        _ => false,
    }
}

/// What the beginning of a cyrus.index says.
pub(super) fn of_index(bytes: &[u8], path: &Path) -> Option<Evidence> {
    let word = bytes.get(8..12)?.try_into().ok()?;
    let version = u32::from_be_bytes(word);
    // What is no version at all is damage, and reported as such.
    (FIRST_LATER..=LAST)
        .contains(&version)
        .then(|| Evidence::Version(path.to_path_buf(), version))
}
