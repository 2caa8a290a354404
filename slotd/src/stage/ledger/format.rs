//! The bytes of `cyrus.uuids`, as [`super`] describes them: head and rows, to bytes and back. No
//! I/O.

use indexfile::{FileKind, Guid, Uuid};

use super::{Kept, Replaced, WrongKept};
use crate::fs::Identity;
use crate::stage::old_uuid::OldUuid;

const MAGIC: &[u8; 16] = b"reguid uuids 1\n\0";
const MAGIC_2: &[u8; 16] = b"reguid uuids 2\n\0";
/// Bytes of an entry.
pub(super) const ENTRY: usize = 41;
/// Bytes of a wrong one.
pub(super) const WRONG: usize = 48;
/// More than any head has.
pub(super) const LONGEST_HEAD: u64 = 64 << 10;

/// What the file says before its entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::stage) struct Head {
    /// Of the mailbox, from cyrus.header.
    pub(in crate::stage) uniqueid: String,
    /// Of the mailbox, from the index header.
    pub(in crate::stage) uidvalidity: u32,
    /// For index and expunge file.
    pub(in crate::stage) replaced: [Option<Replaced>; 2],
}

/// How many entries there are, and the CRC-32 of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) entries: u32,
    /// `None`: the file has no place for wrong ones.
    pub(super) wrong: Option<u32>,
    pub(super) crc: u32,
}

/// The place of a kind in [`Head::replaced`].
pub(in crate::stage) const fn place_of(kind: FileKind) -> usize {
    match kind {
        FileKind::Index => 0,
        FileKind::Expunge => 1,
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
    pub(in crate::stage) fn set_replaced(&mut self, replaced: [Option<Replaced>; 2]) {
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
    pub(super) fn parse(bytes: &[u8]) -> Option<(Head, Counts, usize)> {
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

pub(super) fn kept_of(row: &[u8; ENTRY]) -> Kept {
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

pub(super) fn wrong_of(row: &[u8; WRONG]) -> WrongKept {
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
