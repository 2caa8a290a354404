//! `PREPARE`: the work of `UPGRADE` without locks, and what is left to do under them.
//!
//! The whole new files are written and synced without a name, which Cyrus can never use. Under the locks each live
//! record is compared with what was prepared, only what differs is written, and the file gets the name `.NEW`. The result is
//! byte for byte that of an `UPGRADE` without `PREPARE`.
//!
//! A crash leaves nothing. Only where a file cannot be made without a name (`O_TMPFILE`) it is called `cyrus.index.reguid`,
//! after a durable note; then recovery, the next `PREPARE` of the mailbox or `CLEAN` removes what a crash left.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use indexfile::{FileKind, IndexFile, IoContext, Record};

use super::catch_up::Looks;
use super::patch::{self, Diff, Origin, Patch};
use super::{
    Caches, Digester, Identities, LiveFiles, Note, Stage, StagedFile, check_version, entry, locked,
    new_name, remove_strays, write_copy,
};
use crate::fs::{Dir, FileId, Identity, OpenError, Unsynced, copy_attributes, sync_new};
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
    pub(super) place: Place,
    pub(super) want: Upgrade,
    pub(super) files: Vec<PreparedFile>,
    pub(super) identities: Identities,
    /// All records as they were, in order, and the digest over them, ready to go on.
    pub(super) entries: Vec<GuidEntry>,
    pub(super) digester: Digester,
    pub(super) report: protocol::Prepared,
    of: Incarnation,
    /// As they were then: what they say of a message is believed only while its file has the entry's stamp, or size.
    pub(super) caches: Caches,
    /// How the live files looked before they were opened.
    pub(super) looks: Looks,
}

/// Which mailbox of that name: one that was deleted and made anew has other messages under the same UIDs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incarnation {
    /// From cyrus.header.
    pub uniqueid: String,
    /// From the index header.
    pub uidvalidity: u32,
}

/// One prepared file, with its lock, so that no other slotd takes it for a stray.
#[derive(Debug)]
pub(super) struct PreparedFile {
    pub(super) kind: FileKind,
    pub(super) file: File,
    id: FileId,
    pub(super) index: IndexFile,
    /// What it was made from, byte for byte, if that is not too large to be kept.
    pub(super) was: Option<IndexFile>,
    pub(super) altered: u32,
    pub(super) restored: u32,
    dir: Arc<Dir>,
    /// It lies under [`prepared_name`].
    named: bool,
    /// It has been renamed and is no longer ours to remove.
    taken: bool,
}

impl PreparedFile {
    /// What live records are compared with.
    pub(super) fn origin(&self) -> Origin<'_> {
        Origin {
            prepared: &self.index,
            was: self.was.as_ref(),
            altered: self.altered,
            restored: self.restored,
        }
    }
}

