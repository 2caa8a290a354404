//! One mailbox: its files, and what its directories say about a message.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use indexfile::{FileKind, ReadError};
use rustix::fs::AtFlags;

use super::row::Place;
use super::snapshot::{Snapshot, is_missing};
use crate::message::{MessageError, Spool};

/// Where the files of one mailbox lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mailbox {
    /// Its name where that is known, else its directory.
    pub name: String,
    /// The directory of the message files.
    pub data: PathBuf,
    /// The directory of the archived ones (3.0 and later, if the configuration has one).
    pub archive: Option<PathBuf>,
    /// `cyrus.header`.
    pub header: PathBuf,
    /// `cyrus.index`.
    pub index: PathBuf,
    /// `cyrus.expunge` (2.3 only; need not exist).
    pub expunge: PathBuf,
    /// Somebody asked for it by name: it is an error if it does not exist.
    pub named: bool,
}

impl Mailbox {
    /// A mailbox whose messages lie in `data`, and everything else in `meta`.
    #[must_use]
    pub fn plain(data: &Path, meta: Option<&Path>, archive: Option<&Path>) -> Self {
        let meta = meta.unwrap_or(data);
        Self {
            name: data.display().to_string(),
            data: data.to_owned(),
            archive: archive.map(Path::to_owned),
            header: meta.join("cyrus.header"),
            index: meta.join("cyrus.index"),
            expunge: meta.join("cyrus.expunge"),
            named: true,
        }
    }

    /// The directory of a place; without an archive partition Cyrus archives in place.
    pub(super) fn dir(&self, place: Place) -> &Path {
        match (place, &self.archive) {
            (Place::Archive, Some(archive)) => archive,
            _ => &self.data,
        }
    }

    /// The places that are directories of their own.
    pub(super) fn places(&self) -> impl Iterator<Item = Place> {
        let archive = self.archive.as_ref().filter(|dir| **dir != self.data);
        std::iter::once(Place::Data).chain(archive.map(|_| Place::Archive))
    }

    /// Whether there is any message file.
    pub(super) fn has_messages(&self) -> bool {
        let mut any = false;
        if let Ok(spools) = Spools::open(self) {
            for spool in self.places().filter_map(|place| spools.get(place)) {
                // A directory that cannot be read has nothing to tell.
                let _ = spool.for_each_name(|_, _| any = true);
            }
        }
        any
    }

    /// The directory of the expunge file, if that is not there: then nobody can say that there is no such file.
    pub(super) fn unreachable_expunge(&self) -> Option<&Path> {
        let dir = self.expunge.parent()?;
        (!dir.is_dir()).then_some(dir)
    }

    /// Opens the expunge file, if there is one.
    pub(super) fn open_expunge(&self) -> Result<Option<Snapshot>, ReadError> {
        match Snapshot::open(&self.expunge, FileKind::Expunge) {
            Ok(expunge) => Ok(Some(expunge)),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The open message directories of a mailbox.
#[derive(Debug)]
pub(super) struct Spools {
    data: Option<Spool>,
    archive: Option<Spool>,
}

impl Spools {
    /// Opens those that are there; only a missing one is left out.
    pub(super) fn open(mailbox: &Mailbox) -> Result<Self, MessageError> {
        let open = |place| match Spool::open(mailbox.dir(place)) {
            Ok(spool) => Ok(Some(spool)),
            Err(MessageError::NoSpool { .. }) => Ok(None),
            Err(error) => Err(error),
        };
        Ok(Self {
            data: open(Place::Data)?,
            archive: open(Place::Archive)?,
        })
    }

    pub(super) fn get(&self, place: Place) -> Option<&Spool> {
        match place {
            Place::Data => self.data.as_ref(),
            Place::Archive => self.archive.as_ref(),
        }
    }
}

/// When a directory last changed, ns since 1970.
pub(super) fn changed(spool: &Spool) -> Option<i64> {
    let stat = rustix::fs::statat(spool.dir(), c"", AtFlags::EMPTY_PATH).ok()?;
    let nanos = i64::try_from(stat.st_mtime_nsec).ok()?;
    stat.st_mtime.checked_mul(1_000_000_000)?.checked_add(nanos)
}

/// How long ago a time in ns since 1970 was; `None` if it is in the future.
pub(super) fn age(nanos: i64) -> Option<Duration> {
    let then = Duration::from_nanos(u64::try_from(nanos).ok()?);
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()?
        .checked_sub(then)
}
