//! `cyrus.uuids`: the identifiers that upgrades replaced and that no other file has any more, one
//! for each message.
//!
//! It lies beside cyrus.index and is ours alone. A `.OLD` file tells what its own upgrade replaced
//! and goes with the next one; what it told is then kept here, merged: the first identifier of a
//! message stays until `CLEAN`. So it is there only where a mailbox was changed more than once. It
//! is never edited: a complete new file is synced and renamed over it. A crash leaves the old one
//! or the new one, and perhaps a file under [`NEW_NAME`], which the next upgrade and `CLEAN`
//! remove.
//!
//! Big-endian: [`MAGIC`]; CRC-32 of what follows up to the entries; uidvalidity (4); length of the
//! unique id (4), the id; for cyrus.index, then for cyrus.expunge, which file the run replaced last
//! and so named `.OLD`: known 0 or 1 (1), device (8), inode (8), time of birth or 0 (8), run (8);
//! number of entries (4) and CRC-32 of them; entries in ascending order of UIDs: UID (4), flags (1;
//! bit 0: modseq was 0), UUID (12), internaldate (8), size (8), run (8).
//!
//! Where wrong GUIDs were replaced (`rehash=fix`) it begins with [`MAGIC_2`]: after the CRC-32 of
//! the entries comes the number of wrong ones (4), and after the entries, under the same CRC-32,
//! they: UID (4), GUID (20), internaldate (8), size (8), run (8), ascending by UID, and of one UID
//! in the order in which they were replaced. An older release takes such a file for damaged.

mod write;

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use indexfile::{FileKind, Guid, IoContext, IoError, Record, Uuid};

use super::old_uuid::{OldUuid, message_of};
use super::rows::Rows;
use crate::fs::{Identity, OpenError};
use crate::protocol::Code;
use crate::refusal::Refusal;
use crate::store::Place;

pub(super) use write::{Writer, Written};

/// Its name.
pub const FILE_NAME: &str = "cyrus.uuids";
/// Its name until it is complete; only under the mailbox's locks.
pub const NEW_NAME: &str = "cyrus.uuids.NEW";

const MAGIC: &[u8; 16] = b"reguid uuids 1\n\0";
const MAGIC_2: &[u8; 16] = b"reguid uuids 2\n\0";
/// Bytes of an entry.
pub(super) const ENTRY: usize = 41;
/// Bytes of a wrong one.
pub(super) const WRONG: usize = 48;
/// More than any head has.
const LONGEST_HEAD: u64 = 64 << 10;

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

/// What the file says before its entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    /// Of the mailbox, from cyrus.header.
    pub(super) uniqueid: String,
    /// Of the mailbox, from the index header.
    pub(super) uidvalidity: u32,
    /// For index and expunge file.
    pub(super) replaced: [Option<Replaced>; 2],
}

/// How many entries there are, and the CRC-32 of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) entries: u32,
    /// `None`: the file has no place for wrong ones.
    pub(super) wrong: Option<u32>,
    pub(super) crc: u32,
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

