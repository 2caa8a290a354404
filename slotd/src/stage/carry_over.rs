//! What is left of `UPGRADE` under the locks when `PREPARE` has done its work: compare, and carry
//! over what differs.
//!
//! Nothing that was prepared is trusted: each live record is compared, and a file from which it
//! leads nowhere is written anew. Messages that may have been replaced since they were looked at
//! are looked at again, and read again if they were. What comes out is a [`Stage`] like any other.
//! A crash leaves what `PREPARE` leaves.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use indexfile::{FileKind, IndexFile, IoContext};

use super::patch::{self, Diff, Patch};
use super::prepare::PreparedFile;
use super::{
    Budget, LiveFiles, Note, Prepared, Stage, StagedFile, locked, new_name, prepared_name,
    remove_strays,
};
use crate::fs::{Unsynced, copy_attributes};
use crate::lock::MailboxLocks;
use crate::protocol::{Code, FileState, GuidEntry, Rehash, Upgrade};
use crate::refusal::Refusal;

impl Prepared {
    /// Makes it a stage of the mailbox, which is locked now: the same that [`super::stage`] would
    /// make. The live files' records need not have been checked.
    ///
    /// # Errors
    /// The mailbox is refused: nothing is changed and nothing is left.
    pub fn stage(
        mut self,
        locks: &MailboxLocks,
        live: &LiveFiles,
        want: Upgrade,
        cancel: &AtomicBool,
        note: Note<'_>,
    ) -> Result<Stage, Refusal> {
        self.want = want;
        if self.want.repair.is_some() {
            live.verify()?;
        }
        live.check(self.want.repair)?;
        remove_strays(locks)?;
        self.look_under_locks(locks)?;
        let version = self.want.version;
        let budget = Budget::new();
        let sources = self.caches.sources().within(&budget);
        self.identities
            .add_all(&locks.place, live, &sources, cancel)?;
        let mut plans: Vec<(&IndexFile, Plan)> = Vec::new();
        for source in live.each() {
            plans.push((source, self.plan(source)?));
        }
        locks.mark("compare");
        for (source, plan) in &plans {
            match plan {
                Plan::Unchanged => {}
                _ if !self.identities.wants_guids() => {}
                Plan::Patch(patch) => {
                    let (records, sources) = (patch.records(source), self.caches.sources());
                    let sources = sources.within(&budget);
                    self.identities
                        .add(&locks.place, source.kind(), records, &sources, cancel)?;
                }
                Plan::Write => {
                    let (records, sources) = (source.records(), self.caches.sources());
                    let sources = sources.within(&budget);
                    self.identities
                        .add(&locks.place, source.kind(), records, &sources, cancel)?;
                }
            }
        }
        locks.mark("hash");
        let mut stage = Stage::empty(live, version);
        stage.report.prepared = self.has_files();
        stage.report.cached = self.identities.cached;
        stage.report.hashed = self.identities.hashed;
        stage.uuids_old = self.identities.restoring;
        stage.by_content = self.want.by_content;
        stage.rehash = self.identities.touches_others();
        stage.report.rehash = self.identities.rehashed(live)?;
        if self.want.rehash == Some(Rehash::Report) {
            // Nothing is written, and nothing else is done with them.
            stage.planned = Some(Arc::new(std::mem::take(&mut self.identities)));
        }
        let written = plans.iter().try_for_each(|(source, plan)| match plan {
            Plan::Unchanged => {
                stage.set_state(source.kind(), FileState::Unchanged);
                Ok(())
            }
            Plan::Write => stage.write(locks, source, &self.identities, note),
            Plan::Patch(patch) => self.patch(&mut stage, locks, source, patch),
        });
        let run = self.want.run;
        let finished = written.and_then(|()| {
            let ledger = self.ledger.take();
            stage.keep_old(locks, live, &self.identities, (run, ledger), note)?;
            // What both hosts compare is not what is prepared then.
            let known = !self.want.by_content && self.only_grew(&plans);
            if known && self.grow(&mut stage, live, &plans)? {
                return stage.note_groups(locks);
            }
            stage.finish(locks)
        });
        if let Err(refusal) = finished {
            stage.remove(locks)?;
            return Err(refusal);
        }
        drop(plans);
        // What was not taken is removed now; the rest is large, and is let go when the locks are.
        self.files.retain(|f| f.taken);
        stage.prepared = Some(Box::new(self));
        Ok(stage)
    }

