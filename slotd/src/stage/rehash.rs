//! `rehash=`: every record's GUID beside the SHA-1 of its message, not only old-style ones.
//!
//! What is found is of this host's own files, looked at as for any upgrade. Only reads.

use std::sync::atomic::AtomicBool;

use indexfile::{Guid, IndexFile, IoError, ReadError, Record};

use super::{Identities, LiveFiles, Sources, mark};
use crate::protocol::{Rehash, Rehashed, WrongGuid};
use crate::refusal::Refusal;
use crate::store::Place;

impl Identities {
    /// Whether a record has, or may have, another GUID than it should. One that is not known yet
    /// may.
    pub(super) fn any_wrong(&self, file: &IndexFile) -> Result<bool, ReadError> {
        let mut blocks = file.blocks();
        while let Some(block) = blocks.read()? {
            for record in block.records() {
                let is = self.decide(&record).map(|identity| identity.guid);
                if is.map_or(true, |is| is != record.guid().padded()) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Whether, and how, GUIDs are looked at that are no old-style ones.
    #[must_use]
    pub fn touches_others(&self) -> Option<Rehash> {
        let back = self.restoring && self.uuids.knows_wrong();
        self.rehash.or_else(|| back.then_some(Rehash::Fix))
    }

    /// What the record will have, as far as it is known: to compare hosts by.
    ///
    /// # Errors
    /// It cannot be read back.
    pub fn guid_of(&self, record: &Record<'_>) -> Result<Guid, IoError> {
        Ok(self.known(record)?.unwrap_or(record.guid().padded()))
    }

    /// What the comparison of all records with their messages comes to.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn rehashed(&self, live: &LiveFiles) -> Result<Option<Rehashed>, Refusal> {
        if self.rehash.is_none() {
            return Ok(None);
        }
        let mut found = Rehashed::default();
        for record in live.records() {
            let record = record?;
            if record.guid().is_old_style() {
                continue;
            }
            found.gone += u32::from(self.is_gone(&record));
            let (uid, has, is) = (record.uid(), record.guid().padded(), self.guid_of(&record)?);
            if has == is {
                continue;
            }
            found.wrong += 1;
            if found.list.len() < Rehashed::MAX {
                found.list.push(WrongGuid { uid, has, is });
            }
        }
        Ok(Some(found))
    }

    pub(super) fn is_gone(&self, record: &Record<'_>) -> bool {
        let gone = self.gone.get(&record.uid());
        gone.is_some_and(|mark| *mark == mark::of_record(record))
    }

    /// Finds the SHA-1s of records that came since the others were looked for, with `rehash=` only:
    /// there any record may need one.
    ///
    /// # Errors
    /// As [`Identities::find`].
    pub fn add_all(
        &mut self,
        place: &Place,
        live: &LiveFiles,
        sources: &Sources<'_>,
        cancel: &AtomicBool,
    ) -> Result<(), Refusal> {
        if self.rehash.is_none() {
            return Ok(());
        }
        live.each()
            .try_for_each(|file| self.add(place, file.kind(), file.records(), sources, cancel))
    }
}
