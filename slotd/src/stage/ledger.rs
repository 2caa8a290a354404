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

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;

use indexfile::{FileKind, Guid, IoContext, IoError, Record, Uuid};

use super::Note;
use super::old_uuid::{OldUuid, message_of};
use crate::fs::{Dir, Identity, Made, NewFile, OpenError, Unsynced, copy_attributes, sync_new};
use crate::protocol::Code;
use crate::refusal::Refusal;
use crate::store::Place;

/// Its name.
pub const FILE_NAME: &str = "cyrus.uuids";
/// Its name until it is complete; only under the mailbox's locks.
pub const NEW_NAME: &str = "cyrus.uuids.NEW";

const MAGIC: &[u8; 16] = b"reguid uuids 1\n\0";
const MAGIC_2: &[u8; 16] = b"reguid uuids 2\n\0";
const ENTRY: usize = 41;
const WRONG: usize = 48;
/// More than any mailbox's: UIDs have 32 bits, and nobody has a thousandth of them.
const LARGEST: u64 = 1 << 30;

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
    /// Whether it is of the same message.
    pub(super) fn fits(&self, record: &Record<'_>) -> bool {
        message_of(record) == (self.internaldate, self.size)
    }
}

/// The whole file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Of the mailbox, from cyrus.header.
    pub uniqueid: String,
    /// Of the mailbox, from the index header.
    pub uidvalidity: u32,
    /// For index and expunge file.
    pub replaced: [Option<Replaced>; 2],
    /// By UID.
    pub entries: BTreeMap<u32, Kept>,
    /// By UID, the first that was replaced first.
    pub wrong: BTreeMap<u32, Vec<WrongKept>>,
}

