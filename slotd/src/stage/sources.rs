//! What is known of messages before they are read: the mailbox's own `cyrus.sha1s`, and what a peer
//! says of its messages.
//!
//! A GUID comes from this host's own bytes. What a peer says is an expectation: it is compared, and
//! never written.

use std::cell::Cell;
use std::time::{Duration, Instant};

use indexfile::mailbox::HeaderFile;
use indexfile::sha1s::{Cache, FILE_NAME};
use indexfile::{Guid, IndexFile, ReadError};
use precompute::nice;

use crate::protocol::Code;
use crate::refusal::Refusal;
use crate::store::Place;

/// How much may be hashed while the locks are held. What is more is done before them, with the next
/// attempt.
#[derive(Debug)]
pub struct Budget {
    /// Bytes that are left.
    bytes: Cell<u64>,
    until: Instant,
}

impl Budget {
    /// Bytes that are hashed in the blink of an eye, on slow disks too.
    pub const BYTES: u64 = 16 << 20;
    /// From the first look under the locks on.
    pub const TIME: Duration = Duration::from_secs(2);

    /// The whole of it, from now on.
    #[must_use]
    pub fn new() -> Budget {
        Budget {
            bytes: Cell::new(Budget::BYTES),
            until: Instant::now() + Budget::TIME,
        }
    }

    /// When reading has to stop.
    #[must_use]
    pub fn until(&self) -> Instant {
        self.until
    }

    pub(super) fn take(&self, messages: usize, bytes: u64) -> Result<(), Refusal> {
        match self.bytes.get().checked_sub(bytes) {
            Some(left) => {
                self.bytes.set(left);
                Ok(())
            }
            None => Err(Refusal::new(
                Code::Expired,
                format!(
                    "{messages} message(s) of {bytes} bytes have no SHA-1 yet, too many to be \
                     read under the locks: \
                     PREPARE, a plain LOCK or precompute reads them before"
                ),
            )),
        }
    }
}

impl Default for Budget {
    fn default() -> Budget {
        Budget::new()
    }
}

/// What is known about a mailbox's messages already.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sources<'a> {
    /// The mailbox's own cache: an entry counts if the message file still has the entry's stamp and
    /// size.
    pub local: Option<&'a Cache>,
    /// What a peer says: every GUID that is found here is compared with it.
    pub expected: Option<&'a Expected>,
    /// The locks are held: no more than this is read.
    pub budget: Option<&'a Budget>,
    /// When reading is to stop, locks or not.
    pub stop: Option<Instant>,
}

impl<'a> Sources<'a> {
    /// The same under the locks.
    #[must_use]
    pub fn within(self, budget: &'a Budget) -> Sources<'a> {
        Sources {
            budget: Some(budget),
            ..self
        }
    }

    /// When reading has to stop.
    #[must_use]
    pub fn until(&self) -> Option<Instant> {
        let ends = [self.budget.map(Budget::until), self.stop];
        ends.into_iter().flatten().min()
    }
}

/// What a peer's `cyrus.sha1s` says: not a GUID of this host's messages before it was compared.
#[derive(Debug)]
pub struct Expected(Cache);

impl Expected {
    /// Compares the SHA-1 of one of this host's messages.
    ///
    /// # Errors
    /// [`Code::Differs`], with both.
    pub fn check(&self, uid: u32, size: u64, guid: &Guid) -> Result<(), Refusal> {
        match self.0.get(uid) {
            Some(theirs) if theirs.guid != *guid || theirs.size != size => Err(Refusal::new(
                Code::Differs,
                format!(
                    "UID {uid}: its SHA-1 is {guid} here ({size} bytes), and {} ({} bytes) by {}: \
                     one of the two \
                     is damaged, or the peer's precompute is to be run again",
                    theirs.guid,
                    theirs.size,
                    self.0.path().display()
                ),
            )),
            _ => Ok(()),
        }
    }
}

/// The caches themselves.
#[derive(Debug, Default)]
pub struct Caches {
    /// The mailbox's own.
    pub local: Option<Cache>,
    /// A peer's.
    pub expected: Option<Expected>,
}

impl Caches {
    /// To look something up.
    #[must_use]
    pub fn sources(&self) -> Sources<'_> {
        Sources {
            local: self.local.as_ref(),
            expected: self.expected.as_ref(),
            ..Sources::default()
        }
    }
}

/// Which mailbox of that name: one that was deleted and made anew has other messages under the same
/// UIDs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incarnation {
    /// From cyrus.header.
    pub uniqueid: String,
    /// From the index header.
    pub uidvalidity: u32,
}

impl Incarnation {
    /// That of a mailbox whose cyrus.index is open.
    ///
    /// # Errors
    /// As of [`uniqueid_of`].
    pub fn of(place: &Place, index: &IndexFile) -> Result<Incarnation, Refusal> {
        Ok(Incarnation {
            uniqueid: uniqueid_of(place)?,
            uidvalidity: index.header().uidvalidity(),
        })
    }
}

/// Opens the mailbox's own cache, if there is one that is whole and belongs to this incarnation of
/// the mailbox. Anything else is no error: the messages are read instead.
#[must_use]
pub fn open_local(place: &Place, of: &Incarnation) -> Option<Cache> {
    let file = place.index.open_file(FILE_NAME, false).ok()?;
    let path = place.index.path_of(FILE_NAME);
    match Cache::from_file(&file, &path) {
        Ok(cache) => fits(cache, of),
        Err(error) => {
            tracing::warn!(mailbox = %place.mailbox, "{error}");
            None
        }
    }
}

/// Takes a cache that came over the wire, if it belongs to this incarnation of the mailbox.
/// Anything else is no error: the messages are read instead.
#[must_use]
pub fn take_fetched(cache: Cache, of: &Incarnation) -> Option<Expected> {
    fits(cache, of).map(Expected)
}

fn fits(cache: Cache, of: &Incarnation) -> Option<Cache> {
    if cache.uidvalidity() == of.uidvalidity && cache.uniqueid() == of.uniqueid {
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
    Ok(header_of(place)?.uniqueid)
}

/// An open mailbox's cyrus.header.
///
/// # Errors
/// It cannot be read, or is damaged.
pub fn header_of(place: &Place) -> Result<HeaderFile, Refusal> {
    place.header_in(&place.header.open_file("cyrus.header", false)?)
}

/// Whether any record needs a GUID that is not in the index.
///
/// # Errors
/// It cannot be read to its end.
pub fn needs_guids(file: &IndexFile) -> Result<bool, ReadError> {
    let mut blocks = file.blocks();
    while let Some(block) = blocks.read()? {
        nice::give_way();
        if block.records().any(|r| r.guid().is_old_style()) {
            return Ok(true);
        }
    }
    Ok(false)
}
