//! The stage: the new files of a locked mailbox, from their writing until they are renamed or
//! removed.
//!
//! Before [`Stage::give_names`] a crash leaves nothing; afterwards `.NEW` files that recovery finds
//! by the intent.

use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, OnceLock};

use indexfile::{FileKind, Guid, IndexFile, IoContext as _, IoError};

use super::copy::write_copy;
use super::patch::RecordCounts;
use super::{Identities, Listing, LiveFiles, Note, Prepared, keep, new_name};
use crate::blocking_task::BlockingTask;
use crate::fileops::{self, Change, Needs, Role, Step, execute};
use crate::fs::{CreatedFile, Dir, FileId, Unsynced, sync_new};
use crate::lock::{LockedFile, MailboxLocks};
use crate::protocol::{Code, FileState, Rehash, Upgraded};
use crate::refusal::Refusal;

/// One staged file: complete, locked, synced, and under [`new_name`], from
/// [`Stage::give_names`] on.
#[derive(Debug)]
pub struct StagedFile {
    /// Which of the two.
    pub kind: FileKind,
    /// The file; its name is [`new_name`].
    pub made: CreatedFile,
    /// What of it is not on stable storage yet.
    pub unsynced: Option<Unsynced>,
    /// The live file that it replaces; `None` if there is none.
    pub from: Option<FileId>,
}

/// What `UPGRADE` has made ready.
#[derive(Debug)]
pub struct Stage {
    /// The staged files; none if the mailbox is as it should be.
    pub files: Vec<StagedFile>,
    /// The cyrus.expunge that gets no successor: the new index has its messages.
    pub removed: Option<FileId>,
    /// What `UPGRADE` answers.
    pub report: Upgraded,
    /// All records as they are after the upgrade, once they were asked for.
    pub(super) listing: OnceLock<Box<Listing>>,
    /// That list is of what the messages are.
    pub(super) by_content: bool,
    /// Identifiers came from `.OLD`, at version 10 too.
    pub uuids_old: bool,
    /// GUIDs that are no old-style ones are compared, replaced, or come back.
    pub rehash: Option<Rehash>,
    /// With `rehash=report`: what the records would have. The list is of that.
    pub(super) planned: Option<Arc<Identities>>,
    /// Handles of files whose last name was removed: with them goes what they hold, which takes
    /// longer than a name.
    pub unlinked: Vec<File>,
    /// What it was made from and is of no more use, but takes time to let go.
    pub(super) prepared: Option<Box<Prepared>>,
    /// The same of the live files.
    pub(super) live: Option<Box<LiveFiles>>,
}

impl Stage {
    pub(super) fn empty(live: &LiveFiles, version: u32) -> Stage {
        let report = Upgraded {
            index: FileState::Unchanged,
            expunge: FileState::None,
            from: live.index.minor_version(),
            to: version,
            messages: live.num_records(),
            altered: 0,
            cached: 0,
            hashed: 0,
            restored: 0,
            cut: 0,
            prepared: false,
            lost_modseqs: 0,
            left_group: None,
            digest: Guid::NULL,
            rehash: None,
        };
        Stage {
            files: Vec::new(),
            removed: None,
            report,
            listing: OnceLock::new(),
            by_content: false,
            uuids_old: false,
            rehash: None,
            planned: None,
            unlinked: Vec::new(),
            prepared: None,
            live: None,
        }
    }

    /// Takes the live files along, to be let go when the locks are.
    pub fn keep_live(&mut self, live: LiveFiles) {
        self.live = Some(Box::new(live));
    }

    pub(super) fn set_state(&mut self, kind: FileKind, state: FileState) {
        match kind {
            FileKind::Index => self.report.index = state,
            FileKind::Expunge => self.report.expunge = state,
        }
    }

    /// Reports what becomes of the records of a staged file.
    pub(super) fn count(&mut self, counts: RecordCounts) {
        self.report.altered += counts.altered;
        self.report.restored += counts.restored;
        self.report.cut += counts.cut;
        self.report.lost_modseqs += counts.lost_modseqs;
    }

    /// Writes and locks one file.
    pub(super) fn write(
        &mut self,
        locks: &MailboxLocks,
        source: &IndexFile,
        identities: &Identities,
        note: Note<'_>,
    ) -> Result<(), Refusal> {
        let kind = source.kind();
        let dir = locks.place.directory_of(kind);
        let locked = locked(locks, kind)?;
        let (new, counts) =
            write_copy(dir, new_name(kind), source, &locked.file, identities, note)?;
        let made = new.keep()?;
        self.files.push(StagedFile {
            kind,
            made,
            unsynced: Some(Unsynced::All),
            from: Some(locked.id),
        });
        self.count(counts);
        self.set_state(kind, FileState::Staged);
        Ok(())
    }