impl Drop for PreparedFile {
    fn drop(&mut self) {
        let name = prepared_name(self.kind);
        let ours =
            self.named && !self.taken && self.dir.id(name).is_ok_and(|id| id == Some(self.id));
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
    of: Incarnation,
    caches: Caches,
    cancel: &AtomicBool,
    note: Note<'_>,
) -> Result<Prepared, Refusal> {
    check_version(want.version)?;
    live.check(want.repair)?;
    remove_stale(place)?;
    let identities = Identities::find(place, live, want, &caches.sources(), cancel)?;
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
        of,
        caches,
        looks: Looks::default(),
    };
    for source in live.each() {
        if prepared.identities.needs_rewrite(source) {
            prepared.write(source, note)?;
        }
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
    pub fn fits(&self, place: &Place, want: Upgrade, of: &Incarnation) -> bool {
        self.is_of(place, want) && self.of == *of
    }

    /// The files that most likely replace the live ones, and whether their identifiers come from `.OLD`.
    ///
    /// # Errors
    /// statx failed.
    pub fn successors(&self) -> std::io::Result<(Vec<(FileKind, Identity)>, bool)> {
        let known = |f: &PreparedFile| Identity::of(&f.file).map(|id| (f.kind, id));
        let files = self.files.iter().map(known).collect::<Result<_, _>>()?;
        Ok((files, self.identities.restoring))
    }

    fn write(&mut self, live: &IndexFile, note: Note<'_>) -> Result<(), Refusal> {
        // It is converted from the copy: so a record that is like the copy's under the locks has the right slot.
        let was = past(live);
        let source = was.as_ref().unwrap_or(live);
        let kind = source.kind();
        let dir = self.place.directory_of(kind);
        let like = dir.open_file(kind.file_name(), false)?;
        let name = prepared_name(kind);
        let (new, report, restored) = write_copy(
            dir,
            name,
            source,
            &like,
            &self.identities,
            &mut self.entries,
            note,
        )?;
        sync_new(new.file(), &dir.path_of(name), Unsynced::All)?;
        let index = IndexFile::from_file(new.file(), &dir.path_of(name), kind)?;
        let named = new.is_named();
        let (file, id) = new.keep()?;
        self.files.push(PreparedFile {
            kind,
            file,
            id,
            index,
            was,
            altered: report.altered,
            restored,
            dir: Arc::clone(dir),
            named,
            taken: false,
        });
        Ok(())
    }

    /// Makes it a stage of the mailbox, which is locked now: the same that [`super::stage`] would make. The live files'
    /// records need not have been checked.
    ///
    /// # Errors
    /// The mailbox is refused: nothing is changed and nothing is left.
    pub fn stage(
        mut self,
        locks: &MailboxLocks,
        live: &LiveFiles,
        cancel: &AtomicBool,
        note: Note<'_>,
    ) -> Result<Stage, Refusal> {
        if self.want.repair.is_some() {
            live.verify()?;
        }
        live.check(self.want.repair)?;
        remove_strays(locks)?;
        let version = self.want.version;
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
                    let records = patch.slots.iter().filter_map(|i| source.record(*i));
                    self.identities
                        .add(&locks.place, records, &self.caches.sources(), cancel)?;
                }
                Plan::Write => {
                    let records = source.records();
                    self.identities
                        .add(&locks.place, records, &self.caches.sources(), cancel)?;
                }
            }
        }
        let mut stage = Stage::empty(live, version);
        stage.report.prepared = true;
        stage.report.cached = self.identities.cached;
        stage.report.hashed = self.identities.hashed;
        stage.uuids_old = self.identities.restoring;
        let grown = self.only_grew(&plans);
        let written = plans.iter().try_for_each(|(source, plan)| match plan {
            Plan::Unchanged => {
                stage.keep(source);
                Ok(())
            }
            Plan::Write => stage.write(locks, source, &self.identities, note),
            Plan::Patch(patch) => self.patch(&mut stage, locks, source, patch, grown),
        });
        if let Err(refusal) = written {
            stage.remove(locks)?;
            return Err(refusal);
        }
        if grown {
            self.grow(&mut stage, live, &plans)?;
        } else {
            stage.finish();
        }
        drop(plans);
        // What was not taken is removed now; the rest is large, and is let go when the locks are.
        self.files.retain(|f| f.taken);
        stage.spent = Some(Box::new(self));
        Ok(stage)
    }

    fn plan(&self, source: &IndexFile) -> Result<Plan, Refusal> {
        let file = self.files.iter().find(|f| f.kind == source.kind());
        // A prepared file is of another version, or had old-style GUIDs: the first is seen without a look at the records.
        if let Some(file) = file.filter(|_| source.minor_version() != self.want.version) {
            return self.compare(source, file);
        }
        source.verify()?;
        if !self.identities.needs_rewrite(source) {
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

    /// Brings one prepared file up to date; if it had to have a name it gets the name of a staged one.
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
        if prepared.named && dir.id(name)? != Some(prepared.id) {
            return Err(Refusal::new(
                Code::Io,
                format!("{} is not what was prepared any more", path.display()),
            ));
        }
        let other = copy_attributes(&locked.file, &prepared.file, &path)?;
        let written = patch::write(
            &prepared.file,
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
        if prepared.named {
            dir.rename(name, new_name(kind))?;
        }
        prepared.taken = true;
        let file = prepared.file.try_clone().io_context("duplicate", &path)?;
        let from_version = source.minor_version();
        stage.files.push(StagedFile {
            kind,
            file,
            id: prepared.id,
            named: prepared.named,
            unsynced,
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

/// A copy of a live file in memory, to compare with.
pub(super) fn past(live: &IndexFile) -> Option<IndexFile> {
    const LARGEST: usize = 128 << 20;
    if live.bytes().len() > LARGEST {
        return None;
    }
    // It may be written while it is copied. What is wrong then is found, and what is torn is not like the live record.
    IndexFile::from_bytes(live.bytes().to_vec(), live.path(), live.kind()).ok()
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