    /// Looks at the messages again that may have been replaced since they were looked at.
    fn look_under_locks(&mut self, locks: &MailboxLocks) -> Result<(), Refusal> {
        let messages = self.identities.guids.len();
        let recheck = self.messages.to_recheck(&locks.place, messages)?;
        self.identities.recheck(&locks.place, &recheck)?;
        locks.mark("messages");
        Ok(())
    }

    fn plan(&self, source: &IndexFile) -> Result<Plan, Refusal> {
        let file = self.files.iter().find(|f| f.kind == source.kind());
        // A prepared file is of another version, or had old-style GUIDs: the first is seen without
        // a look at the records.
        if let Some(file) = file.filter(|_| source.minor_version() != self.want.version) {
            return self.compare(source, file);
        }
        source.verify()?;
        if !self.identities.needs_rewrite(source)? {
            return Ok(Plan::Unchanged);
        }
        file.map_or(Ok(Plan::Write), |file| self.compare(source, file))
    }

    fn compare(&self, source: &IndexFile, file: &PreparedFile) -> Result<Plan, Refusal> {
        Ok(
            match patch::compare(source, &file.origin(), &self.identities)? {
                Diff::Patch(patch) => Plan::Patch(patch),
                Diff::Rewrite => Plan::Write,
            },
        )
    }

    /// Whether the list of identifiers is the prepared one with new messages at its end.
    fn only_grew(&self, plans: &[(&IndexFile, Plan)]) -> bool {
        plans.len() == self.files.len()
            && plans.iter().all(|(source, plan)| match plan {
                Plan::Patch(p) => {
                    !p.identities_changed && (p.appended == 0 || source.kind() == FileKind::Index)
                }
                _ => false,
            })
    }

    /// Brings one prepared file up to date; if it had to have a name it gets the name of a staged
    /// one.
    fn patch(
        &mut self,
        stage: &mut Stage,
        locks: &MailboxLocks,
        source: &IndexFile,
        patch: &Patch,
    ) -> Result<(), Refusal> {
        let kind = source.kind();
        let locked = locked(locks, kind)?;
        let identities = &self.identities;
        let Some(prepared) = self.files.iter_mut().find(|f| f.kind == kind) else {
            return Err(Refusal::new(
                Code::State,
                format!("{kind} was not prepared"),
            ));
        };
        let dir = locks.place.directory_of(kind);
        let (name, path) = (prepared_name(kind), dir.path_of(prepared_name(kind)));
        if prepared.made.named && dir.id(name)? != Some(prepared.made.id) {
            return Err(Refusal::new(
                Code::Io,
                format!("{} is not what was prepared any more", path.display()),
            ));
        }
        let other = copy_attributes(&locked.file, &prepared.made.file, &path)?;
        let written = patch::write(
            &prepared.made.file,
            &path,
            source,
            &prepared.index,
            patch,
            identities,
        )?;
        // All else of the file is on stable storage since `PREPARE`.
        let unsynced = match (other, written) {
            (true, _) => Some(Unsynced::All),
            (false, true) => Some(Unsynced::Data),
            (false, false) => None,
        };
        if prepared.made.named {
            dir.rename(name, new_name(kind))?;
        }
        prepared.taken = true;
        let made = prepared.made.again().io_context("duplicate", &path)?;
        stage.files.push(StagedFile {
            kind,
            made,
            unsynced,
            from: Some(locked.id),
        });
        stage.count(patch.counts);
        stage.set_state(kind, FileState::Staged);
        Ok(())
    }

    /// Takes over the prepared digest and adds the new messages; `false` if they do not come after
    /// all others.
    fn grow(
        &mut self,
        stage: &mut Stage,
        live: &LiveFiles,
        plans: &[(&IndexFile, Plan)],
    ) -> Result<bool, Refusal> {
        let new = plans.iter().filter_map(|(source, plan)| match plan {
            Plan::Patch(patch) => Some(patch::appended(source, patch)),
            _ => None,
        });
        let mut added = Vec::new();
        for record in new.flatten() {
            let record = record?;
            added.push(GuidEntry {
                uid: record.uid(),
                guid: self.identities.decide(&record)?.guid,
                size: record.size(),
            });
        }
        let in_order = added.first().is_none_or(|new| self.last_uid < new.uid);
        if !in_order || self.digested as usize + added.len() != live.num_records() as usize {
            return Ok(false);
        }
        let mut digester = std::mem::take(&mut self.digester);
        digester.add(&added);
        stage.report.digest = digester.finish();
        Ok(true)
    }
}

/// What is to be done for one live file.
#[derive(Debug)]
enum Plan {
    Unchanged,
    Patch(Patch),
    Write,
}
