//! Where `convert` takes identifiers from: the cache, the message files, or an older copy of the
//! file.

use super::fail::Fail;
use crate::exit::Exit;
use crate::guid::{Guid, RecordGuid};
use crate::kind::FileKind;
use crate::mailbox::HeaderFile;
use crate::message::Spool;
use crate::read_error::ReadError;
use crate::reader::IndexFile;
use crate::record::Record;
use crate::sha1s::Cache;
use crate::stream_copy::Decision;
use std::collections::HashMap;
use std::path::Path;

/// GUIDs for an upgrade.
#[derive(Debug, Default)]
pub(super) struct GuidSource {
    cache: Option<Cache>,
    messages: Option<Spool>,
    /// Taken from the cache.
    pub(super) cached: u32,
    /// Computed from message files.
    pub(super) hashed: u32,
}

impl GuidSource {
    /// Opens what is given; a cache of another mailbox is refused.
    pub(super) fn open(
        index: &IndexFile,
        sha1s: Option<&Path>,
        messages: Option<&Path>,
    ) -> Result<Self, Fail> {
        let cache = sha1s.map(Cache::open).transpose()?;
        if let Some(cache) = &cache {
            let (ours, theirs) = (index.header().uidvalidity(), cache.uidvalidity());
            if ours != theirs {
                let text = format!(
                    "{} is of another mailbox: its uidvalidity is {theirs}, that of {} is {ours}",
                    cache.path().display(),
                    index.path().display()
                );
                return Err(Fail::new(Exit::Data, text));
            }
            // The unique id can be compared only where there is a header.
            let header = HeaderFile::open(&index.path().with_file_name("cyrus.header")).ok();
            if let Some(header) =
                header.filter(|h| !h.uniqueid.is_empty() && h.uniqueid != cache.uniqueid())
            {
                let text = format!(
                    "{} is of another mailbox: its uniqueid is {}, that of {} is {}",
                    cache.path().display(),
                    cache.uniqueid(),
                    index.path().display(),
                    header.uniqueid
                );
                return Err(Fail::new(Exit::Data, text));
            }
        }
        let messages = messages.map(Spool::open).transpose()?;
        Ok(Self {
            cache,
            messages,
            cached: 0,
            hashed: 0,
        })
    }

    /// The GUID of a record's message: from the cache if the file is still the one that was hashed,
    /// else from the file.
    pub(super) fn guid(&mut self, record: &Record<'_>) -> Result<Guid, Fail> {
        let (uid, size) = (record.uid(), record.size());
        let entry = match &self.cache {
            Some(cache) => cache.find(uid)?.filter(|e| e.size == size),
            None => None,
        };
        let Some(messages) = &self.messages else {
            let entry = entry.ok_or_else(|| {
                let why = match self.cache {
                    Some(_) => "the cache has no SHA-1 for it, and no --messages was given",
                    None => "give --messages, --sha1s or --keep-guids",
                };
                Fail::new(
                    Exit::Data,
                    format!("UID {uid} has an old-style GUID: {why}"),
                )
            })?;
            self.cached += 1;
            return Ok(entry.guid);
        };
        if let Some(entry) = entry {
            let now = messages.stat(uid)?;
            if entry.still_same(&now.stamp, now.size) {
                self.cached += 1;
                return Ok(entry.guid);
            }
        }
        let message = messages.hash(uid)?;
        if message.size != size {
            let path = messages.path_of(uid);
            let text = format!(
                "message file {} has {} bytes, the record says {size}",
                path.display(),
                message.size
            );
            return Err(Fail::new(Exit::Data, text));
        }
        self.hashed += 1;
        Ok(message.guid)
    }
}

/// UUIDs (and modseqs of 0) for a downgrade, from the file as it was before the upgrade.
#[derive(Debug)]
pub(super) struct OldFile {
    index: IndexFile,
    /// Positions by UID, for an expunge file, which is in no order.
    positions: Option<HashMap<u32, u32>>,
}

impl OldFile {
    pub(super) fn open(path: &Path, new: &IndexFile) -> Result<Self, Fail> {
        let index = IndexFile::open(path, new.kind())?;
        let (ours, theirs) = (new.header().uidvalidity(), index.header().uidvalidity());
        if ours != theirs {
            let text = format!(
                "{} is of another mailbox: its uidvalidity is {theirs}, that of {} is {ours}",
                path.display(),
                new.path().display()
            );
            return Err(Fail::new(Exit::Data, text));
        }
        let positions = (index.kind() == FileKind::Expunge).then(|| {
            let numbered = index.records().zip(0..);
            numbered
                .map(|(record, i)| Ok((record?.uid(), i)))
                .collect::<Result<HashMap<u32, u32>, ReadError>>()
        });
        let positions = positions.transpose()?;
        Ok(Self { index, positions })
    }

    fn find(&self, uid: u32) -> Result<Option<Record<'_>>, ReadError> {
        match &self.positions {
            Some(positions) => match positions.get(&uid) {
                Some(position) => self.index.record(*position),
                None => Ok(None),
            },
            None => self.index.find_uid(uid),
        }
    }

    /// The old identifier, if the older copy has this very message.
    pub(super) fn decide(&self, record: &Record<'_>) -> Result<Decision, ReadError> {
        use crate::layout::RecordField as R;
        let same = |old: &Record<'_>| {
            [R::Internaldate, R::Size]
                .iter()
                .all(|&f| old.get(f) == record.get(f))
        };
        let Some(old) = self.find(record.uid())?.filter(same) else {
            return Ok(Decision::Keep);
        };
        // An upgrade turns a modseq of 0 into 1; if it is still 1, nothing happened since.
        let zero_modseq = old.modseq() == Some(0) && record.modseq() == Some(1);
        Ok(match old.guid() {
            RecordGuid::Uuid(uuid) => Decision::Restore { uuid, zero_modseq },
            RecordGuid::Guid(guid) => Decision::Restore {
                uuid: guid.truncated(),
                zero_modseq,
            },
            RecordGuid::Absent => Decision::Keep,
        })
    }
}
