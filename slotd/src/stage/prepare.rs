//! `PREPARE`: the work of `UPGRADE` without locks, and what is left to do under them.
//!
//! The whole new files are written and synced under a name that Cyrus never uses, `cyrus.index.reguid`. Under the locks
//! each live record is compared with what was prepared, only what differs is written, and the file is renamed to
//! `.NEW`. The result is byte for byte that of an `UPGRADE` without `PREPARE`.
//!
//! A crash leaves `.reguid` files: nobody uses them, the next `PREPARE` of the mailbox or `CLEAN` removes them.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use indexfile::{FileKind, IndexFile, IoContext, Record};

use super::patch::{self, Diff, Patch};
use super::{
    Digester, Identities, LiveFiles, Sources, Stage, StagedFile, check_version, entry, locked,
    needs_rewrite, new_name, remove_strays, write_copy,
};
use crate::fs::{Dir, FileId, OpenError, copy_attributes};
use crate::lock::{MailboxLocks, wait};
use crate::protocol::{self, Code, FileState, GuidEntry, Upgrade};
use crate::refusal::Refusal;
use crate::store::Place;

/// The name of a prepared file.
#[must_use]
pub const fn prepared_name(kind: FileKind) -> &'static str {
    match kind {
        FileKind::Index => "cyrus.index.reguid",
        FileKind::Expunge => "cyrus.expunge.reguid",
    }
}

/// A mailbox whose new files are ready but for what changes until it is locked. Dropping it removes them.
#[derive(Debug)]
pub struct Prepared {
    place: Place,
    want: Upgrade,
    files: Vec<PreparedFile>,
    identities: Identities,
    /// All records as they were, in order, and the digest over them, ready to go on.
    entries: Vec<GuidEntry>,
    digester: Digester,
    report: protocol::Prepared,
}

/// One prepared file, with its lock, so that no other slotd takes it for a stray.
#[derive(Debug)]
struct PreparedFile {
    kind: FileKind,
    file: File,
    id: FileId,
    index: IndexFile,
    dir: Arc<Dir>,
    /// It has been renamed and is no longer ours to remove.
    taken: bool,
}

impl Drop for PreparedFile {
    fn drop(&mut self) {
        let name = prepared_name(self.kind);
        let ours = !self.taken && self.dir.id(name).is_ok_and(|id| id == Some(self.id));
        if ours && let Err(error) = self.dir.unlink(name) {
            tracing::warn!("{error}");
        }
    }
}

/// Stages the files of a mailbox that is not locked.
///
/// # Errors
/// The mailbox would be refused; or it was changed just while it was read, and it may work the next time.
pub fn prepare(
    place: &Place,
    live: &LiveFiles,
    want: Upgrade,
    sources: &Sources<'_>,
    cancel: &AtomicBool,
) -> Result<Prepared, Refusal> {
    check_version(want.version)?;
    live.check(want.repair)?;
    remove_stale(place)?;
    let identities = Identities::find(place, live, want, sources, cancel)?;
    let report = protocol::Prepared {
        prepared: false,
        messages: live.num_records(),
        cached: identities.cached,
        hashed: identities.hashed,
    };
    let mut prepared = Prepared {
        place: place.clone(),
        want,
        files: Vec::new(),
        identities,
        entries: Vec::new(),
        digester: Digester::default(),
        report,
    };
    for source in live.each().filter(|f| needs_rewrite(f, want.version)) {
        prepared.write(source)?;
    }
    prepared.report.prepared = !prepared.files.is_empty();
    prepared.entries.sort_by_key(|e| e.uid);
    prepared.digester.add(&prepared.entries);
    Ok(prepared)
}

/// Removes what an earlier `PREPARE` left that nobody has a lock on.
///
/// # Errors
/// [`Code::Locked`] if it belongs to one that is under way.
pub fn remove_stale(place: &Place) -> Result<(), Refusal> {
    for kind in [FileKind::Index, FileKind::Expunge] {
        let dir = place.directory_of(kind);
        let name = prepared_name(kind);
        let file = match dir.open_file(name, true) {
            Ok(file) => file,
            Err(OpenError::Missing { .. }) => continue,
            Err(error) => return Err(error.into()),
        };
        let path = dir.path_of(name);
        if !wait::try_lock(&file).io_context("lock", &path)? {
            let text = format!(
                "{} belongs to another PREPARE that is under way",
                path.display()
            );
            return Err(Refusal::new(Code::Locked, text));
        }
        dir.unlink(name)?;
    }
    Ok(())
}

impl Prepared {
    /// What `PREPARE` answers.
    #[must_use]
    pub fn report(&self) -> protocol::Prepared {
        self.report
    }

    /// Whether it is for this mailbox and this `UPGRADE`.
    #[must_use]
    pub fn fits(&self, place: &Place, want: Upgrade) -> bool {
        let same = self.place.mailbox == place.mailbox && self.place.partition == place.partition;
        same && self.want == want && !self.files.is_empty()
    }

    fn write(&mut self, source: &IndexFile) -> Result<(), Refusal> {
        let kind = source.kind();
        let dir = self.place.directory_of(kind);
        let like = dir.open_file(kind.file_name(), false)?;
        let name = prepared_name(kind);
        let (new, _, _) = write_copy(
            dir,
            name,
            source,
            &like,
            &self.identities,
            &mut self.entries,
        )?;
        let index = IndexFile::from_file(new.file(), &dir.path_of(name), kind)?;
        let (file, id) = new.keep()?;
        self.files.push(PreparedFile {
            kind,
            file,
            id,
            index,
            dir: Arc::clone(dir),
            taken: false,
        });
        Ok(())
    }