/// The place of a kind in [`Head::replaced`].
pub(super) const fn place_of(kind: FileKind) -> usize {
    match kind {
        FileKind::Index => 0,
        FileKind::Expunge => 1,
    }
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

impl Head {
    /// How long it is in the file, in bytes, whatever it says of files and counts.
    pub(super) fn length(&self, wrong: bool) -> usize {
        let wrong = wrong.then_some(0);
        let counts = Counts {
            wrong,
            ..Counts::default()
        };
        self.to_bytes(counts).len()
    }

    /// Says which files go now; what it says of others stays.
    pub(super) fn set_replaced(&mut self, replaced: [Option<Replaced>; 2]) {
        for (slot, new) in self.replaced.iter_mut().zip(replaced) {
            *slot = new.or(*slot);
        }
    }

    pub(super) fn to_bytes(&self, counts: Counts) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        out.extend_from_slice(if counts.wrong.is_some() {
            MAGIC_2
        } else {
            MAGIC
        });
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.uidvalidity.to_be_bytes());
        let length = u32::try_from(self.uniqueid.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(self.uniqueid.as_bytes());
        for replaced in &self.replaced {
            out.push(u8::from(replaced.is_some()));
            let (file, run) = replaced.map_or_else(
                || {
                    let (dev, ino, born) = (0, 0, None);
                    (Identity { dev, ino, born }, 0)
                },
                |r| (r.file, r.run),
            );
            for number in [file.dev, file.ino, file.born.unwrap_or(0), run] {
                out.extend_from_slice(&number.to_be_bytes());
            }
        }
        out.extend_from_slice(&counts.entries.to_be_bytes());
        out.extend_from_slice(&counts.crc.to_be_bytes());
        out.extend(counts.wrong.iter().flat_map(|wrong| wrong.to_be_bytes()));
        let crc = crc32fast::hash(&out[MAGIC.len() + 4..]);
        out[MAGIC.len()..MAGIC.len() + 4].copy_from_slice(&crc.to_be_bytes());
        out
    }

    /// Gives its length too; `None` if it is not whole.
    fn parse(bytes: &[u8]) -> Option<(Head, Counts, usize)> {
        let (mut rest, has_wrong) = match bytes.strip_prefix(MAGIC_2) {
            Some(rest) => (rest, true),
            None => (bytes.strip_prefix(MAGIC)?, false),
        };
        let crc = u32::from_be_bytes(take(&mut rest)?);
        let summed = rest;
        let uidvalidity = u32::from_be_bytes(take(&mut rest)?);
        let length = u32::from_be_bytes(take(&mut rest)?) as usize;
        let (id, after) = rest.split_at_checked(length)?;
        rest = after;
        let mut head = Head {
            uniqueid: String::from_utf8(id.to_vec()).ok()?,
            uidvalidity,
            ..Head::default()
        };
        for slot in &mut head.replaced {
            let [known] = take(&mut rest)?;
            let (dev, ino) = (long(&mut rest)?, long(&mut rest)?);
            let (born, run) = (long(&mut rest)?, long(&mut rest)?);
            let born = (born != 0).then_some(born);
            let file = Identity { dev, ino, born };
            *slot = (known == 1).then_some(Replaced { file, run });
        }
        let entries = u32::from_be_bytes(take(&mut rest)?);
        let of_entries = u32::from_be_bytes(take(&mut rest)?);
        let wrong = if has_wrong {
            Some(u32::from_be_bytes(take(&mut rest)?))
        } else {
            None
        };
        let counts = Counts {
            entries,
            wrong,
            crc: of_entries,
        };
        let summed = summed.get(..summed.len() - rest.len())?;
        let length = bytes.len() - rest.len();
        (crc == crc32fast::hash(summed)).then_some((head, counts, length))
    }
}

pub(super) fn row_of_kept(uid: u32, kept: &Kept) -> [u8; ENTRY] {
    let mut row = [0; ENTRY];
    row[..4].copy_from_slice(&uid.to_be_bytes());
    row[4] = u8::from(kept.old.zero_modseq);
    row[5..17].copy_from_slice(kept.old.uuid.as_bytes());
    put_longs(
        &mut row[17..],
        [kept.old.internaldate, kept.old.size, kept.run],
    );
    row
}

fn kept_of(row: &[u8; ENTRY]) -> Kept {
    let mut rest = &row[4..];
    let [flags] = take(&mut rest).unwrap_or_default();
    let uuid = Uuid::from_bytes(take(&mut rest).unwrap_or_default());
    let mut long = || long(&mut rest).unwrap_or_default();
    let old = OldUuid {
        uuid,
        zero_modseq: flags & 1 != 0,
        internaldate: long(),
        size: long(),
    };
    Kept { old, run: long() }
}

pub(super) fn row_of_wrong(uid: u32, kept: &WrongKept) -> [u8; WRONG] {
    let mut row = [0; WRONG];
    row[..4].copy_from_slice(&uid.to_be_bytes());
    row[4..24].copy_from_slice(kept.guid.as_bytes());
    put_longs(&mut row[24..], [kept.internaldate, kept.size, kept.run]);
    row
}

fn wrong_of(row: &[u8; WRONG]) -> WrongKept {
    let mut rest = &row[4..];
    let guid = Guid::from_bytes(take(&mut rest).unwrap_or_default());
    let mut long = || long(&mut rest).unwrap_or_default();
    WrongKept {
        guid,
        internaldate: long(),
        size: long(),
        run: long(),
    }
}