/// The place of a kind in [`Ledger::replaced`].
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
        let mut bytes = Vec::new();
        let read = file.take(LARGEST + 1).read_to_end(&mut bytes);
        read.io_context("read", &path)?;
        let ledger = Ledger::parse(&bytes).ok_or_else(|| {
            let text = format!(
                "{} is damaged: what upgrades replaced cannot be read. A downgrade with uuids=cut does without it, and CLEAN \
                 removes it",
                path.display()
            );
            Refusal::new(Code::Damaged, text)
        })?;
        if ledger.uidvalidity == uidvalidity && ledger.uniqueid == uniqueid()? {
            return Ok(Some(ledger));
        }
        tracing::warn!(mailbox = %place.mailbox, "{} is of another incarnation of the mailbox", path.display());
        Ok(None)
    }

    /// Whether it has heard of a run.
    #[must_use]
    pub fn knows(&self, run: u64) -> bool {
        self.replaced.iter().flatten().any(|r| r.run == run)
            || self.entries.values().any(|k| k.run == run)
            || self.wrong.values().flatten().any(|k| k.run == run)
    }

    /// Whether it has a wrong GUID of this message.
    pub(super) fn fits_wrong(&self, record: &Record<'_>) -> bool {
        let kept = self.wrong.get(&record.uid());
        kept.is_some_and(|kept| kept.iter().any(|k| k.fits(record)))
    }

    /// Keeps what a record has, which is wrong and about to be replaced.
    pub(super) fn keep_wrong(&mut self, record: &Record<'_>, run: u64) {
        let (internaldate, size) = message_of(record);
        let guid = record.guid().padded();
        let kept = WrongKept {
            guid,
            internaldate,
            size,
            run,
        };
        let of_uid = self.wrong.entry(record.uid()).or_default();
        // Those of another message that had the UID are of no use to anybody.
        of_uid.retain(|k| k.fits(record));
        if !of_uid.contains(&kept) {
            of_uid.push(kept);
        }
    }

    /// The run that replaced this `.OLD` file, if that is known.
    #[must_use]
    pub fn run_of(&self, kind: FileKind, old: Identity) -> Option<u64> {
        let replaced = self.replaced[place_of(kind)]?;
        (replaced.run != 0 && replaced.file.is(&old)).then_some(replaced.run)
    }

    /// Puts it in place, on stable storage. To be called under the mailbox's locks.
    ///
    /// # Errors
    /// The system's. What was there before is there still, or it is not known which of the two.
    pub fn put(&self, place: &Place, like: &File, note: Note<'_>) -> Result<(), Refusal> {
        let dir = &place.index;
        dir.unlink(NEW_NAME)?;
        let mut new = if let Some(new) = NewFile::nameless(dir, NEW_NAME)? {
            new
        } else {
            note()?;
            NewFile::create(dir, NEW_NAME)?
        };
        self.write(&mut new, dir)?;
        new.finish(like)?;
        sync_new(new.file(), &dir.path_of(NEW_NAME), Unsynced::All)?;
        name(place, &new.keep()?)
    }

    /// Writes it and brings it to stable storage without a name; `None` where that cannot be done.
    ///
    /// # Errors
    /// The system's.
    pub fn ahead(mut self, place: &Place) -> Result<Option<Ahead>, Refusal> {
        let dir = &place.index;
        let Some(mut new) = NewFile::nameless(dir, NEW_NAME)? else {
            return Ok(None);
        };
        let (count, crc) = self.write(&mut new, dir)?;
        let path = dir.path_of(NEW_NAME);
        new.flush().io_context("write", &path)?;
        sync_new(new.file(), &path, Unsynced::All)?;
        let made = new.keep()?;
        self.entries = BTreeMap::new();
        let wrong = self.count_wrong();
        self.wrong = BTreeMap::new();
        Ok(Some(Ahead {
            head: self,
            count,
            wrong,
            crc,
            made,
        }))
    }

    fn write(&self, new: &mut NewFile<'_>, dir: &Dir) -> Result<(u32, u32), IoError> {
        let entries = self.entries_to_bytes();
        let count = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        let crc = crc32fast::hash(&entries);
        let head = self.head_to_bytes((count, self.count_wrong()), crc);
        let write = new.write_all(&head).and_then(|()| new.write_all(&entries));
        write.io_context("write", &dir.path_of(NEW_NAME))?;
        Ok((count, crc))
    }

    fn count_wrong(&self) -> u32 {
        u32::try_from(self.wrong.values().map(Vec::len).sum::<usize>()).unwrap_or(u32::MAX)
    }

    /// As long for the same unique id and as many wrong ones, whatever else it says.
    fn head_to_bytes(&self, (count, wrong): (u32, u32), crc: u32) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        out.extend_from_slice(if wrong > 0 { MAGIC_2 } else { MAGIC });
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
        out.extend_from_slice(&count.to_be_bytes());
        out.extend_from_slice(&crc.to_be_bytes());
        if wrong > 0 {
            out.extend_from_slice(&wrong.to_be_bytes());
        }
        let crc = crc32fast::hash(&out[MAGIC.len() + 4..]);
        out[MAGIC.len()..MAGIC.len() + 4].copy_from_slice(&crc.to_be_bytes());
        out
    }

    fn entries_to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.entries.len() * ENTRY);
        for (uid, kept) in &self.entries {
            out.extend_from_slice(&uid.to_be_bytes());
            out.push(u8::from(kept.old.zero_modseq));
            out.extend_from_slice(kept.old.uuid.as_bytes());
            for number in [kept.old.internaldate, kept.old.size, kept.run] {
                out.extend_from_slice(&number.to_be_bytes());
            }
        }
        for (uid, kept) in &self.wrong {
            for kept in kept {
                out.extend_from_slice(&uid.to_be_bytes());
                out.extend_from_slice(kept.guid.as_bytes());
                for number in [kept.internaldate, kept.size, kept.run] {
                    out.extend_from_slice(&number.to_be_bytes());
                }
            }
        }
        out
    }

    /// `None` if it is not whole.
    fn parse(bytes: &[u8]) -> Option<Ledger> {
        let (mut rest, has_wrong) = match bytes.strip_prefix(MAGIC_2) {
            Some(rest) => (rest, true),
            None => (bytes.strip_prefix(MAGIC)?, false),
        };
        let crc = u32::from_be_bytes(take(&mut rest)?);
        let head = rest;
        let uidvalidity = u32::from_be_bytes(take(&mut rest)?);
        let length = u32::from_be_bytes(take(&mut rest)?) as usize;
        let (id, after) = rest.split_at_checked(length)?;
        rest = after;
        let mut ledger = Ledger {
            uniqueid: String::from_utf8(id.to_vec()).ok()?,
            uidvalidity,
            ..Ledger::default()
        };
        for slot in &mut ledger.replaced {
            let [known] = take(&mut rest)?;
            let (dev, ino) = (long(&mut rest)?, long(&mut rest)?);
            let (born, run) = (long(&mut rest)?, long(&mut rest)?);
            let born = (born != 0).then_some(born);
            let file = Identity { dev, ino, born };
            *slot = (known == 1).then_some(Replaced { file, run });
        }
        let entries = u32::from_be_bytes(take(&mut rest)?) as usize;
        let of_entries = u32::from_be_bytes(take(&mut rest)?);
        let wrong = if has_wrong {
            u32::from_be_bytes(take(&mut rest)?) as usize
        } else {
            0
        };
        let head = head.get(..head.len() - rest.len())?;
        let whole = crc == crc32fast::hash(head) && of_entries == crc32fast::hash(rest);
        let length = entries.checked_mul(ENTRY)?;
        let length = length.checked_add(wrong.checked_mul(WRONG)?)?;
        if !whole || rest.len() != length {
            return None;
        }
        for _ in 0..entries {
            let uid = u32::from_be_bytes(take(&mut rest)?);
            let [flags] = take(&mut rest)?;
            let old = OldUuid {
                uuid: Uuid::from_bytes(take(&mut rest)?),
                zero_modseq: flags & 1 != 0,
                internaldate: long(&mut rest)?,
                size: long(&mut rest)?,
            };
            let run = long(&mut rest)?;
            ledger.entries.insert(uid, Kept { old, run });
        }
        for _ in 0..wrong {
            let uid = u32::from_be_bytes(take(&mut rest)?);
            let kept = WrongKept {
                guid: Guid::from_bytes(take(&mut rest)?),
                internaldate: long(&mut rest)?,
                size: long(&mut rest)?,
                run: long(&mut rest)?,
            };
            ledger.wrong.entry(uid).or_default().push(kept);
        }
        Some(ledger)
    }
}

