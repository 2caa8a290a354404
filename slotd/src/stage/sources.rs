//! Where GUIDs come from before a message is read: the mailbox's own `cyrus.sha1s`, and one from a peer.

use std::path::Path;

use indexfile::mailbox::HeaderFile;
use indexfile::sha1s::{Cache, FILE_NAME};
use indexfile::{IndexFile, ReadError};

use crate::refusal::Refusal;
use crate::store::Place;

/// What is known about a mailbox's messages already.
#[derive(Debug, Default)]
pub struct Sources<'a> {
    /// The mailbox's own cache: an entry counts if the message file still has the entry's stamp and size.
    pub local: Option<&'a Cache>,
    /// A cache that a peer sent: an entry counts if there is a message file of its size.
    pub fetched: Option<&'a Cache>,
}

/// The caches themselves.
#[derive(Debug, Default)]
pub struct Caches {
    /// The mailbox's own.
    pub local: Option<Cache>,
    /// A peer's.
    pub fetched: Option<Cache>,
}

impl Caches {
    /// To look something up.
    #[must_use]
    pub fn sources(&self) -> Sources<'_> {
        Sources {
            local: self.local.as_ref(),
            fetched: self.fetched.as_ref(),
        }
    }
}

/// Opens the mailbox's own cache, if there is one that is whole and belongs to this incarnation of the mailbox.
/// Anything else is no error: the messages are read instead.
#[must_use]
pub fn open_local(place: &Place, uniqueid: &str, uidvalidity: u32) -> Option<Cache> {
    let file = place.index.open_file(FILE_NAME, false).ok()?;
    let path = place.index.path_of(FILE_NAME);
    match Cache::from_file(&file, &path) {
        Ok(cache) => fits(cache, uniqueid, uidvalidity),
        Err(error) => {
            tracing::warn!(mailbox = %place.mailbox, "{error}");
            None
        }
    }
}

/// Takes a cache that came over the wire, if it is whole and belongs to this incarnation of the mailbox. Anything
/// else is no error: the messages are read instead.
#[must_use]
pub fn take_fetched(
    bytes: Vec<u8>,
    place: &Place,
    uniqueid: &str,
    uidvalidity: u32,
) -> Option<Cache> {
    match Cache::from_bytes(bytes, Path::new("the peer's cyrus.sha1s")) {
        Ok(cache) => fits(cache, uniqueid, uidvalidity),
        Err(error) => {
            tracing::warn!(mailbox = %place.mailbox, "{error}");
            None
        }
    }
}

fn fits(cache: Cache, uniqueid: &str, uidvalidity: u32) -> Option<Cache> {
    if cache.uidvalidity() == uidvalidity && cache.uniqueid() == uniqueid {
        return Some(cache);
    }
    tracing::warn!(
        "{} belongs to another incarnation of the mailbox; not used",
        cache.path().display()
    );
    None
}

/// The uniqueid out of an open mailbox's cyrus.header.
///
/// # Errors
/// It cannot be read, or is damaged.
pub fn uniqueid_of(place: &Place) -> Result<String, Refusal> {
    use std::io::Read;
    let path = place.header.path_of("cyrus.header");
    let mut bytes = Vec::new();
    let mut file = place.header.open_file("cyrus.header", false)?;
    file.read_to_end(&mut bytes)
        .map_err(|e| indexfile::IoError::new("read", &path, e))?;
    Ok(HeaderFile::parse_at(&bytes, &path)?.uniqueid)
}

/// Whether any record needs a GUID that is not in the index.
///
/// # Errors
/// It cannot be read to its end.
pub fn needs_guids(file: &IndexFile) -> Result<bool, ReadError> {
    let mut blocks = file.blocks();
    while let Some(block) = blocks.read()? {
        if block.records().any(|r| r.guid().is_old_style()) {
            return Ok(true);
        }
    }
    Ok(false)
}