fn put_longs(to: &mut [u8], longs: [u64; 3]) {
    for (to, long) in to.chunks_exact_mut(8).zip(longs) {
        to.copy_from_slice(&long.to_be_bytes());
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (first, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(*first)
}

fn long(rest: &mut &[u8]) -> Option<u64> {
    take(rest).map(u64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn head() -> Head {
        let file = Identity {
            dev: 1,
            ino: 7,
            born: Some(99),
        };
        Head {
            uniqueid: "3f1c2d4e5a6b7c8d".to_owned(),
            uidvalidity: 1_164_000_000,
            replaced: [Some(Replaced { file, run: 5 }), None],
        }
    }

    fn kept(n: u8) -> Kept {
        let old = OldUuid {
            uuid: Uuid::from_bytes([n; 12]),
            zero_modseq: n.is_multiple_of(2),
            internaldate: 1_200_000_000,
            size: u64::from(n) << 33,
        };
        let run = u64::from(n);
        Kept { old, run }
    }

    fn wrong(n: u8) -> WrongKept {
        WrongKept {
            guid: Guid::from_bytes([n; 20]),
            internaldate: 1_200_000_000,
            size: u64::from(n) << 33,
            run: u64::from(n),
        }
    }

    fn file(wrong: &[(u32, WrongKept)]) -> Vec<u8> {
        let mut rows: Vec<u8> = Vec::new();
        rows.extend((1..5).flat_map(|n| row_of_kept(u32::from(n) * 3, &kept(n))));
        rows.extend(wrong.iter().flat_map(|(uid, w)| row_of_wrong(*uid, w)));
        let counts = Counts {
            entries: 4,
            wrong: (!wrong.is_empty()).then(|| u32::try_from(wrong.len()).unwrap()),
            crc: crc32fast::hash(&rows),
        };
        let mut bytes = head().to_bytes(counts);
        assert_eq!(bytes.len(), head().length(!wrong.is_empty()));
        bytes.extend_from_slice(&rows);
        bytes
    }

    fn read(bytes: &[u8]) -> Option<Ledger> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        Ledger::read(file, Path::new("x")).unwrap()
    }

    #[test]
    fn what_is_written_is_read_and_no_changed_byte_goes_unnoticed() {
        for wrong_ones in [vec![], vec![(3, wrong(9)), (3, wrong(2)), (70, wrong(6))]] {
            let bytes = file(&wrong_ones);
            let ledger = read(&bytes).unwrap();
            assert_eq!(ledger.head, head());
            for uid in 0..80 {
                let n = u8::try_from(uid / 3).unwrap();
                let expected = (uid % 3 == 0 && (1..5).contains(&n)).then(|| kept(n));
                assert_eq!(ledger.kept(uid).unwrap(), expected);
                let expected = wrong_ones.iter().filter(|(of, _)| *of == uid);
                let expected: Vec<_> = expected.map(|(_, wrong)| *wrong).collect();
                assert_eq!(ledger.wrong(uid).unwrap(), expected);
            }
            for run in 0..12 {
                let of_wrong = wrong_ones.iter().any(|(_, w)| w.run == run);
                assert_eq!(ledger.knows(run), (1..6).contains(&run) || of_wrong);
                assert_eq!(ledger.wrong_runs().any(|r| r == run), of_wrong);
            }
            for at in 0..bytes.len() {
                let mut changed = bytes.clone();
                changed[at] ^= 0x10;
                assert!(read(&changed).is_none(), "byte {at}");
                assert!(read(&bytes[..at]).is_none(), "cut at {at}");
            }
        }
    }

    #[test]
    fn a_file_that_got_the_place_of_the_one_replaced_is_not_taken_for_it() {
        let ledger = read(&file(&[])).unwrap();
        let file = ledger.head.replaced[0].unwrap().file;
        assert_eq!(ledger.run_of(FileKind::Index, file), Some(5));
        assert_eq!(ledger.run_of(FileKind::Expunge, file), None);
        let other = Identity {
            born: Some(100),
            ..file
        };
        assert_eq!(ledger.run_of(FileKind::Index, other), None);
    }
}
