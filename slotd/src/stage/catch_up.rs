//! Bringing prepared files up to date without locks, so that less is left to do under them.
//!
//! What `PREPARE` made may be minutes old when `LOCK` comes. Its records are compared with the live
//! ones just before, and what differs is written and synced while nobody waits. Whatever changes
//! after that is found by the comparison under the locks, which trusts nothing of this. A crash
//! leaves what `PREPARE` leaves.

use std::sync::atomic::AtomicBool;

use indexfile::{FileKind, IndexFile};

use super::LiveStats;
use super::prepare::snapshot;
use super::recheck::{MessageWatch, Recheck};
use super::{LiveFiles, Prepared, patch};
use crate::fs::{Unsynced, sync_new};
use crate::protocol::{Upgrade, UuidSource};
use crate::refusal::Refusal;
use crate::store::Place;

impl Prepared {
    /// Whether the live files look as they did, and all messages do.
    #[must_use]
    pub fn is_current(&self, stats: &LiveStats) -> bool {
        self.stats == *stats && self.identities.changed.is_empty()
    }

    /// Whether it is for this mailbox and this `UPGRADE`, whichever incarnation of the mailbox.
    /// SHA-1s alone are of use for any `UPGRADE` that wants some.
    #[must_use]
    pub fn is_of(&self, place: &Place, want: Upgrade) -> bool {
        let same = self.place.mailbox == place.mailbox && self.place.partition == place.partition;
        let hashed = self.files.is_empty() && self.identities.wants_guids();
        let any = hashed
            && want.version == self.want.version
            && want.uuids == UuidSource::Auto
            && want.rehash == self.want.rehash;
        same && (any || self.want == want && self.has_files())
    }

    /// What `UPGRADE` is expected to ask for.
    #[must_use]
    pub fn wants(&self) -> Upgrade {
        self.want
    }

    /// Looks at the messages again, all of them, so that as little as can be is left to be looked
    /// at or read under the locks. A small mailbox whose directory has not changed is left to the
    /// look under the locks.
    ///
    /// # Errors
    /// The system's.
    pub fn look_at_messages(&mut self, place: &Place) -> Result<(), Refusal> {
        if self
            .messages
            .is_enough(place, self.identities.guids.len())?
        {
            return Ok(());
        }
        self.messages = MessageWatch::begin(place, self.identities.guids.len())?;
        self.identities.recheck(place, &Recheck::All)
    }

    /// Carries over what has changed in the live files, which are not locked, and in the messages.
    /// `None` if so much has that it is better prepared anew.
    ///
    /// # Errors
    /// As of [`super::prepare`]. What was prepared is gone then.
    pub fn catch_up(
        mut self,
        live: &LiveFiles,
        stats: LiveStats,
        cancel: &AtomicBool,
    ) -> Result<Option<Prepared>, Refusal> {
        live.check(self.want.repair)?;
        if self.files.is_empty() {
            let sources = self.caches.sources();
            for file in live.each() {
                self.identities
                    .add(&self.place, file.kind(), file.records(), &sources, cancel)?;
            }
            self.caught_up(live, stats);
            return Ok(Some(self));
        }
        let sources = self.caches.sources();
        self.identities
            .add_all(&self.place, live, &sources, cancel)?;
        let mut stale: Vec<FileKind> = Vec::new();
        for source in live.each() {
            if self.identities.needs_rewrite(source)? {
                stale.push(source.kind());
            }
        }
        let prepared: Vec<FileKind> = self.files.iter().map(|f| f.kind).collect();
        if stale != prepared {
            return Ok(None);
        }
        let mut list_changed = false;
        for (at, source) in live
            .each()
            .filter(|s| stale.contains(&s.kind()))
            .enumerate()
        {
            // It may be written while it is looked at, so it is looked at once: in a copy.
            let Some(now) = snapshot(source, &self.files[at].dir)? else {
                return Ok(Some(self));
            };
            let origin = self.files[at].origin();
            let patch::Diff::Patch(patch) = patch::compare(&now, &origin, &self.identities)? else {
                return Ok(None);
            };
            if self.identities.wants_guids() {
                let records = patch.records(&now);
                let sources = self.caches.sources();
                self.identities
                    .add(&self.place, now.kind(), records, &sources, cancel)?;
            }
            list_changed |= patch.identities_changed || patch.appended > 0;
            self.bring_up(at, now, &patch)?;
        }
        if list_changed {
            self.list()?;
        }
        self.caught_up(live, stats);
        Ok(Some(self))
    }

    fn caught_up(&mut self, live: &LiveFiles, stats: LiveStats) {
        self.identities.changed.clear();
        self.report.messages = live.num_records();
        self.report.cached = self.identities.cached;
        self.report.hashed = self.identities.hashed;
        self.stats = stats;
    }

    /// Writes one file's differences, and takes `now` for what it was made from.
    fn bring_up(&mut self, at: usize, now: IndexFile, patch: &patch::Patch) -> Result<(), Refusal> {
        let identities = &self.identities;
        let file = &mut self.files[at];
        let path = file.index.path().to_path_buf();
        if patch::write(&file.made.file, &path, &now, &file.index, patch, identities)? {
            sync_new(&file.made.file, &path, Unsynced::Data)?;
            file.index = IndexFile::from_file(&file.made.file, &path, file.kind)?;
        }
        file.counts = patch.counts;
        file.snapshot = Some(now);
        Ok(())
    }
}
