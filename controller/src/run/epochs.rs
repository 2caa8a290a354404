//! Whether a host that refuses a coordinator shows that the database went back.

use crate::journal::{Journal, JournalError};

/// An epoch of a pair that a host knows, and the lower one that the journal has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HigherEpoch {
    /// The host's.
    pub host: u64,
    /// The journal's.
    pub own: u64,
}

/// The epochs, if a host's refusal (`said`) is of this journal and names a higher one than the
/// journal's, to which the claim stands. A host that has been taken over in the midst of a run does
/// not name the journal: that was by another controller.
///
/// # Errors
/// The journal cannot be read.
pub fn higher_epoch(
    journal: &dyn Journal,
    said: &str,
) -> Result<Option<HigherEpoch>, JournalError> {
    let owner = journal.owner()?;
    let mut words = said.split_whitespace();
    let host = words.find_map(|word| word.strip_prefix("epoch=")?.parse::<u64>().ok());
    let (Some(host), Some(own)) = (host, owner.epoch) else {
        return Ok(None);
    };
    let is_ours = said.contains(&format!("of journal {} ", owner.id));
    let went_back = host > own && is_ours && journal.flush().is_ok();
    Ok(went_back.then_some(HigherEpoch { host, own }))
}