/// A file that is complete but for what its head says of the files that are replaced, and has no
/// name.
#[derive(Debug)]
pub struct Ahead {
    /// All but the entries.
    pub head: Ledger,
    count: u32,
    wrong: u32,
    crc: u32,
    made: Made,
}

impl Ahead {
    /// Writes the head and puts it in place, on stable storage. To be called under the mailbox's
    /// locks.
    ///
    /// # Errors
    /// As of [`Ledger::put`].
    pub fn put(self, place: &Place, like: &File) -> Result<(), Refusal> {
        let path = place.index.path_of(NEW_NAME);
        let head = self.head.head_to_bytes((self.count, self.wrong), self.crc);
        let file = &self.made.file;
        file.write_all_at(&head, 0).io_context("write", &path)?;
        copy_attributes(like, file, &path)?;
        sync_new(file, &path, Unsynced::All)?;
        place.index.unlink(NEW_NAME)?;
        name(place, &self.made)
    }
}

/// Gives a complete file its name.
fn name(place: &Place, made: &Made) -> Result<(), Refusal> {
    let dir = &place.index;
    let name = || -> Result<(), IoError> {
        if !made.named {
            dir.give_name(&made.file, NEW_NAME)?;
        }
        dir.rename(NEW_NAME, FILE_NAME)?;
        dir.sync()
    };
    name().map_err(|error| {
        if let Err(second) = dir.unlink(NEW_NAME) {
            tracing::error!(mailbox = %place.mailbox, "{second}");
        }
        error.into()
    })
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
    use super::*;

    fn ledger() -> Ledger {
        let old = |n: u8| OldUuid {
            uuid: Uuid::from_bytes([n; 12]),
            zero_modseq: n.is_multiple_of(2),
            internaldate: 1_200_000_000,
            size: u64::from(n) << 33,
        };
        let file = Identity {
            dev: 1,
            ino: 7,
            born: Some(99),
        };
        Ledger {
            uniqueid: "3f1c2d4e5a6b7c8d".to_owned(),
            uidvalidity: 1_164_000_000,
            replaced: [Some(Replaced { file, run: 5 }), None],
            entries: (1..5)
                .map(|n| {
                    let kept = Kept {
                        old: old(n),
                        run: u64::from(n),
                    };
                    (u32::from(n) * 3, kept)
                })
                .collect(),
            wrong: BTreeMap::new(),
        }
    }

    fn with_wrong() -> Ledger {
        let kept = |n: u8| WrongKept {
            guid: Guid::from_bytes([n; 20]),
            internaldate: 1_200_000_000,
            size: u64::from(n) << 33,
            run: u64::from(n),
        };
        let mut ledger = ledger();
        ledger.wrong.insert(3, vec![kept(9), kept(2)]);
        ledger.wrong.insert(70, vec![kept(5)]);
        ledger
    }

    #[test]
    fn what_is_written_is_read_and_no_changed_byte_goes_unnoticed() {
        for ledger in [ledger(), with_wrong()] {
            check(&ledger);
        }
    }

    fn check(ledger: &Ledger) {
        let entries = ledger.entries_to_bytes();
        let counts = (4, ledger.count_wrong());
        let mut bytes = ledger.head_to_bytes(counts, crc32fast::hash(&entries));
        bytes.extend_from_slice(&entries);
        assert_eq!(Ledger::parse(&bytes).as_ref(), Some(ledger));
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            assert_eq!(Ledger::parse(&changed), None, "byte {at}");
            assert_eq!(Ledger::parse(&bytes[..at]), None, "cut at {at}");
        }
    }

    #[test]
    fn a_file_that_got_the_place_of_the_one_replaced_is_not_taken_for_it() {
        let ledger = ledger();
        let file = ledger.replaced[0].unwrap().file;
        assert_eq!(ledger.run_of(FileKind::Index, file), Some(5));
        assert_eq!(ledger.run_of(FileKind::Expunge, file), None);
        let other = Identity {
            born: Some(100),
            ..file
        };
        assert_eq!(ledger.run_of(FileKind::Index, other), None);
    }
}
