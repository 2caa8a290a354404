//! `cyrus.uuids`: the identifiers that upgrades replaced and that no other file has any more, one
//! for each message.
//!
//! It lies beside cyrus.index and is ours alone. A `.OLD` file has what its own upgrade replaced
//! and goes with the next one; what it had is then merged into this file: the first identifier of a
//! message stays until `CLEAN`. So it is there only where a mailbox was changed more than once. It
//! is never edited: a complete new file is synced and renamed over it. A crash leaves the old one
//! or the new one, and perhaps a file under [`NEW_NAME`], which the next upgrade and `CLEAN`
//! remove.
//!
//! Big-endian: `reguid uuids 1`, a line feed and a zero byte; CRC-32 of what follows up to the
//! entries; uidvalidity (4); length of the unique id (4), the id; for cyrus.index, then for
//! cyrus.expunge, which file the run replaced last and so named `.OLD`: known 0 or 1 (1), device
//! (8), inode (8), time of birth or 0 (8), run (8); number of entries (4) and CRC-32 of them;
//! entries in ascending order of UIDs: UID (4), flags (1; bit 0: modseq was 0), UUID (12),
//! internaldate (8), size (8), run (8).
//!
//! Where wrong GUIDs were replaced (`rehash=fix`) it begins with `reguid uuids 2`: after the CRC-32
//! of the entries comes the number of wrong ones (4), and after the entries, under the same CRC-32,
//! they: UID (4), GUID (20), internaldate (8), size (8), run (8), ascending by UID, and of one UID
//! in the order in which they were replaced. An older release takes such a file for damaged.

mod format;
#[cfg(test)]
mod tests;
mod write;

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use indexfile::{FileKind, Guid, IoContext, IoError, Record};

use super::old_uuid::{OldUuid, message_of};
use super::rows::Rows;
use crate::fs::{Identity, OpenError};
use crate::protocol::Code;
use crate::refusal::Refusal;
use crate::store::Place;

use format::{ENTRY, LONGEST_HEAD, WRONG, kept_of, wrong_of};
pub(super) use format::{Head, place_of};
pub(super) use write::{Writer, Written};

/// Its name.
pub const FILE_NAME: &str = "cyrus.uuids";
/// Its name until it is complete; only under the mailbox's locks.
pub const NEW_NAME: &str = "cyrus.uuids.NEW";

/// Which file a run replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replaced {
    /// The file, which is `.OLD` then.
    pub file: Identity,
    /// The run, by its token; 0 is not known.
    pub run: u64,
}

/// What one message had, and which run took it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// What it had.
    pub old: OldUuid,
    /// The last run that replaced it, by its token; 0 is not known.
    pub run: u64,
}

/// A wrong GUID that a run replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongKept {
    /// It; no old-style one.
    pub guid: Guid,
    pub(super) internaldate: u64,
    pub(super) size: u64,
    /// The run, by its token; 0 is not known.
    pub run: u64,
}

impl WrongKept {
    /// What a record has, which is wrong.
    pub(super) fn of(record: &Record<'_>, run: u64) -> WrongKept {
        let (internaldate, size) = message_of(record);
        WrongKept {
            guid: record.guid().padded(),
            internaldate,
            size,
            run,
        }
    }

    /// Whether it is of the same message.
    pub(super) fn fits(&self, record: &Record<'_>) -> bool {
        message_of(record) == (self.internaldate, self.size)
    }
}

/// The file, whose entries are read when they are asked for.
#[derive(Debug)]
pub struct Ledger {
    pub(super) head: Head,
    entries: Rows<ENTRY>,
    wrong: Rows<WRONG>,
    /// The runs that are named anywhere, and those of wrong ones.
    runs: BTreeSet<u64>,
    wrong_runs: BTreeSet<u64>,
}