    /// All records as they are after the upgrade. Read once, in order, when it is first asked for.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn listing(&self, locks: &MailboxLocks) -> Result<&Listing, Refusal> {
        if self.listing.get().is_none() {
            let mut files = Vec::new();
            for kind in [FileKind::Index, FileKind::Expunge] {
                let dir = locks.place.directory_of(kind);
                // What messages are is what the live files have; what they will be called is in the
                // new ones.
                let staged = self.file(kind).filter(|_| !self.by_content);
                let removed = kind == FileKind::Expunge && self.removed.is_some();
                let live = locks.file(kind).filter(|_| !removed || self.by_content);
                let (file, path) = match (staged, live) {
                    (Some(staged), _) => (&staged.made.file, dir.path_of(new_name(kind))),
                    (None, Some(live)) => (&live.file, dir.path_of(kind.file_name())),
                    (None, None) => continue,
                };
                files.push(IndexFile::from_file_unverified(file, &path, kind)?);
            }
            let mut listing = Box::new(Listing::of(files)?);
            if self.by_content {
                *listing = listing.by_content();
            }
            if let Some(planned) = &self.planned {
                *listing = listing.planned(Arc::clone(planned));
            }
            return Ok(self.listing.get_or_init(|| listing));
        }
        let listing = self.listing.get();
        listing
            .map(Box::as_ref)
            .ok_or_else(|| Refusal::new(Code::State, "nothing is staged"))
    }

    /// Keeps what the commit would destroy.
    pub(super) fn keep_old(
        &self,
        locks: &MailboxLocks,
        live: &LiveFiles,
        identities: &Identities,
        (run, ledger): (u64, Option<keep::PreparedLedger>),
        note: Note<'_>,
    ) -> Result<(), Refusal> {
        if self.files.is_empty() {
            return Ok(());
        }
        let replaces = self.changes().map(|(kind, _)| kind).collect();
        let work = keep::Work { run, replaces };
        keep::keep(locks, live, identities, &work, ledger, note)
    }

    /// Computes the digest of all records.
    pub(super) fn finish(&mut self, locks: &MailboxLocks) -> Result<(), Refusal> {
        let summed = self.listing(locks)?.summed()?;
        if !self.files.is_empty() {
            let expunge = locks.place.directory_of(FileKind::Expunge);
            summed.each_once(&expunge.path_of(FileKind::Expunge.file_name()))?;
        }
        self.report.digest = summed.digester.finish();
        self.note_groups(locks)
    }

    /// Says in the report which group could not be kept.
    pub(super) fn note_groups(&mut self, locks: &MailboxLocks) -> Result<(), Refusal> {
        let group = |file: &File, kind: FileKind| {
            let path = locks.place.directory_of(kind).path_of(kind.file_name());
            file.metadata().map(|m| m.gid()).io_context("stat", &path)
        };
        self.report.left_group = None;
        for staged in &self.files {
            let live = locks
                .file(staged.kind)
                .map(|live| group(&live.file, staged.kind));
            let live = live.transpose()?;
            if live.is_some_and(|_| live != group(&staged.made.file, staged.kind).ok()) {
                self.report.left_group = live;
            }
        }
        Ok(())
    }

    /// Brings the staged files and the intent that tells recovery of them to stable storage, all at
    /// once, and only then gives the files their names: so whatever a crash leaves is found.
    /// `intent` returns when it is there; none if an open one tells of them already.
    ///
    /// # Errors
    /// The system's, and final: the stage is to be removed.
    pub fn give_names(
        &mut self,
        locks: &MailboxLocks,
        intent: Option<&mut dyn FnMut() -> Result<(), Refusal>>,
    ) -> Result<(), Refusal> {
        let lies = |f: &StagedFile| {
            let role = if f.made.named {
                Role::New
            } else {
                Role::Unnamed
            };
            (f.kind, role)
        };
        let files: Vec<_> = self.files.iter().map(lies).collect();
        let steps = match intent {
            Some(_) => fileops::stage(&files),
            None => fileops::stage_again(&files),
        };
        let (at_once, then): (Vec<Step>, Vec<Step>) = steps
            .into_iter()
            .partition(|step| step.needs == Needs::default());
        let synced = self.sync(locks);
        locks.mark("sync");
        // Whatever became of the files: nothing is ended that is still under way.
        let durable = intent.map_or(Ok(()), |intent| intent());
        locks.mark("intent");
        synced?;
        durable?;
        for step in at_once {
            locks.durable().note(step.op);
        }
        for step in then {
            let staged = self
                .files
                .iter_mut()
                .find(|f| Some(f.kind) == step.op.kind());
            if let Some(staged) = staged {
                execute(locks, step, Some(&staged.made.file))?;
                staged.made.named = true;
            }
        }
        locks.mark("link");
        Ok(())
    }

    /// Brings the staged files to stable storage, both at once.
    fn sync(&mut self, locks: &MailboxLocks) -> Result<(), IoError> {
        let mut others = Vec::new();
        let mut here = None;
        for staged in &mut self.files {
            let Some(what) = staged.unsynced.take() else {
                continue;
            };
            let dir = locks.place.directory_of(staged.kind);
            let path = dir.path_of(new_name(staged.kind));
            if here.is_none() {
                here = Some((&staged.made.file, path, what));
                continue;
            }
            let file = staged
                .made
                .file
                .try_clone()
                .io_context("duplicate", &path)?;
            let lost = IoError::new("sync", &path, std::io::ErrorKind::Other.into());
            let job = move || sync_new(&file, &path, what);
            others.push((BlockingTask::begin(job), lost));
        }
        let first = here.map_or(Ok(()), |(file, path, what)| sync_new(file, &path, what));
        // All of them have ended before anybody goes on.
        let others = others
            .into_iter()
            .map(|(sync, lost)| sync.join().unwrap_or(Err(lost)));
        others.fold(first, Result::and)
    }

    /// Removes the staged files, so that no power cut brings their names back. What cannot be
    /// removed is logged: it is nobody's, and goes with the next lock; but an intent that tells of
    /// it must stay open until then.
    ///
    /// # Errors
    /// The last that was logged.
    pub fn remove(self, locks: &MailboxLocks) -> Result<(), IoError> {
        let mut result = Ok(());
        for staged in &self.files {
            let dir = locks.place.directory_of(staged.kind);
            if let Err(error) = remove_named(locks, dir, staged) {
                tracing::error!(mailbox = %locks.place.mailbox, "{error}");
                result = Err(error);
            }
        }
        result
    }

    /// What becomes of each live name that changes, first to change first.
    pub fn changes(&self) -> impl DoubleEndedIterator<Item = (FileKind, Change)> {
        let kinds = fileops::order(self.report.from, self.report.to);
        kinds
            .into_iter()
            .filter_map(|kind| Some((kind, self.change(kind)?)))
    }

    /// What becomes of a live name, if it changes.
    #[must_use]
    pub fn change(&self, kind: FileKind) -> Option<Change> {
        match self.file(kind) {
            Some(staged) if staged.from.is_some() => Some(Change::Replace),
            Some(_) => Some(Change::Add),
            None => self.replaced(kind).map(|_| Change::Remove),
        }
    }

    /// The file that a live name stood for before it changed.
    #[must_use]
    pub fn replaced(&self, kind: FileKind) -> Option<FileId> {
        match self.file(kind) {
            Some(staged) => staged.from,
            None => self.removed.filter(|_| kind == FileKind::Expunge),
        }
    }

    /// The staged file of a kind.
    #[must_use]
    pub fn file(&self, kind: FileKind) -> Option<&StagedFile> {
        self.files.iter().find(|f| f.kind == kind)
    }
}

/// Removes the name of a staged file, on stable storage.
fn remove_named(locks: &MailboxLocks, dir: &Dir, staged: &StagedFile) -> Result<(), IoError> {
    let name = new_name(staged.kind);
    match dir.id(name)? {
        // It may have got its name although that failed.
        Some(id) if id == staged.made.id => {}
        Some(_) if staged.made.named => {
            let foreign = std::io::ErrorKind::AlreadyExists.into();
            return Err(IoError::new("remove", &dir.path_of(name), foreign));
        }
        _ if !staged.made.named => return Ok(()),
        _ => {}
    }
    let steps = fileops::unstage([staged.kind]);
    steps
        .into_iter()
        .try_for_each(|step| execute(locks, step, None))
}

pub(super) fn locked(locks: &MailboxLocks, kind: FileKind) -> Result<&LockedFile, Refusal> {
    locks
        .file(kind)
        .ok_or_else(|| Refusal::new(Code::State, format!("{kind} is not locked")))
}
