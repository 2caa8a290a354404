//! What the message files say, against what the records say.

use std::time::Duration;

use indexfile::mailbox::MetaFile;
use indexfile::{FileKind, Guid, ReadError};
use rustix::io::Errno;

use super::look::{Now, Problem, Seen, Suspect};

use super::row::Row;
use super::snapshot::{Snapshot, open_expunge};
use super::spools::{Spools, age, changed};
use super::summary::Progress;
use crate::governor::Governor;
use crate::hash::lanes::Lanes;
use crate::links::Links;
use crate::message::{FileStat, Gate, Hashed, Hasher, MessageError, Opened, Spool, Stamp};
use crate::store::{Place, Target};
use indexfile::finding::Code;

/// Limits on reading, and what is known of files with several names.
#[derive(Clone, Copy)]
pub(super) struct Throttle<'a> {
    pub(super) governor: &'a Governor,
    /// `None`: read every name of a file, as a second look must.
    pub(super) links: Option<&'a Links>,
    pub(super) progress: &'a Progress,
}

impl Gate for Throttle<'_> {
    fn go_on(&mut self) -> bool {
        self.governor.go_on()
    }

    fn read(&mut self, bytes: u64) -> bool {
        self.progress.lock().bytes += bytes;
        self.governor.admit(bytes)
    }

    fn opened(&mut self, _uid: u32, stat: &FileStat) -> Opened {
        self.links.map_or(Opened::Read, |links| links.opened(stat))
    }

    fn closed(&mut self, stat: &FileStat, guid: Option<Guid>) {
        if let Some(links) = self.links {
            links.closed(stat, guid);
        }
    }
}

/// What came of one record's file.
pub(super) struct Outcome {
    pub(super) row: Row,
    pub(super) file: Option<(u64, Stamp)>,
    /// `None`: the file agrees with the record.
    pub(super) problem: Option<Problem>,
}

/// Reads the files of `rows` and compares. A row whose file was not read because the gate said stop
/// is not mentioned.
pub(super) fn compare(
    spools: &Spools,
    mut rows: Vec<Row>,
    lanes: &mut Lanes,
    throttle: Throttle<'_>,
    mut each: impl FnMut(Outcome),
) {
    rows.retain(|row| !row.unlinked);
    // An expunge file is in no order, and nothing stops it from listing a UID twice.
    rows.sort_by_key(|row| row.uid);
    rows.dedup_by_key(|row| row.uid);
    for place in [Place::Data, Place::Archive] {
        let here = || rows.iter().filter(|row| row.place() == place);
        let Some(spool) = spools.get(place) else {
            for row in here() {
                each(missing(*row, spools));
            }
            continue;
        };
        // What has no SHA-1 to compare with is not read.
        for row in here().filter(|row| row.guid.is_none()) {
            let stat = spool
                .stat(row.uid)
                .map(|FileStat { size, stamp, .. }| (size, stamp));
            each(outcome(*row, stat.map(|file| (file, None)), spools));
        }
        let uids: Vec<u32> = here()
            .filter(|row| row.guid.is_some())
            .map(|row| row.uid)
            .collect();
        let mut sink = |uid: u32, result: Result<Hashed, MessageError>| {
            let read = result.map(|hashed| ((hashed.size, hashed.stamp), Some(hashed.guid)));
            let row = rows
                .binary_search_by_key(&uid, |row| row.uid)
                .ok()
                .and_then(|at| rows.get(at));
            if let Some(row) = row {
                each(outcome(*row, read, spools));
            }
        };
        let mut left = Hasher::new(spool, uids.into_iter(), &mut sink, throttle).run(lanes);
        // Another thread reads a further name of the same file.
        while let Some(links) = throttle
            .links
            .filter(|_| !left.is_empty() && !throttle.governor.stopped())
        {
            links.wait(Duration::from_millis(100));
            left = Hasher::new(spool, left.into_iter(), &mut sink, throttle).run(lanes);
        }
    }
}

type Read = Result<((u64, Stamp), Option<Guid>), MessageError>;

fn outcome(row: Row, read: Read, spools: &Spools) -> Outcome {
    let (file, guid) = match read {
        Ok(read) => read,
        Err(MessageError::Missing { .. } | MessageError::NoSpool { .. }) => {
            return missing(row, spools);
        }
        Err(error) => {
            let problem = Problem {
                text: Some(error.to_string()),
                ..Problem::new(code_of(&error))
            };
            return Outcome {
                row,
                file: None,
                problem: Some(problem),
            };
        }
    };
    let code = if file.0 != row.size {
        Some(Code::Size)
    } else if guid.is_some() && guid != row.guid {
        Some(Code::BitRot)
    } else {
        None
    };
    let problem = code.map(|code| Problem {
        file_guid: guid,
        file_size: Some(file.0),
        ..Problem::new(code)
    });
    Outcome {
        row,
        file: Some(file),
        problem,
    }
}

