//! Whether a file of a mailbox is still the one that a change-over made, or made the new one from.

use indexfile::FileKind;

use super::is_over;
use super::stamp::{Content, Stamp};
use crate::refusal::Refusal;
use crate::store::Place;

impl Stamp {
    /// What a file was, or became, in the index version given.
    #[must_use]
    pub fn content(&self, kind: FileKind, version: u32) -> Option<&Content> {
        match kind {
            FileKind::Index if is_over(version) => Some(&self.made),
            FileKind::Index => Some(&self.from.index),
            FileKind::Expunge if is_over(version) => None,
            FileKind::Expunge => self.from.expunge.as_ref(),
        }
    }
}

/// Whether what lies under `name` is, byte for byte, the mailbox's file of that kind as it was with
/// an index of this version, by `cyrus.cutover`.
///
/// # Errors
/// It cannot be read.
pub fn carries(place: &Place, kind: FileKind, name: &str, version: u32) -> Result<bool, Refusal> {
    let Some(stamp) = Stamp::read(place)? else {
        return Ok(false);
    };
    let now = Content::under(place, kind, name)?;
    Ok(now.is_some() && now.as_ref() == stamp.content(kind, version))
}
