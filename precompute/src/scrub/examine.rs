//! What the message files say, against what the records say.

use indexfile::finding::Code;
use indexfile::mailbox::MetaFile;
use indexfile::{FileKind, Guid, ReadError};
use rustix::io::Errno;

use super::observation::{Observation, Suspect};
use super::record_reader::{RecordReader, open_expunge};
use super::row::Row;
use super::spools::{Spools, changed};
use crate::hash::lanes::Lanes;
use crate::message::{MessageError, Spool, Stamp};
use crate::store::{Place, Target};
use crate::throttle::Throttle;

/// Reads the files of `rows` and compares. A row whose file was not read because of a stop is left
/// out.
pub(super) fn compare(
    spools: &Spools,
    mut rows: Vec<Row>,
    lanes: &mut Lanes,
    throttle: Throttle<'_>,
    mut each: impl FnMut(Observation),
) {
    // An expunge file is in no order, and nothing stops it from listing a UID twice.
    rows.sort_by_key(|row| row.uid);
    rows.dedup_by_key(|row| row.uid);
    for place in [Place::Data, Place::Archive] {
        let here = rows.iter().filter(|row| row.place() == place);
        let Some(spool) = spools.get(place) else {
            here.for_each(|row| each(observe(*row, None, spools)));
            continue;
        };
        // What has no SHA-1 to compare with is not read.
        let (to_read, others): (Vec<&Row>, Vec<&Row>) = here.partition(|row| row.guid.is_some());
        for row in others {
            let stat = spool.stat(row.uid);
            let file = stat.map(|stat| ((stat.size, stat.stamp), None));
            each(observe(*row, Some(file), spools));
        }
        let uids = to_read.iter().map(|row| row.uid).collect();
        throttle.hash(spool, uids, lanes, |uid, result| {
            let read = result.map(|hashed| ((hashed.size, hashed.stamp), Some(hashed.guid)));
            if let Ok(at) = to_read.binary_search_by_key(&uid, |row| row.uid) {
                each(observe(*to_read[at], Some(read), spools));
            }
        });
    }
}

type Read = Result<((u64, Stamp), Option<Guid>), MessageError>;

/// What is there for a record; without `read` its directory is not there.
fn observe(row: Row, read: Option<Read>, spools: &Spools) -> Observation {
    let none = Observation {
        uid: row.uid,
        unlisted: None,
        row: Some(row),
        file: None,
        guid: None,
        dir_changed: None,
        code: None,
        text: None,
    };
    let error = match read {
        Some(Ok((file, guid))) => {
            let code = if file.0 != row.size {
                Some(Code::Size)
            } else if guid.is_some() && guid != row.guid {
                Some(Code::BitRot)
            } else {
                None
            };
            return Observation {
                file: Some(file),
                guid,
                code,
                ..none
            };
        }
        None | Some(Err(MessageError::Missing { .. } | MessageError::NoSpool { .. })) => None,
        Some(Err(error)) => Some(error),
    };
    let other = match row.place() {
        Place::Data => spools.get(Place::Archive),
        Place::Archive => spools.get(Place::Data),
    };
    let elsewhere = || {
        let path = other
            .filter(|spool| spool.stat(row.uid).is_ok())?
            .path_of(row.uid);
        Some(format!(
            "no such message file, but there is {}",
            path.display()
        ))
    };
    Observation {
        dir_changed: spools.get(row.place()).and_then(changed),
        code: Some(error.as_ref().map_or(Code::Missing, code_of)),
        text: error.map_or_else(elsewhere, |error| Some(error.to_string())),
        ..none
    }
}

fn code_of(error: &MessageError) -> Code {
    match error {
        MessageError::NotRegular { .. } => Code::NotRegular,
        MessageError::Denied { .. } => Code::Unreadable,
        MessageError::Unstable { .. } => Code::Unstable,
        MessageError::Io { source, .. } => {
            // What disks and file systems say of a bad block; anything else is our own trouble.
            let bad = [Errno::IO, Errno::NODATA, Errno::ILSEQ, Errno::UCLEAN];
            let raw = source.raw_os_error();
            if bad.iter().any(|errno| Some(errno.raw_os_error()) == raw) {
                Code::ReadError
            } else {
                Code::Io
            }
        }
        _ => Code::Io,
    }
}

/// What is there of a file that no record accounts for; `None` if it is not there (any more).
pub(super) fn observe_unlisted(
    spool: &Spool,
    place: Place,
    uid: u32,
    row: Option<Row>,
) -> Option<Observation> {
    let (file, code, text) = match spool.stat(uid) {
        Ok(stat) if row.is_some() => (Some((stat.size, stat.stamp)), Code::Duplicate, None),
        Ok(stat) => (Some((stat.size, stat.stamp)), Code::Unlisted, None),
        Err(MessageError::Missing { .. }) => return None,
        Err(error) => (None, code_of(&error), Some(error.to_string())),
    };
    Some(Observation {
        uid,
        unlisted: Some(place),
        row,
        file,
        guid: None,
        dir_changed: changed(spool),
        code: Some(code),
        text,
    })
}

/// The same at a second look, with the record as it is now.
pub(super) fn observe_unlisted_again(
    mailbox: &Target,
    spools: &Spools,
    place: Place,
    uid: u32,
    row: Option<Row>,
) -> Option<Observation> {
    let spool = spools.get(place)?;
    if let Some(row) = row {
        let listed = mailbox.location(row.place()) == mailbox.location(place);
        let at_home = spools.get(row.place());
        let only_copy = at_home.is_none_or(|right| right.stat(uid).is_err());
        // Listed by now, or about to be removed. Of an only copy the record is reported, whose file
        // is missing where it should be.
        if row.unlinked || row.cleanup || listed || only_copy {
            return None;
        }
    }
    observe_unlisted(spool, place, uid, row)
}

/// The freshly opened files of a mailbox, for a second look.
pub(super) struct Fresh {
    index: RecordReader,
    /// The rows of cyrus.expunge that were asked for.
    expunged: Vec<Row>,
}

impl Fresh {
    /// Opens the index, and finds `suspects` in the expunge file if there is one.
    pub(super) fn open(mailbox: &Target, suspects: &[Suspect]) -> Result<Self, ReadError> {
        let index = RecordReader::open(&mailbox.dirs.file(MetaFile::Index), FileKind::Index)?;
        let mut expunged = Vec::new();
        // The order is that of Cyrus, which writes the expunge file first and then the index: what
        // was in the index before this was opened is in one of the two.
        if let Some(mut expunge) = open_expunge(&mailbox.dirs.file(MetaFile::Expunge))? {
            let mut uids: Vec<u32> = suspects.iter().map(|suspect| suspect.seen.uid).collect();
            uids.sort_unstable();
            while !expunge.at_end() {
                let rows = expunge.next_rows(|_, _| {})?.into_iter();
                expunged.extend(rows.filter(|row| uids.binary_search(&row.uid).is_ok()));
            }
        }
        Ok(Self { index, expunged })
    }

    /// The largest UID ever given.
    pub(super) fn last_uid(&self) -> u32 {
        self.index.last_uid()
    }

    /// The record of a suspect now, of the same file as before if both have one.
    pub(super) fn row(&self, seen: &Observation) -> Result<Option<Row>, ReadError> {
        let mut expunged = self.expunged.iter().rev().copied();
        let expunged = expunged.find(|row| row.uid == seen.uid);
        let was_expunged = seen.row.is_some_and(|row| row.kind == FileKind::Expunge);
        if was_expunged && expunged.is_some() {
            return Ok(expunged);
        }
        Ok(self.index.find(seen.uid)?.or(expunged))
    }
}