fn missing(row: Row, spools: &Spools) -> Outcome {
    let elsewhere = match row.place() {
        Place::Data => Place::Archive,
        Place::Archive => Place::Data,
    };
    let other = spools
        .get(elsewhere)
        .filter(|spool| spool.stat(row.uid).is_ok());
    let text = other.map(|spool| {
        format!(
            "no such message file, but there is {}",
            spool.path_of(row.uid).display()
        )
    });
    let problem = Problem {
        text,
        ..Problem::new(Code::Missing)
    };
    Outcome {
        row,
        file: None,
        problem: Some(problem),
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

/// What one look saw of a record's file.
pub(super) fn seen(outcome: Outcome, spools: &Spools) -> Option<Seen> {
    let Outcome { row, file, problem } = outcome;
    let problem = problem?;
    let dir_changed = match file {
        Some(_) => None,
        None => spools.get(row.place()).and_then(changed),
    };
    Some(Seen {
        row: Some(row),
        file,
        dir_changed,
        problem,
    })
}

/// What one look saw of a file without a record; `None` if the file is not there (any more).
pub(super) fn seen_stray(spool: &Spool, uid: u32, row: Option<Row>) -> Option<Seen> {
    let code = if row.is_some() {
        Code::Duplicate
    } else {
        Code::Unlisted
    };
    let (file, problem) = match spool.stat(uid) {
        Ok(FileStat { size, stamp, .. }) => {
            let problem = Problem {
                file_size: Some(size),
                ..Problem::new(code)
            };
            (Some((size, stamp)), problem)
        }
        Err(MessageError::Missing { .. }) => return None,
        Err(error) => {
            let problem = Problem {
                text: Some(error.to_string()),
                ..Problem::new(code_of(&error))
            };
            (None, problem)
        }
    };
    Some(Seen {
        row,
        file,
        dir_changed: changed(spool),
        problem,
    })
}

/// How long nothing has moved that `seen` depends on.
fn still_for(seen: &Seen) -> Option<Duration> {
    let times = [seen.file.map(|(_, stamp)| stamp.ctime_ns), seen.dir_changed];
    let newest = times.into_iter().flatten().max()?;
    age(newest)
}

/// The freshly opened files of a mailbox, for a second look.
pub(super) struct Fresh {
    index: Snapshot,
    /// The rows of cyrus.expunge that were asked for.
    expunged: Vec<Row>,
}

impl Fresh {
    /// Opens the index, and finds `suspects` in the expunge file if there is one.
    pub(super) fn open(mailbox: &Target, suspects: &[Suspect]) -> Result<Self, ReadError> {
        let index = Snapshot::open(&mailbox.dirs.file(MetaFile::Index), FileKind::Index)?;
        let mut expunged = Vec::new();
        // The order is that of Cyrus, which writes the expunge file first and then the index: what
        // was in the index before this was opened is in one of the two.
        if let Some(mut expunge) = open_expunge(&mailbox.dirs.file(MetaFile::Expunge))? {
            let mut uids: Vec<u32> = suspects.iter().map(|suspect| suspect.uid).collect();
            uids.sort_unstable();
            while !expunge.at_end() {
                let rows = expunge.next_rows(|_, _| {})?;
                expunged.extend(
                    rows.into_iter()
                        .filter(|row| uids.binary_search(&row.uid).is_ok()),
                );
            }
        }
        Ok(Self { index, expunged })
    }

    /// The largest UID ever given.
    pub(super) fn last_uid(&self) -> u32 {
        self.index.last_uid()
    }

    /// The record of a suspect now, of the same file as before if both have one.
    pub(super) fn row(&self, suspect: &Suspect) -> Result<Option<Row>, ReadError> {
        let expunged = self
            .expunged
            .iter()
            .rev()
            .find(|row| row.uid == suspect.uid)
            .copied();
        let was_expunged = suspect
            .seen
            .row
            .is_some_and(|row| row.kind == FileKind::Expunge);
        if was_expunged && expunged.is_some() {
            return Ok(expunged);
        }
        Ok(self.index.find(suspect.uid)?.or(expunged))
    }
}

/// What is there now of each suspect; `rows` are their records as [`Fresh::row`] found them.
pub(super) fn look_again(
    mailbox: &Target,
    suspects: Vec<(Suspect, Option<Row>)>,
    lanes: &mut Lanes,
    throttle: Throttle<'_>,
    mut each: impl FnMut(Suspect, Now),
) -> Result<(), MessageError> {
    let spools = Spools::open(mailbox)?;
    let mut of_records = Vec::new();
    for (suspect, row) in suspects {
        match (suspect.stray, row) {
            (Some(place), row) => {
                let now = stray(mailbox, &spools, place, suspect.uid, row);
                each(suspect, now);
            }
            (None, Some(row)) if !row.unlinked => of_records.push((suspect, row)),
            (None, _) => each(suspect, Now::Gone),
        }
    }
    let rows = of_records.iter().map(|(_, row)| *row).collect();
    compare(&spools, rows, lanes, throttle, |outcome| {
        let Some(at) = of_records.iter().position(|(_, row)| *row == outcome.row) else {
            return;
        };
        let (suspect, _) = of_records.swap_remove(at);
        each(suspect, now(outcome, &spools));
    });
    Ok(())
}

fn now(outcome: Outcome, spools: &Spools) -> Now {
    match (&outcome.problem, outcome.file) {
        (None, Some(file)) => Now::Agrees {
            row: outcome.row,
            file,
        },
        _ => match seen(outcome, spools) {
            Some(seen) => Now::Wrong {
                still_for: still_for(&seen),
                seen,
            },
            None => Now::Gone,
        },
    }
}

fn stray(mailbox: &Target, spools: &Spools, place: Place, uid: u32, row: Option<Row>) -> Now {
    let Some(spool) = spools.get(place) else {
        return Now::Gone;
    };
    match row {
        // Listed by now, or about to be removed.
        Some(row)
            if row.unlinked
                || row.cleanup
                || mailbox.location(row.place()) == mailbox.location(place) =>
        {
            return Now::Gone;
        }
        // The only copy: the record is reported, whose file is missing where it should be.
        Some(row)
            if spools
                .get(row.place())
                .is_none_or(|right| right.stat(uid).is_err()) =>
        {
            return Now::Gone;
        }
        _ => {}
    }
    match seen_stray(spool, uid, row) {
        // A record may have gone long before its file, so the age of the directory proves nothing
        // here: there is always another look after the wait.
        Some(seen) => Now::Wrong {
            seen,
            still_for: None,
        },
        None => Now::Gone,
    }
}
