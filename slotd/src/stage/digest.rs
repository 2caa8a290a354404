//! The digest by which two hosts compare a mailbox.

use indexfile::Guid;
use sha1::{Digest, Sha1};

use crate::protocol::GuidEntry;

/// SHA-1 over (UID as 4 bytes big-endian, the 20 bytes of the GUID) of entries that are in
/// ascending order of UIDs.
#[must_use]
pub fn digest_of(entries: &[GuidEntry]) -> Guid {
    let mut digester = Digester::default();
    digester.add(entries);
    digester.finish()
}

/// The same piece by piece: a list that only grew at its end need not be hashed again.
#[derive(Clone, Default)]
pub struct Digester(Sha1);

impl Digester {
    /// Takes the next entries.
    pub fn add(&mut self, entries: &[GuidEntry]) {
        // One call a record costs more than the hashing: collect some.
        let mut buffer = Vec::with_capacity(24 * 512);
        for chunk in entries.chunks(512) {
            buffer.clear();
            for entry in chunk {
                buffer.extend_from_slice(&entry.uid.to_be_bytes());
                buffer.extend_from_slice(entry.guid.as_bytes());
            }
            self.0.update(&buffer);
        }
    }

    /// The digest.
    #[must_use]
    pub fn finish(self) -> Guid {
        Guid::from_bytes(self.0.finalize().into())
    }
}

impl std::fmt::Debug for Digester {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Digester")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_that_of_the_plain_bytes() {
        let entries: Vec<GuidEntry> = (1..=1500)
            .map(|uid| GuidEntry {
                uid,
                guid: Guid::from_bytes([uid.to_le_bytes()[0]; 20]),
                size: 1,
            })
            .collect();
        let bytes: Vec<u8> = entries
            .iter()
            .flat_map(|e| e.uid.to_be_bytes().into_iter().chain(*e.guid.as_bytes()))
            .collect();
        assert_eq!(
            digest_of(&entries),
            Guid::from_bytes(Sha1::digest(&bytes).into())
        );
        assert_eq!(
            digest_of(&[]).to_string(),
            "da39a3ee5e6b4b0d3255bfef95601890afd80709"
        );
    }
}