impl Ledger {
    /// Reads what is beside the mailbox; `None` if there is nothing, or it is of another
    /// incarnation of the mailbox.
    ///
    /// # Errors
    /// It is there and cannot be read: [`Code::Damaged`], or the system's.
    pub fn load(
        place: &Place,
        uidvalidity: u32,
        uniqueid: impl FnOnce() -> Result<String, Refusal>,
    ) -> Result<Option<Ledger>, Refusal> {
        let path = place.index.path_of(FILE_NAME);
        let file = match place.index.open_file(FILE_NAME, false) {
            Ok(file) => file,
            Err(OpenError::Missing { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let ledger = Ledger::read(file, &path)?.ok_or_else(|| {
            let text = format!(
                "{} is damaged: what upgrades replaced cannot be read. A downgrade with uuids=cut \
                 does without it, and CLEAN removes it",
                path.display()
            );
            Refusal::new(Code::Damaged, text)
        })?;
        if ledger.head.uidvalidity == uidvalidity && ledger.head.uniqueid == uniqueid()? {
            return Ok(Some(ledger));
        }
        let path = path.display();
        tracing::warn!(mailbox = %place.mailbox, "{path} is of another incarnation of the mailbox");
        Ok(None)
    }

    /// Reads it once from end to end; `None` if it is not whole.
    fn read(file: File, path: &Path) -> Result<Option<Ledger>, IoError> {
        let length = file.metadata().io_context("stat", path)?.len();
        let mut start = vec![0; usize::try_from(length.min(LONGEST_HEAD)).unwrap_or(0)];
        let read = file.read_exact_at(&mut start, 0);
        read.io_context("read", path)?;
        let Some((head, counts, at)) = Head::parse(&start) else {
            return Ok(None);
        };
        let (entries, wrong) = (counts.entries as usize, counts.wrong.unwrap_or(0) as usize);
        let wrong_at = (at + entries * ENTRY) as u64;
        if wrong_at + (wrong * WRONG) as u64 != length {
            return Ok(None);
        }
        let again = file.try_clone().io_context("duplicate", path)?;
        let mut ledger = Ledger {
            head,
            entries: Rows::new(again, path, at as u64),
            wrong: Rows::new(file, path, wrong_at),
            runs: BTreeSet::new(),
            wrong_runs: BTreeSet::new(),
        };
        let mut crc = crc32fast::Hasher::new();
        let runs = &mut ledger.runs;
        ledger.entries.scan(entries, |rows| {
            crc.update(rows.as_flattened());
            runs.extend(rows.iter().map(|row| kept_of(row).run));
        })?;
        let runs = &mut ledger.wrong_runs;
        ledger.wrong.scan(wrong, |rows| {
            crc.update(rows.as_flattened());
            runs.extend(rows.iter().map(|row| wrong_of(row).run));
        })?;
        let replaced = ledger.head.replaced.iter().flatten().map(|r| r.run);
        ledger.runs.extend(replaced);
        ledger.runs.extend(&ledger.wrong_runs);
        let ordered = ledger.entries.in_order() && ledger.wrong.in_order();
        Ok((crc.finalize() == counts.crc && ordered).then_some(ledger))
    }

    /// Whether it names a run.
    #[must_use]
    pub fn knows(&self, run: u64) -> bool {
        self.runs.contains(&run)
    }

    /// The runs that replaced wrong GUIDs.
    pub(super) fn wrong_runs(&self) -> impl Iterator<Item = u64> {
        self.wrong_runs.iter().copied()
    }

    /// Whether it has wrong ones.
    pub(super) fn has_wrong(&self) -> bool {
        !self.wrong_runs.is_empty()
    }

    /// What is kept of a UID.
    ///
    /// # Errors
    /// It cannot be read any more.
    pub fn kept(&self, uid: u32) -> Result<Option<Kept>, IoError> {
        Ok(self.entries.get(uid)?.as_ref().map(kept_of))
    }

    /// The wrong GUIDs that are kept of a UID, the first that was replaced first.
    ///
    /// # Errors
    /// They cannot be read any more.
    pub fn wrong(&self, uid: u32) -> Result<Vec<WrongKept>, IoError> {
        let mut all = Vec::new();
        if self.has_wrong() {
            self.wrong.of(uid, |row| all.push(wrong_of(row)))?;
        }
        Ok(all)
    }

    /// The run that replaced this `.OLD` file, if that is known.
    #[must_use]
    pub fn run_of(&self, kind: FileKind, old: Identity) -> Option<u64> {
        let replaced = self.head.replaced[place_of(kind)]?;
        (replaced.run != 0 && replaced.file.is(&old)).then_some(replaced.run)
    }
}
