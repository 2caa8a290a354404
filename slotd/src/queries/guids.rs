//! `GUIDS` and `DIGESTS`: the records of a staged mailbox as they will be.

use crate::protocol::{DigestRange, Digests, GuidPage, GuidRange, PartDigest};
use crate::refusal::Refusal;
use crate::stage::Listing;

/// A page of the records.
///
/// # Errors
/// A file cannot be read.
pub fn guids(listing: &Listing, range: GuidRange) -> Result<GuidPage, Refusal> {
    let max = range
        .max
        .map_or(GuidPage::MAX, |m| (m as usize).clamp(2, GuidPage::MAX));
    let to = range.to.unwrap_or(u32::MAX);
    let mut entries = Vec::new();
    let mut next = None;
    for entry in listing.from(range.from)? {
        let entry = entry?;
        if entry.uid > to {
            break;
        }
        if entries.len() == max {
            next = Some(entry.uid);
            break;
        }
        entries.push(entry);
    }
    // A UID of both index and expunge must not be torn apart: the next page begins with it.
    entries.retain(|e| Some(e.uid) != next);
    Ok(GuidPage { entries, next })
}

/// The digests of the parts of a range.
///
/// # Errors
/// A file cannot be read.
pub fn digests(listing: &Listing, range: DigestRange) -> Result<Digests, Refusal> {
    let digests = listing.digests(range.pieces())?.into_iter();
    let parts = digests.map(|(count, digest)| PartDigest { count, digest });
    Ok(Digests {
        parts: parts.collect(),
    })
}