    /// Makes it a stage of the mailbox, which is locked now: the same that [`super::stage`] would make.
    ///
    /// # Errors
    /// The mailbox is refused: nothing is changed and nothing is left.
    pub fn stage(
        mut self,
        locks: &MailboxLocks,
        live: &LiveFiles,
        sources: &Sources<'_>,
        cancel: &AtomicBool,
    ) -> Result<Stage, Refusal> {
        live.check(self.want.repair)?;
        remove_strays(locks)?;
        let version = self.want.version;
        let mut plans: Vec<(&IndexFile, Plan)> = Vec::new();
        for source in live.each() {
            plans.push((source, self.plan(source)));
        }
        for (source, plan) in &plans {
            match plan {
                Plan::Unchanged => {}
                _ if version < super::GUID_VERSION => {}
                Plan::Patch(patch) => {
                    let records = patch.slots.iter().filter_map(|i| source.record(*i));
                    self.identities
                        .add(&locks.place, records, sources, cancel)?;
                }
                Plan::Write => {
                    let records = source.records();
                    self.identities
                        .add(&locks.place, records, sources, cancel)?;
                }
            }
        }
        let mut stage = Stage::empty(live, version);
        stage.report.prepared = true;
        stage.report.cached = self.identities.cached;
        stage.report.hashed = self.identities.hashed;
        let grown = self.only_grew(&plans);
        let written = plans.iter().try_for_each(|(source, plan)| match plan {
            Plan::Unchanged => {
                stage.keep(source);
                Ok(())
            }
            Plan::Write => stage.write(locks, source, &self.identities),
            Plan::Patch(patch) => self.patch(&mut stage, locks, source, patch, grown),
        });
        if let Err(refusal) = written {
            stage.remove(locks);
            return Err(refusal);
        }
        if grown {
            self.grow(&mut stage, live, &plans)?;
        } else {
            stage.finish();
        }
        Ok(stage)
    }

    fn plan(&self, source: &IndexFile) -> Plan {
        if !needs_rewrite(source, self.want.version) {
            return Plan::Unchanged;
        }
        let Some(file) = self.files.iter().find(|f| f.kind == source.kind()) else {
            return Plan::Write;
        };
        match patch::compare(source, &file.index, &self.identities) {
            Diff::Patch(patch) => Plan::Patch(patch),
            Diff::Rewrite => Plan::Write,
        }
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

    /// Brings one prepared file up to date and renames it to `.NEW`.
    fn patch(
        &mut self,
        stage: &mut Stage,
        locks: &MailboxLocks,
        source: &IndexFile,
        patch: &Patch,
        grown: bool,
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
        if dir.id(name)? != Some(prepared.id) {
            return Err(Refusal::new(
                Code::Io,
                format!("{} is not what was prepared any more", path.display()),
            ));
        }
        copy_attributes(&locked.file, &prepared.file, &path)?;
        patch::write(
            &prepared.file,
            &path,
            source,
            &prepared.index,
            patch,
            identities,
        )?;
        dir.rename(name, new_name(kind))?;
        prepared.taken = true;
        let file = prepared.file.try_clone().io_context("duplicate", &path)?;
        let from_version = source.minor_version();
        stage.files.push(StagedFile {
            kind,
            file,
            id: prepared.id,
            from: locked.id,
            from_version,
        });
        stage.report.altered += patch.altered;
        stage.report.restored += patch.restored;
        stage.report.lost_modseqs += lost_modseqs(source, self.want.version);
        stage.set_state(kind, FileState::Staged);
        if !grown {
            for record in source.records() {
                let guid = identities.decide(&record)?.guid;
                stage.entries.push(entry(&record, guid));
            }
        }
        Ok(())
    }

    /// Takes over the prepared list and digest, and adds the new messages.
    fn grow(
        &mut self,
        stage: &mut Stage,
        live: &LiveFiles,
        plans: &[(&IndexFile, Plan)],
    ) -> Result<(), Refusal> {
        let new: Vec<Record<'_>> = plans
            .iter()
            .filter_map(|(source, plan)| match plan {
                Plan::Patch(patch) => Some(patch::appended(source, patch)),
                _ => None,
            })
            .flatten()
            .collect();
        let mut added = Vec::with_capacity(new.len());
        for record in new {
            added.push(entry(&record, self.identities.decide(&record)?.guid));
        }
        let in_order = added
            .first()
            .is_none_or(|first| self.entries.last().is_none_or(|last| last.uid < first.uid));
        stage.entries = std::mem::take(&mut self.entries);
        stage.entries.extend_from_slice(&added);
        if in_order && stage.entries.len() == live.num_records() as usize {
            let mut digester = std::mem::take(&mut self.digester);
            digester.add(&added);
            stage.report.digest = digester.finish();
        } else {
            stage.finish();
        }
        Ok(())
    }
}

/// What is to be done for one live file.
#[derive(Debug)]
enum Plan {
    Unchanged,
    Patch(Patch),
    Write,
}

/// Counted as a stream copy counts.
fn lost_modseqs(source: &IndexFile, version: u32) -> u32 {
    if version >= 8 {
        return 0;
    }
    source
        .records()
        .fold(0, |n, r| n + u32::from(r.modseq().is_some_and(|m| m > 1)))
}
