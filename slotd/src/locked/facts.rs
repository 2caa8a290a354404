//! What `LOCK` tells of a mailbox: a few words of the headers, read and not checked. `UPGRADE`
//! checks the whole files.

use std::fs::File;
use std::os::unix::fs::FileExt;

use indexfile::layout;
use indexfile::{FileKind, HeaderField, IndexFile};

use crate::lock::MailboxLocks;
use crate::protocol::{Code, MailboxFacts};
use crate::refusal::Refusal;

/// What `LOCK` answers, from the headers alone.
pub(super) fn facts(locks: &MailboxLocks, uniqueid: &str) -> Result<MailboxFacts, Refusal> {
    let words = |kind: FileKind| -> Result<Option<HeaderWords>, Refusal> {
        let Some(locked) = locks.file(kind) else {
            return Ok(None);
        };
        if let Some(words) = HeaderWords::of(&locked.file) {
            return Ok(Some(words));
        }
        // Says what is wrong with it.
        let path = locks.place.directory_of(kind).path_of(kind.file_name());
        let file = IndexFile::from_file(&locked.file, &path, kind)?;
        let header = file.header();
        let (version, records, uidvalidity) = (
            file.minor_version(),
            file.num_records(),
            header.uidvalidity(),
        );
        Ok(Some(HeaderWords {
            version,
            records,
            uidvalidity,
        }))
    };
    let index = words(FileKind::Index)?;
    let index = index.ok_or_else(|| Refusal::new(Code::State, "cyrus.index is not locked"))?;
    let expunge = words(FileKind::Expunge)?;
    Ok(MailboxFacts {
        mailbox: locks.place.mailbox.clone(),
        partition: locks.place.partition.clone(),
        uniqueid: uniqueid.to_owned(),
        uidvalidity: index.uidvalidity,
        index: index.version,
        expunge: expunge.as_ref().map(|e| e.version),
        exists: index.records,
        expunged: expunge.as_ref().map_or(0, |e| e.records),
        old: None,
    })
}

/// The few words of a header that `LOCK` tells; the whole file is checked by `UPGRADE`.
struct HeaderWords {
    version: u32,
    records: u32,
    uidvalidity: u32,
}

impl HeaderWords {
    fn of(file: &File) -> Option<HeaderWords> {
        let mut bytes = [0; 192];
        let got = file.read_at(&mut bytes, 0).ok()?;
        let bytes = bytes.get(..got)?;
        let word = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let (version, start_offset, records) = (word(8)?, word(12)?, word(20)?);
        let slots = layout::header_slots(version, start_offset)?;
        let slot = slots.get(HeaderField::Uidvalidity);
        let uidvalidity = slot.map_or(Some(1), |s| u32::try_from(s.read(bytes)?).ok())?;
        Some(HeaderWords {
            version,
            records,
            uidvalidity,
        })
    }
}
